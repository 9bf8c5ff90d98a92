"""A GEMM by `wgmma`: warpgroups multiply tiles straight from shared memory while the next ones arrive.

Tiles of plain matrices are fetched by the copy engine; those of convolutions by the threads, each copying pieces of 16
bytes from wherever the window is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from math import gcd

from tilewright.compiler.targets.gpu.epilogue import finish_run
from tilewright.compiler.targets.gpu.float_epilogue import FloatFinish
from tilewright.compiler.targets.gpu.gemm import Gemm, is_inside, padded_channels, residual_place
from tilewright.compiler.targets.gpu.instructions import TENSOR_LOAD
from tilewright.compiler.targets.gpu.intrinsics import tensorized, wgmma_nest
from tilewright.compiler.targets.gpu.kernel import WARP, WARPGROUP, Kernel, TensorMap, call, copy
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.compiler.tir.simplify import substitute
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var

#: Bytes of depth of one step.
STEP_BYTES = 128
_ROWS = 64
_REGISTERS, _OTHER_REGISTERS, _SHARED_BYTES = 65536, 32, 232_448  # of a multiprocessor; of a thread besides its sums
_T, _G, _STAGE = Var("t"), Var("warpgroup"), Var("stage_now")
_BLOCK, _HALF, _PART = Var("row_block"), Var("half"), Var("finish_part")
_CONSTANTS = frozenset({"w", "bias", "multiplier", "shift", "table"})


@dataclass(frozen=True)
class Grouping:
    """How a block divides its work.

    Attributes
    ----------
    groups : int
        Warpgroups, side by side along the rows.
    blocks : int
        Of 64 rows, that one warpgroup computes.
    columns : int
        Of a block's tile.
    stages : int
        Steps that are in shared memory at once.
    """

    groups: int = 2
    blocks: int = 1
    columns: int = 256
    stages: int = 4

    @property
    def threads(self) -> int:
        """Of a block."""
        return WARPGROUP * self.groups

    @property
    def rows(self) -> int:
        """Of a block's tile."""
        return _ROWS * self.groups * self.blocks

    @property
    def run(self) -> int:
        """Channels of one thread."""
        return self.columns // 4

    def unit(self, gemm: Gemm) -> int:
        """Give how many of them are neighbours: 16 bytes of results, where that divides them."""
        return gcd(self.run, gemm.piece)

    @property
    def shared_bytes(self) -> int:
        """Shared memory of a block."""
        return self.stages * STEP_BYTES * (self.rows + self.columns) + 1024


def step_elements(gemm: Gemm) -> int:
    """Give the elements of depth of one step."""
    return STEP_BYTES * 8 // gemm.dtype.bits


def is_plain_matrix(gemm: Gemm) -> bool:
    """Whether the rows of `x` are what is multiplied, so that the copy engine can fetch them."""
    return gemm.kernel == (1, 1) and gemm.strides == (1, 1) and gemm.x.is_dense and not gemm.is_narrow


def warpgroup_gemm(name: str, gemm: Gemm, grouping: Grouping) -> Kernel:
    """Build the kernel; its weights are packed by `gemm_kernels.packed_weight`."""
    builder = (_ByEngine if is_plain_matrix(gemm) else _ByThreads)(name, gemm, grouping)
    return Kernel(builder.function(), _CONSTANTS, builder.tensor_maps(), _resident(gemm, grouping))


