"""Attention with masks, as exporters of sentence models write it: in floating point, and quantized."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.compiler.transformer_models import sentences
from tilewright.compiler.targets.gpu.program import InterpretedDevice, Segment
from tilewright.gpu import GpuModel, compile_for_gpu
from tilewright.quantization import quantize

_WORDS = 19


def _inputs(rng: np.random.Generator, length: int) -> dict[str, NDArray[np.int64]]:
    mask = (np.arange(_WORDS) < length).astype(np.int64)[None]
    return {"ids": rng.integers(0, 50, (1, _WORDS)) * mask, "mask": mask}


def _quantized(rng: np.random.Generator) -> GpuModel:
    samples = [_inputs(rng, int(length)) for length in rng.integers(4, _WORDS, 8)]
    return compile_for_gpu(quantize(sentences(rng, _WORDS, 32, 1), samples, samples=8).model)


def _float(rng: np.random.Generator, precision: str) -> GpuModel:
    model = compile_for_gpu(sentences(rng, _WORDS, 64, 2), precision=precision)
    attention = [layer for layer in model.layers if layer.kind == "fattention"]
    assert len(attention) == 1 and attention[0].place == "gpu"
    return model


def _check(model: GpuModel, inputs: dict[str, NDArray[np.int64]], device: object) -> None:
    outputs = model.program.run(inputs, device)  # type: ignore[arg-type]
    assert not any(model.count_differences(inputs, outputs).values())
    changed = {**inputs, "mask": np.ones_like(inputs["mask"])}
    (masked,), (whole,) = (model.reference(given).values() for given in (inputs, changed))
    assert np.abs(masked - whole).max() > 0.01, "the mask changes nothing: the test shows nothing"


@pytest.mark.parametrize("precision", ["fp16", pytest.param("fp32", marks=pytest.mark.slow)])
def test_masked_attention_agrees_with_onnx(precision: str, rng: np.random.Generator) -> None:
    _check(_float(rng, precision), _inputs(rng, 11), InterpretedDevice())


def test_quantized_masked_attention_equals_the_reference(rng: np.random.Generator) -> None:
    model = _quantized(rng)
    products = [launch for launch in model.program.launches if launch.op == "qbatchmatmul"]
    assert [("residual" in launch.arguments) for launch in products] == [True, False]
    _check(model, _inputs(rng, 11), InterpretedDevice())
    assert sum(isinstance(step, Segment) for step in model.program.steps) == 1


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp16", "fp32", "int8"])
def test_masked_attention_on_the_device(precision: str, rng: np.random.Generator) -> None:
    from tilewright.gpu import open_device

    model = _quantized(rng) if precision == "int8" else _float(rng, precision)
    _check(model, _inputs(rng, 11), open_device())
