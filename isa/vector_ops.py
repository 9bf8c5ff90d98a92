"""The vector operations: one entry each, its meaning an expression.

To add one: an entry here, and its expression in hardware in `tilewright.hw.vector_alu`. Nothing else knows the
operations.
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.isa.ir import DType, Expr, Var

#: The operands of an operation's `combine`, 32-bit integers.
A = Var("a", DType.I32)
B = Var("b", DType.I32)
ZERO_A = Var("zero_a", DType.I32)
ZERO_B = Var("zero_b", DType.I32)


@dataclass(frozen=True)
class VectorOp:
    """One operation of the vector unit.

    Attributes
    ----------
    name : str
    code : int
        Its number in the `op` field.
    combine : Expr
        What one reduction step contributes, in terms of `A`, `B` (from `act`), `ZERO_A`, `ZERO_B`.
    reduce : str
        How steps are combined: `add`, `max` or `min`.
    doc : str
    needs_multiply : bool
        Whether it exists only with `vector.multiply`.
    """

    name: str
    code: int
    combine: Expr
    reduce: str
    doc: str
    needs_multiply: bool = False


VECTOR_OPS: tuple[VectorOp, ...] = (
    VectorOp("sum", 0, A, "add", "sum of a; with one step, a itself"),
    VectorOp("max", 1, A, "max", "largest a"),
    VectorOp("min", 2, A, "min", "smallest a"),
    VectorOp(
        "mul",
        3,
        (A - ZERO_A) * (B - ZERO_B),
        "add",
        "sum of products of a and b, zero points removed",
        needs_multiply=True,
    ),
)
