"""What a configuration cannot do is the host's, with the reason; the results are the reference's all the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

import tilewright
from tests.compiler.quantized_models import ModelBuilder, Quantized
from tilewright.isa.config import PRESETS

Build = Callable[[ModelBuilder], Quantized]


def _conv(b: ModelBuilder) -> Quantized:
    x, w = b.activation((1, 32, 6, 6)), b.weight((8, 32, 3, 3), axis=0)
    return b.quantize(b.node("Conv", [b.dequantize(x), b.dequantize(w)]))


def _binary(op: str) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        return b.quantize(b.node(op, [b.dequantize(b.activation((1, 8, 4, 4))) for _ in range(2)]))

    return build


def _unary(op: str, shape: tuple[int, ...], *constants: Any, **attributes: Any) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        x = b.activation(shape)
        operands = [b.dequantize(x), *(b.constant(np.array(c, np.int64)) for c in constants)]
        return b.quantize(b.node(op, operands, **attributes))

    return build


def _products(left: tuple[int, ...], right: tuple[int, ...]) -> Build:
    return lambda b: b.quantize(b.node("MatMul", [b.dequantize(b.activation(shape)) for shape in (left, right)]))


def _joined(axis: int, *shapes: tuple[int, ...]) -> Build:
    def build(b: ModelBuilder) -> Quantized:
        like = Quantized("", (), "int8", np.array(np.float32(0.05)), np.array(3, np.int8))
        parts = [b.activation(shape, scale=0.05) for shape in shapes]
        return b.quantize(b.node("Concat", [b.dequantize(x) for x in parts], axis=axis), like=like)

    return build


CASES: dict[str, tuple[Build, Mapping[str, Mapping[str, Any]], str]] = {
    "rows": (_unary("Softmax", (1, 4, 16), axis=-1), {"vector": {"rows": False}}, "`vector.rows`"),
    "row within a row": (
        _unary("Softmax", (1, 4, 36), axis=-1), {"gemm": {"block_in": 32}, "vector": {"rows": True}}, "within a row",
    ),
    "multiply": (_binary("Mul"), {"vector": {"multiply": False}}, "`vector.multiply`"),
    "residual": (_binary("Add"), {"epilogue": {"residual": False}}, "`epilogue.residual`"),
    "tables": (_unary("Sigmoid", (1, 8, 4, 4)), {"epilogue": {"tables": 0}}, "`epilogue.tables`"),
    "sums": (_conv, {"gemm": {"acc_bits": 20}}, "beyond `gemm.acc_bits` = 20"),
    "products of a batch": (_products((2, 8, 8), (2, 8, 8)), {"gemm": {"batch": 2}}, "`gemm.batch` = 1"),
    "products that broadcast": (_products((4, 8, 8), (1, 8, 8)), {}, "broadcast"),
    "images of a batch": (
        _unary("Slice", (4, 8, 3, 3), [1], [3], [0]), {"gemm": {"batch": 2}}, "`gemm.batch` = 2 places",
    ),
    "joined in a batch": (_joined(0, (1, 8, 3, 3), (3, 8, 3, 3)), {"gemm": {"batch": 2}}, "`gemm.batch` = 2 places"),
    "joined channels": (
        _joined(1, (1, 5, 3, 3), (1, 6, 3, 3)), {"epilogue": {"residual": False}}, "the residual stage",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_reason(name: str, rng: np.random.Generator) -> None:
    build, changes, words = CASES[name]
    builder = ModelBuilder(rng, opset=20)
    model = builder.model([build(builder).name])
    compiled = tilewright.compile(model, PRESETS["tiny"].with_values(**changes))
    notes = [layer.note for layer in compiled.layers if layer.place == "host"]
    assert any(words in note for note in notes), [(layer.kind, layer.place, layer.note) for layer in compiled.layers]
    inputs = builder.random_inputs()
    outputs = compiled.run(inputs, host="reference").outputs
    assert compiled.count_differences(inputs, outputs) == dict.fromkeys(outputs, 0)
