"""The epilogue's parameters of one channel, as they lie in memory: a word of 64 bits, little-endian."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """A part of the word.

    Attributes
    ----------
    low, bits : int
        Its lowest bit, and its width.
    """

    low: int
    bits: int

    @property
    def mask(self) -> int:
        """The part's bits, all set, moved down."""
        return (1 << self.bits) - 1


RECORD_BYTES = 8

#: Added to the sum; signed.
BIAS = Part(0, 32)
#: The fixed-point scale's factor; a configuration keeps its lowest `epilogue.multiplier_bits`.
MULTIPLIER = Part(32, 24)
#: The fixed-point scale's right shift.
SHIFT = Part(56, 6)
#: Whether the sum is subtracted from the bias instead of added to it; only with `vector.rows`.
NEGATE = Part(63, 1)