def _resident(gemm: Gemm, grouping: Grouping) -> int:
    """Choose how many blocks the registers of a multiprocessor should be enough for.

    A block's end then overlaps with another's products. Left to itself the assembler takes registers for all results
    at once; the ends of integer products need fewer, and are left to it.
    """
    if not gemm.dtype.is_float:
        return 1
    registers = grouping.threads * (grouping.blocks * grouping.columns // 2 + _OTHER_REGISTERS)
    return max(1, min(_SHARED_BYTES // grouping.shared_bytes, _REGISTERS // registers))


def tile_of_block(block: Var, row_tiles: int, tiles: int) -> tuple[Expr, Expr]:
    """Build which tile a block has: neighbours share rows and columns, so that the cache serves both."""
    if tiles == 1:
        return block, Const(0)
    side = next(n for n in (16, 8, 4, 2, 1) if row_tiles % n == 0)
    if side == 1:
        return block // tiles, block % tiles
    inside_group = block % (side * tiles)
    return block // (side * tiles) * side + inside_group % side, inside_group // side


def fetch(
    tensor_map: TensorMap, tile: str, place: Expr, stage: Expr, column: Expr, row: Expr, rows: int, size: int = 1
) -> list[Stmt]:
    """Build the fetches of `rows` rows of 128 bytes to a tile, whose stage is signalled.

    Parameters
    ----------
    tensor_map : TensorMap
    tile : str
        Buffer fetched to, at `place`.
    place, stage, column, row : Expr
    rows : int
    size : int
        Bytes of an element; places and columns count elements.
    """
    box = tensor_map.box[1]
    shape = {
        "rows": box, "pitch": tensor_map.pitch // size, "width": tensor_map.extents[0] // size,
        "extent": tensor_map.extents[1], "size": size,
    }  # fmt: skip
    constants = tuple((key, Const(value)) for key, value in shape.items())
    return [
        Call(
            TENSOR_LOAD,
            (
                (f"to@{tile}", place + n * (tensor_map.box[0] // size)), (f"source@{tensor_map.buffer}", Const(0)),
                ("signal@signals", stage), ("column", column), ("row", row + n if n else row), *constants,
            ),
        )
        for n in range(0, rows, box)
    ]  # fmt: skip


class _Builder(ABC):
    """What both ways of filling share."""

    def __init__(self, name: str, gemm: Gemm, grouping: Grouping) -> None:
        self.name, self.gemm, self.grouping = name, gemm, grouping
        self.unit = grouping.unit(gemm)
        self.channels = padded_channels(gemm, grouping.columns)
        self.depth = step_elements(gemm)
        self.bytes = gemm.dtype.bits // 8
        self.arguments = {buffer.name: buffer for buffer in gemm.buffers(self.channels, self.depth)}
        self.x_size, self.w_size = self.depth * grouping.rows, self.depth * grouping.columns
        self.x_tile = Buffer("x_tile", gemm.dtype, (grouping.stages * self.x_size,), "swizzled")
        self.w_tile = Buffer("w_tile", gemm.dtype, (grouping.stages * self.w_size,), "swizzled")
        self.registers = grouping.columns // 2
        self.acc = Buffer("acc", gemm.sum_dtype, (grouping.threads, grouping.blocks * self.registers), "register")
        self.steps = -(-gemm.depth // self.depth)
        self.tiles = self.channels // grouping.columns
        self.row_tiles = -(-gemm.rows // grouping.rows)
        self.block = Var("block")
        self.row_tile, self.tile = tile_of_block(self.block, self.row_tiles, self.tiles)

    def tensor_maps(self) -> tuple[TensorMap, ...]:
        return ()

    def local(self) -> list[Buffer]:
        return [self.x_tile, self.w_tile, self.acc]

    @abstractmethod
    def body(self) -> Stmt:
        """Return what one block does."""

    def function(self) -> Function:
        grid = loop(self.block, self.row_tiles * self.tiles, inside(self.local(), self.body()), kind="bound:block.x")
        return Function(self.name, (), tuple(self.arguments.values()), grid)

    def threads(self, *body: Stmt) -> Stmt:
        return loop(_T, self.grouping.threads, *body, kind="bound:thread")

    def start(self) -> Stmt:
        """Begin sums with 0, or in floating point with the bias."""
        place = Var("place")
        finish = self.gemm.finish
        store = Store(self.acc, (_T, place), Const(0, self.gemm.sum_dtype))
        zero = self.threads(loop(place, self.acc.shape[1], store, kind="unrolled"))
        if not (isinstance(finish, FloatFinish) and finish.has_bias):
            return zero
        bias = Buffer("bias_run", DType.F32, (self.grouping.threads, self.unit), "register")
        step = gcd(self.unit, 4)
        loads = [
            copy(step, bias, (_T, Const(i)), self.arguments["bias"], (self._channel(_PART) + i,))
            for i in range(0, self.unit, step)
        ]
        stores = [Store(self.acc, (_T, self._sum(_PART, i)), Load(bias, (_T, Const(i)))) for i in range(self.unit)]
        blocks = self._each_run(*stores)
        return self.threads(
            loop(_PART, self.grouping.run // self.unit, inside([bias], sequence(*loads, blocks)), kind="unrolled")
        )

    def add_residual(self) -> list[Stmt]:
        """Add the residual before the products, in floating point, while the first tiles are on their way."""
        gemm = self.gemm
        if gemm.residual is None or not isinstance(gemm.finish, FloatFinish):
            return []
        run = Buffer("residual_run", gemm.dtype, (self.grouping.threads, self.unit), "register")
        row = self._row().minimum(gemm.rows - 1)
        origin = gemm.residual.pixel_of(row) + self._channel(_PART)
        load = copy(self.unit, run, (_T, Const(0)), self.arguments["residual"], (origin,))
        stores: list[Stmt] = []
        for i in range(self.unit):
            place = (_T, self._sum(_PART, i))
            stores.append(Store(self.acc, place, Load(self.acc, place) + Load(run, (_T, Const(i))).cast(DType.F32)))
        body = inside([run], sequence(load, *stores))
        return [self.threads(self._each_run(loop(_PART, self.grouping.run // self.unit, body, kind="unrolled")))]

    def _each_run(self, *body: Stmt) -> Stmt:
        """Build what is done for both halves of every block of rows."""
        return loop(_BLOCK, self.grouping.blocks, loop(_HALF, 2, *body, kind="unrolled"), kind="unrolled")

    def _sum(self, part: Expr, i: int) -> Expr:
        """Build the register of a sum, of the `i`-th channel of a run."""
        return linear((_BLOCK, self.registers), (part, self.unit * 2), (_HALF, 2)) + (i // 2 * 4 + i % 2)

    def _row(self) -> Expr:
        grouping = self.grouping
        warp, group = _T // WARP, _T % WARP // 4
        return linear(
            (self.row_tile, grouping.rows), (warp // 4, _ROWS * grouping.blocks), (_BLOCK, _ROWS), (warp % 4, 16),
            (_HALF, 8), (group, 1),
        )  # fmt: skip

    def _channel(self, part: Expr) -> Expr:
        return linear((self.tile, self.grouping.columns), (_T % 4, self.unit), (part, 4 * self.unit))

    def multiply(self, step: Expr) -> Stmt:
        """Build the products of a step, whose stage is its number modulo the stages."""
        block, columns = Var("row_block"), self.grouping.columns
        row = linear(
            (_STAGE, self.x_size), (_G, self.depth * _ROWS * self.grouping.blocks), (block, self.depth * _ROWS)
        )
        place = (block * self.registers, row, _STAGE * self.w_size)
        nest = wgmma_nest(self.acc, self.x_tile, self.w_tile, _G, place, columns, self.depth)
        body: Stmt = tensorized(nest, (_STAGE.name, _G.name, block.name), {"d": "acc", "a": "x_tile", "b": "w_tile"})
        body = substitute(body, {_STAGE.name: step % self.grouping.stages})
        blocks = loop(block, self.grouping.blocks, body, kind="unrolled")
        return loop(_G, self.grouping.groups, blocks, kind="bound:warpgroup")

    def all_sums(self) -> Stmt:
        operands = (("count", Const(0)), ("registers", Const(self.acc.shape[1])), ("d@acc", Const(0)))
        return loop(_G, self.grouping.groups, Call("wgmma_wait", operands), kind="bound:warpgroup")

    def finish(self) -> Stmt:
        grouping, gemm, arguments = self.grouping, self.gemm, self.arguments
        finish, row, channel = gemm.finish, self._row(), self._channel(_PART)
        residual = residual_place(gemm, arguments, row, channel)
        if isinstance(finish, FloatFinish):  # the sums began with bias and residual
            finish, residual = replace(finish, has_bias=False), None
        totals = [Load(self.acc, (_T, self._sum(_PART, i))) for i in range(self.unit)]
        body = finish_run(
            finish, _T, grouping.threads, totals, channel, finish.constants(self.channels), residual,
            (arguments["y"], gemm.y.pixel_of(row) + channel),
        )  # fmt: skip
        body = when(is_inside(gemm, grouping.columns, row, gemm.rows % grouping.rows == 0, channel), body)
        return self.threads(self._each_run(loop(_PART, grouping.run // self.unit, body, kind="unrolled")))


class _ByThreads(_Builder):
    """Tiles are copied by all threads; a stage is filled two steps after it was multiplied."""

    def body(self) -> Stmt:
        stages, step = self.grouping.stages, Var("step")
        ahead = stages - 2
        prologue: list[Stmt] = []
        for stage in range(ahead):
            if stage < self.steps:
                prologue.append(self._fill(Const(stage), Const(stage)))
            prologue.append(call("async_commit"))
        following = step + ahead
        main = loop(
            step, self.steps,
            call("async_wait", count=ahead - 1), call("async_fence"), call("barrier"),
            self.multiply(step),
            when(following < self.steps, self._fill(following, following % stages)), call("async_commit"),
            call("wgmma_wait", count=self.grouping.blocks),
        )  # fmt: skip
        return sequence(
            self.start(), call("dependency_wait"), *prologue, *self.add_residual(), main, call("dependents_launch"),
            self.all_sums(), self.finish(),
        )  # fmt: skip

    def _fill(self, step: Expr, stage: Expr) -> Stmt:
        grouping, part, size = self.grouping, Var("part"), self.gemm.piece
        lines = grouping.threads // 8
        line, piece = part * lines + _T // 8, _T % 8
        depth = linear((step, 8), (piece, 1))
        origin = self.gemm.start(linear((self.row_tile, grouping.rows), (line, 1))) + self.gemm.distance(
            depth, self.depth
        )
        place = linear((stage, self.x_size), (line, self.depth), (piece, size))
        rows = self.gemm.load(self.x_tile, (place,), self.arguments["x"], origin)
        w_origin = linear((self.tile * self.steps + step, self.w_size), (line, self.depth), (piece, size))
        w_place = linear((stage, self.w_size), (line, self.depth), (piece, size))
        weights = copy(size, self.w_tile, (w_place,), self.arguments["w"], (w_origin,))
        return self.threads(
            loop(part, grouping.rows // lines, rows, kind="unrolled"),
            loop(part, grouping.columns // lines, weights, kind="unrolled"),
        )


class _ByEngine(_Builder):
    """Tiles are fetched by the copy engine, which signals each stage when it is there."""

    def __init__(self, name: str, gemm: Gemm, grouping: Grouping) -> None:
        super().__init__(name, gemm, grouping)
        self.signals = Buffer("signals", DType.I64, (grouping.stages,), "shared")

    def local(self) -> list[Buffer]:
        return [*super().local(), self.signals]

    def tensor_maps(self) -> tuple[TensorMap, ...]:
        x, grouping = self.gemm.x, self.grouping
        line, pitch = STEP_BYTES, x.pitch * self.bytes
        return (
            TensorMap("x", (pitch, x.pixels), pitch, (line, min(grouping.rows, 256))),
            TensorMap("w", (line, self.channels * self.steps), line, (line, grouping.columns)),
        )

    def body(self) -> Stmt:
        stages, step, stage = self.grouping.stages, Var("step"), Var("stage")
        ready = (("signal@signals", stage),)
        start = self._one_thread(loop(stage, stages, Call("signal_init", ready), kind="unrolled"), call("async_fence"))
        ahead = stages - 1
        first = [self._fetch(Const(n), Const(n)) for n in range(min(ahead, self.steps))]
        following = step + ahead
        wait = Call("signal_wait", (("signal@signals", step % stages), ("parity", step // stages % 2)))
        main = loop(
            step, self.steps,
            wait, self.multiply(step), call("wgmma_wait", count=self.grouping.blocks), call("barrier"),
            when(following < self.steps, self._one_thread(self._fetch(following, following % stages))),
        )  # fmt: skip
        return sequence(
            start, self.start(), call("barrier"), call("dependency_wait"), self._one_thread(*first),
            *self.add_residual(), main, call("dependents_launch"), self.all_sums(), self.finish(),
        )  # fmt: skip

    def _one_thread(self, *body: Stmt) -> Stmt:
        return loop(Var("one"), 1, *body, kind="bound:thread")

    def _fetch(self, step: Expr, stage: Expr) -> Stmt:
        grouping, (x_map, w_map) = self.grouping, self.tensor_maps()
        first = linear((self.row_tile, grouping.rows))
        x = fetch(x_map, "x_tile", stage * self.x_size, stage, step * self.depth, first, grouping.rows, self.bytes)
        row = (self.tile * self.steps + step) * grouping.columns
        w = fetch(w_map, "w_tile", stage * self.w_size, stage, Const(0), row, grouping.columns, self.bytes)
        size = (self.x_size + self.w_size) * self.bytes
        return sequence(Call("signal_expect", (("signal@signals", stage), ("count", Const(size)))), *x, *w)
