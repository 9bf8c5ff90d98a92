"""Finds float operators between DequantizeLinear and QuantizeLinear, and replaces them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.passes.quantization import QUANTIZE, Scale, Unsuitable, tensor_scale
from tilewright.compiler.qops import INT8_MAX, INT8_MIN, Epilogue


@dataclass(frozen=True)
class QuantizedResult:
    """An int8 result and what it is computed from.

    Parameters
    ----------
    name
        The int8 value, the output of a QuantizeLinear.
    source
        The real value before activation and quantization.
    core
        The node that computes `source`; None for a graph input or constant.
    quantization
        Of the result.
    low, high
        Bounds that the activations between `source` and the result set, as int8.
    origin
        Names of the ONNX nodes from `core` to the QuantizeLinear.
    """

    name: str
    source: str
    core: Node | None
    quantization: Scale
    low: int
    high: int
    origin: tuple[str, ...]

    @property
    def epilogue(self) -> Epilogue:
        """The epilogue of an operator that computes this result."""
        return Epilogue(zero_out=self.quantization.zero, clamp_low=self.low, clamp_high=self.high)


Rewrite = Callable[[GraphEditor, QuantizedResult], str]


def rewrite_quantized(graph: Graph, rules: Mapping[str, Rewrite]) -> Graph:
    """Replace int8 results whose core operator has a rule by what the rule builds.

    A rule adds nodes to the editor and gives the name of the value that holds the result, or raises Unsuitable, whose
    text then stays with the core node.
    """
    editor = GraphEditor(graph)
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        result = quantized_result(graph, node)
        if result is None or result.core is None or result.core.op not in rules:
            continue
        try:
            value = rules[result.core.op](editor, result)
        except Unsuitable as refusal:
            reasons[result.core.output] = str(refusal)
            continue
        editor.remove(node)
        editor.redirect(result.name, value)
    for output, reason in reasons.items():
        editor.replace(graph.producers[output], reason=reason)
    return editor.finish()


def quantized_result(graph: Graph, node: Node) -> QuantizedResult | None:
    """Describe the result of a QuantizeLinear to int8; None for other nodes."""
    if node.op != QUANTIZE or graph.dtype(node.output) != "int8":
        return None
    quantization = tensor_scale(graph, node)
    if quantization is None:
        return None
    source, low, high = node.inputs[0], INT8_MIN, INT8_MAX
    origin = list(node.origin)
    core = graph.producer(source)
    while core is not None and (bounds := activation_bounds(graph, core)) is not None:
        inner_low, inner_high = (quantization.quantized(bound) for bound in bounds)
        low, high = (min(max(bound, low), high) for bound in (inner_low, inner_high))
        origin[:0] = core.origin
        source = core.inputs[0]
        core = graph.producer(source)
    if core is not None:
        origin[:0] = core.origin
    return QuantizedResult(node.output, source, core, quantization, low, high, tuple(dict.fromkeys(origin)))


def activation_bounds(graph: Graph, node: Node) -> tuple[float, float] | None:
    """The real bounds of a Relu or Clip with constant bounds; None for other nodes."""
    if node.op == "onnx.Relu":
        return 0.0, float("inf")
    if node.op != "onnx.Clip":
        return None
    bounds = [node.get("min", -np.inf), node.get("max", np.inf)]
    for position, name in enumerate(node.inputs[1:3]):
        array = graph.constant(name) if name else None
        if name and (array is None or array.size != 1):
            return None
        if array is not None:
            bounds[position] = float(array.reshape(()))
    return float(bounds[0]), float(bounds[1])
