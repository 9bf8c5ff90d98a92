"""The CPU target from the outside: the command and the function, on the model that the project ships."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import tilewright
from tilewright.cli import cli
from tilewright.cpu import CpuModel, compile_for_cpu, random_inputs
from tilewright.isa.errors import ConfigError, InputError

MODEL = Path(str(files("tilewright") / "data" / "default_resnet8_int8.onnx"))


def test_run_checks_its_outputs() -> None:
    result = CliRunner().invoke(cli, ["run", str(MODEL), "--on", "cpu", "--check", "--json", "-"])
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["differences"] and not any(data["differences"].values())
    assert data["milliseconds"] > 0
    assert sum(layer["macs"] for layer in data["layers"]) > 10_000_000
    assert {layer["place"] for layer in data["layers"]} == {"cpu"}, "something runs on the host"


def test_compiled_model_equals_the_reference_on_one_thread_and_two(rng: np.random.Generator) -> None:
    model = tilewright.compile(MODEL, target="cpu")
    assert isinstance(model, CpuModel)
    shared = compile_for_cpu(MODEL, threads=2)
    for _ in range(3):
        inputs = random_inputs(model.graph, rng)
        for compiled in (model, shared):
            wrong = compiled.count_differences(inputs, compiled.run(inputs).outputs)
            assert wrong and not any(wrong.values())
    shared.machine.close()


def test_mistakes_are_named() -> None:
    with pytest.raises(ConfigError, match=r"this processor runs the levels .*, not `neon`"):
        compile_for_cpu(MODEL, level="neon")
    with pytest.raises(InputError):
        compile_for_cpu(MODEL).run({})
