"""What is free to choose in a kernel: it changes how long it takes, never what it computes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The order and the amounts in which a kernel computes.

    Attributes
    ----------
    rows : int
        Pixels, or rows of a matrix, that are computed together; of a depthwise convolution of bytes, rows of pixels.
    columns : int
        Vectors of channels that are computed together.
    is_row_major : bool
        Whether all channels of some pixels are computed before the next pixels.
    unrolled : int
        Steps of a sum that are written out, where so many or a divisor of theirs fit its length.
    """

    rows: int
    columns: int = 1
    is_row_major: bool = False
    unrolled: int = 4

    def __str__(self) -> str:
        order = ", by pixels" if self.is_row_major else ""
        return f"{self.rows}x{self.columns}, {self.unrolled} steps{order}"


#: One pixel or row by one vector at a time.
PLAIN = Schedule(1)
