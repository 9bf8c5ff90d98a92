"""From sums in floating point to results: residual and activation, on vectors of channels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tilewright.compiler.targets.cpu.kernel import lanes
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.kernels.activation import PLAIN, Activation
from tilewright.compiler.targets.kernels.nests import sequence
from tilewright.isa.ir import Buffer, DType, Expr, Load, Stmt, Store, Var

_LANE = Var("lane")


@dataclass(frozen=True)
class FloatFinish:
    """What happens to sums, in which the bias is: `activation(sum + residual)`.

    Attributes
    ----------
    level : Level
    activation : Activation
    """

    level: Level
    activation: Activation = PLAIN

    def constants(self, channels: int) -> dict[str, Buffer]:
        """Declare the buffers of constants: there are none."""
        return {}

    def value(self, total: Expr, residual: Expr | None) -> Expr:
        """Build a result."""
        return self.activation.value(total if residual is None else total + residual, is_exact=True)

    def pixel(
        self, sums: tuple[Buffer, int], count: int, channel: Expr, constants: Mapping[str, Buffer],
        residual: tuple[Buffer, Expr] | None, output: tuple[Buffer, Expr],
    ) -> Stmt:  # fmt: skip
        """Build what happens to neighbouring channels of one pixel, as `epilogue.Finish` does."""
        width = self.level.lanes
        body: list[Stmt] = []
        for start in range(0, count * width, width):
            b = None if residual is None else Load(residual[0], (residual[1] + start + _LANE,)).cast(DType.F32)
            value = self.value(Load(sums[0], (_LANE + (sums[1] + start),)), b)
            body.append(
                lanes(_LANE, width, Store(output[0], (output[1] + start + _LANE,), value.cast(output[0].dtype)))
            )
        return sequence(*body)
