"""Turns movement of int8 values into gathers, joins and interleaving."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.operands import constant_integers, dimensions
from tilewright.compiler.passes.quantization import Unsuitable
from tilewright.compiler.passes.resampling import nearest_indices
from tilewright.compiler.passes.spread import gathered, spread


@dataclass(frozen=True)
class RecogniseMoves:
    """Replace Slice, Split, Gather, Expand, Tile, Resize to the nearest, Pad by what is there, DepthToSpace and back.

    Before: `%y: int8 = onnx.Slice(%x: int8[1,8,4,4], [2], [6], [1])`.
    After: `%y: int8 = qgather(%x) {axis=1, indices=[2, 3, 4, 5]}`.
    """

    name: str = "recognise-moves"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable movement of int8 values as integer operators."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            rule = _RULES.get(node.op)
            outputs = [name for name in node.outputs if name]
            if rule is None or any(graph.dtype(name) != "int8" for name in outputs):
                continue
            if any(graph.values[name].shape is None for name in (node.inputs[0], *outputs)):
                continue
            try:
                results = rule(editor, node)
            except Unsuitable as reason:
                editor.replace(node, reason=str(reason))
                continue
            editor.remove(node)
            for old, new in results.items():
                editor.redirect(old, new)
        return editor.finish()


#: Builds what gives a node's outputs, by their names.
_Rule = Callable[[GraphEditor, Node], Mapping[str, str]]


def _slice(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    graph, x = editor.graph, node.inputs[0]
    shape = graph.shape(x)
    starts, ends = (constant_integers(graph, node, position, name) for position, name in ((1, "starts"), (2, "ends")))
    axes = dimensions(constant_integers(graph, node, 3, "axes") or range(len(starts)), len(shape))
    steps = constant_integers(graph, node, 4, "steps") or (1,) * len(starts)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        indices = tuple(range(shape[axis])[slice(start, _end(end, step), step)])
        x = gathered(editor, x, axis, indices, node.origin)
    return {node.output: x}


def _end(end: int, step: int) -> int | None:
    """ONNX names the place before the first by a large negative number."""
    return None if step < 0 and end < -(1 << 30) else end


def _split(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    (axis,) = dimensions((node.get("axis", 0),), len(editor.graph.shape(node.inputs[0])))
    results, start = {}, 0
    for name in filter(None, node.outputs):
        extent = editor.graph.shape(name)[axis]
        indices = tuple(range(start, start + extent))
        results[name] = gathered(editor, node.inputs[0], axis, indices, node.origin)
        start += extent
    if start != editor.graph.shape(node.inputs[0])[axis]:
        raise Unsuitable("an output is not used")
    return results


def _gather(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    graph, x = editor.graph, node.inputs[0]
    given = graph.constant(node.inputs[1])
    if given is None:
        raise Unsuitable("its indices are not constant")
    (axis,) = dimensions((node.get("axis", 0),), len(graph.shape(x)))
    extent = graph.shape(x)[axis]
    y = gathered(editor, x, axis, tuple(int(index) % extent for index in given.reshape(-1)), node.origin)
    return {node.output: _reshaped(editor, node, y)}


def _expand(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    return {node.output: spread(editor, node.inputs[0], editor.graph.shape(node.output))}


def _tile(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    x = node.inputs[0]
    before, after = editor.graph.shape(x), editor.graph.shape(node.output)
    for axis, (extent, wanted) in enumerate(zip(before, after, strict=True)):
        x = gathered(editor, x, axis, tuple(range(extent)) * (wanted // max(extent, 1)), node.origin)
    return {node.output: x}


def _resize(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    x = node.inputs[0]
    for axis in range(len(editor.graph.shape(x))):
        x = gathered(editor, x, axis, nearest_indices(editor.graph, node, axis), node.origin)
    return {node.output: x}


def _pad(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    """Pad by values of the tensor itself; padding by a constant is another pass's."""
    graph, x = editor.graph, node.inputs[0]
    mode, rank = node.get("mode", "constant"), len(graph.shape(node.inputs[0]))
    if mode == "constant":
        raise Unsuitable(node.reason)
    pads = constant_integers(graph, node, 1, "pads")
    axes = dimensions(constant_integers(graph, node, 3, "axes"), rank) or tuple(range(rank))
    if len(pads) != 2 * len(axes):
        raise Unsuitable(f"it pads {len(axes)} dimensions by {len(pads)} numbers")
    for position, axis in enumerate(axes):
        begin, end = pads[position], pads[position + len(axes)]
        places = np.pad(np.arange(editor.shape(x)[axis]), (max(begin, 0), max(end, 0)), mode=mode)
        places = places[max(-begin, 0) : len(places) - max(-end, 0)]
        x = gathered(editor, x, axis, tuple(int(place) for place in places), node.origin)
    return {node.output: x}


def _depth_to_space(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    graph, x, block = editor.graph, node.inputs[0], node["blocksize"]
    depth = graph.shape(node.output)[1]
    phases = []
    count = block * block
    for phase in range(count):
        indices = range(phase * depth, (phase + 1) * depth)
        if node.get("mode", "DCR") == "CRD":
            indices = range(phase, depth * count, count)
        phases.append(gathered(editor, x, 1, tuple(indices), node.origin))
    return {node.output: interleaved(editor, phases, (block, block), graph.shape(node.output), node.origin)}


def interleaved(
    editor: GraphEditor, phases: list[str], factors: tuple[int, int], shape: tuple[int, ...], origin: tuple[str, ...]
) -> str:
    """Give the image of a shape that is made of phases, see `qinterleave`."""
    attributes = {"factors": factors, "extents": shape[2:]}
    return editor.emit("qinterleave", phases, (f"{phases[0]}/interleaved", "int8", shape), attributes, origin)


def _space_to_depth(editor: GraphEditor, node: Node) -> Mapping[str, str]:
    x, block = node.inputs[0], node["blocksize"]
    height, width = editor.graph.shape(x)[2:]
    parts = []
    for row in range(block):
        rows = gathered(editor, x, 2, tuple(range(row, height, block)), node.origin)
        for column in range(block):
            parts.append(gathered(editor, rows, 3, tuple(range(column, width, block)), node.origin))
    result = (f"{node.output}/joined", "int8", editor.graph.shape(node.output))
    return {node.output: editor.emit("qconcat", parts, result, {"axis": 1}, node.origin)}


def _reshaped(editor: GraphEditor, node: Node, name: str) -> str:
    wanted = editor.graph.shape(node.output)
    if editor.shape(name) == wanted:
        return name
    return editor.emit("reshape", [name], (f"{node.output}/shaped", "int8", wanted), {"shape": wanted}, node.origin)


_RULES: Mapping[str, _Rule] = {
    "onnx.Slice": _slice,
    "onnx.Split": _split,
    "onnx.Gather": _gather,
    "onnx.Expand": _expand,
    "onnx.Tile": _tile,
    "onnx.Resize": _resize,
    "onnx.Pad": _pad,
    "onnx.DepthToSpace": _depth_to_space,
    "onnx.SpaceToDepth": _space_to_depth,
}
