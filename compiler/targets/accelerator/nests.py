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
    for name, operands in tiles.calls(conv, {"x": 0, "w": 0, "p": 0, "y": 1160}):   # w: [2 co][2 ci][3][3] entries
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

from tilewright.compiler.targets.accelerator.intrinsics import tensorizer
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid, Output, Pair, split_blocks
from tilewright.compiler.tir.tensorize import InstructionCall
from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.ir import (
    Binary,
    BinaryOp,
    Buffer,
    Const,
    DType,
    Expr,
    Function,
    Load,
    Store,
    Var,
    loops,
)
from tilewright.isa.semantics import substitute, wrap_acc
from tilewright.isa.vector_ops import VectorOp

_REDUCE = {"add": BinaryOp.ADD, "max": BinaryOp.MAX, "min": BinaryOp.MIN}


class Tile(Protocol):
    """A description of which a nest can be built."""

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""


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
    has_shared_weights : bool
        All output blocks have the weights of one.

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
    has_shared_weights: bool = False

    def nest(self, config: Config) -> Function:
        """Return the computation for a configuration."""
        out = Output(config, self.y, self.out_blocks, self.rows, self.columns, self.finish)
        parts = config.sub_in
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
        index = Const(0) if self.has_shared_weights else out.index
        product = a.cast(DType.I32) * Load(w, (index, position, out.lane_c, k)).cast(DType.I32)
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
        out = Output(config, self.y, self.out_blocks, self.rows, self.columns, self.finish)
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


def _leaves(expr: Expr) -> list[Expr]:
    match expr:
        case Binary(_, left, right):
            return [expr, *_leaves(left), *_leaves(right)]
        case _:
            return [expr]


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


__all__ = ["ConvTile", "Finish", "Grid", "Tile", "TileTensorizer", "VectorTile"]
