"""The measuring models: all recognised, each operator within one step of onnxruntime, accuracy kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from tests.compiler.checks import integer_graph
from tilewright.compiler.onnxruntime_check import compare_operators
from tilewright.compiler.partition import host_nodes
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import fusing_passes, load_integer_graph
from tilewright.compiler.reference import evaluate

MODELS = {  # operators on the device and on the host after fusion, multiply-accumulates aside
    "resnet8_int8": ({"qconv2d": 9, "qglobalavgpool": 1, "qmatmul": 1, "qsoftmax": 1}, []),
    "dscnn_kws_int8": ({"qconv2d": 9, "qglobalavgpool": 1, "qmatmul": 1, "qsoftmax": 1}, []),
    "autoencoder_ad_int8": ({"qmatmul": 10}, []),
    "mobilenet_v2_int8": ({"qconv2d": 53, "qglobalavgpool": 1, "qsoftmax": 1}, ["to_int8", "to_uint8"]),
}


@pytest.mark.parametrize("name", MODELS)
def test_operators(name: str, measuring_models: Path, rng: np.random.Generator) -> None:
    path = measuring_models / f"{name}.onnx"
    graph = integer_graph(onnx.load(path))
    given = graph.values[graph.inputs[0]]
    info = np.iinfo(given.dtype)
    inputs = {given.name: rng.integers(info.min, info.max + 1, given.known_shape).astype(given.dtype)}
    differences = compare_operators(graph, path, inputs)
    assert len(differences) == sum(not node.is_onnx for node in graph.nodes), "an operator has no counterpart"
    assert max(difference.largest for difference in differences) <= 1
    differing = sum(difference.count for difference in differences)
    assert differing <= max(8, sum(difference.total for difference in differences) // 1000)

    fused = run_passes(graph, fusing_passes())
    device, host = MODELS[name]
    counted = {op: sum(node.op == op for node in fused.nodes) for op in {node.op for node in fused.nodes}}
    assert {op: count for op, count in counted.items() if op.startswith("q")} == device
    assert [entry.node.op for entry in host_nodes(fused)] == host
    for output, expected in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(evaluate(fused, inputs)[output], expected)


def test_keyword_accuracy(measuring_models: Path) -> None:
    path = measuring_models / "dscnn_kws_int8.onnx"
    data = np.load(measuring_models / "kws_eval_500.npz")
    batch = onnx.load(path).graph.input[0].type.tensor_type.shape.dim[0].dim_param
    graph = load_integer_graph(path, dims={batch: len(data["x"])})
    ours = evaluate(graph, {"input_1": data["x"]})[graph.outputs[0]].argmax(axis=1)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {"input_1": data["x"]})[0].argmax(axis=1)
    accuracies = [float(np.mean(found == data["y"]) * 100) for found in (ours, theirs)]
    assert accuracies[1] > 85
    assert abs(accuracies[0] - accuracies[1]) <= 0.5
