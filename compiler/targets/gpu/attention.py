"""Attention in one kernel: scores, softmax and mixture of values, without writing scores to memory.

A warp has 16 queries. Keys and values pass through shared memory in tiles; of every tile, scores stay in the registers
in which `mma` leaves them, become powers there, and are what the next `mma` multiplies. Largest score and sum of powers
are kept up to date from tile to tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.targets.gpu.attention_problem import NOTHING, AttentionProblem
from tilewright.compiler.targets.gpu.intrinsics import mma_nest, tensorized
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.gpu.warp_instructions import EXP2, QUAD, RECIPROCAL, TRANSPOSED_LOAD, reduction_name
from tilewright.compiler.targets.kernels.activation import real
from tilewright.compiler.targets.kernels.float_attention import DEPTH_STEP
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T, _W, _BLOCK = Var("t"), Var("warp"), Var("block")
_PIECE, _CHUNK = 8, DEPTH_STEP  # elements of 16 and 64 bytes
_QUERIES = 16
_STAGES = 2


@dataclass(frozen=True)
class Attention(AttentionProblem):
    """Attention of fp16.

    Attributes
    ----------
    warps : int
        Of a block.
    tile : int
        Keys of a tile, a multiple of 16.
    """

    warps: int = 4
    tile: int = 64

    def kernel(self, name: str) -> Kernel:
        """Build the kernel of buffers `q`, `k`, `v`, `y` and, where there is one, `mask`."""
        return Kernel(_Builder(name, self).function(), min_blocks=1)


def choose_warps(batch: int, heads: int, words: int, processors: int = 132) -> int:
    """Choose the warps of a block: few where there would be too few blocks."""
    tiles = -(-words // _QUERIES) * batch * heads
    return 4 if tiles >= 8 * processors else 2


class _Builder:
    def __init__(self, name: str, problem: Attention) -> None:
        self.name, self.problem = name, problem
        threads, depth, tile = WARP * problem.warps, problem.depth, problem.tile
        self.threads = threads
        self.pitches = depth + (64 - 2 * depth) % 128 // 2, depth + (16 - 2 * depth) % 128 // 2
        self.q, self.k, self.v = (image.buffer(name) for name, image in zip("qkv", problem.sources, strict=True))
        self.y = problem.target.buffer("y")
        self.tiles = tuple(
            Buffer(f"{name}_tile", DType.F16, (_STAGES * tile * pitch,), "shared")
            for name, pitch in zip("kv", self.pitches, strict=True)
        )
        self.q_run = self._registers("q_run", DType.F16, depth // _CHUNK * 2 * _PIECE)
        self.k_run = self._registers("k_run", DType.F16, depth // _CHUNK * _PIECE)
        self.v_run = self._registers("v_run", DType.F16, 4)
        self.scores = self._registers("scores", DType.F32, tile // 2)
        self.powers = self._registers("powers", DType.F16, tile // 2)
        self.mixture = self._registers("mixture", DType.F32, depth // 2)
        self.result = self._registers("result", DType.F16, 2)
        names = ("largest", "found", "factor", "sums")
        self.largest, self.found, self.factor, self.sums = (self._registers(n, DType.F32, 2) for n in names)
        self.blocks_of_rows = -(-problem.words // (_QUERIES * problem.warps))
        item = _BLOCK // self.blocks_of_rows
        self.head, self.image = item % problem.heads, item // problem.heads
        self.first = (_BLOCK % self.blocks_of_rows) * (_QUERIES * problem.warps)

    def _registers(self, name: str, kind: DType, count: int) -> Buffer:
        return Buffer(name, kind, (self.threads, count), "register")

    def function(self) -> Function:
        local = [
            *self.tiles, self.q_run, self.k_run, self.v_run, self.scores, self.powers, self.mixture, self.largest,
            self.found, self.factor, self.sums, self.result,
        ]  # fmt: skip
        problem = self.problem
        count = problem.batch * problem.heads * self.blocks_of_rows
        grid = loop(_BLOCK, count, inside(local, self._body()), kind="bound:block.x")
        masks = [problem.mask.buffer("mask")] if problem.mask is not None else []
        return Function(self.name, (), (self.q, self.k, self.v, self.y, *masks), grid)

    def _body(self) -> Stmt:
        step, steps = Var("step"), -(-self.problem.words // self.problem.tile)
        following = step + 1
        main = loop(
            step, steps,
            when(following < steps, self._fill(following, following % _STAGES)), call("async_commit"),
            call("async_wait", count=1), call("barrier"),
            self._score(step), self._weigh(), self._mix(step % _STAGES), call("barrier"),
        )  # fmt: skip
        return sequence(
            call("dependents_launch"), call("dependency_wait"), self._fill(Const(0), Const(0)), call("async_commit"),
            self._start(), main, self._finish(),
        )  # fmt: skip

    def _each_thread(self, *body: Stmt) -> Stmt:
        return loop(_T, self.threads, *body, kind="bound:thread")

    def _each_warp(self, *body: Stmt) -> Stmt:
        return loop(_W, self.problem.warps, *body, kind="bound:warp")

    def _word(self, which: int, word: Expr) -> Expr:
        return self.problem.word(which, self.image, self.head, word)

    def _fill(self, step: Expr, stage: Expr) -> Stmt:
        """Copy a tile of keys and of values."""
        problem, part = self.problem, Var("part")
        pieces = problem.depth // _PIECE
        number = part * self.threads + _T
        row, piece = number // pieces, number % pieces
        copies: list[Stmt] = []
        for which, (buffer, pitch) in enumerate(zip(self.tiles, self.pitches, strict=True), 1):
            origin = self._word(which, step * problem.tile + row) + piece * _PIECE
            place = linear((stage, problem.tile * pitch), (row, pitch), (piece, _PIECE))
            copies.append(copy(_PIECE, buffer, (place,), (self.q, self.k, self.v)[which], (origin,)))
        count = problem.tile * pieces
        guard = number < count if count % self.threads else None
        return self._each_thread(loop(part, -(-count // self.threads), when(guard, sequence(*copies)), kind="unrolled"))

    def _start(self) -> Stmt:
        """Fetch the queries, and begin with nothing."""
        chunk, half, place = Var("chunk"), Var("half"), Var("place")
        row = self.first + linear((_T // WARP, _QUERIES), (half, 8), (_T % WARP // 4, 1))
        origin = self._word(0, row) + linear((chunk, _CHUNK), (_T % 4, _PIECE))
        target = linear((chunk, 2 * _PIECE), (half, _PIECE))
        fetch = copy(_PIECE, self.q_run, (_T, target), self.q, (origin,))
        zero = Store(self.mixture, (_T, place), real(0.0))
        return self._each_thread(
            loop(chunk, self.problem.depth // _CHUNK, loop(half, 2, fetch, kind="unrolled"), kind="unrolled"),
            loop(place, self.mixture.shape[1], zero, kind="unrolled"),
            *(Store(self.largest, (_T, Const(i)), real(NOTHING)) for i in range(2)),
            *(Store(self.sums, (_T, Const(i)), real(0.0)) for i in range(2)),
        )

    def _score(self, step: Expr) -> Stmt:
        """Multiply queries and keys."""
        problem, block, chunk, half, place = self.problem, Var("key_block"), Var("chunk"), Var("mma_step"), Var("place")
        pitch = self.pitches[0]
        row = linear((step % _STAGES, problem.tile * pitch), (block, 8 * pitch), (_T % WARP // 4, pitch))
        fetch = copy(
            _PIECE, self.k_run, (_T, chunk * _PIECE), self.tiles[0], (row + linear((chunk, _CHUNK), (_T % 4, _PIECE)),)
        )
        chunks = problem.depth // _CHUNK
        zero = Store(self.scores, (_T, place), real(0.0))
        places = (
            block * 4, linear((chunk, 2 * _PIECE), (half, _PIECE // 2)), linear((chunk, _PIECE), (half, _PIECE // 2))
        )  # fmt: skip
        nest = mma_nest(self.scores, self.q_run, self.k_run, _W, places, _PIECE)
        roles = {"d": "scores", "a": "q_run", "b": "k_run"}
        product: Stmt = tensorized(nest, (_W.name, block.name, chunk.name, half.name), roles)
        products = loop(chunk, chunks, loop(half, 2, product, kind="unrolled"), kind="unrolled")
        return sequence(
            self._each_thread(loop(place, self.scores.shape[1], zero, kind="unrolled")),
            loop(
                block, problem.tile // 8,
                self._each_thread(loop(chunk, chunks, fetch, kind="unrolled")), self._each_warp(products),
                kind="unrolled",
            ),
            *([self._mask(step)] if problem.words % problem.tile or problem.mask is not None else []),
        )  # fmt: skip

    def _mask(self, step: Expr) -> Stmt:
        """Add the mask, and take out the scores of words that there are not."""
        problem, stores = self.problem, []
        for n in range(self.scores.shape[1]):
            key = step * problem.tile + linear((_T % 4, 2)) + (n // 4 * 8 + n % 2)
            value: Expr = Load(self.scores, (_T, Const(n)))
            if problem.mask is not None:
                row = self.first + linear((_T // WARP, _QUERIES), (_T % WARP // 4, 1)) + n // 2 % 2 * 8
                value = problem.masked(value, self.image, self.head, row, key)
            if problem.words % problem.tile:
                value = problem.existing(value, key)
            stores.append(Store(self.scores, (_T, Const(n)), value))
        return self._each_thread(*stores)

    def _weigh(self) -> Stmt:
        """Turn scores into powers, and what was summed up to the new largest score."""
        scores = self.scores
        scale = real(1.0 if self.problem.mask is not None else self.problem.factor)
        found: list[Stmt] = []
        for half in range(2):
            own = [Load(scores, (_T, Const(n))) for n in range(scores.shape[1]) if n // 2 % 2 == half]
            largest: Expr = own[0]
            for other in own[1:]:
                largest = largest.maximum(other)
            found.append(Store(self.found, (_T, Const(half)), largest))
        powers: list[Stmt] = []
        for half in range(2):
            place = (_T, Const(half))
            old = Load(self.largest, place)
            powers += [
                Store(self.found, place, old.maximum(Load(self.found, place) * scale)),
                Store(self.factor, place, old - Load(self.found, place)), self._power(self.factor, half),
                Store(self.largest, place, Load(self.found, place)),
            ]  # fmt: skip
        for n in range(scores.shape[1]):
            score, largest = Load(scores, (_T, Const(n))), Load(self.largest, (_T, Const(n // 2 % 2)))
            powers += [Store(scores, (_T, Const(n)), score * scale - largest), self._power(scores, n)]
        for half in range(2):
            place = (_T, Const(half))
            own = [Load(scores, (_T, Const(n))) for n in range(scores.shape[1]) if n // 2 % 2 == half]
            powers.append(Store(self.sums, place, Load(self.sums, place) * Load(self.factor, place) + total(own)))
        for n in range(self.mixture.shape[1]):
            old = Load(self.mixture, (_T, Const(n)))
            powers.append(Store(self.mixture, (_T, Const(n)), old * Load(self.factor, (_T, Const(n // 2 % 2)))))
        return sequence(
            self._each_thread(*found),
            self._each_warp(*(self._reduced("max", self.found, half) for half in range(2))),
            self._each_thread(*powers, *self._as_factors()),
        )

    def _as_factors(self) -> list[Stmt]:
        """Build the order in which the next product takes the powers: halves of 16 keys, 4 a thread."""
        stores: list[Stmt] = []
        for n in range(self.scores.shape[1]):
            block, half, low = n // 4, n // 2 % 2, n % 2
            place = block // 2 * 8 + half * 4 + block % 2 * 2 + low
            stores.append(Store(self.powers, (_T, Const(place)), Load(self.scores, (_T, Const(n))).cast(DType.F16)))
        return stores

    def _mix(self, stage: Expr) -> Stmt:
        """Multiply powers and values."""
        problem, part, block = self.problem, Var("key_part"), Var("value_block")
        pitch = self.pitches[1]
        origin = linear((stage, problem.tile * pitch), (part, 16 * pitch), (block, 8))
        fetch = Call(
            TRANSPOSED_LOAD,
            (
                ("d@v_run", _W * (WARP * 4)), ("d_lane", Const(4)), ("source@v_tile", origin), ("pitch", Const(pitch)),
            ),
        )  # fmt: skip
        nest = mma_nest(self.mixture, self.powers, self.v_run, _W, (block * 4, part * 8, Const(0)), 4)
        roles = {"d": "mixture", "a": "powers", "b": "v_run"}
        product = tensorized(nest, (_W.name, part.name, block.name), roles)
        body = loop(block, problem.depth // 8, fetch, product, kind="unrolled")
        return self._each_warp(loop(part, problem.tile // 16, body, kind="unrolled"))

    def _finish(self) -> Stmt:
        problem = self.problem
        divided: list[Stmt] = [Call(RECIPROCAL, (("d@sums", linear((_T, 2)) + half),)) for half in range(2)]
        column = linear((self.head, problem.depth), (_T % 4, 2))
        for half in range(2):
            row = self.first + linear((_T // WARP, _QUERIES), (_T % WARP // 4, 1)) + half * 8
            number = linear((self.image, problem.words)) + row
            stores: list[Stmt] = []
            for block in range(problem.depth // 8):
                for low in range(2):
                    value = Load(self.mixture, (_T, Const(block * 4 + half * 2 + low)))
                    share = value * Load(self.sums, (_T, Const(half)))
                    stores.append(Store(self.result, (_T, Const(low)), share.cast(DType.F16)))
                place = problem.target.pixel_of(number) + column + block * 8
                stores.append(copy(2, self.y, (place,), self.result, (_T, Const(0))))
            is_whole = problem.words % (_QUERIES * problem.warps) == 0
            divided.append(when(None if is_whole else row < problem.words, sequence(*stores)))
        return sequence(
            self._each_warp(*(self._reduced("add", self.sums, half) for half in range(2))), self._each_thread(*divided)
        )

    def _power(self, buffer: Buffer, place: int) -> Stmt:
        return Call(EXP2, ((f"d@{buffer.name}", linear((_T, buffer.shape[1])) + place),))

    def _reduced(self, kind: str, buffer: Buffer, place: int) -> Stmt:
        start = linear((_W, WARP * buffer.shape[1])) + place
        return Call(reduction_name(kind, QUAD), ((f"d@{buffer.name}", start), ("d_lane", Const(buffer.shape[1]))))
