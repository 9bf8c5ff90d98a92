"""Convolution layers as int8 models with seeded weights."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True)
class Convolution:
    """A square convolution layer; `size` is height and width of its input."""

    name: str
    size: int
    channels_in: int
    channels_out: int
    kernel: int
    pad: int
    stride: int

    @property
    def output_size(self) -> int:
        """Height and width of the result."""
        return (self.size + 2 * self.pad - self.kernel) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates, those on padding included."""
        return self.output_size**2 * self.channels_in * self.channels_out * self.kernel**2


#: The convolution layers of ResNet-18 that VTA was measured with.
VTA_LAYERS = (
    Convolution("C2", 56, 64, 64, 3, 1, 1),
    Convolution("C3", 56, 64, 128, 3, 1, 2),
    Convolution("C4", 56, 64, 128, 1, 0, 2),
    Convolution("C5", 28, 128, 128, 3, 1, 1),
    Convolution("C6", 28, 128, 256, 3, 1, 2),
    Convolution("C7", 28, 128, 256, 1, 0, 2),
    Convolution("C8", 14, 256, 256, 3, 1, 1),
    Convolution("C9", 14, 256, 512, 3, 1, 2),
    Convolution("C10", 14, 256, 512, 1, 0, 2),
    Convolution("C11", 7, 512, 512, 3, 1, 1),
)


def convolution_model(layer: Convolution, batch: int = 1) -> ModelProto:
    """Give a model of this layer alone: int8 in, int8 out, weights by the layer's name.

    Weights are uniform; the output's scale is such that few results saturate for uniform inputs.
    """
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(zlib.crc32(layer.name.encode()))
    shape = (layer.channels_out, layer.channels_in, layer.kernel, layer.kernel)
    depth = layer.channels_in * layer.kernel**2
    scale_out = np.float32(2.0**-14 * 74 * 74 * depth**0.5 * 3.5 / 127)  # 74: a uniform int8's deviation
    constants = {
        "weight": rng.integers(-127, 128, shape, np.int8),
        "weight_scale": np.full(layer.channels_out, 2.0**-7, np.float32),
        "weight_zero": np.zeros(layer.channels_out, np.int8),
        "bias": rng.integers(-(2**12), 2**12, layer.channels_out).astype(np.int32),
        "bias_scale": np.full(layer.channels_out, 2.0**-14, np.float32),
        "bias_zero": np.zeros(layer.channels_out, np.int32),
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
    shape_in = [batch, layer.channels_in, layer.size, layer.size]
    shape_out = [batch, layer.channels_out, layer.output_size, layer.output_size]
    graph = helper.make_graph(
        nodes, layer.name,
        [helper.make_tensor_value_info("x", TensorProto.INT8, shape_in)],
        [helper.make_tensor_value_info("y", TensorProto.INT8, shape_out)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
