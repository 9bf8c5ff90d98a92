"""Movement between DRAM and the scratchpads as loop nests, which tensorize to the DMA instructions; see `nests`."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.accelerator.tile_output import Grid
from tilewright.isa.config import Config
from tilewright.isa.ir import Binary, BinaryOp, Buffer, Const, DType, Expr, Function, If, Load, Stmt, Store, Var, loops
from tilewright.isa.semantics import memories


@dataclass(frozen=True)
class LoadBox:
    """A box of an activation tensor in DRAM into `act`, with a border: buffers `dram`, `act`.

    Attributes
    ----------
    source, target : Grid
        Extents of the whole tensors (their pitch); the box, border included, begins where they are placed.
    blocks, rows, columns : int
        Extents read from DRAM; `blocks` 0 means those of `source`.
    pad_top, pad_bottom, pad_left, pad_right : int
        Border, in rows and columns of the target.
    pad_value : int
    row_step : int
        Take every so many rows of the source.
    """

    source: Grid
    target: Grid
    rows: int
    columns: int
    blocks: int = 0
    pad_top: int = 0
    pad_bottom: int = 0
    pad_left: int = 0
    pad_right: int = 0
    pad_value: int = 0
    row_step: int = 1

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        source, target = self.source.in_dram("dram", config), self.target.in_act("act", config)
        block, row, column = Var("block"), Var("row"), Var("column")
        part, b, c = Var("part"), Var("b"), Var("c")
        lanes = [(part, config.ratio), (b, config.gemm.batch), (c, config.atom)]
        byte = (part * config.gemm.batch + b) * config.atom + c
        element = Load(source, (block, (row - self.pad_top) * self.row_step, column - self.pad_left, byte))
        place = (block, row, column, part, b, c)
        body: Stmt = loops(lanes, Store(target, place, element.cast(DType.I8)))
        fill = loops(lanes, Store(target, place, Const(self.pad_value).cast(DType.I8)))
        if self.pad_left or self.pad_right:
            body = If(_between(column, self.pad_left, self.columns), body, fill)
        if self.pad_top or self.pad_bottom:
            body = If(_between(row, self.pad_top, self.rows), body, fill)
        nest = [
            (block, self.blocks or self.source.blocks),
            (row, self.pad_top + self.rows + self.pad_bottom),
            (column, self.pad_left + self.columns + self.pad_right),
        ]
        return Function("load_box", (), (source, target), loops(nest, body))


@dataclass(frozen=True)
class StoreBox:
    """A box of an activation tensor in `act` to DRAM: buffers `act`, `dram`; see `LoadBox`."""

    source: Grid
    target: Grid
    rows: int
    columns: int
    blocks: int = 0

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        source, target = self.source.in_act("act", config), self.target.in_dram("dram", config)
        block, row, column, part, b, c = (Var(n) for n in ("block", "row", "column", "part", "b", "c"))
        byte = (part * config.gemm.batch + b) * config.atom + c
        copy = Store(target, (block, row, column, byte), Load(source, (block, row, column, part, b, c)).cast(DType.U8))
        nest = [
            (block, self.blocks or self.source.blocks),
            (row, self.rows),
            (column, self.columns),
            (part, config.ratio),
            (b, config.gemm.batch),
            (c, config.atom),
        ]
        return Function("store_box", (), (source, target), loops(nest, copy))


@dataclass(frozen=True)
class LoadEntries:
    """Runs of whole entries from DRAM into `wgt`, `prm` or `tbl`: buffers `dram` and the space's name.

    Attributes
    ----------
    space : str
    entries : int
        In each run.
    runs : int
    dram_pitch, pitch : int
        Entries from one run to the next, in DRAM and in the scratchpad; 0: `entries`.
    """

    space: str
    entries: int
    runs: int = 1
    dram_pitch: int = 0
    pitch: int = 0

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        memory = memories(config)[self.space]
        size = prod(memory.shape[1:])
        source = Buffer("dram", DType.U8, (self.runs, self.dram_pitch or self.entries, size), "dram")
        target = Buffer(self.space, memory.dtype, (self.runs, self.pitch or self.entries, size), self.space)
        place = (Var("run"), Var("entry"), Var("byte"))
        copy = Store(target, place, Load(source, place).cast(memory.dtype))
        nest = zip(place, (self.runs, self.entries, size), strict=True)
        return Function("load_entries", (), (source, target), loops(nest, copy))


def _between(value: Expr, low: int, count: int) -> Expr:
    """Whether `low <= value < low + count`."""
    return Binary(BinaryOp.LE, Const(low), value) & (value < low + count)
