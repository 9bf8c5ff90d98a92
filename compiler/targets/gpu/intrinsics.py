"""The GPU's tensor intrinsics: what `mma` means, as a nest that the tensorizer looks for.

The 32 threads of a warp hold an instruction's operands in their registers. With a thread's number written as
`4 * group + member`, thread `(g, m)` holds rows `g` and `g + 8` of the left factor, row `g` of the (transposed) right
factor, of each the bytes of member `m`, and of the sums rows `g` and `g + 8` at columns `2 m` and `2 m + 1`.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from tilewright.compiler.targets.gpu.instructions import MMA_S8
from tilewright.compiler.targets.gpu.kernel import linear, loop
from tilewright.compiler.tir.tensorize import Intrinsic, TensorizeError, Tensorizer
from tilewright.compiler.tir.visit import walk_expressions, walk_statements
from tilewright.isa.ir import Buffer, Call, DType, Expr, Load, Stmt, Store, Var

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


@cache
def tensorizer() -> Tensorizer:
    """Return the tensorizer for the instructions of tensor cores."""
    return Tensorizer((_mma_intrinsic(),))


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
    if found.name != MMA_S8:
        raise TensorizeError(f"`{found.name}` is not what was looked for")
    operands = dict(found.operands)
    for role in roles:
        operands.setdefault(role, Var("zero") * 0)
    return Call(found.name, tuple((f"{k}@{roles[k]}" if k in roles else k, v) for k, v in operands.items()))
