"""Corrected biases bring the means of a quantized model's layers to the float model's, and change nothing else."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tilewright.compiler.onnxruntime_check import run_onnxruntime
from tilewright.compiler.quantize import QuantizeOptions, clean_up, quantize_model

CHANNELS, SIZE, SAMPLES = 16, 12, 12


def depthwise_network(rng: np.random.Generator) -> ModelProto:
    """Expand, depthwise, project, twice, with activations of long tails: their quantization shifts means."""
    nodes, constants = [], {"low": np.float32(0), "high": np.float32(6)}
    value = "x"
    for index, group in enumerate((1, CHANNELS, 1, CHANNELS, 1)):
        shape = (CHANNELS, CHANNELS // group, *((3, 3) if group > 1 else (1, 1)))
        scale = rng.lognormal(0, 1, (CHANNELS, 1, 1, 1)) / np.sqrt(np.prod(shape[1:]))
        constants[f"w{index}"] = (rng.normal(size=shape) * scale).astype(np.float32)
        constants[f"b{index}"] = rng.normal(size=CHANNELS).astype(np.float32)
        inputs = [value, f"w{index}", f"b{index}"]
        pads = [shape[-1] // 2] * 4
        nodes.append(helper.make_node("Conv", inputs, [f"c{index}"], f"conv{index}", group=group, pads=pads))
        value = f"c{index}"
        if index % 3 < 2:
            nodes.append(helper.make_node("Clip", [value, "low", "high"], [f"r{index}"], f"clip{index}"))
            value = f"r{index}"
    shape = [1, CHANNELS, SIZE, SIZE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", value)]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "depthwise", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def integer_constants(model: ModelProto) -> dict[str, np.ndarray]:
    return {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def shift(model: ModelProto, expected: np.ndarray, samples: list[dict[str, np.ndarray]]) -> float:
    """Mean shift of an output channel."""
    output = model.graph.output[0].name
    given = np.concatenate([run_onnxruntime(model, sample)[output] for sample in samples])
    return float(np.abs((given - expected).mean((0, 2, 3))).mean())


@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_means_come_closer(rng: np.random.Generator, method: str) -> None:
    cleaned = clean_up(depthwise_network(rng))
    samples = [{"x": rng.normal(size=(1, CHANNELS, SIZE, SIZE)).astype(np.float32)} for _ in range(SAMPLES)]
    output = cleaned.graph.output[0].name
    expected = np.concatenate([run_onnxruntime(cleaned, sample)[output] for sample in samples])
    plain, corrected = (
        quantize_model(cleaned, samples, QuantizeOptions(method=method, corrects_biases=flag)) for flag in (False, True)
    )
    assert shift(corrected, expected, samples) < 0.5 * shift(plain, expected, samples)
    before, after = integer_constants(plain), integer_constants(corrected)
    changed = {name for name in before if not np.array_equal(before[name], after[name])}
    assert before.keys() == after.keys()
    assert changed and all(before[name].dtype == np.int32 and before[name].shape == (CHANNELS,) for name in changed)
    onnx.checker.check_model(corrected)
