"""Random quantized models of one operator each: the stimulus of the operator tests and of the table of operators.

A case is a function that adds its operator, with random shape, types, scales and zero points, to a builder and gives
the quantized result.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.compiler.quantized_models import ModelBuilder, Quantized

Build = Callable[[ModelBuilder], Quantized]


@dataclass(frozen=True)
class Case:
    """One operator.

    Parameters
    ----------
    name
        Of the operator, and its form where there are several.
    build
    opset
    host
        Operators that may run on the host, None for any; everything else is on the device.
    tolerance
        Steps of the output's scale from onnxruntime.
    configs
        Names of the configurations that it runs on; none: on all.
    """

    name: str
    build: Build
    opset: int = 20
    host: frozenset[str] | None = frozenset()
    tolerance: int = 1
    configs: tuple[str, ...] = ()


CASES: dict[str, Case] = {}


def case(
    name: str, *, opset: int = 20, host: Sequence[str] | None = (), tolerance: int = 1, configs: Sequence[str] = ()
) -> Callable[[Build], Build]:
    """Enter a function into the table of cases."""

    def enter(build: Build) -> Build:
        CASES[name] = Case(name, build, opset, None if host is None else frozenset(host), tolerance, tuple(configs))
        return build

    return enter


def pick(b: ModelBuilder, *choices: Any) -> Any:
    """Draw one of the choices."""
    return choices[int(b.rng.integers(len(choices)))]


def kind(b: ModelBuilder) -> str:
    """Draw a type of activations."""
    return str(pick(b, "int8", "uint8"))


def image(b: ModelBuilder, channels: int | None = None, least: int = 1) -> Quantized:
    """Add an input `[N,C,H,W]`."""
    extents = [int(v) for v in b.rng.integers(least, least + 10, 2)]
    return b.activation((pick(b, 1, 1, 2), channels or pick(b, 1, 3, 8, 16, 20, 33), *extents), kind(b))


def rows(b: ModelBuilder, *, is_symmetric: bool = False) -> Quantized:
    """Add an input of rank 2 or 3."""
    shape = pick(b, (1, 20), (5, 33), (1, 7, 16), (2, 3, 24), (9, 8))
    return b.activation(shape, kind(b), is_symmetric=is_symmetric)


def tensor(b: ModelBuilder) -> Quantized:
    """Add an input of rank 2 to 4."""
    return pick(b, image, rows)(b)


def weights(b: ModelBuilder, shape: Sequence[int], axis: int) -> Quantized:
    """Add weights: per channel or not, signed or not, with any zero points."""
    dtype = kind(b)
    zero = pick(b, 0, -128 if dtype == "int8" else 128, None)
    along = pick(b, axis, None)
    made = b.weight(shape, along, dtype)
    info = np.iinfo(dtype)
    points = np.full(made.zero.shape, 0 if dtype == "int8" else 128)
    if zero is None:  # drawn for each channel, anywhere
        points = b.rng.integers(info.min, info.max + 1, made.zero.shape)
    return Quantized(made.name, made.shape, dtype, made.scale, points.astype(dtype), made.axis, made.array)


def geometry(b: ModelBuilder, extents: Sequence[int], *, dilates: bool = True) -> dict[str, Any]:
    """Draw kernel, strides, pads and dilations that fit an image."""
    kernel = [int(pick(b, 1, 2, 3, 5)) for _ in extents]
    dilations = [int(pick(b, 1, 1, 2)) if dilates else 1 for _ in extents]
    spans = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    begins = [int(b.rng.integers(0, k)) for k in kernel]
    ends = [int(b.rng.integers(0, k)) for k in kernel]
    for axis, (span, extent) in enumerate(zip(spans, extents, strict=True)):
        if begins[axis] + ends[axis] + extent < span:  # too small for the kernel
            kernel[axis], begins[axis], ends[axis] = 1, 0, 0
    strides = [int(pick(b, 1, 1, 2, 3)) for _ in extents]
    found = {"kernel_shape": kernel, "strides": strides, "pads": [*begins, *ends]}
    return {**found, "dilations": dilations} if dilates else found


def activation(b: ModelBuilder, y: str) -> str:
    """Add Relu, Clip or nothing."""
    chosen = pick(b, "", "", "Relu", "Clip")
    if chosen == "Clip":
        low, high = b.constant(np.float32(-0.3)), b.constant(np.float32(0.7))
        return b.node("Clip", [y, low, high])
    return b.node(chosen, [y]) if chosen else y


def scaled(b: ModelBuilder, t: Quantized) -> list[str]:
    """Give a tensor, its scale and its zero point as the QOperator form wants them."""
    if t.array is not None:
        b.constants[t.name] = t.array
    return [t.name, b.constant(t.scale, "scale"), b.constant(t.zero, "zero")]


def _computed(b: ModelBuilder, x: Quantized) -> Quantized:
    """A tensor that is computed, so that what follows does not start with what the host packs anyway."""
    y = b.quantize(b.node("Tanh", [b.dequantize(x)]), kind(b))
    return Quantized(y.name, x.shape, y.dtype, y.scale, y.zero)


def result_scales(b: ModelBuilder, float_value: Callable[[ModelBuilder], str], dtype: str) -> Quantized:
    """Find the scale of a QOperator node's result by the float form of the operator."""
    twin = ModelBuilder(np.random.default_rng(0), b.opset, list(b.nodes), dict(b.constants), dict(b.inputs), b.count)
    return twin.range_of(float_value(twin), dtype)


