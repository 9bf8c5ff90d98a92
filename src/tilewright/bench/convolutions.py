"""Convolution layers as int8 ONNX models with seeded weights."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

    from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape


def convolution_model(layer: ConvolutionShape, batch: int = 1) -> ModelProto:
    """Give a model of this layer alone: int8 in, int8 out, weights by the layer's name.

    Weights are uniform; the output's scale is such that few results saturate for uniform inputs.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
    shape = (layer.outputs, layer.inputs, layer.kernel, layer.kernel)
    depth = layer.inputs * layer.kernel**2
    scale_out = np.float32(2.0**-14 * 74 * 74 * depth**0.5 * 3.5 / 127)  # 74: a uniform int8's deviation
    constants = {
        "weight": rng.integers(-127, 128, shape, np.int8),
        "weight_scale": np.full(layer.outputs, 2.0**-7, np.float32),
        "weight_zero": np.zeros(layer.outputs, np.int8),
        "bias": rng.integers(-(2**12), 2**12, layer.outputs).astype(np.int32),
        "bias_scale": np.full(layer.outputs, 2.0**-14, np.float32),
        "bias_zero": np.zeros(layer.outputs, np.int32),
        "scale_in": np.float32(2.0**-7),
        "zero": np.int8(0),
        "scale_out": scale_out,
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale_in", "zero"], ["xf"], "x_dequantize"),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["wf"], "w_dequantize", axis=0),
        helper.make_node("DequantizeLinear", ["bias", "bias_scale", "bias_zero"], ["bf"], "b_dequantize", axis=0),
        helper.make_node(
            "Conv", ["xf", "wf", "bf"], ["yf"], layer.name,
            kernel_shape=[layer.kernel] * 2, strides=[layer.stride] * 2, pads=[layer.pad] * 4,
        ),
        helper.make_node("QuantizeLinear", ["yf", "scale_out", "zero"], ["y"], "y_quantize"),
    ]  # fmt: skip
    shape_in = [batch, layer.inputs, layer.size, layer.size]
    shape_out = [batch, layer.outputs, layer.output_size, layer.output_size]
    graph = helper.make_graph(
        nodes, layer.name,
        [helper.make_tensor_value_info("x", TensorProto.INT8, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, shape_out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
