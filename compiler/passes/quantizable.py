"""What the quantizer is told of a model: which operators it quantizes, and which values symmetrically."""

from __future__ import annotations

from onnx import ModelProto
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

_MOVES = frozenset(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
_MORE = ("Gelu", "ReduceMean")


def quantized_types() -> list[str]:
    """Name the types of operators that are quantized: those that the quantizer knows, and some that it passes by."""
    return sorted({*QDQRegistry, *QLinearOpsRegistry, *_MORE})


def symmetric_values(model: ModelProto) -> list[str]:
    """Name the values that products of two activations take as their second operand.

    The accelerator loads them as weights, which have no zero point.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        if node.op_type != "MatMul" or node.input[1] in constants:
            continue
        name = node.input[1]
        while name in producers and producers[name].op_type in _MOVES:
            name = producers[name].input[0]
        found.append(name)
    return list(dict.fromkeys(found))
