"""The GPU's tensor intrinsics: what `mma` means, as a nest that the tensorizer looks for.

The 32 threads of a warp hold an instruction's operands in their registers. With a thread's number written as
`4 * group + member`, thread `(g, m)` holds rows `g` and `g + 8` of the left factor, row `g` of the (transposed) right
factor, of each the elements of member `m`, and of the sums rows `g` and `g + 8` at columns `2 m` and `2 m + 1`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache

from tilewright.compiler.targets.gpu.instructions import MMA_KINDS, WGMMA_COLUMNS, WGMMA_SUMS, mma_name, wgmma_name
from tilewright.compiler.targets.kernels.nests import linear, loop
from tilewright.compiler.tir.tensorize import Intrinsic, Tensorizer
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Load, Stmt, Store, Var

_ANY = range(1 << 31)


def mma_nest(acc: Buffer, a: Buffer, b: Buffer, warp: Expr, place: tuple[Expr, Expr, Expr], half: int) -> Stmt:
    """Build the product of 16 rows and 8 columns in registers, 32 bytes deep, in plain loops.

    Parameters
    ----------
    acc, a, b : Buffer
        `[threads, n]`, in `register`.
    warp : Expr
        Number of the warp.
    place : tuple of Expr
        Where in a thread's row of `acc`, `a` and `b` its part begins.
    half : int
        Distance of the two halves of `a`.
    """
    group, high, pair, low, member, part = _mma_variables()
    first = warp * 32
    d = (first + (group * 4 + pair), linear((place[0], 1), (high, 2), (low, 1)))
    left = Load(a, (first + (group * 4 + member), linear((place[1], 1), (high, half), (part, 1))))
    right = Load(b, (first + ((pair * 2 + low) * 4 + member), linear((place[2], 1), (part, 1))))
    total = Load(acc, d) + left.cast(acc.dtype) * right.cast(acc.dtype)
    return _mma_loops((group, high, pair, low, member, part), a.dtype, Store(acc, d, total))


def _mma_variables() -> tuple[Var, ...]:
    return tuple(Var(f"mma_{name}") for name in ("group", "half", "pair", "low", "member", "part"))


def _mma_loops(variables: tuple[Var, ...], kind: DType, body: Stmt) -> Stmt:
    for var, extent in zip(reversed(variables), (64 // kind.bits, 4, 2, 4, 2, 8), strict=True):
        body = loop(var, extent, body)
    return body


def _mma_intrinsic(kind: DType) -> Intrinsic:
    group, high, pair, low, member, part = _mma_variables()
    names = ("d", "d_lane", "a", "a_lane", "a_half", "b", "b_lane")
    d, d_lane, a, a_lane, a_half, b, b_lane = (Var(name) for name in names)
    sums = Buffer("sums", WGMMA_SUMS[kind], (1 << 31,), "register")
    left, right = (Buffer(name, kind, (1 << 31,), "register") for name in ("left", "right"))
    place = (d + (group * 4 + pair) * d_lane + high * 2 + low,)
    x = Load(left, (a + (group * 4 + member) * a_lane + high * a_half + part,))
    y = Load(right, (b + ((pair * 2 + low) * 4 + member) * b_lane + part,))
    store = Store(sums, place, Load(sums, place) + x.cast(sums.dtype) * y.cast(sums.dtype))
    body = _mma_loops((group, high, pair, low, member, part), kind, store)
    return Intrinsic(mma_name(kind), {}, body, dict.fromkeys(names, _ANY), {"register": 1}, {})


def wgmma_nest(
    acc: Buffer, a: Buffer, b: Buffer, group: Expr, place: tuple[Expr, Expr, Expr], columns: int, depth: int = 128
) -> Stmt:
    """Build the product of 64 rows of `a` and `columns` rows of `b`, 128 bytes deep, in plain loops.

    Parameters
    ----------
    acc : Buffer
        `[threads, n]`, in `register`.
    a, b : Buffer
        Flat, in `swizzled`; rows take 128 bytes.
    group : Expr
        Number of the warpgroup.
    place : tuple of Expr
        Where in a thread's row of `acc`, and in `a` and `b`, its part begins.
    columns : int
    depth : int
        Elements of 128 bytes.
    """
    warp, eight, _, pair, *_ = _wgmma_variables()
    thread = group * 128 + linear((warp, 32), (eight, 4), (pair, 1))

    def target(rest: Expr) -> tuple[Expr, ...]:
        return thread, linear((place[0], 1), (rest, 1))

    return _wgmma_body((acc, a, b), target, place[1], place[2], columns, depth)


def _wgmma_variables() -> tuple[Var, ...]:
    return tuple(Var(f"wgmma_{name}") for name in ("warp", "group", "half", "pair", "block", "low", "element"))


def _wgmma_body(
    buffers: tuple[Buffer, Buffer, Buffer], target: Callable[[Expr], tuple[Expr, ...]], a: Expr, b: Expr, columns: int,
    depth: int,
) -> Stmt:  # fmt: skip
    variables = _wgmma_variables()
    warp, eight, half, pair, block, low, element = variables
    acc, left, right = buffers
    d = target(linear((block, 4), (half, 2), (low, 1)))
    x = Load(left, (linear((a, 1), (warp, 16 * depth), (half, 8 * depth), (eight, depth), (element, 1)),))
    y = Load(right, (linear((b, 1), (block, 8 * depth), (pair, 2 * depth), (low, depth), (element, 1)),))
    body: Stmt = Store(acc, d, Load(acc, d) + x.cast(acc.dtype) * y.cast(acc.dtype))
    extents = (4, 8, 2, 4, columns // 8, 2, depth)
    for var, extent in zip(reversed(variables), reversed(extents), strict=True):
        body = loop(var, extent, body)
    return body


def _wgmma_intrinsic(columns: int, kind: DType) -> Intrinsic:
    warp, eight, _, pair, *_ = _wgmma_variables()
    names = ("d", "d_lane", "a", "b")
    d, d_lane, a, b = (Var(name) for name in names)
    sums = Buffer("sums", WGMMA_SUMS[kind], (1 << 31,), "register")
    left, right = (Buffer(name, kind, (1 << 31,), "swizzled") for name in ("left", "right"))
    depth = 1024 // kind.bits

    def target(rest: Expr) -> tuple[Expr, ...]:
        return (d + linear((warp, 32), (eight, 4), (pair, 1)) * d_lane + rest,)

    body = _wgmma_body((sums, left, right), target, a, b, columns, depth)
    units, alignment = {"register": 1, "swizzled": 1}, {"a": 8 * depth, "b": 8 * depth}
    return Intrinsic(wgmma_name(columns, kind), {}, body, dict.fromkeys(names, _ANY), units, alignment)


@cache
def tensorizer() -> Tensorizer:
    """Return the tensorizer for the instructions of tensor cores."""
    wgmma = (_wgmma_intrinsic(columns, kind) for kind in WGMMA_SUMS for columns in WGMMA_COLUMNS)
    return Tensorizer((*map(_mma_intrinsic, MMA_KINDS), *wgmma))


def tensorized(nest: Stmt, around: tuple[str, ...], roles: Mapping[str, str]) -> Call:
    """Replace a nest by the instruction that means it, with the buffers that its operands lie in.

    Parameters
    ----------
    nest : Stmt
    around : tuple of str
        Variables of the loops around.
    roles : mapping of str to str
        The buffer of each operand that is a place.
    """
    names = {s.buffer.name for s in walk_statements(nest) if isinstance(s, Store)}
    names |= {x.buffer.name for x in walk_expressions(nest) if isinstance(x, Load)}
    found = tensorizer().call(nest, around, dict.fromkeys(names, 0))
    operands = dict(found.operands)
    for role in roles:
        operands.setdefault(role, Const(0))
    return Call(found.name, tuple((f"{k}@{roles[k]}" if k in roles else k, v) for k, v in operands.items()))
