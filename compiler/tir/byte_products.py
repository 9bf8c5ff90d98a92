"""Sums of products of bytes, two by two: the shape for which processors have instructions."""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.compiler.tir.visit import variables_of
from tilewright.isa.ir import Binary, BinaryOp, Cast, Const, DType, Expr, For, Load, Store, Var


@dataclass(frozen=True)
class BytePairs:
    """`for k in range(lanes): x[..., k // 2] = x[..., k // 2] + i32(a[..., k]) * i32(w[..., k])`.

    Attributes
    ----------
    var : Var
        `k`, which both operands' last indices advance with, one by one.
    lanes : int
        Products; a multiple of 2.
    target : Load
        The sums, as they are read.
    left, right : Load
        Signed bytes.
    """

    var: Var
    lanes: int
    target: Load
    left: Load
    right: Load


def paired(var: Var) -> Expr:
    """Return the place of a product's sum."""
    return var // 2


def are_byte_products(var: Var, summand: Expr) -> bool:
    """Tell whether a summand is the product of two signed bytes that lie behind each other along `var`."""
    return _factors(var, summand) is not None


def find_byte_pairs(stmt: For) -> BytePairs | None:
    """Return what a loop sums, if it is of this shape."""
    match stmt:
        case For(var, Const(int(lanes)), Store(buffer, indices, Binary(BinaryOp.ADD, Load() as target, summand))):
            factors = _factors(var, summand)
            is_sum = target == Load(buffer, indices) and indices[-1] == paired(var) and lanes % 2 == 0
            is_placed = all(var.name not in variables_of(index) for index in indices[:-1])
            if factors is None or not is_sum or not is_placed or lanes < 2:
                return None
            return BytePairs(var, lanes, target, *factors)
        case _:
            return None


def _factors(var: Var, summand: Expr) -> tuple[Load, Load] | None:
    match summand:
        case Binary(BinaryOp.MUL, Cast(DType.I32, Load() as left), Cast(DType.I32, Load() as right)):
            return (left, right) if _is_contiguous(var, left) and _is_contiguous(var, right) else None
        case _:
            return None


def _is_contiguous(var: Var, load: Load) -> bool:
    """Tell whether a load is of signed bytes, the next one with the variable's next value."""
    fixed = list(load.indices[:-1])
    match load.indices[-1]:
        case Var(name):
            advancing = name
        case Binary(BinaryOp.ADD, start, Var(name)) | Binary(BinaryOp.ADD, Var(name), start):
            advancing = name
            fixed.append(start)
        case _:
            return False
    is_fixed = all(var.name not in variables_of(expr) for expr in fixed)
    return load.buffer.dtype == DType.I8 and advancing == var.name and is_fixed
