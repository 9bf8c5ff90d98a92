"""What machine.md says of the instructions, in NumPy: slow, plain, and apart from the instruction table's semantics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.row_functions import exp2n, log2p, normalised
from tilewright.isa.config import Config

Array = NDArray[Any]
Values = Mapping[str, int]

_OUT = ("out0", "out1", "out2")
_RED = ("red0", "red1", "red2")
_EXP = 4  # the first row operation that gives every channel a result
_PLAIN = {"LOAD_WGT": "wgt", "LOAD_PRM": "prm", "LOAD_TBL": "tbl"}


class Machine:
    """The memories of an accelerator, and `execute`."""

    def __init__(self, config: Config, dram: NDArray[np.uint8]) -> None:
        gemm = config.gemm
        self.config, self.dram = config, dram
        self.act = np.zeros((config.act_depth, gemm.batch, config.atom), np.int8)
        self.wgt = np.zeros((config.wgt_depth, gemm.block_out, gemm.block_in), np.int8)
        self.acc = np.zeros((config.acc_depth, gemm.batch, gemm.block_out), np.int32)
        self.prm = np.zeros((config.prm_depth, gemm.block_out, 8), np.uint8)
        self.tbl = np.zeros((max(1, config.epilogue.tables), 256), np.int8)

    def execute(self, name: str, values: Values) -> None:
        if name in ("GEMM", "VECTOR", "DEPTHWISE"):
            self._compute(name, values)
        elif name == "ROW":
            self._rows(values)
        elif name in _PLAIN:
            self._load_plain(getattr(self, _PLAIN[name]), values)
        elif name == "LOAD_ACT":
            self._load_act(values)
        else:
            self._store_act(values)

    # ---- load and store ----

    def _bytes(self, address: int, count: int) -> NDArray[np.int64]:
        return (address + np.arange(count)) % (1 << self.config.bus.address_bits)

    def _load_plain(self, memory: Array, v: Values) -> None:
        entry = memory[0].nbytes
        for i in range(v["extent0"]):
            for j in range(v["extent_run"]):
                data = self.dram[self._bytes(v["dram_base"] + i * v["dram_stride0"] + j * entry, entry)]
                target = (v["base"] + i * v["stride0"] + j) % len(memory)
                memory[target] = data.view(memory.dtype).reshape(memory.shape[1:])

    def _row(self, row: int) -> slice:
        first = row % self.config.act_rows * self.config.ratio
        return slice(first, first + self.config.ratio)

    def _load_act(self, v: Values) -> None:
        height = v["pad_top"] + v["extent0"] + v["pad_bottom"]
        width = v["pad_left"] + v["extent_run"] + v["pad_right"]
        for i2, i1, i0, x in product(range(v["extent2"]), range(v["extent1"]), range(height), range(width)):
            row = self._row(v["base"] + i2 * v["stride2"] + i1 * v["stride1"] + i0 * v["stride0"] + x)
            y0, x0 = i0 - v["pad_top"], x - v["pad_left"]
            if 0 <= y0 < v["extent0"] and 0 <= x0 < v["extent_run"]:
                data = self.dram[self._bytes(self._address(v, i2, i1, y0, x0), self.config.row_bytes)]
                self.act[row] = data.view(np.int8).reshape(self.act[row].shape)
            else:
                self.act[row] = v["pad_value"]

    def _store_act(self, v: Values) -> None:
        extents = (v["extent2"], v["extent1"], v["extent0"], v["extent_run"])
        for i2, i1, i0, x in product(*map(range, extents)):
            row = self._row(v["base"] + i2 * v["stride2"] + i1 * v["stride1"] + i0 * v["stride0"] + x)
            target = self._bytes(self._address(v, i2, i1, i0, x), self.config.row_bytes)
            self.dram[target] = self.act[row].reshape(-1).view(np.uint8)

    def _address(self, v: Values, i2: int, i1: int, i0: int, x: int) -> int:
        strides = i2 * v["dram_stride2"] + i1 * v["dram_stride1"] + i0 * v["dram_stride0"]
        return v["dram_base"] + strides + x * self.config.row_bytes

    # ---- compute ----

    def _channels(self, address: int, count: int) -> NDArray[np.int64]:
        """Activations `[batch, count]` at a wide, aligned access."""
        atoms = count // self.config.atom
        first = address // atoms * atoms
        picked = [self.act[(first + i) % len(self.act)] for i in range(atoms)]
        return np.concatenate(picked, axis=1).astype(np.int64)

    def _wrap(self, value: NDArray[np.int64]) -> NDArray[np.int64]:
        half = 1 << (self.config.gemm.acc_bits - 1)
        return (value + half) % (2 * half) - half

    def _compute(self, name: str, v: Values) -> None:
        if not all(v.get(f"extent_{loop}", 1) for loop in _OUT + _RED):
            return
        reduce = {"GEMM": self._gemm_sum, "VECTOR": self._vector_sum, "DEPTHWISE": self._window_sum}[name]
        for outer in product(*(range(v[f"extent_{loop}"]) for loop in _OUT)):
            self._epilogue(v, outer, self._wrap(reduce(v, outer)))

    def _steps(self, v: Values, outer: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
        for inner in product(*(range(v[f"extent_{loop}"]) for loop in _RED)):
            yield outer + inner

    @staticmethod
    def _at(v: Values, operand: str, indices: tuple[int, ...]) -> int:
        strides = zip(_OUT + _RED, indices, strict=False)
        return v[f"{operand}_base"] + sum(i * v[f"{operand}_{loop}"] for loop, i in strides)

    def _gemm_sum(self, v: Values, outer: tuple[int, ...]) -> NDArray[np.int64]:
        x = np.zeros(self.acc.shape[1:], np.int64)
        for step in self._steps(v, outer):
            a = self._channels(self._at(v, "a", step), self.config.gemm.block_in)
            w = self.wgt[self._at(v, "w", step) % len(self.wgt)].astype(np.int64)
            x += a @ w.T
        return x

    def _window_sum(self, v: Values, outer: tuple[int, ...]) -> NDArray[np.int64]:
        """The kernel in the last rows and columns of the window, over the pixels from the strided corner on."""
        block, y, x = outer
        rows, columns = v["extent_red1"], v["extent_red2"]
        corner = v["a_base"] + block * v["a_out0"]
        corner += y * (1 + v["double_y"]) * v["a_row"] + x * (1 + v["double_x"]) * v["a_pixel"]
        taps = self.config.window_rows * self.config.window_columns
        entry = self.wgt[(v["w_base"] + block * v["w_out0"]) % len(self.wgt)][:, :taps].astype(np.int64)
        kernel = entry.reshape(-1, self.config.window_rows, self.config.window_columns)[:, -rows:, -columns:]
        total = np.zeros(self.acc.shape[1:], np.int64)
        for r, c in product(range(rows), range(columns)):
            pixel = self._channels(corner + r * v["a_row"] + c * v["a_pixel"], self.config.gemm.block_out)
            total += pixel * kernel[:, r, c]
        return total

    def _vector_sum(self, v: Values, outer: tuple[int, ...]) -> NDArray[np.int64]:
        width = self.config.gemm.block_out
        b = self._channels(self._at(v, "b", outer), width)
        operands = []
        for step in self._steps(v, outer):
            address = self._at(v, "a", step)
            in_acc = self.acc[address % len(self.acc)].astype(np.int64)
            operands.append(in_acc if v["from_acc"] else self._channels(address, width))
        stack = np.stack(operands)
        match v["op"]:
            case 0:
                return stack.sum(axis=0)
            case 1:
                return self._wrap(stack).max(axis=0)
            case 2:
                return self._wrap(stack).min(axis=0)
            case _:
                return ((stack - v["zero_a"]) * (b - v["zero_b"])).sum(axis=0)

    def _rows(self, v: Values) -> None:
        if not all(v[f"extent_{loop}"] for loop in _OUT + _RED):
            return
        for outer in product(*(range(v[f"extent_{loop}"]) for loop in _OUT)):
            b = self.acc[self._at(v, "b", outer) % len(self.acc)][:, :1].astype(np.int64)
            steps = [self._channels(self._at(v, "a", s), self.config.gemm.block_out) for s in self._steps(v, outer)]
            a = np.concatenate(steps, axis=1)
            a = a[:, : a.shape[1] - (self.config.gemm.block_out - v["tail"]) % self.config.gemm.block_out]
            if v["op"] < _EXP:
                result = _row_reduction(v, a, b)
                self.acc[self._at(v, "d", outer) % len(self.acc)] = (result + 2**31) % 2**32 - 2**31
            else:
                x = exp2n(np.maximum(b - steps[0] * v["scale"], 0)) if v["op"] == _EXP else normalised(steps[0], b)
                self._epilogue({**v, "accumulate": 0, "residual": 0}, outer, x)

    def _epilogue(self, v: Values, outer: tuple[int, ...], x: NDArray[np.int64]) -> None:
        prm = self.prm[self._at(v, "p", outer) % len(self.prm)].astype(np.int64)
        if v["accumulate"]:
            x = x + self.acc[self._at(v, "b", outer) % len(self.acc)]
        if v["bias_enable"]:
            x = np.where((prm[:, 7] >= 128) & self.config.vector.rows, -x, x)
            x = x + (prm[:, :4] @ (1 << 8 * np.arange(4))).astype(np.uint32).astype(np.int32)
        x = self._wrap(x)
        if v["to_acc"]:
            self.acc[self._at(v, "d", outer) % len(self.acc)] = x
            return
        y = self._activation(v, outer, self._requantized(v, prm, x))
        self._put(self._at(v, "d", outer), y.astype(np.int8))

    def _requantized(self, v: Values, prm: NDArray[np.int64], x: NDArray[np.int64]) -> NDArray[np.int64]:
        multiplier = (prm[:, 4:7] @ (1 << 8 * np.arange(3))) % (1 << self.config.epilogue.multiplier_bits)
        return np.clip(_rounded(x * multiplier, prm[:, 7] % 64) + v["zero_out"], -128, 127)

    def _activation(self, v: Values, outer: tuple[int, ...], y: NDArray[np.int64]) -> NDArray[np.int64]:
        if v["residual"]:
            b = self._channels(self._at(v, "b", outer), self.config.gemm.block_out)
            terms = (y - v["zero_a"]) * v["residual_multiplier_a"] + (b - v["zero_b"]) * v["residual_multiplier_b"]
            y = np.clip(_rounded(terms, np.int64(v["residual_shift"])) + v["residual_zero_out"], -128, 127)
        y = np.minimum(np.maximum(y, v["clamp_low"]), v["clamp_high"])
        return self.tbl[v["table"]][y + 128].astype(np.int64) if v["table_enable"] else y

    def _put(self, address: int, y: NDArray[np.int8]) -> None:
        atoms = self.config.gemm.block_out // self.config.atom
        first = address // atoms * atoms
        for i in range(atoms):
            self.act[(first + i) % len(self.act)] = y[:, i * self.config.atom : (i + 1) * self.config.atom]


def _row_reduction(v: Values, a: NDArray[np.int64], b: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the results of a reducing row operation for the rows of `a`, `[rows, 1]`."""
    match v["op"]:
        case 0:
            return _rounded(a.max(axis=1, keepdims=True) * v["scale"], np.int64(v["offset"] % 32))
        case 1:
            return _rounded(a.sum(axis=1, keepdims=True) * v["scale"], np.int64(v["offset"] % 32))
        case 2:
            sums = exp2n(np.maximum(b - a * v["scale"], 0)).sum(axis=1, keepdims=True)
            return b + log2p(sums) - (23 << 16)
        case _:
            mean = (b + 2**15) % 2**16 - 2**15
            squares = ((a * 256 - mean + 2) // 4) ** 2
            total = (squares.sum(axis=1, keepdims=True) + v["offset"]) % 2**44
            spread = (log2p(total) - v["scale"] - (12 << 16) + 16) // 32
            return mean * 2**16 + np.clip(spread, -(2**15), 2**15 - 1) % 2**16


def _rounded(value: NDArray[np.int64], shift: NDArray[np.int64] | np.int64) -> NDArray[np.int64]:
    """`value / 2**shift`, half up, in exact integers that wrap at 64 bits."""
    with np.errstate(over="ignore"):
        half = (np.int64(1) << shift) >> np.int64(1)
        return np.asarray((value + half) >> shift)
