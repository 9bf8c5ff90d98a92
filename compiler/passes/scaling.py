"""Builds the constants of the epilogue: bias, multipliers and shifts."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from tilewright.compiler.fixed_point import to_fixed_point, to_shared_fixed_point
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import Scale, Unsuitable, Weights
from tilewright.compiler.qops import INT8_MAX, INT8_MIN, Residual

_INT32 = np.iinfo(np.int32)
_FEW_BITS = 11  # multipliers of fewer lose more than half a step anyway: each bit less doubles it


def scaling_constants(
    editor: GraphEditor, hint: str, bias: Array, factors: Sequence[float] | Array, bits: int
) -> tuple[str, str, str]:
    """Add the constants `bias`, `multiplier` and `shift` of an operator; give their names."""
    fixed = [to_fixed_point(float(factor), bits) for factor in factors]
    return (
        editor.constant(f"{hint}/bias", np.asarray(bias).astype(np.int32)),
        editor.constant(f"{hint}/multiplier", np.array([f.multiplier for f in fixed], np.int32)),
        editor.constant(f"{hint}/shift", np.array([f.shift for f in fixed], np.int32)),
    )


def folded_bias(weights: Weights, axis: int, x: Scale, bias: Array | None) -> Array:
    """The int64 bias of each output channel, with the input's zero point folded in.

    Parameters
    ----------
    weights
        With output channels on `axis`.
    x
        The input's quantization.
    bias
        Real bias of each channel, or None.

    Raises
    ------
    Unsuitable
        When the bias, or the sum for some input, may exceed 32 bits.
    """
    array = weights.array.astype(np.int64)
    others = tuple(i for i in range(array.ndim) if i != axis)
    total = array.sum(axis=others)
    positive = np.maximum(array, 0).sum(axis=others)
    negative = np.minimum(array, 0).sum(axis=others)
    folded = -x.zero * total
    if bias is not None:
        real = np.rint(np.broadcast_to(bias, total.shape) / (x.scale * weights.scales))
        if not np.abs(real).max(initial=0) <= _INT32.max:  # nor is it a number, maybe
            raise Unsuitable("its bias exceeds 32 bits")
        folded = folded + real.astype(np.int64)
    highest = folded + 127 * positive - 128 * negative
    lowest = folded - 128 * positive + 127 * negative
    extremes = (highest.max(initial=0), folded.max(initial=0), -lowest.min(initial=0), -folded.min(initial=0))
    if max(extremes) > _INT32.max:
        raise Unsuitable("its sums may exceed 32 bits")
    return np.asarray(folded)


def within_32_bits(weights: Weights, axis: int, x: Scale, bias: Array | None) -> Weights:
    """Coarser weights for channels whose sums may exceed 32 bits; those of other channels stay.

    Such a channel's bias is so large beside its products that either those are far less than a step of the result, or
    the result is saturated: weights that are small where the quantizer found a channel of zeros.

    Parameters
    ----------
    weights, axis, x, bias
        As for `folded_bias`.
    """
    array = weights.array.astype(np.int64)
    others = tuple(i for i in range(array.ndim) if i != axis)
    bound = (128 + abs(x.zero)) * np.abs(array).sum(axis=others).astype(np.float64)
    if bias is not None:
        bound = bound + np.abs(np.broadcast_to(bias, bound.shape) / (x.scale * weights.scales))
    bits = np.where(bound > _INT32.max, np.ceil(np.log2(np.maximum(bound, 1))) - 30, 0)
    if not bits.any():
        return weights
    divisor = np.exp2(bits)
    shape = [1] * array.ndim
    shape[axis] = -1
    coarse = np.rint(array / divisor.reshape(shape)).astype(weights.array.dtype)
    return Weights(coarse, weights.scales * divisor)


def residual_stage(a: Scale, b: Scale, out: Scale, bits: int) -> Residual:
    """The residual stage that adds `a` and `b` at the scale of `out`.

    Raises
    ------
    Unsuitable
        When a scale is so much larger than the result's that no multiplier stands for it, or for the other one.
    """
    factors = (a.scale / out.scale, b.scale / out.scale)
    if max(factors) >= 1 << bits:
        raise Unsuitable("the result's scale is too small beside those of its operands")
    multiplier_a, multiplier_b, shift = to_shared_fixed_point(*factors, bits)
    smaller = multiplier_a if factors[0] < factors[1] else multiplier_b
    lost = abs(math.ldexp(smaller, -shift) - min(factors)) * (INT8_MAX - INT8_MIN)
    if lost > 2.0 ** max(-1, _FEW_BITS - bits):
        raise Unsuitable("the scales of its operands are too far apart beside the result's")
    return Residual(a.zero, multiplier_a, b.zero, multiplier_b, shift, out.zero)
