"""Attention in fp32: a thread has one query and a share of the keys; the shares of a query are joined at the end.

Keys and values pass through shared memory in tiles, every share with its own. Largest score and sum of powers are kept
up to date from tile to tile, and scores stay in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.gpu.attention_problem import NOTHING, AttentionProblem
from tilewright.compiler.targets.gpu.float_epilogue import real
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.gpu.warp_instructions import EXP2, RECIPROCAL
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T, _BLOCK = Var("t"), Var("block")
_QUAD = 4
_STAGES = 2
_FEW_BLOCKS = 2 * 132


@dataclass(frozen=True)
class RowAttention(AttentionProblem):
    """Attention of fp32.

    Attributes
    ----------
    parts : int
        Shares of the keys; 4 times as many divide the depth.
    tile : int
        Keys of a share's tile.
    """

    parts: int = 4
    tile: int = 8

    def kernel(self, name: str) -> Kernel:
        """Build the kernel of buffers `q`, `k`, `v`, `y` and, where there is one, `mask`."""
        return Kernel(_Builder(name, self).function())


def choose_parts(batch: int, heads: int, words: int) -> int:
    """Choose how many threads share the keys of a query: more where there would be few blocks."""
    return 8 if -(-words // WARP) * batch * heads < _FEW_BLOCKS else 4


class _Builder:
    def __init__(self, name: str, problem: RowAttention) -> None:
        self.name, self.problem = name, problem
        self.threads = WARP * problem.parts
        self.q, self.k, self.v = (image.buffer(name) for name, image in zip("qkv", problem.sources, strict=True))
        self.y = problem.target.buffer("y")
        size = _STAGES * problem.parts * problem.tile * problem.depth
        self.tiles = tuple(Buffer(f"{name}_tile", DType.F32, (size,), "shared") for name in "kv")
        self.joined = Buffer("joined", DType.F32, ((problem.depth + 2) * self.threads,), "shared")
        self.query = self._registers("query", problem.depth)
        self.mixture = self._registers("mixture", problem.depth)
        self.scores = self._registers("scores", problem.tile)
        self.run = self._registers("run", _QUAD)
        self.largest, self.found, self.factor, self.sums = (
            self._registers(what, 1) for what in ("largest", "found", "factor", "sums")
        )
        self.weights = self._registers("weights", problem.parts)
        rows = -(-problem.words // WARP)
        item = _BLOCK // rows
        self.blocks = problem.batch * problem.heads * rows
        self.head, self.image = item % problem.heads, item // problem.heads
        self.row, self.part = (_BLOCK % rows) * WARP + _T % WARP, _T // WARP

    def _registers(self, name: str, count: int) -> Buffer:
        return Buffer(name, DType.F32, (self.threads, count), "register")

    def function(self) -> Function:
        local = [
            *self.tiles, self.joined, self.query, self.mixture, self.scores, self.run, self.largest, self.found,
            self.factor, self.sums, self.weights,
        ]  # fmt: skip
        mask = self.problem.mask
        grid = loop(_BLOCK, self.blocks, inside(local, self._body()), kind="bound:block.x")
        buffers = (self.q, self.k, self.v, self.y, *([mask.buffer("mask")] if mask is not None else []))
        return Function(self.name, (), buffers, grid)

    def _body(self) -> Stmt:
        problem, step = self.problem, Var("step")
        steps = -(-problem.words // (problem.parts * problem.tile))
        following = step + 1
        main = loop(
            step, steps,
            when(following < steps, self._fill(following, following % _STAGES)), call("async_commit"),
            call("async_wait", count=1), call("barrier"),
            self._each_thread(*self._score(step), *self._weigh(), *self._mix(step)), call("barrier"),
        )  # fmt: skip
        return sequence(
            call("dependents_launch"), call("dependency_wait"), self._fill(Const(0), Const(0)), call("async_commit"),
            self._start(), main, self._share(), call("barrier"), self._finish(),
        )  # fmt: skip

    def _each_thread(self, *body: Stmt) -> Stmt:
        return loop(_T, self.threads, *body, kind="bound:thread")

    def _fill(self, step: Expr, stage: Expr) -> Stmt:
        """Copy the tiles of all shares."""
        problem, turn = self.problem, Var("turn")
        rows, pieces = problem.parts * problem.tile, problem.depth // _QUAD
        number = turn * self.threads + _T
        row, piece = number // pieces, number % pieces
        place = linear((stage, rows * problem.depth), (number, _QUAD))
        copies = []
        for which, tile in enumerate(self.tiles, 1):
            origin = problem.word(which, self.image, self.head, step * rows + row) + piece * _QUAD
            copies.append(copy(_QUAD, tile, (place,), (self.q, self.k, self.v)[which], (origin,)))
        count = rows * pieces
        guard = number < count if count % self.threads else None
        return self._each_thread(loop(turn, -(-count // self.threads), when(guard, sequence(*copies)), kind="unrolled"))

    def _start(self) -> Stmt:
        """Fetch the query, and begin with nothing."""
        quad, place, depth = Var("quad"), Var("place"), self.problem.depth
        origin = self.problem.word(0, self.image, self.head, self.row) + quad * _QUAD
        fetch = copy(_QUAD, self.query, (_T, quad * _QUAD), self.q, (origin,))
        return self._each_thread(
            loop(quad, depth // _QUAD, fetch, kind="unrolled"),
            loop(place, depth, Store(self.mixture, (_T, place), real(0.0)), kind="unrolled"),
            Store(self.largest, _OWN, real(NOTHING)),
            Store(self.sums, _OWN, real(0.0)),
        )

    def _row_of_tile(self, step: Expr, key: Expr) -> Expr:
        problem = self.problem
        stage = linear((step % _STAGES, problem.parts * problem.tile), (self.part, problem.tile))
        return (stage + key) * problem.depth

    def _score(self, step: Expr) -> list[Stmt]:
        """Multiply the query and the keys of a tile; scale and mask the products."""
        problem, quad, key = self.problem, Var("quad"), Var("key")
        origin = self._row_of_tile(step, key) + quad * _QUAD
        fetch = copy(_QUAD, self.run, (_T, Const(0)), self.tiles[0], (origin,))
        own = (_T, key)
        products = [
            Store(
                self.scores, own,
                Load(self.scores, own) + Load(self.query, (_T, quad * _QUAD + n)) * Load(self.run, (_T, Const(n))),
            )
            for n in range(_QUAD)
        ]  # fmt: skip
        each_key = loop(key, problem.tile, fetch, *products, kind="unrolled")
        first = step * (problem.parts * problem.tile) + self.part * problem.tile
        finished: list[Stmt] = []
        for n in range(problem.tile):
            score = problem.masked(Load(self.scores, (_T, Const(n))), self.image, self.head, self.row, first + n)
            if problem.words % (problem.parts * problem.tile):
                score = problem.existing(score, first + n)
            finished.append(Store(self.scores, (_T, Const(n)), score))
        return [
            loop(key, problem.tile, Store(self.scores, own, real(0.0)), kind="unrolled"),
            loop(quad, problem.depth // _QUAD, each_key, kind="unrolled"),
            *finished,
        ]

    def _weigh(self) -> list[Stmt]:
        """Turn scores into powers, and what was summed up to the new largest score."""
        scores = [Load(self.scores, (_T, Const(n))) for n in range(self.problem.tile)]
        largest: Expr = Load(self.largest, _OWN)
        for score in scores:
            largest = largest.maximum(score)
        found, place = Load(self.found, _OWN), Var("place")
        mixed = (_T, place)
        body: list[Stmt] = [
            Store(self.found, _OWN, largest),
            Store(self.factor, _OWN, Load(self.largest, _OWN) - found), self._power(self.factor, 0),
            Store(self.largest, _OWN, found),
        ]  # fmt: skip
        for n, score in enumerate(scores):
            body += [Store(self.scores, (_T, Const(n)), score - found), self._power(self.scores, n)]
        factor = Load(self.factor, _OWN)
        body.append(Store(self.sums, _OWN, Load(self.sums, _OWN) * factor + total(scores)))
        scaled = Store(self.mixture, mixed, Load(self.mixture, mixed) * factor)
        return [*body, loop(place, self.problem.depth, scaled, kind="unrolled")]

    def _mix(self, step: Expr) -> list[Stmt]:
        """Multiply powers and values."""
        quad, key = Var("quad"), Var("key")
        fetch = copy(_QUAD, self.run, (_T, Const(0)), self.tiles[1], (self._row_of_tile(step, key) + quad * _QUAD,))
        added: list[Stmt] = []
        for n in range(_QUAD):
            own = (_T, quad * _QUAD + n)
            product = Load(self.scores, (_T, key)) * Load(self.run, (_T, Const(n)))
            added.append(Store(self.mixture, own, Load(self.mixture, own) + product))
        each_quad = loop(quad, self.problem.depth // _QUAD, fetch, *added, kind="unrolled")
        return [loop(key, self.problem.tile, each_quad, kind="unrolled")]

    def _share(self) -> Stmt:
        """Lay the shares side by side: mixture, largest score and sum."""
        depth, place = self.problem.depth, Var("place")
        target = linear((place, self.threads), (_T, 1))
        return self._each_thread(
            loop(place, depth, Store(self.joined, (target,), Load(self.mixture, (_T, place))), kind="unrolled"),
            Store(self.joined, (_T + depth * self.threads,), Load(self.largest, _OWN)),
            Store(self.joined, (_T + (depth + 1) * self.threads,), Load(self.sums, _OWN)),
        )

    def _of_share(self, what: int | Expr, part: int) -> Load:
        place = what * self.threads if isinstance(what, int) else linear((what, self.threads))
        return Load(self.joined, (_T % WARP + part * WARP + place,))

    def _finish(self) -> Stmt:
        """Join the shares: each thread some channels of its query."""
        problem, depth, parts = self.problem, self.problem.depth, range(self.problem.parts)
        largest: Expr = self._of_share(depth, 0)
        for part in parts[1:]:
            largest = largest.maximum(self._of_share(depth, part))
        body: list[Stmt] = [Store(self.found, _OWN, largest)]
        for part in parts:
            power = self._of_share(depth, part) - Load(self.found, _OWN)
            body += [Store(self.weights, (_T, Const(part)), power), self._power(self.weights, part)]
        weight = [Load(self.weights, (_T, Const(part))) for part in parts]
        sums = total(weight[part] * self._of_share(depth + 1, part) for part in parts)
        body += [Store(self.sums, _OWN, sums), Call(RECIPROCAL, ((f"d@{self.sums.name}", linear((_T, 1))),))]
        number = linear((self.image, problem.words)) + self.row
        share, quad = depth // problem.parts, Var("quad")
        channel = self.part * share + quad * _QUAD
        stores: list[Stmt] = []
        for n in range(_QUAD):
            mixed = total(weight[part] * self._of_share(channel + n, part) for part in parts)
            stores.append(Store(self.run, (_T, Const(n)), mixed * Load(self.sums, _OWN)))
        place = problem.target.pixel_of(number) + (self.head * depth + channel)
        stores.append(copy(_QUAD, self.y, (place,), self.run, (_T, Const(0))))
        each = loop(quad, share // _QUAD, *stores, kind="unrolled")
        guard = None if problem.words % WARP == 0 else self.row < problem.words
        return self._each_thread(*body, when(guard, each))

    def _power(self, buffer: Buffer, place: int) -> Stmt:
        return Call(EXP2, ((f"d@{buffer.name}", linear((_T, buffer.shape[1])) + place),))


_OWN = (_T, Const(0))
