"""The instruction set as the ISA page describes it, in plain Python: slow, and written from the page alone.

It takes nothing from the product but the page's text: encodings, shapes and tables are read from that, and what
instructions do is written here once more, by hand, so that it can be the judge of simulators.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from tests.isa.page import Page

Values = dict[str, int]


def wrapped(value: int, bits: int) -> int:
    """Two's complement of so many bits."""
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def clipped(value: int, low: int = -128, high: int = 127) -> int:
    return min(max(value, low), high)


def rounded_shift(value: int, shift: int) -> int:
    """Halves up; 64 bits that wrap, so that a shift by 63 adds a negative half."""
    half = wrapped(1 << shift, 64) >> 1
    return wrapped(value + half, 64) >> shift


class NaiveMachine:
    """Memories, and programs run on them in stream order.

    Parameters
    ----------
    page : Page
        The ISA page of the configuration.
    dram : array of uint8
        Changed in place.
    """

    def __init__(self, page: Page, dram: NDArray[np.uint8]) -> None:
        self.page, self.dram = page, dram
        self.memory = {
            name: np.zeros(shape, f"{'i' if is_signed else 'u'}{width // 8}")
            for name, (is_signed, width, shape) in page.memories.items()
        }
        config = page.config
        self.batch, self.block_in = config["gemm.batch"], config["gemm.block_in"]
        self.block_out, self.acc_bits = config["gemm.block_out"], config["gemm.acc_bits"]
        self.atom = min(self.block_in, self.block_out)
        self.ratio = max(self.block_in, self.block_out) // self.atom
        self.by_opcode = {one.opcode: name for name, one in page.instructions.items()}

    def run(self, offset: int, count: int) -> None:
        """Execute `count` instructions from byte `offset` on, fetched before anything runs."""
        size = self.page.instruction_bytes
        code = self.dram[offset : offset + count * size].tobytes()
        for place in range(0, len(code), size):
            word = int.from_bytes(code[place : place + size], "little")
            name = self.by_opcode[word & 63]
            self.execute(name, {f: field.of(word) for f, field in self.page.instructions[name].fields.items()})

    def execute(self, name: str, v: Values) -> None:
        match name:
            case "LOAD_ACT":
                self._load_act(v)
            case "STORE_ACT":
                self._store_act(v)
            case "LOAD_WGT" | "LOAD_PRM" | "LOAD_TBL":
                self._load_entries(self.memory[name[5:].lower()], v)
            case "DEPTHWISE":
                self._depthwise(v)
            case "ROW":
                self._row(v)
            case _:
                self._reduce_and_finish(name, v)

    # ---- load and store ----

    def _dram(self, address: int, count: int) -> NDArray[np.int64]:
        return (address + np.arange(count)) % (1 << self.page.config["bus.address_bits"])

    def _load_entries(self, memory: NDArray[np.generic], v: Values) -> None:
        size = memory.shape[1]
        for i, run in product(range(v["extent0"]), range(v["extent_run"])):
            source = self._dram(v["dram_base"] + i * v["dram_stride0"] + run * size, size)
            memory[(v["base"] + i * v["stride0"] + run) % len(memory)] = self.dram[source].view(memory.dtype)

    def _box(self, v: Values, top: int, bottom: int) -> Iterator[tuple[int, int, int, int]]:
        """Yield the scratchpad's row, and DRAM address without the run, i0 and the row of loop 0."""
        for i2, i1, i0 in product(range(v["extent2"]), range(v["extent1"]), range(top + v["extent0"] + bottom)):
            row = v["base"] + i2 * v["stride2"] + i1 * v["stride1"] + i0 * v["stride0"]
            address = v["dram_base"] + i2 * v["dram_stride2"] + i1 * v["dram_stride1"] + (i0 - top) * v["dram_stride0"]
            yield row, address, i0, i0 - top

    def _load_act(self, v: Values) -> None:
        act, size = self.memory["act"], self.memory["act"].shape[1]
        left, right = v["pad_left"], v["pad_right"]
        for row, address, _, y in self._box(v, v["pad_top"], v["pad_bottom"]):
            for run, atom in product(range(left + v["extent_run"] + right), range(self.ratio)):
                target = ((row + run) * self.ratio + atom) % len(act)
                if 0 <= y < v["extent0"] and left <= run < left + v["extent_run"]:
                    source = self._dram(address + ((run - left) * self.ratio + atom) * size, size)
                    act[target] = self.dram[source].view(np.int8)
                else:
                    act[target] = v["pad_value"]

    def _store_act(self, v: Values) -> None:
        act, size = self.memory["act"], self.memory["act"].shape[1]
        for row, address, _, _ in self._box(v, 0, 0):
            for run, atom in product(range(v["extent_run"]), range(self.ratio)):
                target = self._dram(address + (run * self.ratio + atom) * size, size)
                self.dram[target] = act[((row + run) * self.ratio + atom) % len(act)].view(np.uint8)

    # ---- compute ----

    def _channel(self, entry: int, width: int, row: int, channel: int) -> int:
        """One activation of an access `width` channels wide, aligned to its width."""
        act, atoms = self.memory["act"], width // self.atom
        first = entry - entry % atoms
        return int(act[(first + channel // self.atom) % len(act), row * self.atom + channel % self.atom])

    def _acc(self, entry: int, row: int, channel: int) -> int:
        acc = self.memory["acc"]
        return int(acc[entry % len(acc), row * self.block_out + channel])

    @staticmethod
    def _at(v: Values, operand: str, loops: tuple[str, ...], indices: tuple[int, ...]) -> int:
        return v[f"{operand}_base"] + sum(i * v[f"{operand}_{loop}"] for loop, i in zip(loops, indices, strict=True))

    def _outputs(self, v: Values) -> Iterator[tuple[tuple[int, ...], int, int]]:
        """Yield position, batch row and output channel of every result."""
        positions = product(*(range(v[f"extent_out{i}"]) for i in range(3)))
        yield from product(positions, range(self.batch), range(self.block_out))

    def _steps(self, v: Values) -> list[tuple[int, ...]]:
        return list(product(*(range(v[f"extent_red{i}"]) for i in range(3))))

    def _reduce_and_finish(self, name: str, v: Values) -> None:
        steps = self._steps(v)
        if not steps:
            return
        loops = ("out0", "out1", "out2", "red0", "red1", "red2")
        for at, row, channel in self._outputs(v):
            places = [self._at(v, "a", loops, at + step) for step in steps]
            if name == "GEMM":
                weights = [self._at(v, "w", loops, at + step) for step in steps]
                x = self._products(places, weights, row, channel)
            else:
                x = self._vector(v, places, self._at(v, "b", loops[:3], at), row, channel)
            self._finish(v, at, row, channel, x)

    def _products(self, places: list[int], weights: list[int], row: int, channel: int) -> int:
        wgt = self.memory["wgt"]
        return sum(
            self._channel(a, self.block_in, row, k) * int(wgt[w % len(wgt), channel * self.block_in + k])
            for a, w in zip(places, weights, strict=True)
            for k in range(self.block_in)
        )

    def _vector(self, v: Values, places: list[int], b_place: int, row: int, channel: int) -> int:
        width = self.block_out
        a = [self._acc(p, row, channel) if v["from_acc"] else self._channel(p, width, row, channel) for p in places]
        match self.page.vector_ops[v["op"]]:
            case "sum":
                return sum(a)
            case "max":
                return max(a)
            case "min":
                return min(a)
            case "mul":
                b = self._channel(b_place, width, row, channel) - v["zero_b"]
                return sum((one - v["zero_a"]) * b for one in a)
        raise AssertionError(f"the page has no vector operation {v['op']}")

    def _depthwise(self, v: Values) -> None:
        wgt, rows, columns = self.memory["wgt"], v["extent_red1"], v["extent_red2"]
        window_rows, window_columns = (self.page.most("DEPTHWISE", name) for name in ("extent_red1", "extent_red2"))
        if not rows or not columns:
            return
        for at, row, channel in self._outputs(v):
            block, y, x = at
            kernel = wgt[(v["w_base"] + block * v["w_out0"]) % len(wgt)]
            total = 0
            for r, c in product(range(rows), range(columns)):
                pixel = v["a_base"] + block * v["a_out0"]
                pixel += (y * (1 + v["double_y"]) + r) * v["a_row"] + (x * (1 + v["double_x"]) + c) * v["a_pixel"]
                tap = (r + window_rows - rows) * window_columns + c + window_columns - columns
                weight = int(kernel[channel * self.block_in + tap])
                total += self._channel(pixel, self.block_out, row, channel) * weight
            self._finish(v, at, row, channel, total)

    # ---- the epilogue ----

    def _finish(self, v: Values, at: tuple[int, ...], row: int, channel: int, x: int) -> None:
        loops = ("out0", "out1", "out2")
        prm = self.memory["prm"]
        record = prm[self._at(v, "p", loops, at) % len(prm), channel * 8 : channel * 8 + 8].tobytes()
        b, d = self._at(v, "b", loops, at), self._at(v, "d", loops, at)
        x += self._acc(b, row, channel) if v["accumulate"] else 0
        if v["bias_enable"]:
            is_negative = self.page.config["vector.rows"] and record[7] >> 7
            x = (-x if is_negative else x) + int.from_bytes(record[:4], "little")
        x = wrapped(x, self.acc_bits)
        if v["to_acc"]:
            acc = self.memory["acc"]
            acc[d % len(acc), row * self.block_out + channel] = x
            return
        multiplier = int.from_bytes(record[4:7], "little") % (1 << self.page.config["epilogue.multiplier_bits"])
        y = clipped(rounded_shift(x * multiplier, record[7] & 63) + v["zero_out"])
        if v["residual"]:
            second = self._channel(b, self.block_out, row, channel) - v["zero_b"]
            both = (y - v["zero_a"]) * v["residual_multiplier_a"] + second * v["residual_multiplier_b"]
            y = clipped(rounded_shift(both, v["residual_shift"]) + v["residual_zero_out"])
        y = clipped(y, v["clamp_low"], v["clamp_high"])
        if v["table_enable"]:
            y = int(self.memory["tbl"][v["table"], y + 128])
        self._put(d, row, channel, y)

    def _put(self, entry: int, row: int, channel: int, y: int) -> None:
        act, atoms = self.memory["act"], self.block_out // self.atom
        target = (entry - entry % atoms + channel // self.atom) % len(act)
        act[target, row * self.atom + channel % self.atom] = y

    # ---- rows ----

    def _row(self, v: Values) -> None:
        steps, loops = self._steps(v), ("out0", "out1", "out2", "red0", "red1", "red2")
        if not steps:
            return
        op = self.page.row_ops[v["op"]]
        for at, row, channel in self._outputs(v):
            b = self._acc(self._at(v, "b", loops[:3], at), row, 0)
            places = [self._at(v, "a", loops, at + step) for step in steps]
            if op in ("exp", "normalise"):
                a = self._channel(places[0], self.block_out, row, channel)
                x = self._power(b - a * v["scale"]) if op == "exp" else self._deviation(a, b)
                self._finish(v, at, row, channel, x)
            elif channel == 0:
                values = [
                    self._channel(place, self.block_out, row, c)
                    for number, place in enumerate(places, start=1)
                    for c in range(v["tail"] if number == len(places) and v["tail"] else self.block_out)
                ]
                result = wrapped(self._row_result(op, v, values, b), 32)
                acc = self.memory["acc"]
                first = row * self.block_out
                acc[self._at(v, "d", loops[:3], at) % len(acc), first : first + self.block_out] = result

    def _row_result(self, op: str, v: Values, values: list[int], b: int) -> int:
        if op in ("max", "sum"):
            found = wrapped(max(values) if op == "max" else sum(values), 24)
            return (found * v["scale"] + (1 << (v["offset"] & 31) >> 1)) >> (v["offset"] & 31)
        if op == "exp_sum":
            return b + self._logarithm(sum(self._power(b - a * v["scale"]) for a in values)) - (23 << 16)
        mean = wrapped(b, 16)
        squares = sum((((a << 8) - mean + 2) >> 2) ** 2 for a in values) + v["offset"]
        spread = (self._logarithm(squares) - v["scale"] - (12 << 16) + 16) >> 5
        return (b << 16) | (clipped(spread, -(1 << 15), (1 << 15) - 1) & 0xFFFF)

    def _table_of_powers(self, fraction: int) -> int:
        """2**-(fraction / 2**16), with 15 fraction bits."""
        tables, (place, rest) = self.page.number_tables, divmod(fraction, 1 << 11)
        return tables["exp2_base"][place] - ((tables["exp2_step"][place] * rest + 1024) >> 11)

    def _power(self, exponent: int) -> int:
        """2**-exponent with 23 fraction bits; the exponent has 16 and is at least 0."""
        whole, fraction = divmod(max(exponent, 0), 1 << 16)
        return self._table_of_powers(fraction) << 8 >> whole if whole <= 23 else 0

    def _deviation(self, a: int, b: int) -> int:
        exponent = wrapped(b, 16)
        scale = self._table_of_powers((exponent & 4095) << 4)
        return (((a << 8) - (b >> 16)) * scale) >> ((exponent >> 12) + 9)

    def _logarithm(self, value: int) -> int:
        """The logarithm of two of 44 bits, with 16 fraction bits."""
        value %= 1 << 44
        place = max(value.bit_length() - 1, 0)
        fraction = value << (43 - place) >> 27 & 0xFFFF
        tables, (index, rest) = self.page.number_tables, divmod(fraction, 1 << 10)
        return (place << 16) + tables["log2_base"][index] + ((tables["log2_step"][index] * rest + 512) >> 10)
