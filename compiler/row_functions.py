"""Softmax and normalisation along rows in the integers of the accelerator's row operations, in NumPy.

Every function takes rows of int8 values, `[..., channels]`, and gives what the accelerator's epilogue is given; the
results equal those of ROW instructions (`tilewright.isa.row_ops`) to the bit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilewright.isa.ir import Table
from tilewright.isa.row_ops import (
    DEVIATION_FRACTION,
    EXP_BASE,
    EXP_FRACTION,
    EXP_STEP,
    HALF_BITS,
    LOG_BASE,
    LOG_FRACTION,
    LOG_STEP,
    MANTISSA_FRACTION,
    MEAN_FRACTION,
    NORMAL_FRACTION,
    OFFSET_BITS,
    SCALE_BITS,
    SPREAD_FRACTION,
    SUM_BITS,
)

Integers = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Normalization:
    """Operands of the instructions that normalise rows.

    Attributes
    ----------
    mean_scale, mean_shift : int
        `scale` and `offset` of `sum`; a scale of 0 takes the mean for 0, as RMS normalization does.
    count_log : int
        `scale` of `square_sum`.
    epsilon : int
        `offset` of `square_sum`.
    """

    mean_scale: int
    mean_shift: int
    count_log: int
    epsilon: int

    @classmethod
    def of(cls, channels: int, scale: float, epsilon: float, *, removes_mean: bool = True) -> Normalization:
        """Return the operands for rows of so many channels of this scale; see `is_possible`.

        Parameters
        ----------
        channels : int
            Less than 65536.
        scale : float
            Real value of one step of the input.
        epsilon : float
            What is added to the variance, real.
        removes_mean : bool
            Layer normalization; without, RMS normalization.
        """
        shift = SCALE_BITS - 1 - MEAN_FRACTION + (channels - 1).bit_length()
        count_log = round(math.log2(channels) * (1 << LOG_FRACTION))
        added = round(epsilon / scale**2 * channels * (1 << 2 * DEVIATION_FRACTION))
        mean_scale = min(round((1 << shift + MEAN_FRACTION) / channels), (1 << SCALE_BITS) - 1)
        return cls(mean_scale if removes_mean else 0, shift, count_log, added)

    @property
    def is_possible(self) -> bool:
        """Whether the operands fit into the fields of instructions."""
        return self.count_log < 1 << SCALE_BITS and self.epsilon < 1 << OFFSET_BITS


def softmax_scale(scale: float) -> int:
    """Return `scale` of the instructions of a softmax, for an input of this real scale.

    It must fit into `SCALE_BITS` (`has_softmax`), which real scales below 11 do.
    """
    return round(scale * math.log2(math.e) * (1 << LOG_FRACTION))


def has_softmax(scale: float) -> bool:
    """Tell whether rows of this real scale can have a softmax."""
    return 0 < softmax_scale(scale) < 1 << SCALE_BITS


def softmax_rows(rows: Rows, scale: int) -> Integers:
    """Return the probabilities along the last axis, with `EXP_FRACTION` fraction bits.

    Parameters
    ----------
    rows : array of int8
    scale : int
        See `softmax_scale`.
    """
    scaled = rows.astype(np.int64) * scale
    largest = _int32(scaled.max(axis=-1, keepdims=True))
    sums = exp2n(np.maximum(largest - scaled, 0)).sum(axis=-1, keepdims=True)
    total = _int32(largest + log2p(sums) - (EXP_FRACTION << LOG_FRACTION))
    return exp2n(np.maximum(total - scaled, 0))


def normalise_rows(rows: Rows, operands: Normalization) -> Integers:
    """Return deviations from the mean over the standard deviation, with `NORMAL_FRACTION` fraction bits."""
    a = rows.astype(np.int64)
    sums = a.sum(axis=-1, keepdims=True)
    mean = _low_bits(_rounded(sums * operands.mean_scale, operands.mean_shift), HALF_BITS)
    deviations = (a << MEAN_FRACTION) - mean
    squares = _rounded(deviations, MEAN_FRACTION - DEVIATION_FRACTION) ** 2
    total = (squares.sum(axis=-1, keepdims=True) + operands.epsilon) % (1 << SUM_BITS)
    variance_log = log2p(total) - operands.count_log - (2 * DEVIATION_FRACTION << LOG_FRACTION)
    half = 1 << (HALF_BITS - 1)
    spread = np.clip(_rounded(variance_log, LOG_FRACTION + 1 - SPREAD_FRACTION), -half, half - 1)
    return normalised(a, (mean << HALF_BITS) + (spread & (2 * half - 1)))


def normalised(a: Integers, entry: Integers) -> Integers:
    """Return the result of `normalise` for values and their rows' results of `square_sum`."""
    mean, spread = entry >> HALF_BITS, _low_bits(entry, HALF_BITS)
    fraction = (spread & ((1 << SPREAD_FRACTION) - 1)) << (LOG_FRACTION - SPREAD_FRACTION)
    shift = (spread >> SPREAD_FRACTION) + (MEAN_FRACTION + MANTISSA_FRACTION - NORMAL_FRACTION)
    return ((a << MEAN_FRACTION) - mean) * mantissa(fraction) >> shift


def mantissa(fraction: Integers) -> Integers:
    """`2**-f`; see `tilewright.isa.row_ops.mantissa`."""
    return _line(EXP_BASE, EXP_STEP, fraction, -1)


def exp2n(exponent: Integers) -> Integers:
    """`2**-t`; see `tilewright.isa.row_ops.exp2n`."""
    whole = exponent >> LOG_FRACTION
    value = mantissa(exponent & ((1 << LOG_FRACTION) - 1)) << (EXP_FRACTION - MANTISSA_FRACTION)
    return np.where(whole <= EXP_FRACTION, value >> np.minimum(whole, EXP_FRACTION), 0)


def log2p(value: Integers) -> Integers:
    """`log2(v)`; see `tilewright.isa.row_ops.log2p`."""
    place = np.zeros_like(value)
    for bit in range(1, SUM_BITS):
        place += value >> bit > 0
    aligned = value << (SUM_BITS - 1 - place)
    fraction = (aligned >> (SUM_BITS - 1 - LOG_FRACTION)) & ((1 << LOG_FRACTION) - 1)
    return (place << LOG_FRACTION) + _line(LOG_BASE, LOG_STEP, fraction, 1)


def _line(base: Table, step: Table, fraction: Integers, sign: int) -> Integers:
    rest_bits = LOG_FRACTION - (len(base.values).bit_length() - 1)
    segment, rest = fraction >> rest_bits, fraction & ((1 << rest_bits) - 1)
    bases, steps = np.array(base.values, np.int64), np.array(step.values, np.int64)
    point: Integers = bases[segment] + sign * _rounded(steps[segment] * rest, rest_bits)
    return point


def _rounded(value: Integers, shift: int) -> Integers:
    """`value / 2**shift`, half up."""
    rounded: Integers = (value + (1 << shift >> 1)) >> shift
    return rounded


def _low_bits(value: Integers, bits: int) -> Integers:
    half = 1 << (bits - 1)
    return (value + half) % (2 * half) - half


def _int32(value: Integers) -> Integers:
    return _low_bits(value, 32)
