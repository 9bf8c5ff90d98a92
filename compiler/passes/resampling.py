"""Where the places of a Resize lie in its input: coordinates, nearest places, and weights of two neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import Unsuitable

Float32 = NDArray[np.float32]


def resize_mode(node: Node) -> str:
    """`nearest`, `linear` or `cubic`."""
    mode = node.get("mode", "nearest")
    return mode.decode() if isinstance(mode, bytes) else str(mode)


def coordinates(graph: Graph, node: Node, axis: int) -> Float32:
    """The place in the input, a real number, of every place of the result along a dimension.

    Raises
    ------
    Unsuitable
        When the model leaves it open until it runs, or means a part of the input only.
    """
    extent, wanted = graph.shape(node.inputs[0])[axis], graph.shape(node.output)[axis]
    mode = node.get("coordinate_transformation_mode", "half_pixel")
    scale = _scale(graph, node, axis)
    place = np.arange(wanted, dtype=np.float32)
    half = np.float32(0.5)
    match mode:
        case "half_pixel":
            return (place + half) / scale - half
        case "pytorch_half_pixel":
            return (place + half) / scale - half if wanted > 1 else np.zeros(1, np.float32)
        case "half_pixel_symmetric":
            adjustment = np.float32(wanted) / np.float32(scale * np.float32(extent))
            offset = np.float32(extent) / 2 * (1 - adjustment)
            return np.asarray(offset + (place + half) / scale - half, np.float32)
        case "align_corners":
            last = np.float32(max(wanted - 1, 1))
            return place * np.float32(extent - 1) / last if wanted > 1 else np.zeros(1, np.float32)
        case "asymmetric":
            return place / scale
    raise Unsuitable(f"its coordinates are those of {mode}")


def _scale(graph: Graph, node: Node, axis: int) -> np.float32:
    rank = len(graph.shape(node.inputs[0]))
    axes = [a % rank for a in node.get("axes", range(rank))]
    if axis not in axes:
        return np.float32(1)
    if node.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise Unsuitable("it keeps the aspect ratio")
    scales = graph.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
    if scales is not None and scales.size:
        return np.float32(scales.reshape(-1)[axes.index(axis)])
    if len(node.inputs) > 3 and graph.constant(node.inputs[3]) is not None:
        return np.float32(graph.shape(node.output)[axis]) / np.float32(graph.shape(node.inputs[0])[axis])
    raise Unsuitable("its scales are not constant")


def nearest_indices(graph: Graph, node: Node, axis: int) -> tuple[int, ...]:
    """The place in the input of every place of the result along a dimension, to the nearest."""
    if resize_mode(node) != "nearest":
        raise Unsuitable(f"it interpolates ({resize_mode(node)})")
    if graph.shape(node.inputs[0])[axis] == graph.shape(node.output)[axis] and _scale(graph, node, axis) == 1:
        return tuple(range(graph.shape(node.output)[axis]))
    place = coordinates(graph, node, axis)
    match node.get("nearest_mode", "round_prefer_floor"):
        case "round_prefer_floor":
            nearest = np.ceil(place - np.float32(0.5))
        case "round_prefer_ceil":
            nearest = np.floor(place + np.float32(0.5))
        case "floor":
            nearest = np.floor(place)
        case _:
            nearest = np.ceil(place)
    last = graph.shape(node.inputs[0])[axis] - 1
    return tuple(int(index) for index in np.clip(nearest, 0, last))


def neighbour_weights(graph: Graph, node: Node, axis: int) -> tuple[int, list[tuple[int, float]]]:
    """How a linear Resize by a whole factor mixes two neighbours along a dimension.

    Returns
    -------
    factor : int
        Places of the result to a place of the input.
    phases : list of (int, float)
        For each of them, the first neighbour's distance from the input's place, and the second one's share.

    Raises
    ------
    Unsuitable
        When every place has shares of its own.
    """
    extent, wanted = graph.shape(node.inputs[0])[axis], graph.shape(node.output)[axis]
    factor = wanted // extent
    if not factor or wanted % extent:
        raise Unsuitable(f"it interpolates from {extent} to {wanted} places, which is no whole factor")
    place = coordinates(graph, node, axis).astype(np.float64).reshape(extent, factor)
    distance = place - np.arange(extent)[:, None]
    if np.abs(distance - distance[0]).max() > 1e-4:
        raise Unsuitable("it interpolates with other weights at every place")
    first = np.floor(distance[0] + 1e-6)
    shares = np.clip(distance[0] - first, 0, 1)
    return factor, [(int(f), float(s)) for f, s in zip(first, shares, strict=True)]
