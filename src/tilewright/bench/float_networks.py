"""Float networks of the benchmarks, from their structure, with random weights; they take and give fp16 or fp32."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

_OPSET = 20


class _Builder:
    """Collects nodes and constants of a model whose input is `x`."""

    def __init__(self, rng: np.random.Generator, is_half: bool) -> None:
        self.rng, self.is_half = rng, is_half
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self.start = self.node("Cast", ["x"], to=TensorProto.FLOAT) if is_half else "x"

    def node(self, op: str, inputs: list[str], **attributes: Any) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def constant(self, array: NDArray[Any]) -> str:
        name = f"c{len(self.constants)}"
        self.constants[name] = array
        return name

    def normal(self, *shape: int, scale: float = 1.0, mean: float = 0.0) -> str:
        return self.constant((mean + scale * self.rng.standard_normal(shape)).astype(np.float32))

    def convolution(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1) -> str:
        """Add a convolution and its batch normalization."""
        gain = (2 / (inputs * kernel * kernel)) ** 0.5
        weight = self.normal(outputs, inputs, kernel, kernel, scale=gain)
        y = self.node("Conv", [x, weight], strides=[stride] * 2, pads=[kernel // 2] * 4)
        variance = self.constant(self.rng.uniform(0.5, 1.5, outputs).astype(np.float32))
        parameters = [self.normal(outputs, scale=0.1, mean=mean) for mean in (0.7, 0.0, 0.0)]
        return self.node("BatchNormalization", [y, *parameters, variance])

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        product = self.node("MatMul", [x, self.normal(inputs, outputs, scale=inputs**-0.5)])
        return self.node("Add", [product, self.normal(outputs, scale=0.1)])

    def norm(self, x: str, channels: int) -> str:
        parameters = [self.normal(channels, scale=0.1, mean=mean) for mean in (1.0, 0.0)]
        return self.node("LayerNormalization", [x, *parameters], axis=-1, epsilon=1e-12)

    def model(self, result: str, name: str, shape: tuple[int, ...], given: tuple[int, ...]) -> ModelProto:
        output = self.node("Cast", [result], to=TensorProto.FLOAT16) if self.is_half else result
        kind = TensorProto.FLOAT16 if self.is_half else TensorProto.FLOAT
        graph = helper.make_graph(
            self.nodes, name,
            [helper.make_tensor_value_info("x", kind, shape)],
            [helper.make_tensor_value_info(output, kind, given)],
            [numpy_helper.from_array(array, key) for key, array in self.constants.items()],
        )  # fmt: skip
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=9)


def resnet18(
    rng: np.random.Generator, batch: int, size: int = 224, classes: int = 1000, *, is_half: bool = True
) -> ModelProto:
    """Give ResNet-18, batch normalizations apart."""
    b = _Builder(rng, is_half)
    x = b.node("Relu", [b.convolution(b.start, 3, 64, 7, 2)])
    x = b.node("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    channels = 64
    for width, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for step in (stride, 1):
            y = b.node("Relu", [b.convolution(x, channels, width, 3, step)])
            y = b.convolution(y, width, width, 3)
            is_same = step == 1 and channels == width
            shortcut = x if is_same else b.convolution(x, channels, width, 1, step)
            x = b.node("Relu", [b.node("Add", [y, shortcut])])
            channels = width
    flat = b.node("Flatten", [b.node("GlobalAveragePool", [x])])
    weight, bias = b.normal(classes, 512, scale=512**-0.5), b.normal(classes, scale=0.1)
    scores = b.node("Gemm", [flat, weight, bias], transB=1)
    return b.model(scores, f"resnet18_b{batch}", (batch, 3, size, size), (batch, classes))


def encoder_layer(
    rng: np.random.Generator, batch: int, words: int = 128, channels: int = 768, heads: int = 12, *,
    is_half: bool = True,
) -> ModelProto:  # fmt: skip
    """Give one layer of BERT-base: attention and two products, a normalization behind the sum of each."""
    b = _Builder(rng, is_half)
    depth, wide = channels // heads, 4 * channels
    split = b.constant(np.array([batch, words, heads, depth], np.int64))
    q, k, v = (
        b.node("Transpose", [b.node("Reshape", [b.linear(b.start, channels, channels), split])], perm=order)
        for order in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
    )
    scores = b.node("Div", [b.node("MatMul", [q, k]), b.constant(np.array(depth**0.5, np.float32))])
    mixed = b.node("MatMul", [b.node("Softmax", [scores], axis=-1), v])
    flat = b.constant(np.array([batch, words, channels], np.int64))
    merged = b.node("Reshape", [b.node("Transpose", [mixed], perm=[0, 2, 1, 3]), flat])
    x = b.norm(b.node("Add", [b.linear(merged, channels, channels), b.start]), channels)
    y = b.node("Gelu", [b.linear(x, channels, wide)])
    x = b.norm(b.node("Add", [b.linear(y, wide, channels), x]), channels)
    shape = (batch, words, channels)
    return b.model(x, f"bert_layer_b{batch}", shape, shape)
