"""Changes of scale, tables, padding, concatenation and data movement against onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from tests.compiler.checks import check_quantized
from tests.compiler.quantized_models import ModelBuilder, Quantized

FUNCTIONS: dict[str, Callable[[ModelBuilder, str], str]] = {
    "Sigmoid": lambda b, x: b.node("Sigmoid", [x]),
    "Tanh": lambda b, x: b.node("Tanh", [x]),
    "HardSwish": lambda b, x: b.node("HardSwish", [x]),
    "LeakyRelu": lambda b, x: b.node("LeakyRelu", [x], alpha=0.1),
    "Swish of two": lambda b, x: b.node("Mul", [x, b.node("Sigmoid", [x])]),
    "Gelu of many": lambda b, x: b.node(
        "Mul",
        [
            b.node("Mul", [x, b.constant(np.float32(0.5))]),
            b.node(
                "Add",
                [
                    b.node("Erf", [b.node("Div", [x, b.constant(np.float32(1.41421356))])]),
                    b.constant(np.array([1.0], np.float32)),
                ],
            ),
        ],
    ),
}


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_table(function: str, dtype: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y = FUNCTIONS[function](builder, builder.dequantize(builder.activation((2, 200), dtype)))
    check_quantized(builder, builder.quantize(y, dtype), ["qtable"])


def test_table_joins_the_operator_before_it(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((4, 16)), builder.weight((16, 8))
    y = builder.node("MatMul", [builder.dequantize(x), builder.dequantize(w)])
    middle = builder.quantize(y)
    y = builder.node("Sigmoid", [builder.dequantize(middle)])
    graph = check_quantized(builder, builder.quantize(y), ["qmatmul", "qtable"])
    assert [node.op for node in graph.nodes] == ["qmatmul"]


@pytest.mark.parametrize("dtypes", [("int8", "int8"), ("uint8", "int8"), ("int8", "uint8")])
def test_requantize(dtypes: tuple[str, str], rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y = builder.dequantize(builder.activation((3, 50), dtypes[0]))
    check_quantized(builder, builder.quantize(y, dtypes[1]), ["qrequantize"])


def test_relu_at_one_scale_is_a_clamp(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((3, 50))
    check_quantized(builder, builder.quantize(builder.node("Relu", [builder.dequantize(x)]), like=x), ["qclamp"])


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("value", [0.0, 0.37])
def test_pad(value: float, dtype: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 3, 4, 5), dtype)
    pads = builder.constant(np.array([0, 1, 2, 0, 0, 0, 1, 3], np.int64))
    y = builder.node("Pad", [builder.dequantize(x), pads, builder.constant(np.float32(value))])
    check_quantized(builder, builder.quantize(y, like=x), ["qpad", "qpad"])


def test_pad_joins_the_convolution_behind_it(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 3, 6, 6)), builder.weight((4, 3, 3, 3))
    pads = builder.constant(np.array([0, 0, 0, 1, 0, 0, 2, 1], np.int64))
    padded = builder.quantize(builder.node("Pad", [builder.dequantize(x), pads]), like=x)
    y = builder.node("Conv", [builder.dequantize(padded), builder.dequantize(w)], pads=[1, 0, 0, 0])
    graph = check_quantized(builder, builder.quantize(y), ["qconv2d", "qpad"])
    assert [node["pads"] for node in graph.nodes] == [(1, 1, 2, 1)]


def test_concat_at_several_scales(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    parts = [builder.activation((2, channels, 3)) for channels in (2, 4, 1)]
    y = builder.node("Concat", [builder.dequantize(part) for part in parts], axis=1)
    check_quantized(builder, builder.quantize(y, like=parts[1]), ["qconcat", "qrequantize", "qrequantize"])


def test_concat_at_one_scale(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((2, 3), "uint8")
    real = builder.dequantize(x)
    check_quantized(builder, builder.quantize(builder.node("Concat", [real, real], axis=-1), like=x), ["qconcat"])


def test_qlinear_concat(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    parts = [builder.activation((1, 3, 4), "uint8") for _ in range(2)]
    scale, zero = np.array(np.float32(0.07)), np.array(130, np.uint8)
    names = [builder.constant(scale), builder.constant(zero)]
    for part in parts:
        names += [part.name, builder.constant(part.scale), builder.constant(part.zero)]
    name = builder.node("QLinearConcat", names, domain="com.microsoft", axis=1)
    expected = ["qconcat", "qrequantize", "qrequantize"]
    check_quantized(builder, Quantized(name, (), "uint8", scale, zero), expected)


def test_transposes_cancel_around_a_sum(rng: np.random.Generator) -> None:
    """Two operands in NHWC: the convolutions around the sum are NCHW, so no transpose remains."""
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 4, 5, 5)), builder.weight((4, 4, 1, 1))
    real = builder.dequantize(x)
    conv = builder.quantize(builder.node("Conv", [real, builder.dequantize(w)]))
    parts = [builder.node("Transpose", [name], perm=[0, 2, 3, 1]) for name in (real, builder.dequantize(conv))]
    total = builder.quantize(builder.node("Relu", [builder.node("Add", parts)]))
    back = builder.node("Transpose", [builder.dequantize(total)], perm=[0, 3, 1, 2])
    w2 = builder.weight((2, 4, 1, 1))
    y = builder.node("Conv", [back, builder.dequantize(w2)])
    graph = check_quantized(builder, builder.quantize(y), ["qadd", "qconv2d", "qconv2d"])
    assert [node.op for node in graph.nodes] == ["qconv2d", "qconv2d"]


def test_movement_happens_on_integers(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((2, 3, 4, 4), "uint8"), builder.weight((48, 5))
    y = builder.node("Transpose", [builder.dequantize(x)], perm=[0, 2, 3, 1])
    y = builder.node("Flatten", [y])
    y = builder.node("MatMul", [y, builder.dequantize(w)])
    y = builder.node("Unsqueeze", [y, builder.constant(np.array([2], np.int64))])
    graph = check_quantized(builder, builder.quantize(y, "uint8"), ["qmatmul"])
    assert [node.op for node in graph.nodes] == ["to_int8", "reshape", "qmatmul", "reshape", "to_uint8"]


@pytest.mark.parametrize("axis", [None, 0, -2])
def test_transposed_weights(axis: int | None, rng: np.random.Generator) -> None:
    """As exported linear layers have them: output channels first, transposed behind DequantizeLinear."""
    builder = ModelBuilder(rng)
    x, w = builder.activation((3, 8)), builder.weight((5, 8), axis)
    turned = builder.node("Transpose", [builder.dequantize(w)], perm=[1, 0])
    y = builder.node("MatMul", [builder.dequantize(x), turned])
    graph = check_quantized(builder, builder.quantize(y), ["qmatmul"])
    assert len(graph.nodes) == 1


@pytest.mark.parametrize("perm", [(0, 2, 3, 1), (0, 3, 2, 1), (0, 2, 1, 3)])
def test_transpose_into_weights(perm: tuple[int, ...], rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((2, 3, 4, 5)), builder.weight((60, 7))
    y = builder.node("Flatten", [builder.node("Transpose", [builder.dequantize(x)], perm=perm)])
    y = builder.node("MatMul", [y, builder.dequantize(w)])
    graph = check_quantized(builder, builder.quantize(y), ["qmatmul"])
    assert [node.op for node in graph.nodes] == ["reshape", "qmatmul"]


def test_weights_quantized_twice_are_folded(rng: np.random.Generator) -> None:
    """A quantizer that sees computed weights puts DequantizeLinear and QuantizeLinear between them and the product."""
    builder = ModelBuilder(rng)
    x, w = builder.activation((3, 8)), builder.weight((2, 20))
    again = builder.quantize(
        builder.node("Reshape", [builder.dequantize(w), builder.constant(np.array([8, 5], np.int64))]),
        like=Quantized("", (), "int8", np.array(np.float32(0.02)), np.array(0, np.int8)),
    )
    y = builder.node("MatMul", [builder.dequantize(x), builder.dequantize(again)])
    check_quantized(builder, builder.quantize(y), ["qmatmul"])


def test_residual_joins_the_later_convolution(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x = builder.activation((1, 6, 5, 5))
    real = builder.dequantize(x)
    branches = []
    for kernel in (1, 3):
        w = builder.weight((6, 6, kernel, kernel), axis=0)
        y = builder.node("Conv", [real, builder.dequantize(w)], pads=[kernel // 2] * 4)
        branches.append(builder.dequantize(builder.quantize(y)))
    y = builder.node("Relu", [builder.node("Add", branches)])
    graph = check_quantized(builder, builder.quantize(y), ["qadd", "qconv2d", "qconv2d"])
    first, second = graph.nodes
    assert second.inputs[-2] == first.output
    assert first["epilogue"].residual is None and second["epilogue"].residual is not None
