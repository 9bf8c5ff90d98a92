"""What the tiles of a layer compute, stated as loop nests over placed buffers.

A tile is a small frozen description; its `nest` is plain tensor IR, which the interpreter runs and which
tensorization turns into instructions. Buffers carry their memory space and a logical shape; where they lie is said by a
*placement*, which maps each buffer's name to its first entry (`act`: atoms, `wgt`, `acc`, `prm`: entries, `tbl`:
tables, `dram`: bytes).

Example: an output tile of 8 rows of a 3x3 convolution, 32 to 32 channels on 16x16, its padded input resident at row 0::

    isa = instruction_set(config)
    tiles = TileTensorizer(isa)
    x, y = Grid(blocks=2, rows=10, columns=58), Grid(blocks=2, rows=8, columns=56)
    finish = Finish(Epilogue(zero_out=-3, clamp_low=-3), bias=True)          # Epilogue, Residual: compiler.qops
    conv = ConvTile(x, y, in_blocks=2, out_blocks=2, rows=8, columns=56, kernel=(3, 3), finish=finish)
    load = LoadBox(Grid(2, 56, 56), x, rows=9, columns=56, pad_top=1, pad_left=1, pad_right=1, pad_value=-3)
    calls = [
        *tiles.calls(load, {"dram": address, "act": 0}),
        *tiles.calls(LoadEntries("wgt", 36), {"dram": weights, "wgt": 0}),   # [2 co][2 ci][3][3] entries
        *tiles.calls(LoadEntries("prm", 2), {"dram": parameters, "prm": 0}),
        *tiles.calls(conv, {"x": 0, "w": 0, "p": 0, "y": 1160}),
        *tiles.calls(StoreBox(y, Grid(2, 56, 56), rows=8, columns=56), {"act": 1160, "dram": out_address}),
    ]
    for name, operands in calls:
        isa.encode(name, {**operands, "wait": ..., "signal": ...})

The same tile at other places is the same description with another placement, and costs a few microseconds. A tile
inside a larger resident tensor takes the tensor's `Grid` (its pitch) and a placement moved by `Grid.offset` (rows;
times `config.ratio` for atoms). Tiles with more output loops than the hardware has give several instructions. An
instruction never reads what it writes itself, a nest may: `y` may lie on `addend` or `residual` exactly, else on no
operand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.accelerator.intrinsics import tensorizer
from tilewright.compiler.tir.tensorize import InstructionCall, TensorizeError
from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Const,
    DType,
    Expr,
    Function,
    Load,
    Stmt,
    Store,
    Var,
    loops,
    total,
)
from tilewright.isa.semantics import rounding_shift, saturate, substitute, wrap_acc
from tilewright.isa.vector_ops import VectorOp

Pair = tuple[int, int]
_REDUCE = {"add": BinaryOp.ADD, "max": BinaryOp.MAX, "min": BinaryOp.MIN}


class Tile(Protocol):
    """A description of which a nest can be built."""

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""


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
        Add the sums in buffer `addend` (in `acc`).
    table : bool
        Map results through buffer `table` (in `tbl`).
    shared_parameters : bool
        One parameter entry for all channel blocks.
    """

    epilogue: Epilogue | None = None
    bias: bool = False
    accumulate: bool = False
    table: bool = False
    shared_parameters: bool = False


