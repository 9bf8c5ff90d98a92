"""Weights that need nine bits, because of their zero point, as sums of weights of eight."""

from __future__ import annotations

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.passes.quantization import Weights
from tilewright.compiler.passes.spread import gathered


def narrowed(
    editor: GraphEditor, x: str, weights: Weights, axis: int, groups: int, channels: int
) -> tuple[str, Weights]:
    """Give an input and int8 weights with the same sums of products.

    Where int8 does not hold a weight `w`, the input's channels stand there several times, beside each a part of it:
    `x * w = x * (w // 2) + x * ((w + 1) // 2)`.

    Parameters
    ----------
    x
        The int8 input.
    axis
        The weights' dimension of input channels, of those of one group.
    groups
        Groups of the input's channels.
    channels
        The input's dimension of channels.
    """
    array = weights.array.astype(np.int64)
    count = 1
    while array.size and (-(-array.max() // count) > 127 or array.min() // count < -128):
        count += 1
    if count == 1:
        return x, Weights(array.astype(np.int8), weights.scales)
    parts = [(array + index) // count for index in range(count)]
    depth = array.shape[axis]
    places = [group * depth + place for group in range(groups) for _ in range(count) for place in range(depth)]
    repeated = gathered(editor, x, channels, tuple(places))
    return repeated, Weights(np.concatenate(parts, axis=axis).astype(np.int8), weights.scales)
