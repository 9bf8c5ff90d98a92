"""Windows that slide over images, as convolutions and pools have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from tilewright.compiler.targets.kernels.layout import Image
from tilewright.isa.ir import Expr

FinishT = TypeVar("FinishT")


@dataclass(frozen=True)
class Windows(Generic[FinishT]):
    """A window over every output pixel; a matrix product is one over images of single pixels.

    Attributes
    ----------
    x, y : Image
    kernel, strides, dilations : tuple of int
        Of height and width.
    pads : tuple of int
        Top and left; the border of `x` is at least as wide.
    finish : FinishT
        What happens to sums.
    residual : Image, optional
    """

    x: Image
    y: Image
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int]
    finish: FinishT
    residual: Image | None = None

    def origin(self, n: Expr, h: Expr, w: Expr) -> Expr:
        """Build the place of the first pixel of an output pixel's window."""
        return self.x.pixel(n, h * self.strides[0], w * self.strides[1], *self.pads)
