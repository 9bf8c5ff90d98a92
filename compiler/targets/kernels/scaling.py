"""From sums to integers of 8 bits: requantization constants, and the arithmetic that all targets share.

`(sum * multiplier + half) >> shift` is computed as `((sum * multiplier >> (shift - 1)) + 1) >> 1`, the inner part as
the high half of a product of 32-bit numbers wherever the multiplier leaves room to be moved up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.qops import Residual
from tilewright.isa.ir import DType, Expr


@dataclass(frozen=True)
class Scaling:
    """Requantization constants, ready for kernels.

    Attributes
    ----------
    bias, multiplier, shift : array
        Of each channel, or of length 1. With `is_high`, the multiplier is moved up so that the high half of its
        product is what counts, and shifts are those that remain.
    is_high : bool
    """

    bias: NDArray[np.int32]
    multiplier: NDArray[np.int64]
    shift: NDArray[np.int32]
    is_high: bool

    @classmethod
    def of(cls, bias: NDArray[np.int32], multiplier: NDArray[np.int32], shift: NDArray[np.int32]) -> Scaling:
        """Prepare an operator's constants."""
        wide, distance = multiplier.astype(np.int64), shift.astype(np.int64)
        whole = np.where(distance == 0, wide * 2, wide)
        rest = np.maximum(distance, 1) - 1
        left = np.maximum(rest - 32, 0)
        up = 32 + left - rest
        if np.all(whole << up < 1 << 31) and np.all(up < 31):
            return cls(bias, whole << up, left.astype(np.int32), True)
        return cls(bias, whole, rest.astype(np.int32), False)

    @property
    def has_shift(self) -> bool:
        """Whether shifts must be looked at."""
        return not self.is_high or bool(self.shift.any())

    def arrays(self, channels: int) -> dict[str, NDArray[Any]]:
        """Give the constants by name, continued to a number of channels."""
        kind = np.int32 if self.is_high else np.int64
        found = {
            "bias": continued(self.bias, channels),
            "multiplier": continued(self.multiplier.astype(kind), channels),
        }
        if self.has_shift:
            found["shift"] = self.shift
        return {name: continued(array, channels) for name, array in found.items()}


def continued(array: NDArray[Any], channels: int) -> NDArray[Any]:
    """Repeat one element, or append zeros, up to a number of channels."""
    if array.size == 1:
        return np.repeat(array.reshape(-1), channels)
    return np.concatenate([array, np.zeros(channels - array.size, array.dtype)])


def clamped(value: Expr, low: int, high: int) -> Expr:
    """Build a value between two bounds."""
    return value.maximum(low).minimum(high)


def added(y: Expr, b: Expr, stage: Residual, low: int, high: int) -> Expr:
    """Build the residual stage, in 64 bits where 32 may not do, clamped to two bounds."""
    largest = 256 * (abs(stage.multiplier_a) + abs(stage.multiplier_b)) + (1 << stage.shift >> 1)
    kind = DType.I32 if largest < 1 << 31 else DType.I64
    offset = (1 << stage.shift >> 1) - stage.zero_a * stage.multiplier_a - stage.zero_b * stage.multiplier_b
    total = y.cast(kind) * stage.multiplier_a + b.cast(kind) * stage.multiplier_b + offset
    return clamped((total >> stage.shift) + stage.zero_out, low, high).cast(DType.I32)
