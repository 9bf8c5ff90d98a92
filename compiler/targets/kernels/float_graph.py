"""Float graphs in the few operators that kernels compute: convolutions and products with all that follows them.

The nodes given here are for lowering only; what a model means is still its ONNX graph.

- `fconv` and `fmatmul` (x, weight, bias, residual), `fadd` (x, residual), `factivation` (x): end in an `Activation`.
- `fmaxpool`, `faverage`, `fnorm` (x, scale, bias), `fcast` (between types of float), `reshape`, `transpose`.
- `fattention`: rows of queries, keys and values, whose heads begin at `columns`; and a mask, which is added to scores.

Rows may be counted in one dimension or in several: `[2, 128, 768]` and `[256, 768]` are the same rows.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.base import run_passes, until_stable
from tilewright.compiler.passes.cancel_transposes import CancelTransposes
from tilewright.compiler.passes.matching import activation_bounds
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE, Unsuitable
from tilewright.compiler.passes.unify_movement import UnifyMovement
from tilewright.compiler.passes.windows import window_of
from tilewright.compiler.targets.kernels.activation import PLAIN, Activation
from tilewright.compiler.targets.kernels.float_attention import find_attention, join_projections

_OPSET = 20  # of Gelu and LayerNormalization
_FLOATS = ("float16", "float32")
_SUMS = ("fconv", "fmatmul")
_ENDING = (*_SUMS, "fadd", "factivation")
_ROW_OPERATORS = ("fmatmul", "fadd", "factivation", "fnorm", "fattention")


def is_float_graph(graph: Graph) -> bool:
    """Whether nothing is quantized in a graph, and something is in floating point."""
    if any(node.op in (QUANTIZE, DEQUANTIZE, "onnx.ConvInteger", "onnx.MatMulInteger") for node in graph.nodes):
        return False
    has_integers = any(graph.dtype(name) in ("int8", "uint8") for name in graph.inputs)
    return not has_integers and any(node.op in _RULES for node in graph.nodes)


def simplified(graph: Graph) -> Graph:
    """Bring an imported graph to the operators that kernels compute."""
    from tilewright.compiler.quantize import clean_up_passes

    movement = (UnifyMovement(), CancelTransposes(), UnifyMovement())
    return float_graph(run_passes(_with_recent_opset(graph), (*clean_up_passes(), *movement)))


def _with_recent_opset(graph: Graph) -> Graph:
    """Convert a graph in which functions are spelled out that newer operator sets have operators for."""
    from onnx import version_converter

    from tilewright.compiler.frontend.onnx_import import import_onnx
    from tilewright.compiler.graph.onnx_model import to_model

    kinds = {node.op for node in graph.nodes}
    is_spelled_out = bool(kinds & {"onnx.Erf", "onnx.Tanh"}) or kinds >= {"onnx.Sqrt", "onnx.ReduceMean"}
    if not is_spelled_out or graph.opsets.get("", _OPSET) >= _OPSET:
        return graph
    try:
        return import_onnx(version_converter.convert_version(to_model(graph), _OPSET))
    except Exception:  # RuntimeError, and others from the C++ side: what is spelled out stays so
        logging.getLogger(__name__).info("%s cannot be converted to opset %d", graph.name, _OPSET)
        return graph


def float_graph(graph: Graph) -> Graph:
    """Rewrite a canonical ONNX graph; what has no kernel stays as it is."""
    found = _without_row_reshapes(_converted(find_attention(graph)))
    return join_projections(until_stable(found, _fuse_once))


def _converted(graph: Graph) -> Graph:
    editor = GraphEditor(graph)
    for node in graph.nodes:
        rule = _RULES.get(node.op)
        if rule is None or not _is_float(graph, node):
            continue
        try:
            changes = rule(editor, node)
        except Unsuitable as refusal:
            changes = {"reason": str(refusal)}
        if changes is not None:
            editor.replace(node, **changes)
    return editor.finish()


def _is_float(graph: Graph, node: Node) -> bool:
    names = (node.inputs[0], node.output)
    return all(graph.dtype(name) in _FLOATS and graph.values[name].shape is not None for name in names)


def _convolution(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    graph = editor.graph
    weight = graph.constant(node.inputs[1])
    if weight is None or weight.ndim != 4:
        return None
    bias = node.inputs[2] if len(node.inputs) > 2 else ""
    if bias and graph.constant(bias) is None:
        return None
    window = window_of(graph, node, weight.shape[2:])
    attributes = {**window.as_attributes(), "groups": node.get("group", 1), "activation": PLAIN}
    return {"op": "fconv", "inputs": (node.inputs[0], node.inputs[1], bias, ""), "attributes": attributes}


def _product(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    weight = editor.graph.constant(node.inputs[1])
    if weight is None or weight.ndim != 2 or len(editor.graph.shape(node.inputs[0])) == 4:
        return None
    return {"op": "fmatmul", "inputs": (*node.inputs, "", ""), "attributes": {"activation": PLAIN}}


def _gemm(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    graph = editor.graph
    weight = graph.constant(node.inputs[1])
    bias = graph.constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1, np.float32)
    if weight is None or bias is None or node.get("transA", 0):
        return None
    weight = (weight.T if node.get("transB", 0) else weight) * node.get("alpha", 1.0)
    if bias.size not in (1, weight.shape[1]):
        return None
    names = (
        editor.constant(f"{node.output}/weight", weight.astype(np.float32)),
        editor.constant(f"{node.output}/bias", _spread(bias * node.get("beta", 1.0), weight.shape[1])),
    )
    return {"op": "fmatmul", "inputs": (node.inputs[0], *names, ""), "attributes": {"activation": PLAIN}}


def _spread(bias: Array, channels: int) -> Array:
    return np.ascontiguousarray(np.broadcast_to(bias.reshape(-1), (channels,)), np.float32)


def _max_pool(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    shape = editor.graph.shape(node.inputs[0])
    if len(shape) != 4 or len([name for name in node.outputs if name]) > 1 or node.get("storage_order", 0):
        return None
    window = window_of(editor.graph, node, tuple(node["kernel_shape"]))
    return {"op": "fmaxpool", "attributes": window.as_attributes()}


def _average(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    return {"op": "faverage", "attributes": {}} if len(editor.graph.shape(node.inputs[0])) == 4 else None


def _mean(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    """Take the mean over height and width as a global average."""
    graph = editor.graph
    shape = graph.shape(node.inputs[0])
    axes = graph.constant(node.inputs[1]) if len(node.inputs) > 1 else np.array(node.get("axes", ()))
    if (
        axes is None
        or len(shape) != 4
        or sorted(int(axis) % 4 for axis in axes) != [2, 3]
        or not node.get("keepdims", 1)
    ):
        return None
    return {"op": "faverage", "inputs": node.inputs[:1], "attributes": {}}


def _addition(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    graph = editor.graph
    if any(graph.constant(name) is not None for name in node.inputs):
        return None
    is_same = len({graph.values[name].shape for name in node.inputs}) == 1
    return {"op": "fadd", "attributes": {"activation": PLAIN}} if is_same else None


def _bounded(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    bounds = activation_bounds(editor.graph, node)
    if bounds is None:
        return None
    return {"op": "factivation", "inputs": node.inputs[:1], "attributes": {"activation": Activation(False, *bounds)}}


def _gelu(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    if node.get("approximate", "none") != "none":
        return None
    return {"op": "factivation", "attributes": {"activation": Activation(is_gelu=True)}}


def _norm(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    graph = editor.graph
    rank, channels = len(graph.shape(node.inputs[0])), graph.shape(node.inputs[0])[-1]
    is_last = node.get("axis", -1) % rank == rank - 1 and rank != 4 and channels % 8 == 0
    parameters = [graph.constant(name) for name in node.inputs[1:] if name]
    if not is_last or any(p is None for p in parameters) or len([name for name in node.outputs if name]) > 1:
        return None
    bias = parameters[1] if len(parameters) > 1 else np.zeros(channels)
    names = [
        editor.constant(f"{node.output}/{what}", _spread(np.asarray(array), channels))
        for what, array in (("scale", parameters[0]), ("shift", bias))
    ]
    return {"op": "fnorm", "inputs": (node.inputs[0], *names), "attributes": {"epsilon": node.get("epsilon", 1e-5)}}


def _cast(editor: GraphEditor, node: Node) -> dict[str, object] | None:
    return {"op": "fcast", "attributes": {}}


_RULES: Mapping[str, Callable[[GraphEditor, Node], dict[str, object] | None]] = {
    "onnx.Conv": _convolution,
    "onnx.MatMul": _product,
    "onnx.Gemm": _gemm,
    "onnx.MaxPool": _max_pool,
    "onnx.GlobalAveragePool": _average,
    "onnx.ReduceMean": _mean,
    "onnx.Add": _addition,
    "onnx.Relu": _bounded,
    "onnx.Clip": _bounded,
    "onnx.Gelu": _gelu,
    "onnx.LayerNormalization": _norm,
    "onnx.Cast": _cast,
}


def _without_row_reshapes(graph: Graph) -> Graph:
    """Let operators on rows read what only says otherwise how many dimensions the rows are counted in."""
    editor = GraphEditor(graph)
    for node in graph.nodes:
        if node.op not in _ROW_OPERATORS:
            continue
        masks = node.inputs[3:] if node.op == "fattention" else ()
        rows = node.inputs[: len(node.inputs) - len(masks)]
        inputs = (*(name if graph.constant(name) is not None else _rows(graph, name) for name in rows), *masks)
        if inputs != node.inputs:
            editor.replace(node, inputs=inputs)
    return editor.finish()


def _rows(graph: Graph, name: str) -> str:
    node = graph.producer(name) if name else None
    while node is not None and node.op == "reshape":
        before, after = graph.shape(node.inputs[0]), graph.shape(node.output)
        if 4 in (len(before), len(after)) or before[-1:] != after[-1:]:
            break
        name = node.inputs[0]
        node = graph.producer(name)
    return name


# ---- joining -------------------------------------------------------------------------------------------------


def _fuse_once(graph: Graph) -> Graph:
    """Join one node to the one that computes its input."""
    for node in graph.nodes:
        changed = _with_activation(graph, node) or _with_residual(graph, node)
        if changed is not None:
            return changed
    return graph


def _with_activation(graph: Graph, node: Node) -> Graph | None:
    source = graph.producer(node.inputs[0]) if node.op == "factivation" else None
    if source is None or source.op not in _ENDING or not graph.has_single_use(source.output):
        return None
    if source["activation"] != PLAIN:
        return None
    return _joined(graph, source, node, attributes={**source.attributes, "activation": node["activation"]})


def _with_residual(graph: Graph, node: Node) -> Graph | None:
    if node.op != "fadd" or len(node.inputs) != 2:
        return None
    for number in (1, 0):  # where both could, the one that is computed last: the main path
        source, other = graph.producer(node.inputs[number]), node.inputs[1 - number]
        if source is None or source.op not in _SUMS or not graph.has_single_use(source.output):
            continue
        if source["activation"] != PLAIN or source.inputs[3] or other == node.inputs[number]:
            continue
        attributes = {**source.attributes, "activation": node["activation"]}
        return _joined(graph, source, node, inputs=(*source.inputs[:3], other), attributes=attributes)
    return None


def _joined(graph: Graph, source: Node, node: Node, **changes: object) -> Graph:
    """Let `source` compute what `node` does."""
    editor = GraphEditor(graph)
    editor.remove(node)
    origin = tuple(dict.fromkeys((*source.origin, *node.origin)))
    editor.replace(source, outputs=node.outputs, origin=origin, **changes)
    return editor.finish()
