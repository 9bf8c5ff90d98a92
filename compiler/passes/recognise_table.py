"""Turns quantized functions of one tensor into a table of 256 entries."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import QUANTIZE, Source, int8_source, tensor_scale
from tilewright.compiler.reference import evaluate_node

# fmt: off
_UNARY = (
    "Abs", "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Neg", "PRelu",
    "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Identity", "Cast",
)
# fmt: on
_BINARY = ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Greater", "Less", "Where")
_ELEMENTWISE = frozenset(f"onnx.{op}" for op in (*_UNARY, *_BINARY))


@dataclass(frozen=True)
class RecogniseTable:
    """Replace what lies between one DequantizeLinear and a QuantizeLinear when every node works element by element.

    Before: `%f = onnx.Sigmoid(dequantized x)`, `%g = onnx.Mul(dequantized x, %f)`,
    `%y: int8 = onnx.QuantizeLinear(%g)`. After: `%y: int8 = qtable(x, table)`.
    The table is computed by onnx.reference from the float nodes, for each of the 256 inputs.
    """

    name: str = "recognise-table"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with every suitable function as qtable."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            if node.op != QUANTIZE or graph.dtype(node.output) != "int8" or tensor_scale(graph, node) is None:
                continue
            found = _function(graph, node)
            if found is None:
                continue
            source, nodes = found
            table = editor.constant(f"{node.output}/table", _table(graph, source, nodes, node.output))
            output = (f"{node.output}/looked_up", "int8", graph.shape(source.name))
            origin = [name for each in nodes for name in each.origin]
            editor.redirect(node.output, editor.emit("qtable", [source.name, table], output, origin=origin))
            editor.remove(node)
        return editor.finish()


def _function(graph: Graph, quantize: Node) -> tuple[Source, list[Node]] | None:
    """The one int8 source and the element-wise nodes in order, the QuantizeLinear last; None when it is no function."""
    sources: dict[str, Source] = {}
    found: dict[str, Node] = {}
    pending = [quantize.inputs[0]]
    while pending:
        name = pending.pop()
        constant = graph.constant(name)
        if constant is not None:
            if constant.size != 1:
                return None
            continue
        source = int8_source(graph, name)
        if source is not None:
            sources[name] = source
            continue
        node = graph.producer(name)
        if node is None or node.op not in _ELEMENTWISE or len(node.outputs) != 1:
            return None
        if node.output not in found:
            found[node.output] = node
            pending.extend(filter(None, node.inputs))
    distinct = set(sources.values())
    if len(distinct) != 1 or not found:
        return None
    source = distinct.pop()
    if graph.values[source.name].shape is None or graph.shape(source.name) != graph.shape(quantize.output):
        return None
    return source, [node for node in graph.nodes if node.output in found or node is quantize]


def _table(graph: Graph, source: Source, nodes: list[Node], result: str) -> Array:
    """Evaluate the nodes for -128..127."""
    values: dict[str, Array] = dict(graph.constants)
    values[source.name] = np.arange(-128, 128, dtype=np.int8)
    made = {node.output for node in nodes}
    for name in dict.fromkeys(name for node in nodes for name in node.inputs):
        producer = graph.producer(name)
        if producer is not None and name not in made:
            values.update(evaluate_node(graph, producer, values))
    with np.errstate(all="ignore"):
        for node in nodes:
            values.update(evaluate_node(graph, node, values))
    return values[result].astype(np.int8).reshape(-1)  # a constant may have dimensions of its own
