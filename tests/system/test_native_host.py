"""What an accelerator's program leaves to the host: natively where it multiplies much, with the reference's results."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto

import tilewright
from tests.compiler.quantized_models import ModelBuilder
from tilewright.isa.errors import InputError
from tilewright.sim.runner import run

#: A float value is wrong when it is off by more than this, of the largest.
TOLERANCE = 1e-5


def between(rng: np.random.Generator, channels: int, size: int, *, is_last: bool = False) -> ModelProto:
    """A quantized convolution, one in floating point, and, unless that is the last, a quantized one again."""
    b = ModelBuilder(rng)
    x = b.activation((1, 8, size, size))
    first = b.quantize(b.node("Conv", [b.dequantize(x), b.dequantize(b.weight((channels, 8, 1, 1)))]))
    kernel = rng.standard_normal((channels, channels, 3, 3)).astype(np.float32) / (3 * channels**0.5)
    middle = b.node("Relu", [b.node("Conv", [b.dequantize(first), b.constant(kernel)], pads=[1, 1, 1, 1])])
    if is_last:
        return b.model([middle])
    second = b.quantize(middle)
    last = b.quantize(b.node("Conv", [b.dequantize(second), b.dequantize(b.weight((4, channels, 1, 1)))]))
    return b.model([b.dequantize(last)])


def runs(model: ModelProto, rng: np.random.Generator) -> dict[str, Any]:
    compiled = tilewright.compile(model, config="tiny")
    inputs = {name: rng.standard_normal(value.shape).astype(value.dtype) for name, value in compiled.inputs.items()}
    return {host: compiled.run(inputs, host=host) for host in ("cpu", "reference")} | {
        "expected": compiled.reference(inputs)
    }


def natively(result: tilewright.Run) -> int:
    return sum("by the CPU target" in layer.note for layer in result.report.layers)


def test_a_float_convolution_runs_natively(rng: np.random.Generator) -> None:
    found = runs(between(rng, 32, 40, is_last=True), rng)
    assert natively(found["cpu"]) > 0 and natively(found["reference"]) == 0
    for name, expected in found["expected"].items():
        assert np.array_equal(found["reference"].outputs[name], expected)
        error = np.abs(found["cpu"].outputs[name] - expected).max()
        assert error <= TOLERANCE * np.abs(expected).max()


def test_the_device_goes_on_with_it(rng: np.random.Generator) -> None:
    found = runs(between(rng, 32, 40), rng)
    assert natively(found["cpu"]) > 0
    assert [layer.place for layer in found["cpu"].report.layers].count("device") >= 2
    for name, expected in found["expected"].items():
        assert np.array_equal(found["reference"].outputs[name], expected)
        # what is rounded the other way before the last layer is off by a step of it there
        assert np.mean(found["cpu"].outputs[name] != expected) < 0.01


def test_little_work_is_not_compiled(rng: np.random.Generator) -> None:
    found = runs(between(rng, 4, 6), rng)
    assert natively(found["cpu"]) == 0
    for name, expected in found["expected"].items():
        assert np.array_equal(found["cpu"].outputs[name], expected)


def test_a_program_from_a_file_does_the_same(rng: np.random.Generator, tmp_path: Any) -> None:
    compiled = tilewright.compile(between(rng, 32, 40, is_last=True), config="tiny")
    compiled.save(tmp_path / "a.twp")
    again = tilewright.load_program(tmp_path / "a.twp")
    inputs = {name: rng.standard_normal(value.shape).astype(value.dtype) for name, value in compiled.inputs.items()}
    results = [one.run(inputs) for one in (compiled, again)]
    assert natively(results[1]) == natively(results[0]) > 0
    for name, array in results[0].outputs.items():
        assert np.array_equal(results[1].outputs[name], array)


def test_the_default_host_is_the_reference_for_a_simulator(rng: np.random.Generator) -> None:
    compiled = tilewright.compile(between(rng, 32, 40, is_last=True), config="tiny")
    inputs = {name: rng.standard_normal(value.shape).astype(value.dtype) for name, value in compiled.inputs.items()}
    result = run(compiled.program, inputs, tilewright.simulator("functional", compiled.config))
    for name, expected in compiled.reference(inputs).items():
        assert np.array_equal(result.outputs[name], expected)


def test_an_unknown_host_is_named(rng: np.random.Generator) -> None:
    compiled = tilewright.compile(between(rng, 4, 6), config="tiny")
    with pytest.raises(InputError, match="host must be one of cpu, reference, not `gpu`"):
        compiled.run({}, host="gpu")
