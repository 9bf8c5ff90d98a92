"""Float models in fp16: kernels through the interpreter against the model's own arithmetic, and what is joined."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from tests.compiler.transformer_models import bert
from tilewright.bench.float_networks import encoder_layer, resnet18
from tilewright.compiler.targets.gpu.float_operators import lower_floats
from tilewright.compiler.targets.gpu.gemm_direct import Splitting
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping
from tilewright.compiler.targets.gpu.kernel import SPACES
from tilewright.compiler.targets.gpu.program import InterpretedDevice, Segment
from tilewright.compiler.targets.gpu.schedules import Schedule, by_model
from tilewright.compiler.tir.verify import verify
from tilewright.gpu import GpuModel, compile_for_gpu, count_far, lowering_of


def _model(
    nodes: list[Any], constants: Mapping[str, np.ndarray], shape: tuple[int, ...], result: tuple[int, ...]
) -> ModelProto:
    graph = helper.make_graph(
        nodes, "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, result)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def _convolution(rng: np.random.Generator, channels: int = 16, kernel: int = 3, stride: int = 1) -> ModelProto:
    """Give a residual block: a convolution, its batch normalization, the input or itself added, and a bound."""
    outputs = 16
    normal = {name: rng.uniform(0.5, 1.5, outputs).astype(np.float32) for name in ("g", "b", "m", "v")}
    weight = rng.normal(size=(outputs, channels, kernel, kernel)) / kernel / channels**0.5
    window = {"pads": [kernel // 2] * 4, "strides": [stride] * 2}
    other = "x" if stride == 1 and channels == outputs else "n"
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], **window),
        helper.make_node("BatchNormalization", ["c", *normal], ["n"]),
        helper.make_node("Add", ["n", other], ["a"]),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    extent = -(-6 // stride)
    constants = {"w": weight.astype(np.float32), **normal}
    return _model(nodes, constants, (1, channels, 6, 6), (1, outputs, extent, extent))


def _depthwise(rng: np.random.Generator) -> ModelProto:
    weight = rng.normal(size=(16, 1, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, group=16),
        helper.make_node("Clip", ["c", "low", "high"], ["y"]),
    ]
    bounds = {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
    return _model(nodes, {"w": weight, **bounds}, (1, 16, 5, 5), (1, 16, 5, 5))


def _pools(rng: np.random.Generator) -> ModelProto:
    nodes = [
        helper.make_node("MaxPool", ["x"], ["m"], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["m"], ["a"]),
        helper.make_node("Flatten", ["a"], ["f"]),
        helper.make_node("Gemm", ["f", "w", "b"], ["y"], transB=1),
    ]
    constants = {"w": rng.normal(size=(10, 16)), "b": rng.normal(size=10)}
    return _model(nodes, {k: v.astype(np.float32) for k, v in constants.items()}, (1, 16, 7, 7), (1, 10))


_MODELS: dict[str, Callable[[np.random.Generator], ModelProto]] = {
    "residual": _convolution,
    "stride2": lambda rng: _convolution(rng, 32, 1, 2),
    "image": lambda rng: _convolution(rng, 3, 7, 2),
    "depthwise": _depthwise,
    "pools": _pools,
}


def _run(model: GpuModel, rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    for launch in model.program.launches:
        verify(launch.kernel.function, SPACES)
    inputs = {
        name: rng.normal(size=model.source.shape(name)).astype(model.source.dtype(name)) for name in model.source.inputs
    }
    return model.program.run(inputs, InterpretedDevice()), inputs


def _check(model: GpuModel, rng: np.random.Generator) -> None:
    outputs, inputs = _run(model, rng)
    for name, expected in model.reference(inputs).items():
        wanted = expected.astype(np.float64)
        assert np.linalg.norm(outputs[name] - wanted) < 2e-3 * np.linalg.norm(wanted)
        assert outputs[name].dtype == expected.dtype
        assert np.std(wanted) > 0.01


@pytest.mark.parametrize("name", _MODELS)
def test_models_agree_with_onnx(name: str, rng: np.random.Generator) -> None:
    model = compile_for_gpu(_MODELS[name](rng))
    assert all(isinstance(step, Segment) for step in model.program.steps)
    _check(model, rng)


_SCHEDULES = {
    "tiled": Tiling((2, 1), (1, 2), 1, 2),
    "direct": Splitting(1, (1, 4), 1),
    "warpgroup": Grouping(1, 1, 32, 3),
}


@pytest.mark.parametrize("name", ["residual", "image"])
@pytest.mark.parametrize("schedule", _SCHEDULES.values(), ids=_SCHEDULES)
def test_schedules_agree_with_onnx(name: str, schedule: Schedule, rng: np.random.Generator) -> None:
    _check(lowering_of(_MODELS[name](rng))(lambda gemm: schedule), rng)


def test_encoder_layer_is_seven_kernels(rng: np.random.Generator) -> None:
    model = compile_for_gpu(encoder_layer(rng, 1, 19, 64, 2))
    kinds = [launch.op for launch in model.program.launches]
    assert kinds == ["fmatmul", "fattention", "fmatmul", "fnorm", "fmatmul", "fmatmul", "fnorm"]


@pytest.mark.slow
@pytest.mark.parametrize("words", [16, 70])
def test_encoder_layer_agrees_with_onnx(words: int, rng: np.random.Generator) -> None:
    _check(compile_for_gpu(encoder_layer(rng, 1, words, 64, 2)), rng)


def test_functions_that_are_spelled_out_are_found_and_the_rest_is_the_hosts(rng: np.random.Generator) -> None:
    model = compile_for_gpu(bert(rng, 16, 64, 2))
    assert [step.op for step in model.program.steps if not isinstance(step, Segment)] == ["onnx.ReduceMean"]
    assert [layer.note for layer in model.layers if layer.place == "host"] == ["no fp16 kernel of ReduceMean"]
    assert [launch.op for launch in model.program.launches].count("fattention") == 1


def test_resnet_is_a_launch_for_each_convolution(rng: np.random.Generator) -> None:
    model = compile_for_gpu(resnet18(rng, 2, 64, 10))
    kinds = [launch.op for launch in model.program.launches]
    assert kinds == ["copy", "fconv", "fmaxpool", *["fconv"] * 19, "faverage", "fmatmul", "copy"]
    assert lower_floats(model.graph, by_model).launches[1].macs == 2 * 32 * 32 * 64 * 3 * 49


def test_values_far_off_are_counted() -> None:
    expected = np.array([1.0, -1.0, 0.0, 1.0])
    given = np.array([1.01, -1.03, 0.01, np.nan])
    assert count_far(expected, given) == 2
