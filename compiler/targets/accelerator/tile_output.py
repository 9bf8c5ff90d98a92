"""What all computing tiles share: the extents of tensors, and the loops over outputs with what follows the sums."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.tir.tensorize import TensorizeError
from tilewright.isa.config import Config
from tilewright.isa.ir import (
    Allocate,
    Block,
    Buffer,
    Const,
    DType,
    Expr,
    Function,
    Load,
    Select,
    Stmt,
    Store,
    Var,
    loops,
)
from tilewright.isa.parameter_record import BIAS, NEGATE, RECORD_BYTES, SHIFT, Part
from tilewright.isa.semantics import kept_multiplier, parameter, rounding_shift, saturate, wrap_acc

Pair = tuple[int, int]


@dataclass(frozen=True)
class Grid:
    """Extents of an activation tensor: `[blocks][rows][columns]` rows of `lanes` channels; in `acc`, entries."""

    blocks: int
    rows: int
    columns: int

    @property
    def size(self) -> int:
        """Rows (or entries) that the tensor takes."""
        return self.blocks * self.rows * self.columns

    def offset(self, block: int = 0, row: int = 0, column: int = 0) -> int:
        """Rows (or entries) from the tensor's first to this one."""
        return (block * self.rows + row) * self.columns + column

    def in_act(self, name: str, config: Config) -> Buffer:
        """Return the tensor as a buffer in the activation scratchpad."""
        shape = (self.blocks, self.rows, self.columns, config.ratio, config.gemm.batch, config.atom)
        return Buffer(name, DType.I8, shape, "act")

    def in_acc(self, name: str, config: Config) -> Buffer:
        """Return the tensor, blocks of `block_out` channels, as a buffer in the accumulator scratchpad."""
        shape = (self.blocks, self.rows, self.columns, config.gemm.batch, config.gemm.block_out)
        return Buffer(name, DType.I32, shape, "acc")

    def in_dram(self, name: str, config: Config) -> Buffer:
        """Return the tensor as bytes in DRAM."""
        return Buffer(name, DType.U8, (self.blocks, self.rows, self.columns, config.row_bytes), "dram")


@dataclass(frozen=True)
class Finish:
    """What becomes of a tile's sums.

    Attributes
    ----------
    epilogue : Epilogue or None
        Requantization and what follows; None leaves raw sums in `acc`. Its residual operand is buffer `residual`, of
        `y`'s shape.
    bias : bool
        Add the parameter entry's bias.
    accumulate : bool
        Add the sums in buffer `addend` (in `acc`, of `y`'s shape there, else of the tile's extents).
    table : bool
        Map results through buffer `table` (in `tbl`).
    shared_parameters : bool
        One parameter entry for all channel blocks.
    shared_addend, shared_residual : bool
        The addend, or the residual operand, has one position, which holds for all.
    """

    epilogue: Epilogue | None = None
    bias: bool = False
    accumulate: bool = False
    table: bool = False
    shared_parameters: bool = False
    shared_addend: bool = False
    shared_residual: bool = False


def split_blocks(name: str, count: int, parts: int) -> Pair:
    """Split a number of channel blocks into (rows of lanes, blocks in each).

    Raises
    ------
    TensorizeError
        If the last row of lanes would hold fewer than the others.
    """
    if count < parts:
        return 1, count
    if count % parts:
        raise TensorizeError(f"`{name}` must be below {parts} or a multiple of it, not {count}")
    return count // parts, parts


