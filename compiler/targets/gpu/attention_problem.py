"""What attention computes, whatever the kernel."""

from __future__ import annotations

from dataclasses import dataclass
from math import e as EULER
from math import log2

from tilewright.compiler.targets.kernels.activation import real
from tilewright.compiler.targets.kernels.layout import Image, Placed
from tilewright.compiler.targets.kernels.nests import linear
from tilewright.isa.ir import DType, Expr, Load, Select

#: A score whose power is 0, and the least that a mask adds, whose power is 0 where any score is more.
NOTHING, LEAST_MASK = -1e30, -1e29

#: Powers are those of 2.
_LOG2 = log2(EULER)


@dataclass(frozen=True)
class AttentionProblem:
    """`softmax(scale * q k^T + mask) v` for every head.

    Attributes
    ----------
    sources : tuple of Image
        What holds queries, keys and values, a pixel a word.
    columns : tuple of int
        The channel of each at which the first head begins.
    target : Image
    batch, words, heads, depth : int
    scale : float
    mask : Placed, optional
        Viewed as `[batch, heads, query, key]`.
    """

    sources: tuple[Image, Image, Image]
    columns: tuple[int, int, int]
    target: Image
    batch: int
    words: int
    heads: int
    depth: int
    scale: float
    mask: Placed | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates asked for."""
        return 2 * self.batch * self.heads * self.words * self.words * self.depth

    @property
    def factor(self) -> float:
        """What scores are multiplied by for powers of 2."""
        return self.scale * _LOG2

    def word(self, which: int, image: Expr, head: Expr, word: Expr) -> Expr:
        """Build where a word's part of a head begins in a source; words behind the last are the last."""
        source, column = self.sources[which], self.columns[which]
        number = linear((image, self.words)) + word.minimum(self.words - 1)
        return source.pixel_of(number) + (head * self.depth + column)

    def existing(self, score: Expr, key: Expr) -> Expr:
        """Build a score, or none for a word that there is not."""
        return Select(key < self.words, score, real(NOTHING))

    def masked(self, score: Expr, image: Expr, head: Expr, query: Expr, key: Expr) -> Expr:
        """Build the power of 2 of a product of query and key: scaled, and with the mask."""
        scaled = score * real(self.factor)
        if self.mask is None:
            return scaled
        index = image, head, query.minimum(self.words - 1), key.minimum(self.words - 1)
        added = Load(self.mask.buffer("mask"), (self.mask.view.place(index),)).cast(DType.F32)
        return scaled + added.maximum(real(LEAST_MASK)) * real(_LOG2)
