"""The model that ships in the package: its topology, quantization and recorded accuracy."""

from __future__ import annotations

import json
from collections import Counter
from importlib.resources import files
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

DATA = files("tilewright") / "data"
# Each convolution of MLPerf Tiny's ResNet-8, with one input channel: channels out and in, kernel, stride.
CONVOLUTIONS = Counter(
    [
        (16, 1, 3, 1),
        (16, 16, 3, 1),
        (16, 16, 3, 1),
        (32, 16, 3, 2),
        (32, 32, 3, 1),
        (32, 16, 1, 2),
        (64, 32, 3, 2),
        (64, 64, 3, 1),
        (64, 32, 1, 2),
    ]
)


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    return json.loads((DATA / "default_resnet8.json").read_text())


@pytest.fixture(scope="module")
def model(facts: dict[str, Any]) -> onnx.ModelProto:
    return onnx.load_model_from_string((DATA / facts["model"]).read_bytes())


@pytest.fixture(scope="module")
def constants(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    return {entry.name: numpy_helper.to_array(entry) for entry in model.graph.initializer}


def attribute(node: onnx.NodeProto, name: str) -> list[int]:
    return next(list(entry.ints) for entry in node.attribute if entry.name == name)


def quantized_weight(node: onnx.NodeProto, model: onnx.ModelProto) -> onnx.NodeProto:
    """Find the DequantizeLinear that feeds a node's weight."""
    return next(other for other in model.graph.node if node.input[1] in other.output)


def test_model_is_small_and_valid(model: onnx.ModelProto) -> None:
    onnx.checker.check_model(model, full_check=True)
    assert model.ByteSize() < 350_000
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    shapes = [
        [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (model.graph.input[0], model.graph.output[0])
    ]
    assert shapes == [[1, 1, 32, 32], [1, 10]]


def test_topology_is_resnet8(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> None:
    operators = Counter(node.op_type for node in model.graph.node)
    del operators["QuantizeLinear"], operators["DequantizeLinear"]
    assert operators == {"Conv": 9, "Add": 3, "GlobalAveragePool": 1, "Flatten": 1, "Gemm": 1}
    found = []
    for node in model.graph.node:
        if node.op_type != "Conv":
            continue
        weight = constants[quantized_weight(node, model).input[0]]
        assert attribute(node, "pads") == [weight.shape[2] // 2] * 4
        found.append((*weight.shape[:3], attribute(node, "strides")[0]))
    assert Counter(found) == CONVOLUTIONS


def test_weights_are_symmetric_int8_per_channel(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> None:
    for node in model.graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        weight, scale, zero = (constants[name] for name in quantized_weight(node, model).input)
        assert weight.dtype == np.int8
        assert scale.shape == zero.shape == (weight.shape[0],)
        assert not zero.any()


def test_activations_are_int8(model: onnx.ModelProto, constants: dict[str, np.ndarray]) -> None:
    zeros = [constants[node.input[2]] for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert len(zeros) >= 15
    assert {(zero.dtype.name, zero.shape) for zero in zeros} == {("int8", ())}


def test_recorded_accuracy_is_good_enough(facts: dict[str, Any]) -> None:
    assert facts["test_images"] >= 500
    assert facts["test_accuracy_int8"] >= 0.97
    assert facts["test_accuracy_float"] - facts["test_accuracy_int8"] <= 0.01


def test_samples_reach_their_recorded_accuracy(model: onnx.ModelProto, facts: dict[str, Any]) -> None:
    samples = np.load(DATA / facts["samples"])
    images, labels = samples["image"], samples["label"]
    assert images.shape == (facts["sample_images"], 1, 32, 32)
    assert images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    assert sorted(set(labels)) == list(range(10))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = np.array([session.run(None, {"image": image[None]})[0].argmax() for image in images])
    # onnxruntime's integer kernels differ between processors by a step: one image may change sides.
    assert abs(np.mean(found == labels) - facts["sample_accuracy_int8"]) <= 1 / len(labels) + 1e-9
