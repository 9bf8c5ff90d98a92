"""Makes every unsigned 8-bit tensor a signed one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE


@dataclass(frozen=True)
class NormaliseInt8:
    """Write uint8 quantization with zero point z as int8 with zero point z - 128, which means the same numbers.

    Before: `%y: uint8 = onnx.QuantizeLinear(%x, s, 128)`, `%z = onnx.DequantizeLinear(%y, s, 128)`.
    After: `%y.int8: int8 = onnx.QuantizeLinear(%x, s, 0)`, `%z = onnx.DequantizeLinear(%y.int8, s, 0)`.
    Inputs and outputs of the graph keep their type behind to_int8 and to_uint8. The int8 form of the value `v` is
    called `v.int8`.
    """

    name: str = "normalise-int8"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph with signed quantization."""
        return _Normaliser(graph).result()


class _Normaliser:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.editor = GraphEditor(graph)
        self.signed: dict[str, str] = {}  # the int8 form of a uint8 value

    def result(self) -> Graph:
        for node in self.graph.nodes:
            if node.op == QUANTIZE and self.graph.dtype(node.output) == "uint8":
                self._quantize(node)
            elif node.op == DEQUANTIZE and self.graph.dtype(node.inputs[0]) == "uint8":
                self._dequantize(node)
        return self.editor.finish()

    def _quantize(self, node: Node) -> None:
        zero = self._signed_zero(node)
        if zero is None:
            return
        value = self.graph.values[node.output]
        signed = self.editor.value(f"{node.output}.int8", "int8", value.shape)
        attributes = {key: item for key, item in node.attributes.items() if key != "output_dtype"}
        self.editor.replace(node, inputs=(*node.inputs[:2], zero), outputs=(signed,), attributes=attributes)
        self.editor.node("to_uint8", [signed], [node.output], origin=node.origin)
        self.signed[node.output] = signed

    def _dequantize(self, node: Node) -> None:
        zero = self._signed_zero(node)
        if zero is None:
            return
        self.editor.replace(node, inputs=(self._signed(node.inputs[0]), node.inputs[1], zero))

    def _signed(self, name: str) -> str:
        """The int8 form of a uint8 value, made when there is none yet."""
        if name in self.signed:
            return self.signed[name]
        array = self.graph.constant(name)
        if array is not None:
            signed = self.editor.constant(f"{name}.int8", _shifted(array))
        else:
            value = self.graph.values[name]
            signed = self.editor.emit("to_int8", [name], (f"{name}.int8", "int8", value.shape))
        self.signed[name] = signed
        return signed

    def _signed_zero(self, node: Node) -> str | None:
        """The zero point less 128; None when it is not constant."""
        if self.graph.values[node.inputs[0]].shape is None:
            return None
        name = node.inputs[2] if len(node.inputs) > 2 else ""
        if not name:
            scale = self.graph.values[node.inputs[1]]
            return self.editor.constant(f"{node.output}/zero", np.full(scale.shape or (), -128, np.int8))
        array = self.graph.constant(name)
        if array is None:
            return None
        if name not in self.signed:
            self.signed[name] = self.editor.constant(f"{name}.int8", _shifted(array))
        return self.signed[name]


def _shifted(array: Array) -> Array:
    return (array.astype(np.int16) - 128).astype(np.int8)