class Output:
    """The loops over a tile's outputs, and what they do with the sums of one output position."""

    def __init__(self, config: Config, y: Grid, out_blocks: int, rows: int, columns: int, finish: Finish) -> None:
        width = config.gemm.block_out
        self.config, self.grid, self.finish, self.out_blocks = config, y, finish, out_blocks
        self.rows, self.columns = rows, columns
        self.block, self.part, self.row, self.column = (Var(n) for n in ("co", "cs", "oh", "ow"))
        self.lane_b, self.lane_c = Var("b"), Var("c")
        blocks, parts = split_blocks("out_blocks", out_blocks, config.lanes // width)
        self.index = self.block * parts + self.part
        atoms = width // config.atom
        self.channel = (self.part * atoms + self.lane_c // config.atom, self.lane_b, self.lane_c % config.atom)
        self.lanes = [(self.lane_b, config.gemm.batch), (self.lane_c, width)]
        self.lane = (self.lane_b, self.lane_c)
        self.nest = [(self.block, blocks), (self.part, parts), (self.row, rows), (self.column, columns)]
        self.sums = Buffer("sums", DType.I32, (config.gemm.batch, width))
        entries = 1 if finish.shared_parameters else out_blocks
        self.parameters = Buffer("p", DType.U8, (entries, width, RECORD_BYTES), "prm")

    def function(self, name: str, read: tuple[Buffer, ...], start: Expr, reduction: Stmt) -> Function:
        """Put the parts together: start, reduce, finish, for every output position."""
        last, buffers = self._finish()
        body = Block((loops(self.lanes, Store(self.sums, self.lane, start)), reduction, loops(self.lanes, last)))
        return Function(name, (), (*read, *buffers), loops(self.nest, Allocate(self.sums, body)))

    def _finish(self) -> tuple[Stmt, tuple[Buffer, ...]]:
        x: Expr = Load(self.sums, self.lane)
        extra: list[Buffer] = []
        if self.finish.accumulate:
            # sums lie densely where the results do not
            pitch = (self.rows, self.columns) if self.finish.epilogue else (self.grid.rows, self.grid.columns)
            place: tuple[Expr, ...] = (self.row, self.column)
            if self.finish.shared_addend:
                pitch, place = (1, 1), (Const(0), Const(0))
            addend = Grid(self.out_blocks, *pitch).in_acc("addend", self.config)
            x = x + Load(addend, (self.index, *place, *self.lane))
            extra.append(addend)
        if self.finish.bias or self.finish.epilogue:
            extra.append(self.parameters)
        if self.finish.bias:
            if self.config.vector.rows:  # parameter entries may ask for the negative sum
                x = Select(self._parameter(NEGATE).differs(0), Const(0, DType.I32) - x, x)
            x = x + self._parameter(BIAS).cast(DType.I32)
        summed = Store(self.sums, self.lane, wrap_acc(self.config, x))
        epilogue = self.finish.epilogue
        if epilogue is None:
            y = self.grid.in_acc("y", self.config)
            store = Store(y, (self.index, self.row, self.column, *self.lane), Load(self.sums, self.lane))
            return Block((summed, store)), (*extra, y)
        value = self._requantized(epilogue)
        if epilogue.residual:
            residual, place = self.grid.in_act("residual", self.config), self._target
            if self.finish.shared_residual:
                residual = Grid(self.grid.blocks, 1, 1).in_act("residual", self.config)
                place = (self.block, Const(0), Const(0), *self.channel)
            value = _added(value, Load(residual, place).cast(DType.I64), epilogue.residual)
            extra.append(residual)
        value = saturate(value, epilogue.clamp_low, epilogue.clamp_high)
        if self.finish.table:
            table = Buffer("table", DType.I8, (256,), "tbl")
            value = Load(table, (value + 128,)).cast(DType.I64)
            extra.append(table)
        y = self.grid.in_act("y", self.config)
        return Block((summed, Store(y, self._target, value.cast(DType.I8)))), (*extra, y)

    @property
    def _target(self) -> tuple[Expr, ...]:
        return (self.block, self.row, self.column, *self.channel)

    @property
    def _entry(self) -> tuple[Expr, ...]:
        return (Const(0) if self.finish.shared_parameters else self.index, self.lane_c)

    def _parameter(self, part: Part) -> Expr:
        return parameter(lambda byte: Load(self.parameters, (*self._entry, Const(byte))), part)

    def _requantized(self, epilogue: Epilogue) -> Expr:
        multiplier, shift = self._parameter(kept_multiplier(self.config)), self._parameter(SHIFT)
        scaled = rounding_shift(Load(self.sums, self.lane).cast(DType.I64) * multiplier, shift)
        return saturate(scaled + epilogue.zero_out, -128, 127)


def _added(y: Expr, b: Expr, stage: Residual) -> Expr:
    scaled = (y - stage.zero_a) * stage.multiplier_a + (b - stage.zero_b) * stage.multiplier_b
    return saturate(rounding_shift(scaled, Const(stage.shift)) + stage.zero_out, -128, 127)
