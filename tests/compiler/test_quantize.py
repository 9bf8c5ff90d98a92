"""Float models become int8 models that the compiler takes whole, and stay close."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tilewright.compiler.onnxruntime_check import run_onnxruntime
from tilewright.compiler.partition import host_nodes
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.quantize import QuantizeOptions, clean_up, quantize_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.errors import ModelError

BORDERS = {
    "quantizes an input",
    "dequantizes an output",
    "converts the model's unsigned input or output",
}


class FloatNetwork:
    """Builds float models layer by layer, with the untidiness of exported ones."""

    def __init__(self, rng: np.random.Generator, shape: tuple[int | str, ...] = ("batch", 3, 12, 12)) -> None:
        self.rng, self.shape = rng, shape
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def layer(self, op: str, inputs: list[str], *arrays: np.ndarray, **attributes: Any) -> str:
        output = f"{op.lower()}{len(self.nodes)}"
        names = [f"{output}.{i}" for i in range(len(arrays))]
        self.constants.update(zip(names, arrays, strict=True))
        self.nodes.append(helper.make_node(op, [*inputs, *names], [output], output, **attributes))
        return output

    def normal(self, *shape: int) -> np.ndarray:
        return (self.rng.normal(size=shape) / np.sqrt(max(np.prod(shape[1:]), 1))).astype(np.float32)

    def conv(self, x: str, ci: int, co: int, kernel: int = 3, group: int = 1) -> str:
        return self.layer(
            "Conv", [x], self.normal(co, ci // group, kernel, kernel), pads=[kernel // 2] * 4, group=group
        )

    def norm(self, x: str, channels: int) -> str:
        gamma, beta, mean = (self.rng.normal(size=channels).astype(np.float32) * 0.3 + k for k in (1, 0, 0))
        variance = self.rng.uniform(0.2, 2, channels).astype(np.float32)
        return self.layer("BatchNormalization", [x], gamma, beta, mean, variance)

    def model(self, output: str, opset: int = 17, outputs: int = 5) -> ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "network",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, [self.shape[0], outputs])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in self.constants.items()],
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def small_cnn(rng: np.random.Generator, opset: int = 17) -> ModelProto:
    """Batch normalization behind convolutions, before one, and behind a Gemm; MatMul with Add."""
    network = FloatNetwork(rng)
    x = network.norm("x", 3)  # nothing before it to be folded into
    x = network.layer("Relu", [network.norm(network.conv(x, 3, 8), 8)])
    y = network.layer("Relu", [network.norm(network.conv(x, 8, 8, group=8), 8)])
    x = network.layer("Relu", [network.layer("Add", [x, network.norm(network.conv(y, 8, 8, 1), 8)])])
    x = network.layer("Flatten", [network.layer("GlobalAveragePool", [x])])
    x = network.norm(network.layer("Gemm", [x], network.normal(6, 8), network.normal(6), transB=1), 6)
    x = network.layer("MatMul", [network.layer("Relu", [x])], network.normal(6, 5))
    return network.model(network.layer("Add", [x], network.normal(5)), opset)


def samples(
    rng: np.random.Generator, count: int, shape: tuple[int, ...] = (1, 3, 12, 12)
) -> list[dict[str, np.ndarray]]:
    return [{"x": rng.normal(size=shape).astype(np.float32)} for _ in range(count)]


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.vdot(a, b) / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_clean_up_changes_no_result(opset: int, rng: np.random.Generator) -> None:
    model = small_cnn(rng, opset)
    cleaned = clean_up(model)
    kinds = {node.op_type for node in cleaned.graph.node}
    assert kinds == {"Conv", "Relu", "Add", "GlobalAveragePool", "Flatten", "Gemm"}
    (inputs,) = samples(rng, 1)
    name = model.graph.output[0].name
    expected, given = run_onnxruntime(model, inputs)[name], run_onnxruntime(cleaned, inputs)[name]
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activations", ["int8", "uint8"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_small_cnn(activations: str, per_channel: bool, rng: np.random.Generator) -> None:
    model = small_cnn(rng)
    cleaned = clean_up(model)
    before = cleaned.SerializeToString()
    quantized = quantize_model(cleaned, samples(rng, 16), QuantizeOptions(activations, per_channel))
    assert cleaned.SerializeToString() == before
    kinds = {tensor.name: tensor for tensor in quantized.graph.initializer}
    is_vector = [len(kinds[n.input[1]].dims) for n in quantized.graph.node if n.op_type == "DequantizeLinear"]
    assert any(is_vector) == per_channel or not per_channel
    graph = load_integer_graph(quantized)
    assert {entry.reason for entry in host_nodes(graph)} <= BORDERS
    held_back, name = samples(rng, 8), model.graph.output[0].name
    expected = np.stack([run_onnxruntime(model, sample)[name] for sample in held_back])
    given = np.stack([evaluate(graph, sample)[name] for sample in held_back])
    assert cosine(expected, given) > (0.99 if per_channel else 0.98)


def spelled_out_gelu(network: FloatNetwork, x: str, form: str) -> str:
    """GELU in the orders in which exporters write it."""
    scalar = np.float32
    if form == "tanh":
        cube = network.layer("Mul", [network.layer("Pow", [x], scalar(3))], scalar(0.044715))
        inner = network.layer("Mul", [network.layer("Add", [x, cube])], scalar(np.sqrt(2 / np.pi)))
        gate = network.layer("Add", [network.layer("Tanh", [inner])], scalar(1))
        return network.layer("Mul", [network.layer("Mul", [x], scalar(0.5)), gate])
    gate = network.layer("Erf", [network.layer("Div", [x], scalar(np.sqrt(2)))])
    gate = network.layer("Add", [gate], scalar(1))
    if form == "erf, half last":
        return network.layer("Mul", [network.layer("Mul", [x, gate])], scalar(0.5))
    return network.layer("Mul", [network.layer("Mul", [x], scalar(0.5)), gate])


def spelled_out_layer_norm(network: FloatNetwork, x: str, width: int) -> str:
    centred = network.layer("Sub", [x, network.layer("ReduceMean", [x], axes=[-1])])
    variance = network.layer("ReduceMean", [network.layer("Pow", [centred], np.float32(2))], axes=[-1])
    root = network.layer("Sqrt", [network.layer("Add", [variance], np.float32(1e-5))])
    scaled = network.layer("Mul", [network.layer("Div", [centred, root])], network.normal(width) + 1)
    return network.layer("Add", [scaled], network.normal(width))


@pytest.mark.parametrize("form", ["erf", "erf, half last", "tanh"])
def test_spelled_out_functions_of_transformers(form: str, rng: np.random.Generator) -> None:
    network = FloatNetwork(rng, (2, 6, 16))
    x = network.layer("Add", [network.layer("MatMul", ["x"], network.normal(16, 16))], network.normal(16))
    x = spelled_out_layer_norm(network, network.layer("Add", [x, "x"]), 16)
    x = spelled_out_gelu(network, network.layer("MatMul", [x], network.normal(16, 16)), form)
    model = network.model(network.layer("MatMul", [x], network.normal(16, 16)))
    model.graph.output[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, (2, 6, 16)))
    cleaned = clean_up(model)
    kinds = [node.op_type for node in cleaned.graph.node]
    joined = ["Reshape", "Gemm", "Reshape"]
    assert kinds == [*joined, "Add", "LayerNormalization", "MatMul", "Gelu", "MatMul"]
    (inputs,) = samples(rng, 1, (2, 6, 16))
    name = model.graph.output[0].name
    expected = run_onnxruntime(model, inputs)[name]
    np.testing.assert_allclose(run_onnxruntime(cleaned, inputs)[name], expected, rtol=1e-3, atol=1e-4)
    quantized = quantize_model(cleaned, samples(rng, 8, (2, 6, 16)))
    graph = load_integer_graph(quantized)
    assert "onnx.Gelu" not in {node.op for node in graph.nodes}  # a table
    assert cosine(evaluate(graph, inputs)[name], expected) > 0.99


def test_what_only_resembles_them_stays(rng: np.random.Generator) -> None:
    network = FloatNetwork(rng, (2, 8))
    gate = network.layer("Add", [network.layer("Erf", [network.layer("Div", ["x"], np.float32(1.5))])], np.float32(1))
    x = network.layer("Mul", [network.layer("Mul", ["x"], np.float32(0.5)), gate])
    mean = network.layer("ReduceMean", [x], axes=[0])  # over the batch
    centred = network.layer("Sub", [x, mean])
    variance = network.layer("ReduceMean", [network.layer("Mul", [centred, centred])], axes=[0])
    root = network.layer("Sqrt", [network.layer("Add", [variance], np.float32(1e-5))])
    model = network.model(network.layer("Div", [centred, root]), outputs=8)
    kinds = {node.op_type for node in clean_up(model).graph.node}
    assert {"Erf", "Sqrt"} <= kinds
    assert not kinds & {"Gelu", "LayerNormalization"}


def test_weights_stored_as_integers(rng: np.random.Generator) -> None:
    network = FloatNetwork(rng, (1, 4))
    weight = rng.integers(-127, 128, (4, 5)).astype(np.int8)
    network.constants.update({"w": weight, "s": np.full(5, 0.01, np.float32), "z": np.zeros(5, np.int8)})
    network.nodes.append(helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wf"], axis=1))
    model = network.model(network.layer("MatMul", ["x", "wf"]))
    cleaned = clean_up(model)
    assert [node.op_type for node in cleaned.graph.node] == ["MatMul"]
    inputs = {"x": rng.normal(size=(1, 4)).astype(np.float32)}
    graph = load_integer_graph(quantize_model(cleaned, [inputs]))
    assert "qmatmul" in [node.op for node in graph.nodes]


@pytest.mark.parametrize("method", ["entropy", "percentile"])
def test_calibration_methods(method: str, rng: np.random.Generator, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    quantized = quantize_model(clean_up(small_cnn(rng)), samples(rng, 4), QuantizeOptions(method=method))
    assert "QuantizeLinear" in {node.op_type for node in quantized.graph.node}
    assert capfd.readouterr().out == ""  # the quantizer prints its progress


def test_initializers_that_are_inputs_too(rng: np.random.Generator) -> None:
    """Models of IR version 3 list their weights among the inputs, as values that a caller may replace."""
    model = small_cnn(rng)
    for tensor in model.graph.initializer:
        model.graph.input.append(helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    cleaned = clean_up(model)
    assert [info.name for info in cleaned.graph.input] == ["x"]


def test_refusals(rng: np.random.Generator) -> None:
    quantized = quantize_model(clean_up(small_cnn(rng)), samples(rng, 2))
    with pytest.raises(ModelError, match="network: the model is quantized already"):
        clean_up(quantized)
    integers = helper.make_model(
        helper.make_graph(
            [helper.make_node("Neg", ["a"], ["b"])],
            "integers",
            [helper.make_tensor_value_info("a", TensorProto.INT32, [1])],
            [helper.make_tensor_value_info("b", TensorProto.INT32, [1])],
        )
    )
    with pytest.raises(ModelError, match="integers: nothing to quantize"):
        clean_up(integers)
    with pytest.raises(ModelError, match="activations must be one of int8, uint8, not 'int4'"):
        QuantizeOptions("int4")
    with pytest.raises(ModelError, match="network: onnxruntime cannot quantize the model: "):
        quantize_model(clean_up(small_cnn(rng)), [])


@pytest.mark.parametrize("name", ["resnet8_fp32", "dscnn_kws_fp32", "autoencoder_ad_fp32"])
def test_measuring_models(name: str, measuring_models: Path, rng: np.random.Generator) -> None:
    path = measuring_models / f"{name}.onnx"
    cleaned = clean_up(path)
    (given,) = cleaned.graph.input
    shape = tuple(dim.dim_value for dim in given.type.tensor_type.shape.dim)
    inputs = [{given.name: rng.normal(size=shape).astype(np.float32)} for _ in range(4)]
    graph = load_integer_graph(quantize_model(cleaned, inputs))
    reasons = [entry.reason for entry in host_nodes(graph)]
    softmax = {"no integer form of Softmax", "dequantizes for Softmax", "quantizes the result of Softmax"}
    assert set(reasons) <= BORDERS | softmax
    assert len(reasons) <= 5


def test_rms_normalization_runs_on_the_device(rng: np.random.Generator) -> None:
    network = FloatNetwork(rng, (1, 10, 32))
    x = network.layer("MatMul", ["x"], network.normal(32, 32))
    x = network.layer("RMSNormalization", [x], rng.uniform(0.5, 1.5, 32).astype(np.float32), axis=-1)
    y = network.layer("MatMul", [x], network.normal(32, 5))
    cleaned = clean_up(network.model(y, opset=23))
    quantized = quantize_model(cleaned, [{"x": rng.normal(size=(1, 10, 32)).astype(np.float32)} for _ in range(8)])
    graph = load_integer_graph(quantized)
    assert {node.op for node in graph.nodes if node.op.startswith("q")} == {"qmatmul", "qnormalize"}
    assert {entry.reason for entry in host_nodes(graph)} <= BORDERS
