"""What the verifier refuses, by the text of its error; what it accepts is every instruction's meaning."""

from __future__ import annotations

import pytest

from tilewright.compiler.tir.verify import VerifyError, verify
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Const,
    DType,
    Expr,
    For,
    Function,
    If,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)
from tilewright.isa.semantics import memories

B = Buffer("b", DType.I32, (8, 2), "dram")
K, N = Var("k"), Var("n")
ZERO = Const(0)


def put(value: Expr, *indices: Expr) -> Store:
    return Store(B, indices or (ZERO, ZERO), value)


ONE = Const(1, DType.I32)
HALF = Const(0.5, DType.F32)

REFUSED: list[tuple[str, Stmt, str]] = [
    ("scope", put(ONE, K, ZERO), "variable `k` is not in scope, in `k`"),
    ("variable type", put(Var("n", DType.I32)), "variable `n` is of type i64, not i32"),
    ("redefined", For(N, Const(2), put(ONE)), r"variable `n` is already defined, in `for n in range\(2\):`"),
    ("store type", put(Const(1)), r"a value of type i64 is stored to i32, in `b\[0, 0\] = 1`"),
    ("operand types", put(Binary(BinaryOp.ADD, ONE, Const(1))), r"`\+` takes two of one type, not i32 and i64"),
    ("float bits", put((HALF & HALF).cast(DType.I32)), "`&` does not take f32"),
    ("bool sum", put(((N < 1) + (N < 2)).cast(DType.I32)), r"`\+` does not take bool"),
    ("select", put(Select(N, ONE, ONE)), "select takes bool and two of one type, not i64, i32, i32"),
    ("indices", Store(B, (ZERO,), ONE), "buffer `b` takes 2 indices, not 1"),
    ("index type", put(ONE, HALF, ZERO), "an index must be an integer, not f32"),
    ("buffer", put(Load(Buffer("c", DType.I32, (1,)), (ZERO,))), "buffer `c` is not in scope, in `c"),
    ("other buffer", put(Load(Buffer("b", DType.I32, (9, 2), "dram"), (ZERO, ZERO))), "`b` is declared otherwise"),
    ("space", Allocate(Buffer("c", DType.I8, (4,), "moon"), Block(())), r"memory space `moon` is unknown \(known: acc"),
    ("shape", Allocate(Buffer("c", DType.I8, (4, 0)), Block(())), "buffer `c` has an impossible shape"),
    ("shadowed buffer", Allocate(Buffer("b", DType.I8, (4,)), Block(())), "buffer `b` is already defined"),
    ("condition", If(N, put(ONE)), r"a condition must be bool, not i64, in `if n:`"),
    ("loop type", For(K, Const(2, DType.I32), put(ONE)), "loop variable i64 and extent i32 must be one integer type"),
    ("loop kind", For(K, Const(2), put(ONE), "sideways"), "loop kind `sideways` is none of serial, unrolled"),
    ("constant", put(Const(256, DType.U8).cast(DType.I32)), "256 does not fit into u8"),
    ("constant kind", put(Const(0.5, DType.I32)), "a constant of type i32 cannot be 0.5"),
]


@pytest.mark.parametrize(("stmt", "message"), [(s, m) for _, s, m in REFUSED], ids=[name for name, _, _ in REFUSED])
def test_refused(stmt: Stmt, message: str) -> None:
    with pytest.raises(VerifyError, match="f: .*" + message):
        verify(Function("f", (N,), (B,), stmt))


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_meaning_is_accepted(preset: str) -> None:
    isa = instruction_set(PRESETS[preset])
    for instruction in isa.instructions:
        function = instruction.function(memories(isa.config))
        assert verify(function) is function


def test_sibling_loops_may_share_a_name() -> None:
    loop = For(K, Const(2), put(ONE, K, ZERO), "bound:thread.x")
    assert verify(Function("f", (), (B,), Block((loop, loop))))


def test_spaces_can_be_added() -> None:
    shared = Buffer("s", DType.I8, (4,), "shared")
    function = Function("f", (), (shared,), Block(()))
    assert verify(function, spaces=("shared",)) is function
