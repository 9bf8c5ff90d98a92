"""Float models in fp16: kernels through the interpreter against the model's own arithmetic, and what is joined."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.transformer_models import bert
from tilewright.arrays import count_far
from tilewright.bench.float_networks import encoder_layer, resnet18
from tilewright.compiler.targets.gpu.float_operators import lower_floats
from tilewright.compiler.targets.gpu.gemm_direct import Splitting
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping
from tilewright.compiler.targets.gpu.kernel import SPACES
from tilewright.compiler.targets.gpu.program import InterpretedDevice, Segment
from tilewright.compiler.targets.gpu.schedules import Schedule, by_model
from tilewright.compiler.tir.verify import verify
from tilewright.gpu import FAR, GpuModel, compile_for_gpu, lowering_of


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


@pytest.mark.parametrize("name", MODELS)
def test_models_agree_with_onnx(name: str, rng: np.random.Generator) -> None:
    model = compile_for_gpu(MODELS[name](rng))
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
    _check(lowering_of(MODELS[name](rng))(lambda gemm: schedule), rng)


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
    assert count_far(expected, given, FAR["fp16"]) == 2
