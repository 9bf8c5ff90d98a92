"""Moves biases of a quantized model until its sums have the float model's mean, channel by channel.

Rounded weights and activations shift a layer's mean output, and the layers after it see the sum of all shifts. Here
each layer's shift is measured behind layers that are corrected already, and taken off its bias: the empirical form of
the bias correction of Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", 2019,
section 4.2.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnxruntime
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from tilewright.compiler.graph.types import Array
from tilewright.compiler.passes.quantization import DEQUANTIZE

_CHANNEL_AXIS = 1
_WITH_BIAS = ("Conv", "ConvTranspose", "Gemm")

Samples = Sequence[Mapping[str, Array]]


@dataclass(frozen=True)
class _Layer:
    """A layer of the quantized model: its name, its output, its bias in integers, and the bias's scale."""

    name: str
    output: str
    bias: TensorProto
    scale: Array


def correct_biases(quantized: ModelProto, original: ModelProto, samples: Samples) -> ModelProto:
    """Correct the biases of convolutions and `Gemm` layers.

    Parameters
    ----------
    quantized
        QDQ model of `original`, nodes named alike; never changed.
    original
        The float model.
    samples
        Inputs by name, over which means are taken.

    Returns
    -------
    ModelProto
        The quantized model with other values of biases. Layers without a bias of their own are as they were.
    """
    corrected = ModelProto()
    corrected.CopyFrom(quantized)
    layers = list(_layers(corrected))
    outputs = {node.name: node.output[0] for node in original.graph.node}
    layers = [layer for layer in layers if layer.name in outputs]
    expected = _means(original, [outputs[layer.name] for layer in layers], samples)
    for layer in layers:
        (mean,) = _means(_cut(corrected, layer.output), [layer.output], samples).values()
        shift = np.rint((expected[outputs[layer.name]] - mean) / layer.scale)
        moved = np.clip(numpy_helper.to_array(layer.bias) + shift, -(2**31), 2**31 - 1)
        layer.bias.CopyFrom(numpy_helper.from_array(moved.astype(np.int32), layer.bias.name))
    return corrected


def _layers(model: ModelProto) -> Iterator[_Layer]:
    """Find the layers with an integer bias that nothing else uses, in the order of computation."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    producers = {output: node for node in model.graph.node for output in node.output}
    uses = Counter(name for node in model.graph.node for name in node.input)
    for node in model.graph.node:
        source = producers.get(node.input[2]) if node.op_type in _WITH_BIAS and len(node.input) > 2 else None
        if source is None or f"onnx.{source.op_type}" != DEQUANTIZE or source.input[0] not in constants:
            continue
        if uses[node.input[2]] == uses[source.input[0]] == 1:
            scale = numpy_helper.to_array(constants[source.input[1]])
            yield _Layer(node.name, node.output[0], constants[source.input[0]], scale)


def _cut(model: ModelProto, output: str) -> ModelProto:
    """Return the part of a model that an output needs, and give that output."""
    kept: list[NodeProto] = []
    needed = {output}
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= set(node.input)
    constants = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    graph = helper.make_graph(kept[::-1], model.graph.name, list(model.graph.input), [], constants)
    return helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _means(model: ModelProto, outputs: Sequence[str], samples: Samples) -> dict[str, Array]:
    """Return the mean of values of a model, for each channel, over samples."""
    watched = ModelProto()
    watched.CopyFrom(model)
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    sums = {name: np.zeros(1) for name in outputs}
    for sample in samples:
        for name, value in zip(outputs, session.run(list(outputs), dict(sample)), strict=True):
            others = tuple(axis for axis in range(value.ndim) if axis != _CHANNEL_AXIS)
            sums[name] = sums[name] + value.mean(others, dtype=np.float64)
    return {name: total / len(samples) for name, total in sums.items()}
