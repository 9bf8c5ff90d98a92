"""Which entries of which memory an instruction reads and writes: the exact sets, from its affine operands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet, Opcode
from tilewright.isa.ir import variable_names
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS, memories

Entries = NDArray[np.int64]

_PLAIN = {Opcode.LOAD_WGT: "wgt", Opcode.LOAD_PRM: "prm", Opcode.LOAD_TBL: "tbl"}


@dataclass(frozen=True)
class Footprint:
    """Entries touched, by memory: sorted and unique; `dram` in bytes, `act` in atoms.

    Attributes
    ----------
    reads, writes : mapping of str to array of int64
    """

    reads: Mapping[str, Entries]
    writes: Mapping[str, Entries]

    def conflicts(self, earlier: Footprint) -> bool:
        """Tell whether this instruction must see `earlier` finished: a read after write, or a write after either."""
        return (
            _meet(self.reads, earlier.writes) or _meet(self.writes, earlier.writes) or _meet(self.writes, earlier.reads)
        )

    @property
    def reads_own_writes(self) -> bool:
        """Whether some entry is both read and written."""
        return _meet(self.reads, self.writes)


def _meet(one: Mapping[str, Entries], other: Mapping[str, Entries]) -> bool:
    return any(_overlap(entries, other[space]) for space, entries in one.items() if space in other)


def _overlap(a: Entries, b: Entries) -> bool:
    if not len(a) or not len(b) or a[-1] < b[0] or b[-1] < a[0]:
        return False
    return bool(np.isin(a, b, assume_unique=True).any())


def _walk(base: int, loops: Iterable[tuple[int, int]]) -> Entries:
    """All values of `base + sum(i * stride)` for loops of (extent, stride)."""
    values = np.array([base], np.int64)
    for extent, stride in loops:
        values = (values[:, None] + np.arange(extent, dtype=np.int64) * stride).ravel()
    return values


def _wrap(values: Entries, depth: int) -> Entries:
    """Return sorted and unique what is left modulo `depth`."""
    values = values % depth
    if (values[1:] > values[:-1]).all():
        return values
    if depth > 8 * len(values):
        return np.unique(values)
    is_touched = np.zeros(depth, np.bool_)
    is_touched[values] = True
    return np.flatnonzero(is_touched)


def _widened(values: Entries, width: int, depth: int) -> Entries:
    """Aligned groups of `width` entries that hold `values`."""
    if width == 1:
        return _wrap(values, depth)
    return _wrap(((values & -width)[:, None] + np.arange(width)).ravel(), depth)


def footprint(isa: InstructionSet, opcode: Opcode, values: Mapping[str, int]) -> Footprint:
    """Return what an instruction with these (complete) operands touches."""
    match opcode:
        case Opcode.GEMM | Opcode.VECTOR:
            return _compute(isa, opcode, values)
        case Opcode.ROW:
            return _row(isa, values)
        case Opcode.DEPTHWISE:
            return _depthwise(isa.config, values)
        case Opcode.LOAD_ACT:
            return _load_act(isa.config, values)
        case Opcode.STORE_ACT:
            return _store_act(isa.config, values)
        case _:
            return _load_plain(isa.config, _PLAIN[opcode], values)


def operand_walk(values: Mapping[str, int], operand: str, loop_names: Iterable[str]) -> Entries:
    """Return an operand's addresses in the order of the loops, not yet wrapped."""
    return _walk(values[f"{operand}_base"], [(values[f"extent_{n}"], values[f"{operand}_{n}"]) for n in loop_names])


def _depthwise(config: Config, values: Mapping[str, int]) -> Footprint:
    extents = [values[f"extent_{n}"] for n in (*OUT_LOOPS, *RED_LOOPS[1:])]
    if not all(extents):
        return Footprint({}, {})
    blocks, rows, columns, kernel_rows, kernel_columns = extents
    wide = config.gemm.block_out // config.atom
    loops = [
        (blocks, values["a_out0"]),
        (rows, values["a_row"] * (1 + values["double_y"])),
        (kernel_rows, values["a_row"]),
        (columns, values["a_pixel"] * (1 + values["double_x"])),
        (kernel_columns, values["a_pixel"]),
    ]
    act = [_widened(_walk(values["a_base"], loops), wide, config.act_depth)]
    weights = _walk(values["w_base"], [(blocks, values["w_out0"])])
    reads = {"wgt": _wrap(weights, config.wgt_depth)} | _epilogue_reads(config, values)
    if values["residual"]:
        act.append(_widened(operand_walk(values, "b", OUT_LOOPS), wide, config.act_depth))
    return Footprint(reads | {"act": np.unique(np.concatenate(act))}, _results(config, values))


