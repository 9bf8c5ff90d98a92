"""Float models of a few small layers, one for each thing that kernels do differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper


def _model(
    nodes: list[Any], constants: Mapping[str, np.ndarray], shape: tuple[int, ...], result: tuple[int, ...]
) -> ModelProto:
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _convolution(rng: np.random.Generator, channels: int = 16, kernel: int = 3, stride: int = 1) -> ModelProto:
    """Give a residual block: a convolution, its batch normalization, the input or itself added, and a bound."""
    outputs = 16
    normal = {name: rng.uniform(0.5, 1.5, outputs).astype(np.float32) for name in ("g", "b", "m", "v")}
    weight = rng.normal(size=(outputs, channels, kernel, kernel)) / kernel / channels**0.5
    window = {"pads": [kernel // 2] * 4, "strides": [stride] * 2}
    other = "x" if stride == 1 and channels == outputs else "n"
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], **window),
        helper.make_node("BatchNormalization", ["c", *normal], ["n"]),
        helper.make_node("Add", ["n", other], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    extent = -(-6 // stride)
    constants = {"w": weight.astype(np.float32), **normal}
    return _model(nodes, constants, (1, channels, 6, 6), (1, outputs, extent, extent))


def _depthwise(rng: np.random.Generator) -> ModelProto:
    weight = rng.normal(size=(16, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, group=16),
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
    ]
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    return _model(nodes, {"w": weight, **bounds}, (1, 16, 5, 5), (1, 16, 5, 5))


def _pools(rng: np.random.Generator) -> ModelProto:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["m"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    constants = {"w": rng.normal(size=(10, 16)), "b": rng.normal(size=10)}
    return _model(nodes, {k: v.astype(np.float32) for k, v in constants.items()}, (1, 16, 7, 7), (1, 10))


#: By name, each from a random generator.
MODELS: dict[str, Callable[[np.random.Generator], ModelProto]] = {
    "residual": _convolution,
    "stride2": lambda rng: _convolution(rng, 32, 1, 2),
    "image": lambda rng: _convolution(rng, 3, 7, 2),
    "depthwise": _depthwise,
    "pools": _pools,
}
