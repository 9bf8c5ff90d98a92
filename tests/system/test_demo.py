"""The demo and the Python interface, on the model that ships with Tilewright."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner, Result

import tilewright
from tilewright.cli import cli
from tilewright.demo import Verdict, check_run, default_model, default_samples


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="tilewright")


@pytest.fixture(scope="module")
def program() -> tilewright.Compiled:
    return tilewright.compile(default_model(), config="8x8")


def test_demo_on_the_functional_simulator(tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    result = invoke("demo", "--on", "functional", "--images", "8", "--json", path)
    assert result.exit_code == 0, result.output
    assert "equal, bit for bit, on 8 images (80 output values)" in result.stdout
    assert "same digit for 8 of 8 images" in result.stdout
    data = json.loads(path.read_text())
    assert data["ok"] is True
    assert data["verdict"]["wrong_values"] == 0
    kinds = [layer["kind"] for layer in data["layers"] if layer["place"] == "device"]
    assert kinds.count("qconv2d") == 9
    # ResNet-8's multiply-accumulates, from its shapes: nine convolutions and the classifier.
    assert data["macs"] == sum(
        size * size * out * into * kernel * kernel
        for out, into, kernel, size in (
            (16, 1, 3, 32), (16, 16, 3, 32), (16, 16, 3, 32), (32, 16, 3, 16), (32, 32, 3, 16), (32, 16, 1, 16),
            (64, 32, 3, 8), (64, 64, 3, 8), (64, 32, 1, 8), (10, 64, 1, 1),
        )
    )  # fmt: skip


@pytest.mark.parametrize("on", ["fast", pytest.param("rtl", marks=pytest.mark.verilator)])
def test_demo_with_cycles(on: str, tmp_path: Path) -> None:
    path = tmp_path / "demo.json"
    result = invoke("demo", "--on", on, "--json", path)
    assert result.exit_code == 0, result.output
    data = json.loads(path.read_text())
    assert data["simulator"] == on
    layers = [layer for layer in data["layers"] if layer["place"] == "device"]
    assert all(layer["bound"] in ("array", "vector", "bus", "latency") for layer in layers if layer["cycles"])
    assert sum(layer["cycles"] for layer in layers) <= data["cycles"]
    assert all(layer["work"]["gemm_steps"] + layer["work"]["vector_steps"] <= layer["cycles"] for layer in layers)
    assert 0 < data["utilization"] <= 1
    counters = data["counters"]
    assert data["work"]["gemm_steps"] == counters["gemm_steps"]
    bus_bytes = tilewright.Config.load("8x8").bus_bytes
    # Weights and parameters are whole beats; instructions are fetched whole.
    assert data["work"]["read_bytes"] == counters["read_beats"] * bus_bytes
    assert data["work"]["write_bytes"] == counters["write_beats"] * bus_bytes


def test_a_wrong_output_is_a_failed_demo(program: tilewright.Compiled) -> None:
    (inputs,), labels = default_samples(1)
    outputs = dict(program.run(inputs).outputs)
    good = check_run(program, [inputs], labels, [outputs])
    assert good.is_good
    (name,) = outputs
    changed = outputs[name].copy()
    changed.flat[3] += program.output_step(name)
    bad = check_run(program, [inputs], labels, [{name: changed}])
    assert bad.wrong_values == 1
    assert not bad.is_good
    assert not replace(Verdict(10, 0, 1, 1, 0), largest_steps=100).is_good


def test_python_interface_runs_and_reports(program: tilewright.Compiled) -> None:
    (inputs,), _ = default_samples(1)
    result = program.run(inputs)
    session = onnxruntime.InferenceSession(default_model().SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, inputs)
    (name,) = program.outputs
    assert result.outputs[name].shape == expected.shape
    assert result.outputs[name].argmax() == expected.argmax()
    assert result.report.cycles is None
    assert result.report.hash == tilewright.Config.load("8x8").hash
    assert {layer.place for layer in result.report.layers} <= {"device", "host"}
    again = program.run(inputs, on=tilewright.simulator("functional", "8x8"))
    np.testing.assert_array_equal(again.outputs[name], result.outputs[name])


def test_fast_gives_the_functional_outputs_and_cycles(program: tilewright.Compiled, tmp_path: Path) -> None:
    program.save(tmp_path / "digits.twp")
    (inputs,), _ = default_samples(1)
    np.savez(tmp_path / "x.npz", **inputs)
    cycles = {}
    for on in ("functional", "fast"):
        files = ("--input", tmp_path / "x.npz", "--output", tmp_path / f"{on}.npz", "--json", tmp_path / f"{on}.json")
        result = invoke("run", tmp_path / "digits.twp", "--on", on, *files)
        assert result.exit_code == 0, result.output
        cycles[on] = json.loads((tmp_path / f"{on}.json").read_text())["cycles"]
    (name,) = program.outputs
    results = [np.load(tmp_path / f"{on}.npz")[name] for on in ("functional", "fast")]
    np.testing.assert_array_equal(*results)
    assert cycles["functional"] is None
    ideal = program.run(inputs).report.macs / program.config.macs_per_cycle
    assert cycles["fast"] == program.run(inputs, on="fast").report.cycles > ideal
    far = tilewright.simulator("fast", "8x8", dram=tilewright.sim.api.DramTiming(latency_cycles=100))
    assert program.run(inputs, on=far).report.cycles > cycles["fast"]


def test_program_file_runs_like_the_model(program: tilewright.Compiled, tmp_path: Path) -> None:
    path, out = tmp_path / "digits.twp", tmp_path / "y.npz"
    program.save(path)
    (inputs,), _ = default_samples(1)
    np.savez(tmp_path / "x.npz", **inputs)
    result = invoke("run", path, "--input", tmp_path / "x.npz", "--output", out)
    assert result.exit_code == 0, result.output
    (name,) = program.outputs
    np.testing.assert_array_equal(np.load(out)[name], program.run(inputs).outputs[name])
    loaded = tilewright.load_program(path)
    assert loaded.config == program.config
    assert [layer.name for layer in loaded.layers] == [layer.name for layer in program.layers]


def test_compile_says_where_layers_run(tmp_path: Path) -> None:
    model = tmp_path / "digits.onnx"
    model.write_bytes(default_model().SerializeToString())
    result = invoke("compile", model, "-o", tmp_path / "digits.twp", "--config", "16x16", "--json", "-")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["hash"] == tilewright.Config.load("16x16").hash
    assert {layer["place"] for layer in data["layers"]} == {"device", "host"}  # quantizing floats is the host's
    assert all(layer["note"] for layer in data["layers"] if layer["place"] == "host")
    assert "device" in result.stderr


def test_run_without_input_says_that_it_is_random(tmp_path: Path) -> None:
    model = tmp_path / "digits.onnx"
    model.write_bytes(default_model().SerializeToString())
    result = invoke("run", model, "--config", "8x8", "--seed", "7", "--check")
    assert result.exit_code == 0, result.output
    assert "random inputs, seed 7" in result.stdout
    assert "0 values differ from the integer reference" in result.stdout


@pytest.mark.verilator
def test_run_writes_waves(tmp_path: Path, program: tilewright.Compiled) -> None:
    waves = tmp_path / "run.fst"
    program.save(tmp_path / "digits.twp")
    slow = ("--latency", "40", "--bandwidth", "4")
    result = invoke("run", tmp_path / "digits.twp", "--on", "rtl", "--waves", waves, *slow)
    assert result.exit_code == 0, result.output
    whole = waves.stat().st_size
    assert whole > 10_000
    window = ("--wave-cycles", "1000:1100")
    result = invoke("run", tmp_path / "digits.twp", "--on", "rtl", "--waves", waves, *slow, *window)
    assert result.exit_code == 0, result.output
    assert 1000 < waves.stat().st_size < whole / 2


def test_graph_can_be_loaded() -> None:
    graph = tilewright.load(default_model())
    assert graph.inputs == ("image",)


def test_quiet_run_prints_nothing(program: tilewright.Compiled, tmp_path: Path) -> None:
    program.save(tmp_path / "digits.twp")
    command = [sys.executable, "-m", "tilewright", "run", str(tmp_path / "digits.twp"), "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
