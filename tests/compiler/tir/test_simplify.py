"""Folding and the affine form, by tables; random functions are simplified in `test_native`."""

from __future__ import annotations

import random

import pytest

from tilewright.compiler.tir.interpreter import evaluate
from tilewright.compiler.tir.simplify import (
    Affine,
    affine,
    fold,
    simplify,
    substitute,
    substitute_expr,
    value_range,
)
from tilewright.isa.ir import Block, Buffer, Const, DType, Expr, For, If, Load, Select, Store, Var
from tilewright.isa.ir_text import expression_text

K, J, N = Var("k"), Var("j"), Var("n")
B = Buffer("b", DType.I64, (64,), "dram")
RANGES = {"k": range(4), "j": range(8)}

FOLDED: list[tuple[Expr, str]] = [
    (Const(3) * 4 + 5, "17"),
    (Const(-7) // 2, "-4"),
    (Const(-7) % 4, "1"),
    (Const(127, DType.I8) + 1, "-128"),
    (Const(200, DType.U8) + 100, "44"),
    (Const(-1, DType.I8).cast(DType.U8).cast(DType.I32), "255"),
    (N + 0, "n"),
    (N * 1, "n"),
    (N * 0, "0"),
    (N & 0, "0"),
    (N << 0, "n"),
    ((N + 3) - 0 + 4, "n + 7"),
    ((N + 3) + -3, "n"),
    (Select(Const(2) < 1, N, K), "k"),
    (Select(N < 1, K, K), "k"),
    ((K * 8 + J) // 8, "k"),
    ((K * 8 + J) % 8, "j"),
    ((K * 16 + J) // 8, "k * 2"),
    (J // 8, "0"),
    (J % 16, "j"),
    (J & 7, "j"),
    (J & 3, "j & 3"),
    ((N * 8 + J) // 8, "(n * 8 + j) // 8"),
    (J < 8, "1"),
    (Const(0) <= J, "0 <= j"),
    (J <= 6, "j <= 6"),
    (J < 0, "0"),
    (N // 0, "n // 0"),
]


@pytest.mark.parametrize(("expr", "text"), FOLDED, ids=[expression_text(e) for e, _ in FOLDED])
def test_fold(expr: Expr, text: str) -> None:
    assert expression_text(fold(expr, RANGES)) == text


def test_folding_keeps_values(python_random: random.Random) -> None:
    for expr, _ in FOLDED[:-1]:
        folded = fold(expr, RANGES)
        for _ in range(20):
            values = {name: python_random.choice(held) for name, held in {**RANGES, "n": range(-9, 9)}.items()}
            assert evaluate(folded, values) == evaluate(expr, values)


def test_shared_parts_are_folded_once() -> None:
    """Seen as a tree this expression has 2**60 leaves."""
    expr: Expr = N
    for _ in range(60):
        expr = expr + expr
    assert evaluate(fold(substitute_expr(Select(N < 0, N, N + 1), {"n": Const(5)}))) == 6
    is_kept = fold(expr) is expr
    assert is_kept


def test_affine() -> None:
    form = affine((K * 3 + J - 2) * 4 - K + (J << 1))
    assert form == Affine((("j", 6), ("k", 11)), -8)
    assert form.bounds(RANGES) == range(-8, 11 * 3 + 6 * 7 - 8 + 1)
    assert form.evaluate({"k": 2, "j": 5}) == 44
    assert form.coefficient("j") == 6 and form.coefficient("m") == 0
    assert expression_text(form.to_expr()) == "j * 6 + k * 11 + -8"
    assert (form - form).is_constant
    assert affine(K * J) is None and affine(Load(B, (K,))) is None
    assert affine(Var("s", DType.I32).cast(DType.I64) + 1) == Affine((("s", 1),), 1)
    assert affine(K.cast(DType.I8)) is None


def test_value_range() -> None:
    assert value_range(K * -2 + 1, RANGES) == range(-5, 2)
    assert value_range((N & 15) + J, RANGES) == range(23)
    assert value_range(N, RANGES) is None


def test_simplify_drops_what_never_runs() -> None:
    store = Store(B, (K,), N)
    once = simplify(For(K, Const(1), Block((store, Block(()), For(J, Const(0), store)))))
    assert once == Store(B, (Const(0),), N)
    assert simplify(If(Const(1) < 0, store)) == Block(())
    assert simplify(For(K, Const(4), If(K < 4, store, Store(B, (K,), Const(9))))) == For(K, Const(4), store)


def test_substitute_leaves_bound_variables() -> None:
    loop = For(K, N, Store(B, (K,), N))
    assert substitute(loop, {"k": 3, "n": 2}) == For(K, Const(2), Store(B, (K,), Const(2)))
