"""Boxes of rows moved between DRAM and the activation scratchpad, as load and store operations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine

#: Pieces of DRAM that a box may name; a box of more is taken for one piece.
MAX_SPANS = 32


@dataclass(frozen=True)
class Padding:
    """What surrounds a loaded box: rows above and below, rows left and right of each line, and their value."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0
    value: int = 0


@dataclass(frozen=True)
class Box:
    """Blocks of lines of rows.

    Attributes
    ----------
    dram : int
        First byte.
    base : int
        First row in `act`.
    run : int
        Contiguous rows of a line.
    loops : sequence of (extent, DRAM stride in bytes, act stride in rows)
        Innermost first: lines, blocks, and one more.
    """

    dram: int
    base: int
    run: int
    loops: Sequence[tuple[int, int, int]]


def _coalesced(box: Box, padding: Padding, config: Config) -> tuple[Box, Padding]:
    """Join lines that lie side by side in both memories, so that runs are long."""
    loops, run = list(box.loops), box.run
    while loops and not (padding.left or padding.right):
        extent, dram_stride, act_stride = loops[0]
        is_one = extent == 1
        is_side_by_side = (is_one or dram_stride == run * config.row_bytes) and (
            act_stride == run or (is_one and not (padding.top or padding.bottom))
        )
        joined = run * (padding.top + extent + padding.bottom)
        if not is_side_by_side or joined >= 1 << config.extent_bits:
            break
        padding = Padding(left=run * padding.top, right=run * padding.bottom, value=padding.value)
        run *= extent
        loops.pop(0)
    return Box(box.dram, box.base, run, loops), padding


def _operands(box: Box) -> dict[str, int]:
    operands = {"dram_base": box.dram, "base": box.base, "extent_run": box.run}
    for i in range(3):
        extent, dram_stride, act_stride = box.loops[i] if i < len(box.loops) else (1, 0, 0)
        operands[f"extent{i}"] = extent
        operands[f"dram_stride{i}"] = dram_stride
        operands[f"stride{i}"] = act_stride
    return operands


def _dram_spans(box: Box, config: Config) -> tuple[Span, ...]:
    """The pieces of DRAM of a box: one for each iteration of the loops beyond the first."""
    length = box.run * config.row_bytes
    starts = [box.dram]
    for i, (extent, stride, _) in enumerate(box.loops):
        if i == 0 or len(starts) * extent > MAX_SPANS:
            length += (extent - 1) * stride
        else:
            starts = [start + j * stride for start in starts for j in range(extent)]
    return tuple(("dram", start, length) for start in starts)


def load_box(config: Config, box: Box, padding: Padding, rows: int, label: str) -> Operation:
    """Load a box, padded, into `rows` rows of `act` from its base on."""
    box, padding = _coalesced(box, padding, config)
    base = box.base % config.act_rows
    operands = _operands(box)
    operands["base"] = base
    operands |= {
        "pad_left": padding.left,
        "pad_right": padding.right,
        "pad_top": padding.top,
        "pad_bottom": padding.bottom,
        "pad_value": padding.value,
    }
    is_empty = box.run == 0 or any(extent == 0 for extent, _, _ in box.loops)
    reads = () if is_empty else _dram_spans(box, config)
    return Operation("LOAD_ACT", Engine.LOAD, operands, reads, (("act", base, rows),), label=label)


def store_box(config: Config, box: Box, rows: int, label: str) -> Operation:
    """Store a box that takes `rows` rows of `act` from its base on."""
    box, _ = _coalesced(box, Padding(), config)
    base = box.base % config.act_rows
    operands = _operands(box) | {"base": base}
    return Operation("STORE_ACT", Engine.STORE, operands, (("act", base, rows),), _dram_spans(box, config), label=label)


def load_entries(
    config: Config, space: str, dram: int, base: int, run: int, count: int, stride: int, label: str
) -> Operation:
    """Load `count` runs of whole entries into `wgt`, `prm` or `tbl`, one after the other.

    Parameters
    ----------
    dram, stride : int
        First byte, and bytes between runs.
    base : int
        First entry.
    run, count : int
        Entries of a run; runs.
    """
    entry_bytes = {"wgt": config.wgt_entry_bytes, "prm": config.prm_entry_bytes, "tbl": 256}[space]
    depth = {"wgt": config.wgt_depth, "prm": config.prm_depth, "tbl": config.epilogue.tables}[space]
    if stride == run * entry_bytes and run * count < 1 << config.extent_bits:
        run, count = run * count, 1
    operands = {
        "dram_base": dram,
        "base": base % depth,
        "extent_run": run,
        "extent0": count,
        "dram_stride0": stride if count > 1 else 0,
        "stride0": run if count > 1 else 0,
    }
    return Operation(
        f"LOAD_{space.upper()}", Engine.LOAD, operands, (), ((space, base % depth, run * count),), label=label
    )
