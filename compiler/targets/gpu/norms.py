"""Layer normalization of rows of floats: a warp a row, which it holds in registers."""

from __future__ import annotations

from tilewright.compiler.targets.gpu.kernel import WARP, Kernel, call, copy
from tilewright.compiler.targets.gpu.warp_instructions import RSQRT, WHOLE, reduction_name
from tilewright.compiler.targets.kernels.activation import real
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.nests import inside, linear, loop, sequence, when
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Function, Load, Stmt, Store, Var, total

_T, _W, _BLOCK, _TURN = Var("t"), Var("warp"), Var("block"), Var("turn")
_WARPS = 4
_THREADS = WARP * _WARPS
_RUN = 8
_QUARTER = 4


def layer_norm(name: str, x: Image, y: Image, epsilon: float) -> Kernel:
    """Build `(x - mean) / sqrt(variance + epsilon) * scale + bias` along channels; `scale` and `bias` are fp32."""
    channels, rows = x.channels, x.pixels
    turns = -(-channels // (WARP * _RUN))
    row = (_BLOCK * _WARPS + _T // WARP).minimum(rows - 1)  # rows behind the last compute it again
    column = linear((_TURN, WARP * _RUN), (_T % WARP, _RUN))
    guard = column < channels if channels % (WARP * _RUN) else None
    source, out = x.buffer("x"), y.buffer("y")
    raw = Buffer("raw", x.dtype, (_THREADS, _RUN), "register")
    piece = min(_RUN, 128 // x.dtype.bits)
    values = Buffer("values", DType.F32, (_THREADS, turns * _RUN), "register")
    mean, spread = (Buffer(what, DType.F32, (_THREADS, 1), "register") for what in ("mean", "spread"))
    parameters = [Buffer(what, DType.F32, (x.pitch,), "dram") for what in ("scale", "bias")]
    runs = [Buffer(f"{p.name}_run", DType.F32, (_THREADS, _RUN), "register") for p in parameters]
    own = (_T, Const(0))

    def value(i: int) -> Load:
        return Load(values, (_T, _TURN * _RUN + i))

    def each_turn(*body: Stmt) -> Stmt:
        return loop(_TURN, turns, when(guard, sequence(*body)), kind="unrolled")

    def each_thread(*body: Stmt) -> Stmt:
        return loop(_T, _THREADS, *body, kind="bound:thread")

    def reduced(buffer: Buffer) -> Stmt:
        operands = ((f"d@{buffer.name}", _W * WARP), ("d_lane", Const(1)))
        return loop(_W, _WARPS, Call(reduction_name("add", WHOLE), operands), kind="bound:warp")

    def added(buffer: Buffer, terms: list[Expr]) -> Stmt:
        return Store(buffer, own, Load(buffer, own) + total(terms))

    share = real(1 / channels)
    keep = [Store(values, (_T, _TURN * _RUN + i), Load(raw, (_T, Const(i))).cast(DType.F32)) for i in range(_RUN)]
    fetch = [
        copy(piece, raw, (_T, Const(i)), source, (_behind(x.pixel_of(row) + column, i),)) for i in range(0, _RUN, piece)
    ]
    apart = [Store(values, (_T, _TURN * _RUN + i), value(i) - Load(mean, own)) for i in range(_RUN)]
    scaled: list[Stmt] = [
        copy(_QUARTER, run, (_T, Const(i)), parameter, (column + i,))
        for run, parameter in zip(runs, parameters, strict=True)
        for i in range(0, _RUN, _QUARTER)
    ]
    for i in range(_RUN):
        scale, bias = (Load(run, (_T, Const(i))) for run in runs)
        normal = value(i) * Load(spread, own) * scale + bias
        scaled.append(Store(raw, (_T, Const(i)), normal.cast(x.dtype)))
    for i in range(0, _RUN, piece):
        scaled.append(copy(piece, out, (_behind(y.pixel_of(row) + column, i),), raw, (_T, Const(i))))
    phases = sequence(
        call("dependents_launch"), call("dependency_wait"),
        each_thread(
            Store(mean, own, real(0.0)), Store(spread, own, real(0.0)),
            each_turn(*fetch, *keep, added(mean, [value(i) for i in range(_RUN)])),
        ),
        reduced(mean),
        each_thread(
            Store(mean, own, Load(mean, own) * share),
            each_turn(*apart, added(spread, [value(i) * value(i) for i in range(_RUN)])),
        ),
        reduced(spread),
        each_thread(
            Store(spread, own, Load(spread, own) * share + real(epsilon)),
            Call(RSQRT, (("d@spread", linear((_T, 1))),)), each_turn(*scaled),
        ),
    )  # fmt: skip
    grid = loop(_BLOCK, -(-rows // _WARPS), inside([raw, values, mean, spread, *runs], phases), kind="bound:block.x")
    return Kernel(Function(name, (), (source, out, *parameters), grid), frozenset({"scale", "bias"}))


def _behind(place: Expr, count: int) -> Expr:
    return place + count if count else place
