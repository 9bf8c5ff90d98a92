"""The GPU's tensor intrinsics: what `mma` means, as a nest that the tensorizer looks for.

The 32 threads of a warp hold an instruction's operands in their registers. With a thread's number written as
`4 * group + member`, thread `(g, m)` holds rows `g` and `g + 8` of the left factor, row `g` of the (transposed) right
factor, of each the bytes of member `m`, and of the sums rows `g` and `g + 8` at columns `2 m` and `2 m + 1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from tilewright.compiler.targets.gpu.instructions import MMA_S8, WGMMA_COLUMNS, wgmma_name
from tilewright.compiler.targets.gpu.kernel import linear, loop
from tilewright.compiler.tir.tensorize import Intrinsic, Tensorizer
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import Buffer, Call, Const, DType, Expr, Load, Stmt, Store, Var

_ANY = range(1 << 31)


def mma_nest(acc: Buffer, a: Buffer, b: Buffer, warp: Expr, place: tuple[Expr, Expr, Expr], half: int) -> Stmt:
    """Build the product of one 16x32 and one 8x32 block in registers, in plain loops.

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
    group, high, pair, low, member, byte = _mma_variables()
    first = warp * 32
    d = (first + (group * 4 + pair), linear((place[0], 1), (high, 2), (low, 1)))
    left = Load(a, (first + (group * 4 + member), linear((place[1], 1), (high, half), (byte, 1))))
    right = Load(b, (first + ((pair * 2 + low) * 4 + member), linear((place[2], 1), (byte, 1))))
    total = Load(acc, d) + left.cast(DType.I32) * right.cast(DType.I32)
    return _mma_loops((group, high, pair, low, member, byte), Store(acc, d, total))


def _mma_variables() -> tuple[Var, ...]:
    return tuple(Var(f"mma_{name}") for name in ("group", "half", "pair", "low", "member", "byte"))


def _mma_loops(variables: tuple[Var, ...], body: Stmt) -> Stmt:
    for var, extent in zip(reversed(variables), (8, 4, 2, 4, 2, 8), strict=True):
        body = loop(var, extent, body)
    return body


def _mma_intrinsic() -> Intrinsic:
    group, high, pair, low, member, byte = _mma_variables()
    names = ("d", "d_lane", "a", "a_lane", "a_half", "b", "b_lane")
    d, d_lane, a, a_lane, a_half, b, b_lane = (Var(name) for name in names)
    sums = Buffer("sums", DType.I32, (1 << 31,), "register")
    left = Buffer("left", DType.I8, (1 << 31,), "register")
    right = Buffer("right", DType.I8, (1 << 31,), "register")
    place = (d + (group * 4 + pair) * d_lane + high * 2 + low,)
    x = Load(left, (a + (group * 4 + member) * a_lane + high * a_half + byte,))
    y = Load(right, (b + ((pair * 2 + low) * 4 + member) * b_lane + byte,))
    store = Store(sums, place, Load(sums, place) + x.cast(DType.I32) * y.cast(DType.I32))
    body = _mma_loops((group, high, pair, low, member, byte), store)
    return Intrinsic(MMA_S8, {}, body, dict.fromkeys(names, _ANY), {"register": 1}, {})


def wgmma_nest(acc: Buffer, a: Buffer, b: Buffer, group: Expr, place: tuple[Expr, Expr, Expr], columns: int) -> Stmt:
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
    """
    variables = _wgmma_variables()
    warp, eight, half, pair, block, low, byte = variables
    thread = group * 128 + linear((warp, 32), (eight, 4), (pair, 1))
    d = (thread, linear((place[0], 1), (block, 4), (half, 2), (low, 1)))
    left = Load(a, (linear((place[1], 1), (warp, 16 * 128), (half, 8 * 128), (eight, 128), (byte, 1)),))
    right = Load(b, (linear((place[2], 1), (block, 8 * 128), (pair, 2 * 128), (low, 128), (byte, 1)),))
    total = Load(acc, d) + left.cast(DType.I32) * right.cast(DType.I32)
    return _wgmma_loops(variables, columns, Store(acc, d, total))


def _wgmma_variables() -> tuple[Var, ...]:
    return tuple(Var(f"wgmma_{name}") for name in ("warp", "group", "half", "pair", "block", "low", "byte"))


def _wgmma_loops(variables: tuple[Var, ...], columns: int, body: Stmt) -> Stmt:
    extents = (4, 8, 2, 4, columns // 8, 2, 128)
    for var, extent in zip(reversed(variables), reversed(extents), strict=True):
        body = loop(var, extent, body)
    return body


def _wgmma_intrinsic(columns: int) -> Intrinsic:
    variables = _wgmma_variables()
    warp, eight, half, pair, block, low, byte = variables
    names = ("d", "d_lane", "a", "b")
    d, d_lane, a, b = (Var(name) for name in names)
    sums = Buffer("sums", DType.I32, (1 << 31,), "register")
    left = Buffer("left", DType.I8, (1 << 31,), "swizzled")
    right = Buffer("right", DType.I8, (1 << 31,), "swizzled")
    place = (d + linear((warp, 32), (eight, 4), (pair, 1)) * d_lane + linear((block, 4), (half, 2), (low, 1)),)
    x = Load(left, (a + linear((warp, 16 * 128), (half, 8 * 128), (eight, 128), (byte, 1)),))
    y = Load(right, (b + linear((block, 8 * 128), (pair, 2 * 128), (low, 128), (byte, 1)),))
    store = Store(sums, place, Load(sums, place) + x.cast(DType.I32) * y.cast(DType.I32))
    units = {"register": 1, "swizzled": 1}
    alignment = {"a": 1024, "b": 1024}
    body = _wgmma_loops(variables, columns, store)
    return Intrinsic(wgmma_name(columns), {}, body, dict.fromkeys(names, _ANY), units, alignment)


@cache
def tensorizer() -> Tensorizer:
    """Return the tensorizer for the instructions of tensor cores."""
    return Tensorizer((_mma_intrinsic(), *map(_wgmma_intrinsic, WGMMA_COLUMNS)))


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
