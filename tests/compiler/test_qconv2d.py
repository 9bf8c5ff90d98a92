"""Quantized convolutions against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.checks import check_quantized, integer_graph
from tests.compiler.quantized_models import ModelBuilder, Quantized

# in channels, out channels, groups, image, kernel, strides, pads, dilations
SHAPES = {
    "3x3": (3, 8, 1, (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "1x1": (16, 5, 1, (4, 6), (1, 1), (1, 1), (0, 0, 0, 0), (1, 1)),
    "1x1 stride 2": (7, 9, 1, (7, 9), (1, 1), (2, 2), (0, 0, 0, 0), (1, 1)),
    "7x7 stride 2": (3, 4, 1, (15, 15), (7, 7), (2, 2), (3, 3, 3, 3), (1, 1)),
    "asymmetric pads": (4, 6, 1, (9, 10), (3, 3), (2, 2), (0, 0, 1, 1), (1, 1)),
    "uneven kernel": (1, 8, 1, (20, 10), (10, 4), (2, 2), (4, 1, 5, 1), (1, 1)),
    "dilated": (4, 4, 1, (12, 12), (3, 3), (1, 1), (2, 2, 2, 2), (2, 2)),
    "uneven dilation": (4, 4, 1, (12, 14), (3, 2), (2, 1), (1, 0, 2, 3), (2, 3)),
    "two groups": (8, 6, 2, (6, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "depthwise": (12, 12, 12, (8, 8), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "depthwise stride 2": (5, 5, 5, (9, 7), (3, 3), (2, 2), (0, 1, 1, 0), (1, 1)),
    "depth multiplier": (4, 8, 4, (6, 6), (3, 3), (1, 1), (1, 1, 1, 1), (1, 1)),
    "kernel larger than image": (2, 3, 1, (3, 3), (5, 5), (1, 1), (2, 2, 2, 2), (1, 1)),
}


def convolution(
    builder: ModelBuilder,
    shape: str,
    dtype: str = "int8",
    per_channel: bool = True,
    bias: bool = True,
    batch: int = 1,
) -> tuple[str, Quantized]:
    """Add a dequantized convolution of a new input; give its float output and the input."""
    ci, co, groups, image, kernel, strides, pads, dilations = SHAPES[shape]
    x = builder.activation((batch, ci, *image), dtype)
    w = builder.weight((co, ci // groups, *kernel), axis=0 if per_channel else None)
    operands = [builder.dequantize(x), builder.dequantize(w)]
    if bias:
        operands.append(builder.dequantize(builder.bias(x, w, co)))
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": groups}
    return builder.node("Conv", operands, **attributes), x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_shapes(shape: str, dtype: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y, _ = convolution(builder, shape, dtype, per_channel=bool(rng.integers(2)), bias=bool(rng.integers(2)))
    check_quantized(builder, builder.quantize(y, dtype), ["qconv2d"])


@pytest.mark.parametrize("round", range(12))
def test_random_geometry(round: int, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    kernel, strides, dilations = (rng.integers(1, high, 2) for high in (5, 4, 3))
    span = (kernel - 1) * dilations + 1
    pads = rng.integers(0, np.concatenate([span, span]))
    image = span + rng.integers(0, 8, 2)
    groups = int(rng.integers(1, 4))
    x = builder.activation((int(rng.integers(1, 3)), groups * int(rng.integers(1, 6)), *map(int, image)))
    w = builder.weight((groups * int(rng.integers(1, 6)), x.shape[1] // groups, *map(int, kernel)), axis=0)
    attributes = {"strides": strides.tolist(), "pads": pads.tolist(), "dilations": dilations.tolist()}
    y = builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)], group=groups, **attributes)
    check_quantized(builder, builder.quantize(y), ["qconv2d"])


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_auto_pad(auto_pad: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 3, 9, 8)), builder.weight((4, 3, 4, 3), axis=0)
    y = builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)], auto_pad=auto_pad, strides=[2, 1])
    check_quantized(builder, builder.quantize(y), ["qconv2d"])


def test_one_dimension(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((2, 4, 20)), builder.weight((6, 4, 5), axis=0)
    y = builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)], strides=[2], pads=[1, 2], dilations=[2])
    graph = check_quantized(builder, builder.quantize(y), ["qconv2d"])
    assert sorted(node.op for node in graph.nodes) == ["qconv2d", "reshape", "reshape"]


@pytest.mark.parametrize("bits", [8, 12, 24])
def test_multiplier_bits(bits: int, rng: np.random.Generator) -> None:
    """A narrow multiplier still stays within one step; its rounding shows more often."""
    builder = ModelBuilder(rng)
    y, _ = convolution(builder, "3x3")
    graph = integer_graph(builder.model([builder.quantize(y).name]), bits)
    multipliers = graph.constants[graph.nodes[0].inputs[3]]
    assert np.all((multipliers >= 1 << (bits - 1)) & (multipliers < 1 << bits))
    if bits >= 12:
        check_quantized(builder, builder.quantize(y), ["qconv2d"], bits)


@pytest.mark.parametrize("activations", ["Relu", "Relu6", "low", "high", "Relu both", "both Relu", "high low"])
def test_activation(activations: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y, _ = convolution(builder, "3x3")
    span = builder.range_of(y)
    low, high = (float((edge - int(span.zero)) * span.scale) for edge in (-60, 90))
    bounds = {"Relu6": (0.0, high), "low": (low, None), "high": (None, high), "both": (low, high)}
    for name in activations.split():
        names = [builder.constant(np.float32(bound)) if bound is not None else "" for bound in bounds.get(name, ())]
        y = builder.node("Clip", [y, *names]) if names else builder.node("Relu", [y])
    graph = check_quantized(builder, builder.quantize(y, like=span), ["qconv2d"])
    assert len(graph.nodes) == 1


def test_constant_added_becomes_bias(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y, _ = convolution(builder, "3x3")
    y = builder.node("Add", [y, builder.constant(rng.normal(size=(1, 8, 1, 1)).astype(np.float32))])
    check_quantized(builder, builder.quantize(y), ["qconv2d"])


def test_batch_normalization_is_folded(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 3, 6, 6)), builder.weight((8, 3, 3, 3), low=-127)
    y = builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)])
    parameters = [rng.normal(size=8), rng.normal(size=8), rng.normal(size=8), rng.uniform(0.5, 2, 8)]
    names = [builder.constant(array.astype(np.float32)) for array in parameters]
    check_quantized(builder, builder.quantize(builder.node("BatchNormalization", [y, *names])), ["qconv2d"])


def test_unsigned_weights_that_fit_lose_their_zero_point(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((1, 3, 6, 6), "uint8"), builder.weight((4, 3, 3, 3), None, "uint8", zero=120, low=10)
    y = builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)])
    w_values = w.array
    assert w_values is not None and w_values.max() > 247
    check_quantized(builder, builder.quantize(y, "uint8"), ["qconv2d", "qgather"])  # 255 - 120 exceeds int8
    fitting = ModelBuilder(rng)
    x, w = fitting.activation((1, 3, 6, 6), "uint8"), fitting.weight((4, 3, 3, 3), None, "uint8", 120, 0, 247)
    y = fitting.node("Conv", [fitting.dequantize(x), fitting.dequantize(w)])
    check_quantized(fitting, fitting.quantize(y, "uint8"), ["qconv2d"])


@pytest.mark.parametrize("shape", ["3x3", "depthwise", "asymmetric pads"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_qlinear_conv(shape: str, dtype: str, rng: np.random.Generator) -> None:
    ci, co, groups, _, kernel, strides, pads, dilations = SHAPES[shape]
    calibration = ModelBuilder(rng)
    y, x = convolution(calibration, shape, dtype)
    out = calibration.range_of(y, dtype)
    builder = ModelBuilder(rng)
    builder.inputs[x.name] = x
    weight_zero = 0 if dtype == "int8" else 128
    w = builder.weight((co, ci // groups, *kernel), 0, dtype, zero=weight_zero)
    assert w.array is not None
    bias = rng.integers(-3000, 3000, co).astype(np.int32)
    constants = [x.scale, x.zero, w.array, w.scale, w.zero, out.scale, out.zero, bias]
    names = [builder.constant(array) for array in constants]
    attributes = {"strides": strides, "pads": pads, "dilations": dilations, "group": groups}
    name = builder.node("QLinearConv", [x.name, *names], **attributes)
    graph = check_quantized(builder, Quantized(name, (), dtype, out.scale, out.zero), ["qconv2d"])
    assert all(node.origin[0].startswith("QLinearConv") for node in graph.nodes if node.op == "qconv2d")


def test_sums_beyond_32_bits_get_coarser_weights(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    y, x = convolution(builder, "3x3", bias=False)
    huge = Quantized(
        "b", (8,), "int32", np.array(np.float32(1.0)), np.array(0, np.int32), 0, np.full(8, 2**30, np.int32)
    )
    builder.nodes[-1].input.append(builder.dequantize(huge))
    builder.nodes.append(builder.nodes.pop(-2))  # the convolution reads what was just added
    check_quantized(builder, builder.quantize(y, like=x), ["qconv2d"])
