"""Quantized matrix products against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.checks import check_quantized, integer_graph
from tests.compiler.quantized_models import ModelBuilder, Quantized


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("shape", [(1, 64, 10), (7, 33, 5), (1, 1, 1)])
def test_matmul(shape: tuple[int, int, int], per_channel: bool, dtype: str, rng: np.random.Generator) -> None:
    rows, depth, columns = shape
    builder = ModelBuilder(rng)
    x, w = builder.activation((rows, depth), dtype), builder.weight((depth, columns), 1 if per_channel else None)
    y = builder.node("MatMul", [builder.dequantize(x), builder.dequantize(w)])
    check_quantized(builder, builder.quantize(y, dtype), ["qmatmul"])


def test_batched_activations(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((2, 5, 16)), builder.weight((16, 12), axis=1)
    y = builder.node("MatMul", [builder.dequantize(x), builder.dequantize(w)])
    check_quantized(builder, builder.quantize(y), ["qmatmul"])


@pytest.mark.parametrize("is_first", [False, True])
def test_added_bias_and_relu(is_first: bool, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    x, w = builder.activation((3, 40)), builder.weight((40, 12))
    y = builder.node("MatMul", [builder.dequantize(x), builder.dequantize(w)])
    bias = builder.dequantize(builder.bias(x, w, 12))
    y = builder.node("Relu", [builder.node("Add", [bias, y] if is_first else [y, bias])])
    graph = check_quantized(builder, builder.quantize(y), ["qmatmul"])
    assert len(graph.nodes) == 1


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("per_channel", [False, True])
def test_gemm(transposed: int, per_channel: bool, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    shape, axis = ((12, 40), 0) if transposed else ((40, 12), 1)
    x, w = builder.activation((3, 40)), builder.weight(shape, axis if per_channel else None)
    bias = builder.bias(x, w, 12)
    operands = [builder.dequantize(tensor) for tensor in (x, w, bias)]
    check_quantized(builder, builder.quantize(builder.node("Gemm", operands, transB=transposed)), ["qmatmul"])


def test_two_activations_are_multiplied_in_integers(rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng)
    operands = [builder.dequantize(builder.activation(shape)) for shape in ((3, 4), (4, 5))]
    result = builder.quantize(builder.node("MatMul", operands))
    graph = integer_graph(builder.model([result.name]))
    assert [node.op for node in graph.nodes] == ["transpose", "qbatchmatmul"]


@pytest.mark.parametrize("op", ["QLinearMatMul", "QGemm"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_qoperator(op: str, dtype: str, rng: np.random.Generator) -> None:
    calibration = ModelBuilder(rng)
    x, w = calibration.activation((3, 40), dtype), calibration.weight((40, 12), axis=1)
    out = calibration.range_of(
        calibration.node("MatMul", [calibration.dequantize(x), calibration.dequantize(w)]), dtype
    )
    builder = ModelBuilder(rng)
    builder.inputs[x.name] = x
    assert w.array is not None
    left = [x.name, builder.constant(x.scale), builder.constant(x.zero)]
    right = [builder.constant(array) for array in (w.array, w.scale, w.zero)]
    result = [builder.constant(out.scale), builder.constant(out.zero)]
    if op == "QGemm":
        bias = builder.constant(rng.integers(-3000, 3000, 12).astype(np.int32))
        name = builder.node(op, [*left, *right, bias, *result], domain="com.microsoft", transB=0)
    else:
        name = builder.node(op, [*left, *right, *result])
    check_quantized(builder, Quantized(name, (), dtype, out.scale, out.zero), ["qmatmul"])
