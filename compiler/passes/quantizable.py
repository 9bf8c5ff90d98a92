"""What the quantizer is told of a model: which operators it quantizes, and which values symmetrically."""

from __future__ import annotations

from onnx import ModelProto, TensorProto
from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

_MOVES = frozenset(("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten", "Identity"))
_SYMMETRIC_OPERAND = {"MatMul": 1, "RMSNormalization": 0}
_MORE = ("Gelu", "ReduceMean", "ReduceSum")


def quantized_types() -> list[str]:
    """Name the types of operators that are quantized: those that the quantizer knows, and some that it passes by."""
    return sorted({*QDQRegistry, *QLinearOpsRegistry, *_MORE})


def symmetric_values(model: ModelProto) -> list[str]:
    """Name the values that products of two activations take as their second operand, and those that RMS scales.

    The accelerator loads the former as weights, which have no zero point, and squares the latter as they are.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    found = []
    for node in model.graph.node:
        name = node.input[_SYMMETRIC_OPERAND[node.op_type]] if node.op_type in _SYMMETRIC_OPERAND else ""
        if not name or name in constants:
            continue
        while name in producers and producers[name].op_type in _MOVES:
            name = producers[name].input[0]
        found.append(name)
    return list(dict.fromkeys(found))


def activation_values(model: ModelProto) -> list[str]:
    """Name the float values whose ranges the quantizer needs, and the tables that it gathers from.

    What is only moved has the range of what it was moved from; probabilities have a range of their own.
    """
    types = set(quantized_types())
    constants = {tensor.name for tensor in model.graph.initializer}
    floats = {info.name for info in model.graph.value_info if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats |= {info.name for info in model.graph.output if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    found = []
    for node in model.graph.node:
        if node.op_type == "Gather" and node.input[0] in constants:
            found.append(node.input[0])
        if node.op_type in _MOVES or node.op_type in ("Softmax", "Gather") or node.op_type not in types:
            continue
        found += [name for name in node.output if name in floats]
    return list(dict.fromkeys(found))


def is_transformer(model: ModelProto) -> bool:
    """Tell whether a model normalizes rows or multiplies two activations."""
    kinds = {node.op_type for node in model.graph.node}
    return bool(kinds & {"LayerNormalization", "RMSNormalization"}) or bool(symmetric_values(model))


def unquantized_nodes(model: ModelProto) -> list[str]:
    """Name the nodes that compute from integer inputs alone, such as masks: they stay as they are.

    What is gathered by an integer, such as an embedding, does not count among them.
    """
    floats = {info.name for info in model.graph.input if info.type.tensor_type.elem_type == TensorProto.FLOAT}
    given = {info.name for info in model.graph.input} - floats
    known = given | {tensor.name for tensor in model.graph.initializer} | {""}
    names = []
    for node in model.graph.node:
        if node.op_type != "Gather" and all(name in known for name in node.input):
            known |= set(node.output)
            names.append(node.name)
    return names