def _row(isa: InstructionSet, values: Mapping[str, int]) -> Footprint:
    config = isa.config
    if not all(values[f"extent_{n}"] for n in OUT_LOOPS + RED_LOOPS):
        return Footprint({}, {})
    act = operand_walk(values, "a", OUT_LOOPS + RED_LOOPS)
    reads = {
        **_epilogue_reads(config, values),
        "act": _widened(act, config.gemm.block_out // config.atom, config.act_depth),
    }
    if any(op.uses_b for op in isa.row_ops if op.code == values["op"]):
        reads["acc"] = _wrap(operand_walk(values, "b", OUT_LOOPS), config.acc_depth)
    return Footprint(reads, _results(config, values))


def _epilogue_reads(config: Config, values: Mapping[str, int]) -> dict[str, Entries]:
    """Parameters, partial sums and tables."""
    reads = {"prm": _wrap(operand_walk(values, "p", OUT_LOOPS), config.prm_depth)}
    if values["accumulate"]:
        reads["acc"] = _wrap(operand_walk(values, "b", OUT_LOOPS), config.acc_depth)
    if values["table_enable"]:
        reads["tbl"] = np.array([values["table"]], np.int64)
    return reads


def _results(config: Config, values: Mapping[str, int]) -> dict[str, Entries]:
    d = operand_walk(values, "d", OUT_LOOPS)
    if values["to_acc"]:
        return {"acc": _wrap(d, config.acc_depth)}
    return {"act": _widened(d, config.gemm.block_out // config.atom, config.act_depth)}


def _compute(isa: InstructionSet, opcode: Opcode, values: Mapping[str, int]) -> Footprint:
    config = isa.config
    if not all(values[f"extent_{n}"] for n in OUT_LOOPS + RED_LOOPS):
        return Footprint({}, {})
    wide = config.gemm.block_out // config.atom
    act: list[Entries] = []
    reads = _epilogue_reads(config, values)
    acc = [reads["acc"]] if "acc" in reads else []
    a = operand_walk(values, "a", OUT_LOOPS + RED_LOOPS)
    b = operand_walk(values, "b", OUT_LOOPS)
    if opcode is Opcode.GEMM:
        act.append(_widened(a, config.gemm.block_in // config.atom, config.act_depth))
        reads["wgt"] = _wrap(operand_walk(values, "w", OUT_LOOPS + RED_LOOPS), config.wgt_depth)
    elif values["from_acc"]:
        acc.append(_wrap(a, config.acc_depth))
    else:
        act.append(_widened(a, wide, config.act_depth))
    if values["residual"] or (opcode is Opcode.VECTOR and uses_operand_b(isa, values["op"])):
        act.append(_widened(b, wide, config.act_depth))
    depths = {"act": config.act_depth, "acc": config.acc_depth}
    parts = (("act", act), ("acc", acc))
    reads |= {space: _wrap(np.concatenate(found), depths[space]) for space, found in parts if found}
    return Footprint(reads, _results(config, values))


def uses_operand_b(isa: InstructionSet, code: int) -> bool:
    """Tell whether the vector operation of this number reads operand `b`."""
    return any("b" in variable_names(op.combine) for op in isa.vector_ops if op.code == code)


def _bytes(config: Config, first: Entries, count: int) -> Entries:
    return _wrap((first[:, None] + np.arange(count)).ravel(), 1 << config.bus.address_bits)


def _signed(config: Config, stride: int) -> int:
    half = 1 << (config.bus.address_bits - 1)
    return stride - 2 * half if stride >= half else stride


def _rows(config: Config, values: Mapping[str, int], loops: Iterable[tuple[int, int]]) -> Entries:
    rows = _wrap(_walk(values["base"], loops), config.act_rows)
    return (rows[:, None] * config.ratio + np.arange(config.ratio)).ravel()


def _box_bytes(config: Config, values: Mapping[str, int]) -> Entries:
    loops = [(values[f"extent{i}"], _signed(config, values[f"dram_stride{i}"])) for i in (2, 1, 0)]
    return _bytes(config, _walk(values["dram_base"], loops), values["extent_run"] * config.row_bytes)


def _load_act(config: Config, values: Mapping[str, int]) -> Footprint:
    loops = [
        (values["extent2"], values["stride2"]),
        (values["extent1"], values["stride1"]),
        (values["pad_top"] + values["extent0"] + values["pad_bottom"], values["stride0"]),
        (values["pad_left"] + values["extent_run"] + values["pad_right"], 1),
    ]
    return Footprint({"dram": _box_bytes(config, values)}, {"act": _rows(config, values, loops)})


def _store_act(config: Config, values: Mapping[str, int]) -> Footprint:
    loops = [*((values[f"extent{i}"], values[f"stride{i}"]) for i in (2, 1, 0)), (values["extent_run"], 1)]
    return Footprint({"act": _rows(config, values, loops)}, {"dram": _box_bytes(config, values)})


def _load_plain(config: Config, space: str, values: Mapping[str, int]) -> Footprint:
    depth, entry_bytes = memories(config)[space].shape
    sources = _walk(values["dram_base"], [(values["extent0"], _signed(config, values["dram_stride0"]))])
    targets = _walk(values["base"], [(values["extent0"], values["stride0"]), (values["extent_run"], 1)])
    reads = _bytes(config, sources, values["extent_run"] * entry_bytes)
    return Footprint({"dram": reads}, {space: _wrap(targets, depth)})
