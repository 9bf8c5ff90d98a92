"""Products of bfloat16: how they round, what they agree with, and that nothing else changes."""

from __future__ import annotations

from functools import partial

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto

import tilewright
from tests.compiler.quantized_models import typed
from tests.compiler.targets.cpu.test_schedules import any_schedule
from tests.compiler.targets.gpu.float_models import MODELS
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.api import load
from tilewright.bench.cpu_models import encoder
from tilewright.compiler.targets.cpu.bfloat import from_bf16, to_bf16
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.kernel import SPACES
from tilewright.compiler.targets.cpu.levels import LEVELS, Level, host_levels, level_of, with_bf16
from tilewright.compiler.targets.cpu.program import InterpretedMachine
from tilewright.compiler.tir.verify import verify
from tilewright.cpu import compile_for_cpu, lower_model, operators_of
from tilewright.isa.errors import ConfigError
from tilewright.isa.ir import DType

#: Of the root of the mean square: eight bits, and some layers.
FAR = 0.03


def _level() -> Level:
    try:
        return with_bf16(level_of())
    except ConfigError as error:
        pytest.skip(str(error))


def _inputs(model: ModelProto, rng: np.random.Generator) -> dict[str, np.ndarray]:
    graph = load(model)
    return {name: rng.standard_normal(graph.shape(name)).astype(np.float32) for name in graph.inputs}


def test_rounding_is_to_the_nearest_ties_to_even(rng: np.random.Generator) -> None:
    values = np.array([1.0, 1 + 2**-8, 1 + 3 * 2**-8, 1 + 2**-8 + 2**-20, -1 - 2**-8, 0.0], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2**-6, 1 + 2**-7, -1.0, 0.0], np.float32)
    np.testing.assert_array_equal(from_bf16(to_bf16(values)), expected)
    many = rng.standard_normal(1000).astype(np.float32)
    assert np.abs(from_bf16(to_bf16(many)) / many - 1).max() <= 2**-8


@pytest.mark.parametrize("name", MODELS)
def test_models_agree_with_onnxruntime(name: str, rng: np.random.Generator) -> None:
    model = typed(MODELS[name](rng))
    program = lower_model(operators_of(model), _level())
    inputs = _inputs(model, rng)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    outputs = program.run(inputs, NativeMachine())
    for key, expected in zip(program.graph.outputs, session.run(None, inputs), strict=True):
        assert outputs[key].dtype == expected.dtype == np.float32
        far = np.abs(outputs[key] - expected).max() / np.sqrt(np.mean(expected**2))
        assert far <= FAR and (far > 1e-6 or name == "depthwise"), "the products are not of bfloat16"


@pytest.mark.parametrize("name", ["residual", "image", "depthwise"])
def test_kernels_mean_the_same_to_the_interpreter(name: str, rng: np.random.Generator) -> None:
    model = typed(MODELS[name](rng))
    inputs = _inputs(model, rng)
    program = lower_model(operators_of(model), _level())
    for kernel in program.segments[0].kernels:
        verify(kernel.function, SPACES)
    native, interpreted = (program.run(inputs, machine) for machine in (NativeMachine(), InterpretedMachine()))
    for key, array in native.items():
        np.testing.assert_allclose(interpreted[key], array, atol=0.01 * np.abs(array).max())


def test_transformer_agrees_with_fp32(rng: np.random.Generator) -> None:
    model = encoder("small", 1, 64, 2, 128, rows=20)
    inputs = _inputs(model, rng)
    outputs = [lower_model(operators_of(model), level).run(inputs, NativeMachine()) for level in (level_of(), _level())]
    for key, array in outputs[0].items():
        assert 1e-6 < np.abs(outputs[1][key] - array).max() / np.sqrt(np.mean(array**2)) <= FAR


def test_no_schedule_changes_results_by_more_than_rounding(rng: np.random.Generator) -> None:
    model = typed(MODELS["residual"](rng))
    inputs, graph, level = _inputs(model, rng), operators_of(model), _level()
    expected = lower_model(graph, level).run(inputs, NativeMachine())
    for _ in range(3):
        outputs = lower_model(graph, level, partial(any_schedule, rng=rng)).run(inputs, NativeMachine())
        for key, array in expected.items():
            np.testing.assert_allclose(outputs[key], array, atol=0.02 * np.abs(array).max())


def test_activations_between_products_are_narrow(rng: np.random.Generator) -> None:
    graph = operators_of(typed(MODELS["residual"](rng)))
    kinds = {
        buffer.dtype
        for kernel in lower_model(graph, _level()).segments[0].kernels
        for buffer in kernel.function.buffers
        if buffer.name == "w"
    }
    assert kinds == {DType.BF16}
    narrow, wide = (lower_model(graph, level).segments[0].memory_bytes for level in (_level(), level_of()))
    assert narrow < wide


def test_precision_is_checked(rng: np.random.Generator) -> None:
    with pytest.raises(ConfigError, match="a precision is fp32 or bf16, not `fp16`"):
        tilewright.compile(MODELS["pools"](rng), target="cpu", precision="fp16")  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="`small` is quantized: a precision, here fp32, is for models in floats"):
        compile_for_cpu(NETWORKS["conv1x1"](rng), precision="fp32")
    for level in {host_levels()[-1], LEVELS[-1]}:
        with pytest.raises(ConfigError, match=r"bf16 needs AVX-512 with its bf16 extension: .* is `portable`"):
            with_bf16(level)


def test_precision_is_kept_with_the_model(rng: np.random.Generator, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    _level()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    model = typed(MODELS["residual"](rng))
    inputs = _inputs(model, rng)
    found = [compile_for_cpu(model, precision=precision) for precision in ("bf16", None, "bf16")]
    outputs = [next(iter(compiled(inputs).values())) for compiled in found]
    assert [compiled.precision for compiled in found] == ["bf16", "fp32", "bf16"]
    assert found[0].title.endswith(", bf16") and not found[1].title.endswith("bf16")
    assert np.array_equal(outputs[0], outputs[2]) and not np.array_equal(outputs[0], outputs[1])
    assert not any(found[2].count_differences(inputs, {found[2].program.graph.outputs[0]: outputs[2]}).values())
