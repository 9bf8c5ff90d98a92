"""Transformers from their structure alone, with random weights: what `tilewright bench accelerator` measures."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.qops import Epilogue
from tilewright.compiler.row_functions import Normalization, softmax_scale
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.isa.row_ops import EXP_FRACTION, NORMAL_FRACTION


@dataclass(frozen=True)
class TransformerShape:
    """An encoder.

    Attributes
    ----------
    name : str
    rows : int
        Tokens, or patches.
    channels, heads, inner : int
        Of a row, of attention, and of the wide layer.
    layers : int
    """

    name: str
    rows: int
    channels: int
    heads: int
    inner: int
    layers: int


MINILM_L3 = TransformerShape("minilm_l3", 128, 384, 12, 1536, 3)
BERT_BASE_LAYER = TransformerShape("bert_base_layer", 128, 768, 12, 3072, 1)
VIT_TINY = TransformerShape("vit_tiny", 197, 192, 3, 768, 12)


class TransformerBuilder(NetworkBuilder):
    """Chains the operators of transformers."""

    def heads(self, x: str, count: int) -> str:
        """Split the channels of rows into heads."""
        return self._node("split_heads", (x,), {"heads": count})

    def product(self, x: str, y: str, zero_in: int) -> str:
        """Multiply rows of `x` with rows of `y`."""
        depth = self._shape(x)[-1]
        shift = self._bits - 1 + round(np.log2(70 * 35 * sqrt(depth) / 32))
        constants = self._scaling(1, shift)
        attributes = {"zero_in": zero_in, "zero_y": 0, "epilogue": Epilogue()}
        return self._node("qbatchmatmul", (x, y, *self._add(constants), "", ""), attributes)

    def softmax(self, x: str, scale: float = 0.06) -> str:
        """Add probabilities of 1/256 a step."""
        constants = self._scaling(1, self._bits - 1 + EXP_FRACTION - 8)
        attributes = {"scale": softmax_scale(scale), "epilogue": Epilogue(zero_out=-128)}
        return self._node("qsoftmax", (x, *self._add(constants), "", ""), attributes)

    def normalized(self, x: str) -> str:
        """Normalize rows."""
        channels = self._shape(x)[-1]
        constants = {
            "negate": np.zeros(channels, np.int32), **self._scaling(channels, self._bits - 1 + NORMAL_FRACTION - 5)
        }  # fmt: skip
        attributes = {**vars(Normalization.of(channels, 0.05, 1e-5)), "epilogue": Epilogue()}
        return self._node("qnormalize", (x, *self._add(constants), "", ""), attributes)

    def layer(self, x: str, shape: TransformerShape) -> str:
        """Add attention and the two wide layers, each with a sum and a normalization behind it."""
        q, k, v = (self.heads(self.matrix(x, shape.channels), shape.heads) for _ in range(3))
        chances = self.softmax(self.product(q, k, 0))
        columns = self._node("transpose", (v,), {"perm": (0, 1, 3, 2)})
        mixed = self._node("merge_heads", (self.product(chances, columns, -128),), {})
        y = self.normalized(self.matrix(mixed, shape.channels, residual=x))
        return self.normalized(self.matrix(self.matrix(y, shape.inner, table=True), shape.channels, residual=y))

    def mean_of_rows(self, x: str) -> str:
        """Add the mean of all rows."""
        rows, channels = self._shape(x)[-2:]
        images = self._node("reshape", (x,), {"shape": (1, 1, rows, channels)})
        return self.global_average(self._node("transpose", (images,), {"perm": (0, 3, 1, 2)}))

    def _scaling(self, channels: int, shift: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int32]]]:
        return {
            "bias": np.zeros(channels, np.int32),
            "multiplier": np.full(channels, 1 << self._bits - 1, np.int32),
            "shift": np.full(channels, shift, np.int32),
        }


def transformer_graph(shape: TransformerShape, rng: np.random.Generator, multiplier_bits: int = 16) -> Graph:
    """Return an encoder from its embedded and summed rows on; the result is the mean of the last layer's rows."""
    net = TransformerBuilder(shape.name, (1, shape.rows, shape.channels), rng, multiplier_bits)
    x = net.normalized("x")
    for _ in range(shape.layers):
        x = net.layer(x, shape)
    return net.graph(net.mean_of_rows(x))


__all__ = ["BERT_BASE_LAYER", "MINILM_L3", "VIT_TINY", "TransformerShape", "transformer_graph"]
