"""Quantized Resize by every rule that ONNX has for coordinates and for what is nearest, against onnxruntime."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.checks import integer_graph
from tests.compiler.quantized_models import ModelBuilder
from tilewright.compiler.onnxruntime_check import compare_operators

COORDINATES = ("half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners", "asymmetric")
NEAREST = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")


@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("sizes", [(10, 14), (7, 3), (5, 1)], ids=str)
def test_nearest(coordinates: str, nearest: str, sizes: tuple[int, int], rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng, opset=19)
    x = builder.activation((1, 3, 5, 7))
    target = builder.constant(np.array([1, 3, *sizes], np.int64))
    y = builder.node(
        "Resize", [builder.dequantize(x), "", "", target],
        mode="nearest", coordinate_transformation_mode=coordinates, nearest_mode=nearest,
    )  # fmt: skip
    model = builder.model([builder.quantize(y, like=x).name])
    graph = integer_graph(model)
    assert "onnx.Resize" not in {node.op for node in graph.nodes}
    differences = compare_operators(graph, model, builder.random_inputs())
    assert differences and all(found.largest == 0 for found in differences)


@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "asymmetric"])
def test_linear(coordinates: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng, opset=19)
    x = builder.activation((1, 3, 5, 7))
    scales = builder.constant(np.array([1, 1, 2, 3], np.float32))
    y = builder.node(
        "Resize", [builder.dequantize(x), "", scales], mode="linear", coordinate_transformation_mode=coordinates
    )
    model = builder.model([builder.quantize(y, like=x).name])
    graph = integer_graph(model)
    assert "onnx.Resize" not in {node.op for node in graph.nodes}
    assert all(found.largest <= 1 for found in compare_operators(graph, model, builder.random_inputs()))


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"mode": "cubic"}, "interpolates (cubic)"),
        ({"mode": "linear", "coordinate_transformation_mode": "align_corners"}, "other weights at every place"),
        ({"mode": "nearest", "coordinate_transformation_mode": "tf_crop_and_resize"}, "tf_crop_and_resize"),
    ],
)
def test_what_the_host_does(attributes: dict[str, str], words: str, rng: np.random.Generator) -> None:
    builder = ModelBuilder(rng, opset=19)
    x = builder.activation((1, 3, 4, 4))
    region = builder.constant(np.array([0, 0, 0, 0, 1, 1, 1, 1], np.float32))
    target = builder.constant(np.array([1, 3, 8, 8], np.int64))
    y = builder.node("Resize", [builder.dequantize(x), region, "", target], **attributes)
    graph = integer_graph(builder.model([builder.quantize(y, like=x).name]))
    (node,) = (node for node in graph.nodes if node.op == "onnx.Resize")
    assert words in node.reason
