"""Quantized sums and pooling against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.compiler.checks import check_quantized, integer_graph, operators
from tests.compiler.quantized_models import ModelBuilder, Quantized


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("scales", [(0.05, 0.03), (0.001, 0.4), (3.0, 0.02)])
def test_add(scales: tuple[float, float], dtype: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    a, b = (builder.activation((2, 5, 4, 3), dtype, scale) for scale in scales)
    y = builder.node("Relu", [builder.node("Add", [builder.dequantize(a), builder.dequantize(b)])])
    check_quantized(builder, builder.quantize(y, dtype), ["qadd"])


def test_add_of_scales_too_far_apart_is_the_hosts(rng: np.random.Generator) -> None:
    """One shift for both multipliers would leave the smaller one a bit or none: 0.17 would be 0.125."""
    builder = ModelBuilder(rng)
    a, b = (builder.activation((1, 9), scale=scale) for scale in (4400.0, 0.17))
    y = builder.node("Add", [builder.dequantize(a), builder.dequantize(b)])
    like = Quantized("", (), "int8", np.array(np.float32(1)), np.array(3, np.int8))
    result = builder.quantize(y, like=like)
    assert operators(integer_graph(builder.model([result.name]))) == [
        "onnx.Add", "onnx.DequantizeLinear", "onnx.DequantizeLinear", "onnx.QuantizeLinear"
    ]  # fmt: skip


def test_add_of_a_value_to_itself(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.dequantize(builder.activation((1, 6)))
    check_quantized(builder, builder.quantize(builder.node("Add", [x, x])), ["qadd"])


def test_add_of_a_constant(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.dequantize(builder.activation((2, 6, 3)))
    constant = builder.dequantize(builder.weight((6, 1)))
    check_quantized(builder, builder.quantize(builder.node("Add", [x, constant])), ["qadd"])


def test_broadcast_add(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    operands = [builder.dequantize(builder.activation(shape)) for shape in ((2, 6, 3), (2, 6, 1))]
    check_quantized(builder, builder.quantize(builder.node("Add", operands)), ["qadd", "qgather"])


def test_qlinear_add(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    a, b = (builder.activation((1, 4, 5), "uint8") for _ in range(2))
    names = [[t.name, builder.constant(t.scale), builder.constant(t.zero)] for t in (a, b)]
    scale, zero = np.array(np.float32(a.scale + b.scale)), np.array(120, np.uint8)
    result = [builder.constant(scale), builder.constant(zero)]
    name = builder.node("QLinearAdd", [*names[0], *names[1], *result], domain="com.microsoft")
    check_quantized(builder, Quantized(name, (), "uint8", scale, zero), ["qadd"])


POOLS: dict[str, dict[str, Any]] = {
    "2x2": {"kernel_shape": [2, 2], "strides": [2, 2]},
    "3x3 padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
    "asymmetric": {"kernel_shape": [3, 2], "strides": [1, 2], "pads": [0, 1, 2, 0]},
    "ceil": {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
    "ceil padded": {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1},
    "same": {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
}


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("counts_padding", [0, 1])
def test_average_pool(pool: str, counts_padding: int, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng, opset=19)
    x = builder.dequantize(builder.activation((2, 3, 8, 7)))
    y = builder.node("AveragePool", [x], count_include_pad=counts_padding, **POOLS[pool])
    check_quantized(builder, builder.quantize(y), ["qavgpool"])


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_max_pool(pool: str, dtype: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((2, 3, 8, 7), dtype)
    y = builder.node("MaxPool", [builder.dequantize(x)], **POOLS[pool])
    check_quantized(builder, builder.quantize(y, like=x), ["qmaxpool"])


def test_max_pool_of_integers(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 3, 8, 8), "uint8")
    pooled = builder.node("MaxPool", [x.name], kernel_shape=[2, 2], strides=[2, 2])
    y = builder.node("DequantizeLinear", [pooled, builder.constant(x.scale), builder.constant(x.zero)])
    check_quantized(builder, builder.quantize(y, "uint8", name="y"), ["qmaxpool", "qrequantize"])


def test_max_pool_with_dilation(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 3, 9, 9))
    y = builder.node("MaxPool", [builder.dequantize(x)], kernel_shape=[2, 3], dilations=[3, 2])
    check_quantized(builder, builder.quantize(y, like=x), ["qmaxpool"])


def test_pooling_in_one_dimension(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 3, 12))
    y = builder.node("MaxPool", [builder.dequantize(x)], kernel_shape=[3], strides=[2], pads=[1, 0])
    y = builder.node("AveragePool", [y], kernel_shape=[2], pads=[1, 1])
    check_quantized(builder, builder.quantize(y), ["qavgpool", "qmaxpool"])


@pytest.mark.parametrize("form", ["global", "mean", "mean without dimensions", "whole window"])
def test_global_average_pool(form: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.dequantize(builder.activation((2, 6, 7, 7)))
    y = {
        "global": lambda: builder.node("GlobalAveragePool", [x]),
        "mean": lambda: builder.node("ReduceMean", [x], axes=[-1, -2]),
        "mean without dimensions": lambda: builder.node("ReduceMean", [x], axes=[2, 3], keepdims=0),
        "whole window": lambda: builder.node("AveragePool", [x], kernel_shape=[7, 7]),
    }[form]()
    check_quantized(builder, builder.quantize(y), ["qglobalavgpool"])


@pytest.mark.parametrize("op", ["QLinearGlobalAveragePool", "QLinearAveragePool"])
def test_qlinear_pool(op: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 4, 6, 6), "uint8")
    scale, zero = np.array(np.float32(x.scale / 2.3)), np.array(100, np.uint8)
    names = [x.name, *(builder.constant(array) for array in (x.scale, x.zero, scale, zero))]
    window = {"kernel_shape": [2, 2], "strides": [2, 2]} if op == "QLinearAveragePool" else {"channels_last": 0}
    name = builder.node(op, names, domain="com.microsoft", **window)
    expected = "qavgpool" if op == "QLinearAveragePool" else "qglobalavgpool"
    check_quantized(builder, Quantized(name, (), "uint8", scale, zero), [expected])