@dataclass(frozen=True)
class ConvTile:
    """A convolution's tile: buffers `x`, `w`, `p`, `y` and those of `finish`.

    Attributes
    ----------
    x, y : Grid
        Extents of the resident tensors (their pitch); the tile begins where they are placed. Without epilogue `y` is in
        `acc`, its blocks of `block_out` channels.
    in_blocks, out_blocks : int
        Blocks of `block_in` channels reduced over, of `block_out` channels computed.
    rows, columns : int
        Output extents.
    kernel, stride, dilation : pair of int
        Rows, columns.
    is_diagonal : bool
        Every block of `lanes` channels is computed from the same block of `x` (depthwise and small groups, by weights
        that are zero elsewhere); `in_blocks` is ignored.
    weight_pitch : int
        Entries between the weights of output blocks, where more is resident than is reduced over; 0: none.

    Notes
    -----
    Weights lie as `[out block][lanes in][kernel row][kernel column][block_in part of lanes][block_out][block_in]`.
    """

    x: Grid
    y: Grid
    in_blocks: int
    out_blocks: int
    rows: int
    columns: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    finish: Finish = field(default_factory=Finish)
    is_diagonal: bool = False
    weight_pitch: int = 0

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        out = _Output(config, self.y, self.out_blocks, self.rows, self.columns, self.finish)
        parts = config.lanes // config.gemm.block_in
        blocks, sub = (1, parts) if self.is_diagonal else split_blocks("in_blocks", self.in_blocks, parts)
        block, kh, kw, part, k = (Var(n) for n in ("ci", "kh", "kw", "cp", "k"))
        reduction = [(block, blocks), (kh, self.kernel[0]), (kw, self.kernel[1]), (part, sub)]
        x = self.x.in_act("x", config)
        source = block + out.block if self.is_diagonal else block
        row = out.row * self.stride[0] + kh * self.dilation[0]
        column = out.column * self.stride[1] + kw * self.dilation[1]
        atoms = config.gemm.block_in // config.atom
        a = Load(x, (source, row, column, part * atoms + k // config.atom, out.lane_b, k % config.atom))
        entries = blocks * self.kernel[0] * self.kernel[1] * sub
        shape = (self.out_blocks, self.weight_pitch or entries, config.gemm.block_out, config.gemm.block_in)
        w = Buffer("w", DType.I8, shape, "wgt")
        position = ((block * self.kernel[0] + kh) * self.kernel[1] + kw) * sub + part
        product = a.cast(DType.I32) * Load(w, (out.index, position, out.lane_c, k)).cast(DType.I32)
        step = Store(out.sums, out.lane, Load(out.sums, out.lane) + product)
        body = loops(reduction, loops([*out.lanes, (k, config.gemm.block_in)], step))
        return out.function("conv", (x, w), Const(0, DType.I32), body)


@dataclass(frozen=True)
class VectorTile:
    """A vector operation's tile: pooling, or elementwise work with a window of one.

    Its buffers are `x`, `p`, `y`, those of `finish`, and `b` (of `y`'s shape) for an operation that uses it.

    Attributes
    ----------
    op : VectorOp
        From the instruction set. `sum` over one step is `x` itself: with a residual it is addition.
    x, y : Grid
        Extents of the resident tensors (their pitch); `x` in `acc` with `from_acc`, else in `act`.
    out_blocks, rows, columns : int
        Output extents; blocks of `block_out` channels.
    kernel, stride, dilation : pair of int
        Of the window.
    zero_a, zero_b : int
        Zero points of the operation's operands, where it uses them.
    from_acc : bool
    finish : Finish
    """

    op: VectorOp
    x: Grid
    y: Grid
    out_blocks: int
    rows: int
    columns: int
    kernel: Pair = (1, 1)
    stride: Pair = (1, 1)
    dilation: Pair = (1, 1)
    zero_a: int = 0
    zero_b: int = 0
    from_acc: bool = False
    finish: Finish = field(default_factory=Finish)

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        out = _Output(config, self.y, self.out_blocks, self.rows, self.columns, self.finish)
        kh, kw = Var("kh"), Var("kw")
        row = out.row * self.stride[0] + kh * self.dilation[0]
        column = out.column * self.stride[1] + kw * self.dilation[1]
        if self.from_acc:
            x = self.x.in_acc("x", config)
            a: Expr = Load(x, (out.index, row, column, out.lane_b, out.lane_c))
        else:
            x = self.x.in_act("x", config)
            a = Load(x, (out.block, row, column, *out.channel)).cast(DType.I32)
        b = self.y.in_act("b", config)
        operands = {
            "a": a,
            "b": Load(b, (out.block, out.row, out.column, *out.channel)).cast(DType.I32),
            "zero_a": Const(self.zero_a, DType.I32),
            "zero_b": Const(self.zero_b, DType.I32),
        }
        combined = substitute(self.op.combine, operands)
        value = wrap_acc(config, combined)
        reduced = wrap_acc(config, Binary(_REDUCE[self.op.reduce], Load(out.sums, out.lane), value))
        extreme = 1 << (config.gemm.acc_bits - 1)
        start = {"add": 0, "max": -extreme, "min": extreme - 1}[self.op.reduce]
        step = loops([(kh, self.kernel[0]), (kw, self.kernel[1]), *out.lanes], Store(out.sums, out.lane, reduced))
        read = (x, b) if operands["b"] in _leaves(combined) else (x,)
        return out.function("vector", read, Const(start, DType.I32), step)


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


def _leaves(expr: Expr) -> list[Expr]:
    match expr:
        case Binary(_, left, right):
            return [expr, *_leaves(left), *_leaves(right)]
        case _:
            return [expr]


def little_endian(buffer: Buffer, indices: tuple[Expr, ...], offset: int, count: int) -> Expr:
    """Return the unsigned 64-bit value of `count` bytes along the last axis."""
    return total([Load(buffer, (*indices, Const(offset + i))).cast(DType.I64) << 8 * i for i in range(count)])


class _Output:
    """The loops over a tile's outputs, and what they do with the sums of one output position."""

    def __init__(self, config: Config, y: Grid, out_blocks: int, rows: int, columns: int, finish: Finish) -> None:
        width = config.gemm.block_out
        self.config, self.grid, self.finish, self.out_blocks = config, y, finish, out_blocks
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
        self.parameters = Buffer("p", DType.U8, (1 if finish.shared_parameters else out_blocks, width, 8), "prm")

    def function(self, name: str, read: tuple[Buffer, ...], start: Expr, reduction: Stmt) -> Function:
        """Put the parts together: start, reduce, finish, for every output position."""
        last, buffers = self._finish()
        body = Block((loops(self.lanes, Store(self.sums, self.lane, start)), reduction, loops(self.lanes, last)))
        return Function(name, (), (*read, *buffers), loops(self.nest, Allocate(self.sums, body)))

    def _finish(self) -> tuple[Stmt, tuple[Buffer, ...]]:
        x: Expr = Load(self.sums, self.lane)
        extra: list[Buffer] = []
        if self.finish.accumulate:
            addend = Grid(self.out_blocks, self.grid.rows, self.grid.columns).in_acc("addend", self.config)
            x = x + Load(addend, (self.index, self.row, self.column, *self.lane))
            extra.append(addend)
        if self.finish.bias or self.finish.epilogue:
            extra.append(self.parameters)
        if self.finish.bias:
            x = x + little_endian(self.parameters, self._entry, 0, 4).cast(DType.I32)
        summed = Store(self.sums, self.lane, wrap_acc(self.config, x))
        epilogue = self.finish.epilogue
        if epilogue is None:
            y = self.grid.in_acc("y", self.config)
            store = Store(y, (self.index, self.row, self.column, *self.lane), Load(self.sums, self.lane))
            return Block((summed, store)), (*extra, y)
        value = self._requantized(epilogue)
        if epilogue.residual:
            residual = self.grid.in_act("residual", self.config)
            value = _added(value, Load(residual, self._target).cast(DType.I64), epilogue.residual)
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

    def _requantized(self, epilogue: Epilogue) -> Expr:
        mask = (1 << self.config.epilogue.multiplier_bits) - 1
        multiplier = little_endian(self.parameters, self._entry, 4, 3) & mask
        shift = Load(self.parameters, (*self._entry, Const(7))).cast(DType.I64) & 63
        scaled = rounding_shift(Load(self.sums, self.lane).cast(DType.I64) * multiplier, shift)
        return saturate(scaled + epilogue.zero_out, -128, 127)


def _added(y: Expr, b: Expr, stage: Residual) -> Expr:
    scaled = (y - stage.zero_a) * stage.multiplier_a + (b - stage.zero_b) * stage.multiplier_b
    return saturate(rounding_shift(scaled, Const(stage.shift)) + stage.zero_out, -128, 127)


class TileTensorizer:
    """Turns tiles into instructions; equal tiles are worked out once.

    Parameters
    ----------
    isa : InstructionSet
    """

    def __init__(self, isa: InstructionSet) -> None:
        self.config = isa.config
        self.tensorizer = tensorizer(isa)
        self._nests: dict[Tile, Function] = {}

    def nest(self, tile: Tile) -> Function:
        """Return a tile's nest, the same object for equal tiles."""
        nest = self._nests.get(tile)
        if nest is None:
            nest = self._nests[tile] = tile.nest(self.config)
        return nest

    def calls(self, tile: Tile, placement: Mapping[str, int]) -> list[InstructionCall]:
        """Return the instructions of a tile whose buffers are placed so, in order; see `Tensorizer.calls`."""
        return self.tensorizer.calls(self.nest(tile), placement)
