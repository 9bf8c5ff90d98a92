"""Activations in floating point, as expressions, and the arithmetic that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tilewright.isa.ir import Binary, BinaryOp, Const, DType, Expr

#: GELU is `x * (1/2 + z * P((z / 4)^2))` with `z` being `x` between -4 and 4; it is 1.3e-4 off at most.
_GELU_END = 4.0
_GELU = (
    0.39853142627, -1.05018918222, 2.39560316275, -3.95629364071, 4.51823133906, -3.34268741919, 1.4263906997,
    -0.26458638566,
)  # fmt: skip


#: And `x * (1/2 + z * P(z^2) / Q(z^2))` with `z` between -5.5 and 5.5; it is 1e-6 off at most.
_EXACT_END = 5.5
_EXACT_ABOVE = (0.398942235, 0.0338524413, 0.00467724809, 0.000168823595, 6.35210255e-06, 2.27495539e-08)
_EXACT_BELOW = (1.0, 0.251521405, 0.028645754, 0.00188443312, 7.36468307e-05, 1.19750837e-06)


@dataclass(frozen=True)
class Activation:
    """What is done to a finished sum.

    Attributes
    ----------
    is_gelu : bool
    low, high : float
        Bounds of the result, infinite where there are none.
    """

    is_gelu: bool = False
    low: float = float("-inf")
    high: float = float("inf")

    def value(self, x: Expr, is_exact: bool = False) -> Expr:
        """Build the result; that of GELU good enough for fp16, or for fp32."""
        if self.is_gelu:
            return _exact_gelu(x) if is_exact else _gelu(x)
        return bounded(x, self.low, self.high)


#: Leaves sums as they are.
PLAIN = Activation()


def real(value: float) -> Const:
    """Build a literal of fp32."""
    return Const(value, DType.F32)


def bounded(x: Expr, low: float, high: float) -> Expr:
    """Build a value between two bounds, of which either may be infinite."""
    if low != float("-inf"):
        x = x.maximum(real(low))
    return x.minimum(real(high)) if high != float("inf") else x


def _gelu(x: Expr) -> Expr:
    z = bounded(x, -_GELU_END, _GELU_END)
    square = z * z
    scaled = [coefficient / _GELU_END ** (2 * power) for power, coefficient in enumerate(_GELU)]
    return x * (z * _polynomial(scaled, square) + real(0.5))


def _exact_gelu(x: Expr) -> Expr:
    z = bounded(x, -_EXACT_END, _EXACT_END)
    square = z * z
    ratio = Binary(BinaryOp.DIV, z * _polynomial(_EXACT_ABOVE, square), _polynomial(_EXACT_BELOW, square))
    return x * (ratio + real(0.5))


def _polynomial(coefficients: Sequence[float], x: Expr) -> Expr:
    value: Expr = real(coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        value = value * x + real(coefficient)
    return value
