"""A product of fp16 matrices, summed in fp32, by `wgmma` and the copy engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu.gemm import column_order
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping, fetch, tile_of_block
from tilewright.compiler.targets.gpu.intrinsics import tensorized, wgmma_nest
from tilewright.compiler.targets.gpu.kernel import (
    WARP,
    Kernel,
    TensorMap,
    call,
    copy,
    inside,
    linear,
    loop,
    sequence,
    when,
)
from tilewright.compiler.tir.simplify import substitute
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var

#: Elements of depth of one step: 128 bytes.
STEP = 64
_BYTES = 2
_ROWS = 64
_RUN = 8
_T, _G, _STAGE = Var("t"), Var("warpgroup"), Var("stage_now")


@dataclass(frozen=True)
class HalfGemm:
    """`y [rows, columns] = x [rows, depth] @ w`, with extents that tiles divide."""

    rows: int
    columns: int
    depth: int

    def pack(self, weight: NDArray[np.float16], grouping: Grouping) -> NDArray[np.float16]:
        """Order a weight `[depth, columns]` as the kernel reads it: `[tile, step, column of the tile, element]`."""
        order = column_order(grouping.run, grouping.columns)
        tiles = weight.T.reshape(-1, grouping.columns, self.depth // STEP, STEP)[:, order]
        return np.ascontiguousarray(tiles.transpose(0, 2, 1, 3)).reshape(-1)


def half_gemm(name: str, gemm: HalfGemm, grouping: Grouping) -> Kernel:
    """Build the kernel of buffers `x`, `w` (packed) and `y`.

    Raises
    ------
    ValueError
        When a tile does not divide an extent.
    """
    parts = (gemm.rows % grouping.rows, gemm.columns % grouping.columns, gemm.depth % STEP)
    if any(parts):
        raise ValueError(f"{gemm} is no whole number of {grouping.rows}x{grouping.columns}x{STEP} tiles")
    builder = _Builder(name, gemm, grouping)
    return Kernel(builder.function(), frozenset({"w"}), builder.maps)


class _Builder:
    def __init__(self, name: str, gemm: HalfGemm, grouping: Grouping) -> None:
        self.name, self.gemm, self.grouping = name, gemm, grouping
        self.x = Buffer("x", DType.F16, (gemm.rows * gemm.depth,), "dram")
        self.w = Buffer("w", DType.F16, (gemm.columns * gemm.depth,), "dram")
        self.y = Buffer("y", DType.F16, (gemm.rows * gemm.columns,), "dram")
        self.x_size, self.w_size = STEP * grouping.rows, STEP * grouping.columns
        self.x_tile = Buffer("x_tile", DType.F16, (grouping.stages * self.x_size,), "swizzled")
        self.w_tile = Buffer("w_tile", DType.F16, (grouping.stages * self.w_size,), "swizzled")
        self.signals = Buffer("signals", DType.I64, (grouping.stages,), "shared")
        self.registers = grouping.columns // 2
        self.acc = Buffer("acc", DType.F32, (grouping.threads, grouping.blocks * self.registers), "register")
        self.result = Buffer("result_run", DType.F16, (grouping.threads, _RUN), "register")
        self.steps = gemm.depth // STEP
        self.tiles, self.row_tiles = gemm.columns // grouping.columns, gemm.rows // grouping.rows
        self.block = Var("block")
        self.row_tile, self.tile = tile_of_block(self.block, self.row_tiles, self.tiles)
        line, box_rows = STEP * _BYTES, min(grouping.rows, 256)
        self.maps = (
            TensorMap("x", (gemm.depth * _BYTES, gemm.rows), gemm.depth * _BYTES, (line, box_rows)),
            TensorMap("w", (line, gemm.columns * self.steps), line, (line, grouping.columns)),
        )

    def function(self) -> Function:
        local = [self.x_tile, self.w_tile, self.acc, self.signals]
        grid = loop(self.block, self.row_tiles * self.tiles, inside(local, self._body()), kind="bound:block.x")
        return Function(self.name, (), (self.x, self.w, self.y), grid)

    def _body(self) -> Stmt:
        stages, step, stage, place = self.grouping.stages, Var("step"), Var("stage"), Var("place")
        init = loop(stage, stages, Call("signal_init", (("signal@signals", stage),)), kind="unrolled")
        zero = Store(self.acc, (_T, place), Const(0.0, DType.F32))
        following = step + (stages - 1)
        wait = Call("signal_wait", (("signal@signals", step % stages), ("parity", step // stages % 2)))
        main = loop(
            step, self.steps,
            wait, self._multiply(step), call("wgmma_wait", count=self.grouping.blocks), call("barrier"),
            when(following < self.steps, self._one_thread(self._fetch(following, following % stages))),
        )  # fmt: skip
        sums = (("count", Const(0)), ("registers", Const(self.acc.shape[1])), ("d@acc", Const(0)))
        return sequence(
            self._one_thread(init, call("async_fence")),
            loop(_T, self.grouping.threads, loop(place, self.acc.shape[1], zero, kind="unrolled"), kind="bound:thread"),
            call("barrier"), call("dependency_wait"),
            self._one_thread(*(self._fetch(Const(n), Const(n)) for n in range(min(stages - 1, self.steps)))),
            main, call("dependents_launch"),
            loop(_G, self.grouping.groups, Call("wgmma_wait", sums), kind="bound:warpgroup"), self._finish(),
        )  # fmt: skip

    def _one_thread(self, *body: Stmt) -> Stmt:
        return loop(Var("one"), 1, *body, kind="bound:thread")

    def _fetch(self, step: Expr, stage: Expr) -> Stmt:
        first = linear((self.row_tile, self.grouping.rows))
        x = fetch(self.maps[0], "x_tile", stage * self.x_size, stage, step * STEP, first, self.grouping.rows, _BYTES)
        row = (self.tile * self.steps + step) * self.grouping.columns
        w = fetch(self.maps[1], "w_tile", stage * self.w_size, stage, Const(0), row, self.grouping.columns, _BYTES)
        size = (self.x_size + self.w_size) * _BYTES
        return sequence(Call("signal_expect", (("signal@signals", stage), ("count", Const(size)))), *x, *w)

    def _multiply(self, step: Expr) -> Stmt:
        block, grouping = Var("row_block"), self.grouping
        row = linear((_STAGE, self.x_size), (_G, STEP * _ROWS * grouping.blocks), (block, STEP * _ROWS))
        place = (block * self.registers, row, _STAGE * self.w_size)
        nest = wgmma_nest(self.acc, self.x_tile, self.w_tile, _G, place, grouping.columns, STEP)
        roles = {"d": "acc", "a": "x_tile", "b": "w_tile"}
        body: Stmt = tensorized(nest, (_STAGE.name, _G.name, block.name), roles)
        body = substitute(body, {_STAGE.name: step % grouping.stages})
        return loop(_G, grouping.groups, loop(block, grouping.blocks, body, kind="unrolled"), kind="bound:warpgroup")

    def _finish(self) -> Stmt:
        grouping = self.grouping
        half, part, block = Var("half"), Var("finish_part"), Var("row_block")
        warp, group, pair = _T // WARP, _T % WARP // 4, _T % 4
        row = linear(
            (self.row_tile, grouping.rows), (warp // 4, _ROWS * grouping.blocks), (block, _ROWS), (warp % 4, 16),
            (half, 8), (group, 1),
        )  # fmt: skip
        column = linear((self.tile, grouping.columns), (pair, grouping.run), (part, _RUN))
        first = linear((block, self.registers), (part, _RUN * 2), (half, 2))
        stores: list[Stmt] = []
        for n in range(_RUN):
            value = Load(self.acc, (_T, first + (n // 2 * 4 + n % 2))).cast(DType.F16)
            stores.append(Store(self.result, (_T, Const(n)), value))
        out = copy(_RUN, self.y, (linear((row, self.gemm.columns), (column, 1)),), self.result, (_T, Const(0)))
        body = inside([self.result], sequence(*stores, out))
        for var, extent in ((part, grouping.run // _RUN), (half, 2), (block, grouping.blocks)):
            body = loop(var, extent, body, kind="unrolled")
        return loop(_T, grouping.threads, body, kind="bound:thread")