# ---- products --------------------------------------------------------------------------------------------------------


def _conv_parts(b: ModelBuilder, rank: int) -> tuple[Quantized, Quantized, dict[str, Any]]:
    inputs = int(pick(b, 1, 3, 8, 16, 20))
    groups = int(pick(b, 1, 1, 1, inputs, 2 if inputs % 2 == 0 else 1))
    outputs = groups * int(pick(b, 1, 2, 5, 9)) if groups > 1 else int(pick(b, 1, 7, 16, 33))
    extents = [int(v) for v in b.rng.integers(1, 12, rank)]
    x = b.activation((pick(b, 1, 1, 2), inputs, *extents), kind(b))
    shape = geometry(b, extents)
    w = weights(b, (outputs, inputs // groups, *shape["kernel_shape"]), 0)
    return x, w, {**shape, "group": groups}


@case("Conv 1-D")
def conv1d(b: ModelBuilder) -> Quantized:
    return _conv(b, 1)


@case("Conv 2-D")
def conv2d(b: ModelBuilder) -> Quantized:
    return _conv(b, 2)


def _conv(b: ModelBuilder, rank: int) -> Quantized:
    x, w, attributes = _conv_parts(b, rank)
    operands = [b.dequantize(x), b.dequantize(w)]
    if pick(b, True, False):
        operands.append(b.dequantize(b.bias(x, w, w.shape[0])))
    return b.quantize(activation(b, b.node("Conv", operands, **attributes)), kind(b))


@case("Conv with channels of nothing")
def conv_of_nothing(b: ModelBuilder) -> Quantized:
    """Channels whose weights are next to nothing beside their bias, as batch normalization leaves them."""
    x = image(b, least=3)
    outputs = 8
    w = b.weight((outputs, x.shape[1], 3, 3), 0)
    scale = w.scale * np.where(b.rng.random(outputs) < 0.5, np.float32(1e-7), np.float32(1))
    w = Quantized(w.name, w.shape, w.dtype, scale.astype(np.float32), w.zero, 0, w.array)
    bias = b.constant(b.rng.normal(size=outputs).astype(np.float32) * 5)
    return b.quantize(activation(b, b.node("Conv", [b.dequantize(x), b.dequantize(w), bias])), kind(b))


@case("QLinearConv")
def qlinear_conv(b: ModelBuilder) -> Quantized:
    x, w, attributes = _conv_parts(b, 2)
    if x.dtype == "int8":  # onnxruntime's kernel knows signed weights only beside signed activations
        w = _signed_weights(w)
    w = _uniform_zero(b, w)
    float_form = lambda t: t.node("Conv", [t.dequantize(x), t.dequantize(w)], **attributes)  # noqa: E731
    y = result_scales(b, float_form, x.dtype)
    operands = [*scaled(b, x), *scaled(b, w), *scaled(b, y)[1:]]
    if pick(b, True, False):
        bias = b.rng.integers(-2000, 2000, w.shape[0]).astype(np.int32)
        operands.append(b.constant(bias))
    return Quantized(b.node("QLinearConv", operands, **attributes), (), y.dtype, y.scale, y.zero)


def _signed_weights(w: Quantized) -> Quantized:
    if w.dtype == "int8" or w.array is None:
        return w
    signed = [(part.astype(np.int16) - 128).astype(np.int8) for part in (w.array, w.zero)]
    return Quantized(w.name, w.shape, "int8", w.scale, signed[1], w.axis, signed[0])


def _uniform_zero(b: ModelBuilder, w: Quantized) -> Quantized:
    """The same zero point everywhere, as onnxruntime's integer kernels want; 0 where scales are per channel."""
    zero = w.zero.reshape(-1)[0] if not w.scale.ndim else np.array(0 if w.dtype == "int8" else 128, w.dtype)
    return Quantized(w.name, w.shape, w.dtype, w.scale, np.full(w.zero.shape, zero, w.dtype), w.axis, w.array)


@case("ConvInteger, Cast, Mul")
def conv_integer(b: ModelBuilder) -> Quantized:
    x, w, attributes = _conv_parts(b, 2)
    x = b.activation(x.shape, "uint8")
    b.inputs = {x.name: x}
    w = _uniform_zero(b, Quantized(w.name, w.shape, w.dtype, w.scale.reshape(-1)[:1].reshape(()), w.zero.reshape(-1)[0],
                                   0, w.array))  # fmt: skip
    assert w.array is not None
    w = _as_unsigned(w)
    b.constants[w.name] = w.array
    names = [x.name, w.name, b.constant(x.zero), b.constant(w.zero)]
    return _scaled_sums(b, b.node("ConvInteger", names, **attributes), (w.shape[0], 1, 1))


def _as_unsigned(w: Quantized) -> Quantized:
    if w.dtype == "uint8" or w.array is None:
        return w
    parts = [(part.astype(np.int16) + 128).astype(np.uint8) for part in (w.array, w.zero)]
    return Quantized(w.name, w.shape, "uint8", w.scale, parts[1], w.axis, parts[0])


def _scaled_sums(b: ModelBuilder, sums: str, channels: Sequence[int]) -> Quantized:
    real = b.node("Cast", [sums], to=1)
    extent = pick(b, (), tuple(channels))
    factor = b.constant(b.rng.uniform(0.0005, 0.002, extent).astype(np.float32))
    y = b.node("Mul", [real, factor])
    if pick(b, True, False):
        y = b.node("Add", [y, b.constant(b.rng.normal(size=channels).astype(np.float32))])
    return b.quantize(activation(b, y), kind(b))


@case("ConvTranspose")
def conv_transpose(b: ModelBuilder) -> Quantized:
    inputs = int(pick(b, 1, 4, 16, 20))
    groups = int(pick(b, 1, 1, 2 if inputs % 2 == 0 else 1))
    outputs = groups * int(pick(b, 1, 3, 8))
    extents = [int(v) for v in b.rng.integers(1, 7, 2)]
    x = b.activation((pick(b, 1, 1, 2), inputs, *extents), kind(b))
    kernel = [int(pick(b, 1, 2, 3, 4)) for _ in range(2)]
    strides = [int(pick(b, 1, 2, 2, 3)) for _ in range(2)]
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": strides, "group": groups}
    attributes["dilations"] = [int(pick(b, 1, 1, 2)) for _ in range(2)]
    attributes["output_padding"] = [int(b.rng.integers(0, s)) for s in strides]
    attributes["pads"] = [int(b.rng.integers(0, (k + 1) // 2)) for k in kernel * 2]
    for axis in range(2):  # something must be left
        span = (kernel[axis] - 1) * attributes["dilations"][axis] + 1
        if (extents[axis] - 1) * strides[axis] + span <= attributes["pads"][axis] + attributes["pads"][axis + 2]:
            attributes["pads"][axis] = attributes["pads"][axis + 2] = 0
    w = weights(b, (inputs, outputs // groups, *kernel), 1)
    if groups > 1:
        w = b.weight(w.shape)
    operands = [b.dequantize(x), b.dequantize(w)]
    if pick(b, True, False):
        scale = w.scale if w.scale.ndim == 0 or groups == 1 else w.scale.reshape(-1)[0]
        operands.append(b.dequantize(b.bias(x, Quantized("", (), "int8", scale, w.zero), outputs)))
    return b.quantize(activation(b, b.node("ConvTranspose", operands, **attributes)), kind(b))


def _product(b: ModelBuilder) -> tuple[Quantized, Quantized]:
    x = rows(b)
    return x, weights(b, (x.shape[-1], int(pick(b, 1, 10, 17, 40))), 1)


@case("MatMul with constant weights")
def matmul(b: ModelBuilder) -> Quantized:
    x, w = _product(b)
    y = b.node("MatMul", [b.dequantize(x), b.dequantize(w)])
    if pick(b, True, False):
        y = b.node("Add", [y, b.dequantize(b.bias(x, w, w.shape[1]))])
    return b.quantize(activation(b, y), kind(b))


@case("Gemm")
def gemm(b: ModelBuilder) -> Quantized:
    x = b.activation((pick(b, 1, 6), pick(b, 8, 21)), kind(b))
    flips = bool(pick(b, True, False))
    outputs = int(pick(b, 1, 10, 33))
    shape = (outputs, x.shape[1]) if flips else (x.shape[1], outputs)
    w = weights(b, shape, 0 if flips else 1)
    operands = [b.dequantize(x), b.dequantize(w)]
    if pick(b, True, False):
        operands.append(b.dequantize(b.bias(x, w, outputs)))
    return b.quantize(activation(b, b.node("Gemm", operands, transB=int(flips))), kind(b))


@case("QLinearMatMul")
def qlinear_matmul(b: ModelBuilder) -> Quantized:
    x, w = _product(b)
    w = _uniform_zero(b, w)
    if x.dtype == "int8":
        w = _signed_weights(w)
    y = result_scales(b, lambda t: t.node("MatMul", [t.dequantize(x), t.dequantize(w)]), x.dtype)
    operands = [*scaled(b, x), *scaled(b, w), *scaled(b, y)[1:]]
    return Quantized(b.node("QLinearMatMul", operands), (), y.dtype, y.scale, y.zero)


@case("MatMulInteger, Cast, Mul")
def matmul_integer(b: ModelBuilder) -> Quantized:
    x, w = _product(b)
    w = Quantized(w.name, w.shape, w.dtype, w.scale, np.array(w.zero.reshape(-1)[0]), 0, w.array)
    assert w.array is not None
    b.constants[w.name] = w.array
    names = [x.name, w.name, b.constant(x.zero), b.constant(w.zero)]
    return _scaled_sums(b, b.node("MatMulInteger", names), (w.shape[1],))


@case("Flatten, Gemm", host=("reshape",))
def flattened_gemm(b: ModelBuilder) -> Quantized:
    x = image(b)
    if pick(b, True, False):
        x = _computed(b, x)
    depth = int(np.prod(x.shape[1:]))
    w = weights(b, (depth, int(pick(b, 1, 10, 20))), 1)
    flat = b.node("Flatten", [b.dequantize(x)])
    return b.quantize(b.node("Gemm", [flat, b.dequantize(w)]), kind(b))


# ---- elementwise -----------------------------------------------------------------------------------------------------


def _binary(op: str, *, broadcasts: bool = False, constant: bool = False) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = tensor(b)
        shape = list(x.shape)
        if broadcasts:
            axes = b.rng.permutation(len(shape))[: int(b.rng.integers(1, len(shape) + 1))]
            for axis in axes:
                shape[axis] = 1
            shape = shape[int(pick(b, 0, int(shape[0] == 1))) :]
        other = b.weight(shape, dtype=kind(b)) if constant else b.activation(shape, kind(b))
        operands = [b.dequantize(x), b.dequantize(other)]
        if pick(b, True, False):
            operands.reverse()
        return b.quantize(activation(b, b.node(op, operands)), kind(b))

    return build


for _op in ("Add", "Sub", "Mul"):
    case(_op)(_binary(_op))
    case(f"{_op} with broadcasting")(_binary(_op, broadcasts=True))
    case(f"{_op} of a constant")(_binary(_op, broadcasts=True, constant=True))


def _qlinear_binary(op: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = tensor(b)
        other = b.activation(x.shape, x.dtype)
        y = result_scales(b, lambda t: t.node(op, [t.dequantize(x), t.dequantize(other)]), x.dtype)
        names = [*scaled(b, x), *scaled(b, other), *scaled(b, y)[1:]]
        return Quantized(b.node(f"QLinear{op}", names, domain="com.microsoft"), (), y.dtype, y.scale, y.zero)

    return build


case("QLinearAdd")(_qlinear_binary("Add"))
case("QLinearMul")(_qlinear_binary("Mul"))


def _unary(op: str, **attributes: Any) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        return b.quantize(b.node(op, [b.dequantize(tensor(b))], **attributes), kind(b))

    return build


for _op in ("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Softplus", "Erf", "Exp", "Abs", "Neg"):
    case(_op)(_unary(_op))
case("LeakyRelu")(_unary("LeakyRelu", alpha=0.1))
case("Gelu")(_unary("Gelu"))
case("Gelu by tanh")(_unary("Gelu", approximate="tanh"))


def _after_abs(op: str) -> Build:
    """A function of positive numbers."""

    def build(b: ModelBuilder) -> Quantized:
        x = b.node("Abs", [b.dequantize(tensor(b))])
        moved = b.node("Add", [x, b.constant(np.float32(0.1))])
        operands = [moved, b.constant(np.float32(1.7))] if op == "Pow" else [moved]
        return b.quantize(b.node(op, operands), kind(b))

    return build


for _op in ("Sqrt", "Log", "Reciprocal", "Pow"):
    case(_op)(_after_abs(_op))


@case("Clip")
def clip(b: ModelBuilder) -> Quantized:
    x = b.dequantize(tensor(b))
    return b.quantize(b.node("Clip", [x, b.constant(np.float32(-0.4)), b.constant(np.float32(1.1))]), kind(b))


@case("Swish, spelled out")
def swish(b: ModelBuilder) -> Quantized:
    x = b.dequantize(tensor(b))
    return b.quantize(b.node("Mul", [x, b.node("Sigmoid", [x])]), kind(b))


@case("Gelu, spelled out")
def spelled_gelu(b: ModelBuilder) -> Quantized:
    x = b.dequantize(tensor(b))
    inner = b.node("Erf", [b.node("Mul", [x, b.constant(np.float32(np.sqrt(0.5)))])])
    half = b.node("Mul", [x, b.constant(np.float32(0.5))])
    return b.quantize(b.node("Mul", [half, b.node("Add", [inner, b.constant(np.float32(1))])]), kind(b))


@case("PRelu", host=("onnx.PRelu",))
def prelu(b: ModelBuilder) -> Quantized:
    x = image(b)
    slope = b.constant(b.rng.uniform(0, 0.5, (x.shape[1], 1, 1)).astype(np.float32))
    return b.quantize(b.node("PRelu", [b.dequantize(x), slope]), kind(b))


@case("Change of scale and type")
def requantize(b: ModelBuilder) -> Quantized:
    return b.quantize(b.dequantize(tensor(b)), kind(b))


# ---- pooling and reductions ------------------------------------------------------------------------------------------


@case("MaxPool")
def max_pool(b: ModelBuilder) -> Quantized:
    x = image(b, least=4)
    attributes = geometry(b, x.shape[2:])
    is_whole = not any(attributes["pads"]) and max(attributes["strides"]) == 1  # else onnxruntime drops windows
    y = b.node("MaxPool", [b.dequantize(x)], ceil_mode=int(is_whole), **attributes)
    return b.quantize(y, like=x) if pick(b, True, False) else b.quantize(y, kind(b))


@case("AveragePool")
def average_pool(b: ModelBuilder) -> Quantized:
    x = image(b, least=4)
    attributes = geometry(b, x.shape[2:], dilates=False)
    counts = int(pick(b, 0, 1))
    return b.quantize(b.node("AveragePool", [b.dequantize(x)], count_include_pad=counts, **attributes), kind(b))


case("GlobalAveragePool")(lambda b: b.quantize(b.node("GlobalAveragePool", [b.dequantize(image(b))]), kind(b)))
case("GlobalMaxPool")(lambda b: b.quantize(b.node("GlobalMaxPool", [b.dequantize(image(b))]), kind(b)))


@case("QLinearGlobalAveragePool")
def qlinear_global_average(b: ModelBuilder) -> Quantized:
    x = image(b)
    y = result_scales(b, lambda t: t.node("GlobalAveragePool", [t.dequantize(x)]), x.dtype)
    names = [*scaled(b, x), *scaled(b, y)[1:]]
    name = b.node("QLinearGlobalAveragePool", names, domain="com.microsoft", channels_last=0)
    return Quantized(name, (), y.dtype, y.scale, y.zero)


@case("QLinearAveragePool")
def qlinear_average(b: ModelBuilder) -> Quantized:
    x = image(b, least=4)
    attributes = geometry(b, x.shape[2:], dilates=False)
    y = result_scales(b, lambda t: t.node("AveragePool", [t.dequantize(x)], **attributes), x.dtype)
    names = [*scaled(b, x), *scaled(b, y)[1:]]
    name = b.node("QLinearAveragePool", names, domain="com.microsoft", **attributes)
    return Quantized(name, (), y.dtype, y.scale, y.zero)


def _reduction(op: str, where: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = rows(b) if where == "rows" else image(b)
        rank = len(x.shape)
        axes = {"plane": [2, 3], "height": [2], "width": [-1], "channels": [1], "rows": [rank - 1]}[where]
        operands = [b.dequantize(x), b.constant(np.array(axes, np.int64))]
        return b.quantize(b.node(op, operands, keepdims=int(pick(b, 0, 1))), kind(b))

    return build


#: The largest of channels is the host's; one sum for each row, where it loses its dimension, is turned by the host.
_REDUCED_ON_HOST = {
    **{(op, where): ("reshape",) for op in ("ReduceMean", "ReduceSum") for where in ("channels", "rows")},
    **{("ReduceMax", where): ("onnx.ReduceMax",) for where in ("channels", "rows")},
}

for _op in ("ReduceMean", "ReduceSum", "ReduceMax"):
    for _where in ("plane", "height", "width", "channels", "rows"):
        case(f"{_op} over {_where}", host=_REDUCED_ON_HOST.get((_op, _where), ()))(_reduction(_op, _where))


@case("ReduceMean over tokens")
def mean_of_tokens(b: ModelBuilder) -> Quantized:
    x = b.activation((pick(b, 1, 2), pick(b, 3, 9), pick(b, 16, 24)), kind(b))
    operands = [b.dequantize(x), b.constant(np.array([1], np.int64))]
    return b.quantize(b.node("ReduceMean", operands, keepdims=int(pick(b, 0, 1))), kind(b))


# ---- movement --------------------------------------------------------------------------------------------------------


def _moved(b: ModelBuilder, x: Quantized, y: str) -> Quantized:
    """Quantize what a movement gives: mostly as its input is."""
    return b.quantize(y, like=x) if pick(b, True, True, False) else b.quantize(y, kind(b))


def _concat(where: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = rows(b) if where == "rows" else image(b)
        axis = {"channels": 1, "height": 2, "width": 3, "rows": len(x.shape) - 1}[where]
        parts = [x]
        for _ in range(int(pick(b, 1, 2, 3))):
            shape = list(x.shape)
            shape[axis] = int(pick(b, 1, 5, 16, 20, 32))
            parts.append(b.activation(shape, kind(b)))
        return b.quantize(b.node("Concat", [b.dequantize(part) for part in parts], axis=axis), kind(b))

    return build


for _where in ("channels", "height", "width", "rows"):
    case(f"Concat of {_where}")(_concat(_where))


@case("Concat of tokens")
def concat_of_tokens(b: ModelBuilder) -> Quantized:
    parts = [b.activation((pick(b, 1, 1), n, 24), kind(b)) for n in (1, int(pick(b, 4, 9)))]
    return b.quantize(b.node("Concat", [b.dequantize(part) for part in parts], axis=1), kind(b))


@case("QLinearConcat")
def qlinear_concat(b: ModelBuilder) -> Quantized:
    x = image(b)
    parts = [x, b.activation((x.shape[0], pick(b, 3, 16, 24), *x.shape[2:]), x.dtype)]
    y = result_scales(b, lambda t: t.node("Concat", [t.dequantize(p) for p in parts], axis=1), x.dtype)
    names = [*scaled(b, y)[1:], *(name for part in parts for name in scaled(b, part))]
    return Quantized(b.node("QLinearConcat", names, domain="com.microsoft", axis=1), (), y.dtype, y.scale, y.zero)


@case("Split of channels")
def split(b: ModelBuilder) -> Quantized:
    sizes = pick(b, (16, 16), (5, 12), (32, 8, 3), (1, 1, 20))
    x = image(b, channels=sum(sizes))
    value = b.dequantize(x)
    split_node = b.node("Split", [value, b.constant(np.array(sizes, np.int64))], axis=1)
    rest = [f"{split_node}_{i}" for i in range(1, len(sizes))]
    b.nodes[-1].output.extend(rest)
    return _moved(b, x, str(pick(b, split_node, *rest)))


@case("Split of a row")
def split_row(b: ModelBuilder) -> Quantized:
    x = b.activation((pick(b, 1, 6), 48), kind(b))
    y = b.node("Split", [b.dequantize(x)], axis=-1, num_outputs=3)
    b.nodes[-1].output.extend([f"{y}_1", f"{y}_2"])
    return _moved(b, x, str(pick(b, y, f"{y}_1", f"{y}_2")))


@case("Slice")
def slice_(b: ModelBuilder) -> Quantized:
    x = tensor(b)
    starts, ends, steps = [], [], []
    for extent in x.shape:
        start = int(b.rng.integers(0, extent))
        starts.append(start)
        ends.append(int(b.rng.integers(start + 1, extent + 1)))
        steps.append(int(pick(b, 1, 1, 2)))
    axes = list(range(1, len(x.shape)))
    chosen = [[values[axis] for axis in axes] for values in (starts, ends)]
    names = [b.constant(np.array(v, np.int64)) for v in (*chosen, axes, [steps[axis] for axis in axes])]
    return _moved(b, x, b.node("Slice", [b.dequantize(x), *names]))


@case("Slice of channels")
def slice_of_channels(b: ModelBuilder) -> Quantized:
    x = image(b, channels=int(pick(b, 20, 40, 64)))
    start = int(b.rng.integers(0, x.shape[1] - 1))
    end = int(b.rng.integers(start + 1, x.shape[1] + 1))
    names = [b.constant(np.array([v], np.int64)) for v in (start, end, 1)]
    return _moved(b, x, b.node("Slice", [b.dequantize(x), *names]))


def _pad(mode: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = image(b, least=3)
        pads = [0, 0, *(int(v) for v in b.rng.integers(0, 3, 2)), 0, 0, *(int(v) for v in b.rng.integers(0, 3, 2))]
        operands = [b.dequantize(x), b.constant(np.array(pads, np.int64))]
        if mode == "constant" and pick(b, True, False):
            operands.append(b.constant(np.float32(b.rng.normal())))
        return _moved(b, x, b.node("Pad", operands, mode=mode))

    return build


for _mode in ("constant", "edge", "reflect"):
    case(f"Pad by {_mode}")(_pad(_mode))


@case("Pad of any dimension")
def pad_any(b: ModelBuilder) -> Quantized:
    x = b.activation(pick(b, (1, 5, 16), (4, 20), (1, 12, 4, 5)), kind(b))
    pads = [0, *(int(v) for v in b.rng.integers(0, 3, len(x.shape) - 1))] * 2
    return _moved(b, x, b.node("Pad", [b.dequantize(x), b.constant(np.array(pads, np.int64))]))


def _resize(mode: str, factors: Sequence[float], **attributes: Any) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = image(b, least=2)
        scales = b.constant(np.array([1, 1, *(pick(b, *factors) for _ in range(2))], np.float32))
        y = b.node("Resize", [b.dequantize(x), "", scales], mode=mode, **attributes)
        return _moved(b, x, y)

    return build


case("Resize, nearest by integers")(
    _resize("nearest", (1, 2, 3), coordinate_transformation_mode="asymmetric", nearest_mode="floor")
)
case("Resize, nearest")(_resize("nearest", (0.5, 1.5, 2, 2.5)))
case("Resize, bilinear by 2")(_resize("linear", (2,)))
case("Resize, bilinear by 2, aligned corners", host=("onnx.Resize",))(
    _resize("linear", (2,), coordinate_transformation_mode="align_corners")
)
case("Resize, bilinear by 2, asymmetric")(_resize("linear", (2,), coordinate_transformation_mode="asymmetric"))
case("Resize, bilinear by 4 or 3")(_resize("linear", (3, 4, 1)))


@case("Transpose of an image", host=("transpose", "reshape"))
def transpose(b: ModelBuilder) -> Quantized:
    x = _computed(b, image(b))
    perm = pick(b, (0, 2, 3, 1), (0, 1, 3, 2), (0, 3, 1, 2), (0, 3, 2, 1))
    return _moved(b, x, b.node("Transpose", [b.dequantize(x)], perm=perm))


@case("Transpose of rows", host=("transpose",))
def transpose_rows(b: ModelBuilder) -> Quantized:
    x = _computed(b, b.activation((pick(b, 1, 1, 2), pick(b, 3, 8), pick(b, 16, 20)), kind(b)))
    return _moved(b, x, b.node("Transpose", [b.dequantize(x)], perm=pick(b, (0, 2, 1), (1, 0, 2))))


@case("Reshape", host=("reshape",))
def reshape(b: ModelBuilder) -> Quantized:
    x = _computed(b, image(b))
    shape = pick(b, (x.shape[0], -1), (x.shape[0], x.shape[1], -1), (-1, x.shape[3]))
    return _moved(b, x, b.node("Reshape", [b.dequantize(x), b.constant(np.array(shape, np.int64))]))


def _channels_and_space(op: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        block = int(pick(b, 2, 3))
        attributes: dict[str, Any] = {"blocksize": block}
        n, c, h, w = pick(b, 1, 2), int(pick(b, 1, 5, 16)), int(pick(b, 1, 4)), int(pick(b, 2, 5))
        if op == "DepthToSpace":
            attributes["mode"] = pick(b, "DCR", "CRD")
            x = b.activation((n, c * block * block, h, w), kind(b))
        else:
            x = b.activation((n, c, h * block, w * block), kind(b))
        return _moved(b, x, b.node(op, [b.dequantize(x)], **attributes))

    return build


case("DepthToSpace")(_channels_and_space("DepthToSpace"))
case("SpaceToDepth")(_channels_and_space("SpaceToDepth"))


@case("Shuffle of channels")
def shuffle(b: ModelBuilder) -> Quantized:
    groups, each = int(pick(b, 2, 4)), int(pick(b, 3, 8))
    x = _computed(b, image(b, channels=groups * each))
    n, _, h, w = x.shape
    parted = b.node("Reshape", [b.dequantize(x), b.constant(np.array([n, groups, each, h, w], np.int64))])
    turned = b.node("Transpose", [parted], perm=[0, 2, 1, 3, 4])
    return _moved(b, x, b.node("Reshape", [turned, b.constant(np.array([n, -1, h, w], np.int64))]))


@case("Gather of constant indices")
def gather(b: ModelBuilder) -> Quantized:
    x = image(b)
    axis = int(pick(b, 1, 2, 3))
    indices = b.rng.integers(0, x.shape[axis], int(b.rng.integers(1, 12)))
    return _moved(b, x, b.node("Gather", [b.dequantize(x), b.constant(indices.astype(np.int64))], axis=axis))


@case("Expand")
def expand(b: ModelBuilder) -> Quantized:
    shape = pick(b, (1, 20, 1, 1), (1, 1, 4, 5), (1, 7, 1, 6))
    x = b.activation(shape, kind(b))
    wanted = [1, shape[1] if shape[1] > 1 else 9, 4 if shape[2] == 1 else shape[2], 6 if shape[3] == 1 else shape[3]]
    return _moved(b, x, b.node("Expand", [b.dequantize(x), b.constant(np.array(wanted, np.int64))]))


@case("Tile")
def tile(b: ModelBuilder) -> Quantized:
    x = image(b)
    repeats = [1, *(int(v) for v in b.rng.integers(1, 3, 3))]
    return _moved(b, x, b.node("Tile", [b.dequantize(x), b.constant(np.array(repeats, np.int64))]))


# ---- of the transformers ---------------------------------------------------------------------------------------------


#: Configurations in which rows of activations are whole weights; softmax and normalization have a unit of their own.
STACKED = ("8x8", "16x16", "32x16", "large")
WITH_ROWS = ("8x8 rows", "16x16 rows", "16x32 rows", "batch2 rows", "large rows")


@case("MatMul of two activations", configs=STACKED, host=("reshape", "transpose"))
def matmul_of_activations(b: ModelBuilder) -> Quantized:
    m, k, n = (int(pick(b, 1, 4, 9, 16, 37)) for _ in range(3))
    stack = pick(b, (), (1,), (2,), (1, 3))
    a, c = b.activation((*stack, m, k), kind(b)), b.activation((*stack, k, n), kind(b))
    return b.quantize(b.node("MatMul", [b.dequantize(a), b.dequantize(c)]), kind(b))


# Seven quantized operators in a chain, each of which is held to one step by its own case: steps of the scores are
# multiplied by the exponential and add up in the last product.
@case("Attention", configs=("8x8 rows", "large rows"), tolerance=8, host=("reshape", "transpose"))
def attention(b: ModelBuilder) -> Quantized:
    heads, depth, tokens = pick(b, 1, 2, 3), 16, pick(b, 5, 16, 21)
    x = b.activation((1, tokens, heads * depth), kind(b), 0.005)

    def projected(*perm: int) -> str:
        w = b.weight((heads * depth, heads * depth), 1)
        y = b.quantize(b.node("MatMul", [b.dequantize(x), b.dequantize(w)]))
        split = b.node("Reshape", [b.dequantize(y), b.constant(np.array([1, tokens, heads, depth]))])
        return b.node("Transpose", [split], perm=perm)

    q, k, v = projected(0, 2, 1, 3), projected(0, 2, 3, 1), projected(0, 2, 1, 3)
    scores = b.quantize(b.node("MatMul", [q, k]))
    chances = b.quantize(b.node("Softmax", [b.dequantize(scores)], axis=-1))
    mixed = b.quantize(b.node("MatMul", [b.dequantize(chances), v]))
    merged = b.node("Transpose", [b.dequantize(mixed)], perm=(0, 2, 1, 3))
    return b.quantize(b.node("Reshape", [merged, b.constant(np.array([1, tokens, heads * depth]))]), like=mixed)


@case("Softmax", configs=WITH_ROWS)
def softmax(b: ModelBuilder) -> Quantized:
    return b.quantize(b.node("Softmax", [b.dequantize(rows(b))], axis=-1), kind(b))


@case("LayerNormalization", configs=WITH_ROWS)
def layer_normalization(b: ModelBuilder) -> Quantized:
    x = rows(b)
    gamma = b.constant(b.rng.uniform(-1.5, 1.5, x.shape[-1]).astype(np.float32))
    beta = b.constant(b.rng.normal(size=x.shape[-1]).astype(np.float32))
    epsilon = float(pick(b, 1e-5, 1e-12))
    y = b.node("LayerNormalization", [b.dequantize(x), gamma, beta], axis=-1, epsilon=epsilon)
    return b.quantize(y, kind(b))


@case("RMSNormalization", opset=23, configs=WITH_ROWS)
def rms_normalization(b: ModelBuilder) -> Quantized:
    x = rows(b, is_symmetric=True)
    gamma = b.constant(b.rng.uniform(-1.5, 1.5, x.shape[-1]).astype(np.float32))
    y = b.node("RMSNormalization", [b.dequantize(x), gamma], axis=-1, epsilon=float(pick(b, 1e-5, 1e-12)))
    return b.quantize(y, kind(b))
