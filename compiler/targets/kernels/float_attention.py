"""Finds attention in float graphs, and joins the projections that read the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.kernels.activation import Activation

#: The depth of a head is a multiple of this, so that heads are whole chunks and vectors on every target.
DEPTH_STEP = 32

_HEADS, _TURNED = (0, 2, 1, 3), (0, 2, 3, 1)


@dataclass(frozen=True)
class _Heads:
    """Rows that are read head by head; the shape is batch, words, heads and depth."""

    rows: str
    shape: tuple[int, ...]
    nodes: tuple[Node, ...]


def find_attention(graph: Graph) -> Graph:
    """Replace the nodes from split heads to merged heads by `fattention`."""
    editor = GraphEditor(graph)
    for node in graph.nodes:
        found = _attention(graph, node) if node.op == "onnx.Softmax" else None
        if found is None:
            continue
        merged, inputs, attributes, origin = found
        editor.remove(merged)
        editor.node("fattention", inputs, [merged.output], attributes, origin)
    return editor.finish()


def _attention(graph: Graph, softmax: Node) -> tuple[Node, list[str], dict[str, object], tuple[str, ...]] | None:
    if softmax.get("axis", -1) not in (-1, 3) or len(graph.values[softmax.output].shape or ()) != 4:
        return None
    scores, mask, scale = _scores(graph, softmax.inputs[0])
    mixed = _only_user(graph, softmax.output)
    if scores is None or mixed is None or mixed.op != "onnx.MatMul" or mixed.inputs[0] != softmax.output:
        return None
    merged = _merged(graph, mixed.output)
    (q, q_scale), (k, k_scale) = (_without_factors(graph, name) for name in scores.inputs)
    parts = _split(graph, q, _HEADS), _split(graph, k, _TURNED), _split(graph, mixed.inputs[1], _HEADS)
    scale *= q_scale * k_scale
    if merged is None or any(part is None for part in parts) or not scale > 0:
        return None
    heads = [part for part in parts if part is not None]
    if len({part.shape for part in heads}) != 1 or heads[0].shape[-1] % DEPTH_STEP:
        return None
    nodes = [*(n for part in heads for n in part.nodes), scores, softmax, mixed, merged]
    origin = tuple(dict.fromkeys(name for n in nodes for name in n.origin))
    attributes = {"extents": heads[0].shape, "scale": scale, "columns": (0, 0, 0)}
    return merged, [*(part.rows for part in heads), *([mask] if mask else [])], attributes, origin


def _scores(graph: Graph, name: str) -> tuple[Node | None, str, float]:
    """Give the product of queries and keys, the mask that is added to it, and the factor before that."""
    node, mask = graph.producer(name), ""
    if node is not None and node.op == "onnx.Add":
        for number in (0, 1):
            product, _, scale = _scores(graph, node.inputs[number])
            mask = node.inputs[1 - number]
            if product is not None and _is_mask(graph, mask, graph.shape(name)):
                return product, mask, scale
        return None, "", 1.0
    name, scale = _without_factors(graph, name)
    node = graph.producer(name)
    return (node if node is not None and node.op == "onnx.MatMul" else None), "", scale


def _is_mask(graph: Graph, name: str, scores: tuple[int, ...]) -> bool:
    """Whether a value of floats repeats to the shape of the scores."""
    shape = graph.values[name].shape
    if shape is None or graph.dtype(name) not in ("float16", "float32") or len(shape) > len(scores):
        return False
    return all(n in (1, m) for n, m in zip(reversed(shape), reversed(scores), strict=False))


def _without_factors(graph: Graph, name: str) -> tuple[str, float]:
    """Give what a value is a constant multiple of, and the factor."""
    node, scale = graph.producer(name), 1.0
    while node is not None and node.op in ("onnx.Mul", "onnx.Div"):
        factor = graph.constant(node.inputs[1])
        if factor is None or factor.size != 1:
            break
        value = float(factor.reshape(()))
        scale = scale * value if node.op == "onnx.Mul" else scale / value
        name = node.inputs[0]
        node = graph.producer(name)
    return name, scale


def _only_user(graph: Graph, name: str) -> Node | None:
    return graph.consumers[name][0] if graph.has_single_use(name) else None


def _split(graph: Graph, name: str, order: tuple[int, ...]) -> _Heads | None:
    """Give the rows whose heads are this value."""
    turn = graph.producer(name)
    if turn is None or turn.op != "transpose" or tuple(turn["perm"]) != order:
        return None
    split = graph.producer(turn.inputs[0])
    if split is None or split.op != "reshape":
        return None
    shape = graph.shape(split.output)
    return _Heads(split.inputs[0], shape, (split, turn)) if _are_rows(graph, split.inputs[0], shape) else None


def _merged(graph: Graph, name: str) -> Node | None:
    """Give the node behind which the heads of a value lie side by side again."""
    turn = _only_user(graph, name)
    if turn is None or turn.op != "transpose" or tuple(turn["perm"]) != _HEADS:
        return None
    flat = _only_user(graph, turn.output)
    if flat is None or flat.op != "reshape" or not _are_rows(graph, flat.output, graph.shape(turn.output)):
        return None
    return flat


def _are_rows(graph: Graph, name: str, heads: tuple[int, ...]) -> bool:
    """Whether a value has a row of all heads for each word."""
    shape = graph.shape(name)
    return len(shape) in (2, 3) and shape[-1] == prod(heads[2:]) and prod(shape) == prod(heads)


def join_projections(graph: Graph) -> Graph:
    """Compute queries, keys and values that are products of the same rows by one product."""
    editor = GraphEditor(graph)
    for node in graph.nodes:
        products = [graph.producer(name) for name in node.inputs[:3]] if node.op == "fattention" else []
        found = [p for p in products if p is not None and _can_join(graph, p, node)]
        if len(found) != 3 or len({id(p) for p in found}) != 3 or len({p.inputs[0] for p in found}) != 1:
            continue
        weights = [graph.constants[p.inputs[1]].astype(np.float32) for p in found]
        biases = [
            graph.constants[p.inputs[2]].reshape(-1) if p.inputs[2] else np.zeros(w.shape[1], np.float32)
            for p, w in zip(found, weights, strict=True)
        ]
        widths = [w.shape[1] for w in weights]
        shape = (*graph.shape(found[0].output)[:-1], sum(widths))
        inputs = [
            found[0].inputs[0], editor.constant(f"{node.output}/weights", np.concatenate(weights, axis=1)),
            editor.constant(f"{node.output}/biases", np.concatenate(biases).astype(np.float32)), "",
        ]  # fmt: skip
        result = (f"{node.output}/projections", graph.dtype(found[0].output), shape)
        origin = tuple(dict.fromkeys(name for p in found for name in p.origin))
        joined = editor.emit("fmatmul", inputs, result, found[0].attributes, origin)
        columns = (0, widths[0], widths[0] + widths[1])
        editor.replace(
            node, inputs=((joined,) * 3 + node.inputs[3:]), attributes={**node.attributes, "columns": columns}
        )
    return editor.finish()


def _can_join(graph: Graph, product: Node, reader: Node) -> bool:
    if product.op != "fmatmul" or product.inputs[3] or product["activation"] != Activation():
        return False
    return graph.has_single_use(product.output) and graph.consumers[product.output][0] is reader
