"""From fp32 sums to results in floating point: bias, residual and activation, as expressions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.compiler.targets.kernels.activation import PLAIN, Activation, real
from tilewright.isa.ir import Buffer, DType, Expr, Load


@dataclass(frozen=True)
class FloatFinish:
    """What happens to sums: `activation(factor * sum + bias + residual)`.

    Attributes
    ----------
    has_bias : bool
    activation : Activation
    factor : float
    is_exact : bool
        Whether results are of fp32.
    """

    has_bias: bool = False
    activation: Activation = PLAIN
    factor: float = 1.0
    is_exact: bool = False

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
        return self.activation.value(y, self.is_exact)


def element(buffer: Buffer, *indices: Expr) -> Expr:
    """Build an element in fp32."""
    return Load(buffer, indices).cast(DType.F32)
