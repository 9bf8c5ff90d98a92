"""From fp32 sums to fp16: bias, residual and activation, as expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.isa.ir import Buffer, Const, DType, Expr, Load

#: GELU is `x * (1/2 + z * P((z / 4)^2))` with `z` being `x` between -4 and 4; it is 1.3e-4 off at most.
_GELU_END = 4.0
_GELU = (
    0.39853142627, -1.05018918222, 2.39560316275, -3.95629364071, 4.51823133906, -3.34268741919, 1.4263906997,
    -0.26458638566,
)  # fmt: skip


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

    def value(self, x: Expr) -> Expr:
        """Build the result."""
        return _gelu(x) if self.is_gelu else bounded(x, self.low, self.high)


@dataclass(frozen=True)
class FloatFinish:
    """What happens to sums: `activation(factor * sum + bias + residual)`.

    Attributes
    ----------
    has_bias : bool
    activation : Activation
    factor : float
    """

    has_bias: bool = False
    activation: Activation = Activation()
    factor: float = 1.0

    @property
    def has_table(self) -> bool:
        """Whether a table of results is looked at."""
        return False

    def constants(self, channels: int) -> dict[str, Buffer]:
        """Declare the buffers of constants by what they hold."""
        return {"bias": Buffer("bias", DType.F32, (channels,), "dram")} if self.has_bias else {}

    def value(self, total: Expr, scale: Mapping[str, Expr], residual: Expr | None, table: Buffer | None) -> Expr:
        """Build the result of one sum, in fp32."""
        y = total.cast(DType.F32)
        if self.factor != 1:
            y = y * real(self.factor)
        if "bias" in scale:
            y = y + scale["bias"].cast(DType.F32)
        if residual is not None:
            y = y + residual.cast(DType.F32)
        return self.activation.value(y)


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
    polynomial: Expr = real(scaled[-1])
    for coefficient in reversed(scaled[:-1]):
        polynomial = polynomial * square + real(coefficient)
    return x * (z * polynomial + real(0.5))


def element(buffer: Buffer, *indices: Expr) -> Expr:
    """Build an element in fp32."""
    return Load(buffer, indices).cast(DType.F32)
