"""Attention in fp32: a warp has 32 queries and a share of the keys; the shares are joined at the end.

Four threads have four queries, each a quarter of their channels, so that what is read of a key is used four times.
Keys and values pass through shared memory in tiles, every share with its own. Largest score and sum of powers are kept
up to date from tile to tile, and scores stay in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.gpu.attention_problem import NOTHING, AttentionProblem
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.gpu.warp_instructions import EXP2, QUAD, RECIPROCAL, reduction_name
from tilewright.compiler.targets.kernels.activation import real
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T, _W, _BLOCK = Var("t"), Var("warp"), Var("block")
_QUAD = 4  # channels of one load
_QUERIES = 4  # of a thread
_STAGES = 2
_FEW_BLOCKS = 2 * 132


@dataclass(frozen=True)
class RowAttention(AttentionProblem):
    """Attention of fp32.

    Attributes
    ----------
    parts : int
        Shares of the keys; divides a quarter of the depth.
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
        self.joined = Buffer("joined", DType.F32, ((problem.depth + 2 * _QUERIES) * self.threads,), "shared")
        self.quads = problem.depth // (_QUAD * QUAD)  # runs of 4 channels that a thread has of every query
        self.query = self._registers("query", problem.depth)
        self.mixture = self._registers("mixture", problem.depth)
        self.scores = self._registers("scores", problem.tile * _QUERIES)
        self.run = self._registers("run", _QUAD)
        self.largest, self.found, self.factor, self.sums = (
            self._registers(what, _QUERIES) for what in ("largest", "found", "factor", "sums")
        )
        self.weights = self._registers("weights", problem.parts)
        rows = -(-problem.words // WARP)
        item = _BLOCK // rows
        self.blocks = problem.batch * problem.heads * rows
        self.head, self.image = item % problem.heads, item // problem.heads
        self.first, self.part = (_BLOCK % rows) * WARP, _T // WARP

    def _registers(self, name: str, count: int) -> Buffer:
        return Buffer(name, DType.F32, (self.threads, count), "register")

    def _row(self, i: int | Expr) -> Expr:
        """Build the word of a thread's query."""
        own = self.first + _T % WARP // QUAD
        return own + linear((i, WARP // _QUERIES)) if isinstance(i, Expr) else own + i * (WARP // _QUERIES)

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
        reduced = (self._reduced(place) for place in range(problem.tile * _QUERIES))
        main = loop(
            step, steps,
            when(following < steps, self._fill(following, following % _STAGES)), call("async_commit"),
            call("async_wait", count=1), call("barrier"),
            self._each_thread(*self._multiply(step)), loop(_W, problem.parts, *reduced, kind="bound:warp"),
            self._each_thread(*self._masked(step), *self._weigh(), *self._mix(step)), call("barrier"),
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

    def _channel(self, quad: Expr) -> Expr:
        """Build the first channel of a thread's run: four threads share the channels of their queries."""
        return linear((quad, _QUAD * QUAD), (_T % QUAD, _QUAD))

    def _own(self, i: int, quad: Expr, n: int) -> tuple[Expr, Expr]:
        return _T, quad * _QUAD + (i * self.quads * _QUAD + n)

    def _start(self) -> Stmt:
        """Fetch the queries, and begin with nothing."""
        quad, place = Var("quad"), Var("place")
        fetches = []
        for i in range(_QUERIES):
            origin = self.problem.word(0, self.image, self.head, self._row(i)) + self._channel(quad)
            fetches.append(copy(_QUAD, self.query, self._own(i, quad, 0), self.q, (origin,)))
        cleared = Store(self.mixture, (_T, place), real(0.0))
        return self._each_thread(
            loop(quad, self.quads, *fetches, kind="unrolled"),
            loop(place, self.problem.depth, cleared, kind="unrolled"),
            *(Store(self.largest, (_T, Const(i)), real(NOTHING)) for i in range(_QUERIES)),
            *(Store(self.sums, (_T, Const(i)), real(0.0)) for i in range(_QUERIES)),
        )

    def _fetch(self, tile: Buffer, step: Expr, key: Expr, quad: Expr) -> Stmt:
        """Build the copy of a run of a key's or value's channels."""
        problem = self.problem
        row = linear((step % _STAGES, problem.parts * problem.tile), (self.part, problem.tile)) + key
        return copy(_QUAD, self.run, (_T, Const(0)), tile, (row * problem.depth + self._channel(quad),))

    def _multiply(self, step: Expr) -> list[Stmt]:
        """Multiply a thread's channels of its queries and of the keys of a tile."""
        quad, key, place = Var("quad"), Var("key"), Var("place")
        products: list[Stmt] = []
        for n in range(_QUAD):
            for i in range(_QUERIES):
                own = (_T, key * _QUERIES + i)
                product = Load(self.query, self._own(i, quad, n)) * Load(self.run, (_T, Const(n)))
                products.append(Store(self.scores, own, Load(self.scores, own) + product))
        each_quad = loop(quad, self.quads, self._fetch(self.tiles[0], step, key, quad), *products, kind="unrolled")
        cleared = Store(self.scores, (_T, place), real(0.0))
        return [
            loop(place, self.scores.shape[1], cleared, kind="unrolled"),
            loop(key, self.problem.tile, each_quad, kind="unrolled"),
        ]

    def _reduced(self, place: int) -> Stmt:
        """Add up the products of the threads that share a query."""
        count = self.scores.shape[1]
        operands = ((f"d@{self.scores.name}", linear((_W, WARP * count)) + place), ("d_lane", Const(count)))
        return Call(reduction_name("add", QUAD), operands)

    def _masked(self, step: Expr) -> list[Stmt]:
        """Scale scores, add the mask, and take out those of words that there are not."""
        problem = self.problem
        first = step * (problem.parts * problem.tile) + self.part * problem.tile
        stores: list[Stmt] = []
        for n in range(problem.tile):
            for i in range(_QUERIES):
                own = (_T, Const(n * _QUERIES + i))
                score = problem.masked(Load(self.scores, own), self.image, self.head, self._row(i), first + n)
                if problem.words % (problem.parts * problem.tile):
                    score = problem.existing(score, first + n)
                stores.append(Store(self.scores, own, score))
        return stores

    def _weigh(self) -> list[Stmt]:
        """Turn scores into powers, and what was summed up to the new largest score."""
        body: list[Stmt] = []
        quad = Var("quad")
        for i in range(_QUERIES):
            place = (_T, Const(i))
            scores = [Load(self.scores, (_T, Const(n * _QUERIES + i))) for n in range(self.problem.tile)]
            old, found, factor = (Load(buffer, place) for buffer in (self.largest, self.found, self.factor))
            largest: Expr = old
            for score in scores:
                largest = largest.maximum(score)
            body += [
                Store(self.found, place, largest), Store(self.factor, place, old - found),
                self._power(self.factor, i), Store(self.largest, place, found),
            ]  # fmt: skip
            for n, score in enumerate(scores):
                own = n * _QUERIES + i
                body += [Store(self.scores, (_T, Const(own)), score - found), self._power(self.scores, own)]
            body.append(Store(self.sums, place, Load(self.sums, place) * factor + total(scores)))
            for n in range(_QUAD):
                mixed = self._own(i, quad, n)
                scaled = Store(self.mixture, mixed, Load(self.mixture, mixed) * factor)
                body.append(loop(quad, self.quads, scaled, kind="unrolled"))
        return body

    def _mix(self, step: Expr) -> list[Stmt]:
        """Multiply powers and values."""
        quad, key = Var("quad"), Var("key")
        added: list[Stmt] = []
        for n in range(_QUAD):
            for i in range(_QUERIES):
                own = self._own(i, quad, n)
                product = Load(self.scores, (_T, key * _QUERIES + i)) * Load(self.run, (_T, Const(n)))
                added.append(Store(self.mixture, own, Load(self.mixture, own) + product))
        each_quad = loop(quad, self.quads, self._fetch(self.tiles[1], step, key, quad), *added, kind="unrolled")
        return [loop(key, self.problem.tile, each_quad, kind="unrolled")]

    def _share(self) -> Stmt:
        """Lay the shares side by side: mixtures, largest scores and sums."""
        depth, place = self.problem.depth, Var("place")
        target = linear((place, self.threads), (_T, 1))
        parts = [loop(place, depth, Store(self.joined, (target,), Load(self.mixture, (_T, place))), kind="unrolled")]
        for number, buffer in enumerate((self.largest, self.sums)):
            for i in range(_QUERIES):
                behind = (depth + number * _QUERIES + i) * self.threads
                parts.append(Store(self.joined, (_T + behind,), Load(buffer, (_T, Const(i)))))
        return self._each_thread(*parts)

    def _finish(self) -> Stmt:
        """Join the shares: each thread some runs of the channels of its queries."""
        problem, depth, quad = self.problem, self.problem.depth, Var("quad")
        share = _QUERIES * self.quads // problem.parts  # runs of a thread
        number = self.part * share + quad
        i, run = number // self.quads, number % self.quads
        row, parts = self._row(i), range(problem.parts)

        def of_share(what: Expr, part: int) -> Load:
            return Load(self.joined, (linear((what, self.threads)) + _T % WARP + part * WARP,))

        one = (_T, Const(0))
        largest: Expr = of_share(i + depth, 0)
        for part in parts[1:]:
            largest = largest.maximum(of_share(i + depth, part))
        body: list[Stmt] = [Store(self.found, one, largest)]
        for part in parts:
            power = of_share(i + depth, part) - Load(self.found, one)
            body += [Store(self.weights, (_T, Const(part)), power), self._power(self.weights, part)]
        weight = [Load(self.weights, (_T, Const(part))) for part in parts]
        sums = total(weight[part] * of_share(i + (depth + _QUERIES), part) for part in parts)
        body += [Store(self.sums, one, sums), Call(RECIPROCAL, ((f"d@{self.sums.name}", linear((_T, _QUERIES))),))]
        for n in range(_QUAD):
            mixed = total(weight[part] * of_share(number * _QUAD + n, part) for part in parts)
            body.append(Store(self.run, (_T, Const(n)), mixed * Load(self.sums, one)))
        place = problem.target.pixel_of(linear((self.image, problem.words)) + row)
        store = copy(_QUAD, self.y, (place + (self.head * depth + self._channel(run)),), self.run, (_T, Const(0)))
        guard = None if problem.words % WARP == 0 else row < problem.words
        return self._each_thread(loop(quad, share, *body, when(guard, store), kind="unrolled"))

    def _power(self, buffer: Buffer, place: int) -> Stmt:
        return Call(EXP2, ((f"d@{buffer.name}", linear((_T, buffer.shape[1])) + place),))
