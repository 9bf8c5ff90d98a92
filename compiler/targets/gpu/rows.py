"""Kernels of transformers: softmax and normalization along rows, products of two activations, and what moves them.

Rows are computed in the integers of `tilewright.isa.row_ops`, whose expressions stand here as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.gpu.pointwise import THREADS, grid_of_threads, thread_number
from tilewright.compiler.targets.kernels.layout import Placed, split_index
from tilewright.compiler.targets.kernels.nests import inside, loop, sequence, when
from tilewright.compiler.tir.simplify import substitute_expr
from tilewright.isa.ir import Buffer, Const, DType, Expr, Function, Load, Lookup, Stmt, Store, Table, Var, total
from tilewright.isa.row_ops import ROW_OPS, SUM_BITS

_T, _BLOCK = Var("t"), Var("block")
_ROWS = THREADS // WARP
_PIECE = 16
_OPS = {op.name: op for op in ROW_OPS}
_CONSTANTS = frozenset({"bias", "multiplier", "shift", "table", "negate"})


def _finished(
    finish: Finish, sums: Expr, channel: Expr, constants: Mapping[str, Buffer], residual: Expr | None
) -> Expr:
    """Build one int8 result; constants of one element hold for every channel."""
    scale = {
        key: Load(buffer, (channel if buffer.shape[0] > 1 else Const(0),))
        for key, buffer in constants.items()
        if key != "table"
    }
    return finish.value(sums, scale, residual, constants.get("table"))


@dataclass(frozen=True)
class RowOperator:
    """A softmax or normalization along the last axis, 32 threads a row.

    Attributes
    ----------
    x, y : Placed
    finish : Finish
    channels : int
        Elements of its constants: 1 or those of a row.
    residual : Placed, optional
    """

    x: Placed
    y: Placed
    finish: Finish
    channels: int
    residual: Placed | None = None

    def softmax(self, name: str, scale: int) -> Kernel:
        """Build probabilities: the largest element, the sum of all powers, and every power over it."""
        x = self._element()
        values = {"scale": Const(scale), "offset": Const(0)}
        largest = self._reduction("max", values, {"a": x}, "largest")
        sums = self._reduction("exp_sum", values, {"a": x, "b": self._of_row("largest")}, "total")
        result = substitute_expr(_OPS["exp"].combine, {**values, "a": x, "b": self._of_row("total")})
        return self._kernel(name, [*largest, *sums], result, [])

    def normalization(self, name: str, mean: tuple[int, int], count_log: int, epsilon: int) -> Kernel:
        """Build deviations over the standard deviation, some negated as `negate` says."""
        x = self._element()
        sums = {"scale": Const(mean[0]), "offset": Const(mean[1])}
        squares = {"scale": Const(count_log), "offset": Const(epsilon)}
        first = self._reduction("sum", sums, {"a": x}, "mean")
        second = self._reduction("square_sum", squares, {"a": x, "b": self._of_row("mean")}, "spread")
        normal = substitute_expr(_OPS["normalise"].combine, {"a": x, "b": self._of_row("spread")})
        negate = Buffer("negate", DType.I32, (self._columns,), "dram")
        sign = Const(1) - Load(negate, (self._column,)).cast(DType.I64) * 2
        return self._kernel(name, [*first, *second], normal * sign, [negate])

    @property
    def _columns(self) -> int:
        return self.x.view.shape[-1]

    @property
    def _turns(self) -> int:
        return -(-self._columns // WARP)

    @property
    def _rows(self) -> int:
        return prod(self.x.view.shape[:-1])

    @property
    def _column(self) -> Expr:
        return Var("turn") * WARP + _T % WARP

    def _element(self) -> Expr:
        return Load(self._registers, (_T, Var("turn")))

    @property
    def _registers(self) -> Buffer:
        return Buffer("row", DType.I64, (THREADS, self._turns), "register")

    def _of_row(self, what: str) -> Expr:
        return Load(Buffer(what, DType.I64, (THREADS, 1), "register"), (_T, Const(0)))

    def _each(self, body: Stmt) -> Stmt:
        """Build a thread's turns, those behind the end of the row left out."""
        guard = self._column < self._columns if self._columns % WARP else None
        return loop(Var("turn"), self._turns, when(guard, body), kind="unrolled")

    def _reduction(
        self, name: str, values: Mapping[str, Expr], operands: Mapping[str, Expr], result: str
    ) -> list[Stmt]:
        """Build a row operation that reduces: each thread its part, then all threads the whole."""
        op = _OPS[name]
        part = Buffer(f"{result}_part", DType.I64, (THREADS, 1), "register")
        shared = Buffer(f"{result}_parts", DType.I64, (THREADS,), "shared")
        own = (_T, Const(0))
        first = Const(-(1 << 40) if op.reduce == "max" else 0)
        value = substitute_expr(op.combine, {**values, **operands})
        old = Load(part, own)
        add = Store(part, own, old.maximum(value) if op.reduce == "max" else old + value)
        parts = [Load(shared, (_T // WARP * WARP + lane,)) for lane in range(WARP)]
        whole: Expr = parts[0]
        for other in parts[1:]:
            whole = whole.maximum(other) if op.reduce == "max" else whole + other
        if op.adds_offset:
            whole = (whole + values["offset"]) & ((1 << SUM_BITS) - 1)
        store_whole = Store(part, own, whole)
        place = total((old >> bit).differs(0).cast(DType.I64) for bit in range(1, SUM_BITS))
        known = {**values, **operands, "sum": old, "place": place}
        target = Buffer(result, DType.I64, (THREADS, 1), "register")
        finished = Store(target, own, substitute_expr(op.finish, known))
        return [
            self._threads(Store(part, own, first), self._each(add), Store(shared, (_T,), old)),
            call("barrier"),
            self._threads(store_whole, finished),
        ]

    def _threads(self, *body: Stmt) -> Stmt:
        return loop(_T, THREADS, *body, kind="bound:thread")

    def _kernel(self, name: str, reductions: list[Stmt], result: Expr, extra: list[Buffer]) -> Kernel:
        constants = self.finish.constants(self.channels)
        row = (_BLOCK * _ROWS + _T // WARP).minimum(self._rows - 1)  # rows behind the last compute it again
        index = (*split_index(row, self.x.view.shape[:-1]), self._column)
        x, y = self.x.buffer("x"), self.y.buffer("y")
        fetch = Store(self._registers, (_T, Var("turn")), Load(x, (self.x.view.place(index),)).cast(DType.I64))
        buffers, b = [x, y, *extra], None
        if self.residual is not None:
            buffers.append(self.residual.buffer("residual"))
            b = Load(buffers[-1], (self.residual.view.repeated(self.y.view.shape).place(index),))
        value = _finished(self.finish, result.cast(DType.I32), self._column, constants, b)
        store = Store(y, (self.y.view.place(index),), value)
        names = [s for s in ("largest", "total", "mean", "spread") if any(_declares(r, s) for r in reductions)]
        local = [self._registers]
        for what in names:
            local += [Buffer(f"{what}_part", DType.I64, (THREADS, 1), "register")]
            local += [Buffer(f"{what}_parts", DType.I64, (THREADS,), "shared")]
            local += [Buffer(what, DType.I64, (THREADS, 1), "register")]
        phases = sequence(
            call("dependents_launch"), call("dependency_wait"), self._threads(self._each(fetch)), *reductions,
            self._threads(self._each(store)),
        )  # fmt: skip
        grid = loop(_BLOCK, -(-self._rows // _ROWS), inside(local, phases), kind="bound:block.x")
        return Kernel(Function(name, (), (*buffers, *constants.values()), grid), _CONSTANTS)


def _declares(stmt: Stmt, name: str) -> bool:
    from tilewright.compiler.tir.visit import walk_statements

    return any(isinstance(s, Store) and s.buffer.name == name for s in walk_statements(stmt))


def batch_product(
    name: str, x: Placed, y: Placed, zeros: tuple[int, int], finish: Finish, target: Placed,
    residual: Placed | None,
) -> Kernel:  # fmt: skip
    """Build the products of rows of two activations, one result a thread.

    Parameters
    ----------
    name : str
    x, y : Placed
        `[..., M, K]` and `[..., N, K]`.
    zeros : tuple of int
        Zero points of both.
    finish : Finish
    target : Placed
        `[..., M, N]`.
    residual : Placed, optional
    """
    index = split_index(thread_number(), target.view.shape)
    *outer, m, n = index
    depth, k, lane = x.view.shape[-1], Var("k"), Var("lane")
    step = next(s for s in (_PIECE, 4, 1) if depth % s == 0)
    constants = finish.constants(1)
    out = target.buffer("y_out")
    acc = Buffer("acc", DType.I32, (THREADS, 1), "register")
    zero = (_T, Const(0))
    runs, loads = [], []
    for side, operand, row in (("x", x, m), ("y", y, n)):
        view = operand.view.repeated((*target.view.shape[:-2], *operand.view.shape[-2:]))
        run = Buffer(f"{side}_run", DType.I8, (THREADS, step), "register")
        places = [view.place((*outer, row, k * step + i)) for i in range(step)]
        buffer = operand.buffer(side)
        is_whole = view.strides[-1] == 1 and all(s % step == 0 for s in (view.offset, *view.strides[:-1]))
        if is_whole:
            loads.append(copy(step, run, zero, buffer, (places[0],)))
        else:
            loads += [Store(run, (_T, Const(i)), Load(buffer, (place,))) for i, place in enumerate(places)]
        runs.append(run)
    a, b = (Load(run, (_T, lane)).cast(DType.I32) - offset for run, offset in zip(runs, zeros, strict=True))
    products = loop(lane, step, Store(acc, zero, Load(acc, zero) + a * b), kind="unrolled")
    buffers, added = [x.buffer("x"), y.buffer("y"), out], None
    if residual is not None:
        buffers.append(residual.buffer("residual"))
        added = Load(buffers[-1], (residual.view.repeated(target.view.shape).place(index),))
    value = _finished(finish, Load(acc, zero), Const(0), constants, added)
    body = sequence(
        Store(acc, zero, Const(0, DType.I32)),
        loop(k, depth // step, *loads, products),
        Store(out, (target.view.place(index),), value),
    )
    count = prod(target.view.shape)
    return grid_of_threads(name, count, [*buffers, *constants.values()], body, [acc, *runs])


def product(name: str, x: Placed, b: Placed, zeros: tuple[int, int], finish: Finish, target: Placed) -> Kernel:
    """Build the products of elements of two activations, one result a thread."""
    index = split_index(thread_number(), target.view.shape)
    constants = finish.constants(1)
    first, second = (
        Load(operand.buffer(side), (operand.view.place(index),)).cast(DType.I32) - zero
        for side, operand, zero in (("x", x, zeros[0]), ("b", b, zeros[1]))
    )
    value = _finished(finish, first * second, Const(0), constants, None)
    body = Store(target.buffer("y"), (target.view.place(index),), value)
    buffers = [x.buffer("x"), b.buffer("b"), target.buffer("y"), *constants.values()]
    return grid_of_threads(name, prod(target.view.shape), buffers, body, [])


def gather_places(name: str, x: Placed, axis: int, indices: tuple[int, ...], target: Placed) -> Kernel:
    """Build the copy of some places of a dimension."""
    index = list(split_index(thread_number(), target.view.shape))
    index[axis] = Lookup(Table(f"{name}_places", DType.I64, indices), index[axis])
    body = Store(
        target.buffer("y"), (target.view.place(split_index(thread_number(), target.view.shape)),),
        Load(x.buffer("x"), (x.view.place(tuple(index)),)),
    )  # fmt: skip
    return grid_of_threads(name, prod(target.view.shape), [x.buffer("x"), target.buffer("y")], body, [])
