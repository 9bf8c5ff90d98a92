"""The ONNX backend interface, and ONNX's own test cases through it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx.backend.base import Backend

import tilewright.backend
from tests.compiler.quantized_models import ModelBuilder
from tilewright.backend.__main__ import command
from tilewright.backend.cases import KINDS, CaseResult, case_names, run_cases, sampled
from tilewright.backend.summary import page, tally
from tilewright.isa.errors import ConfigError, InputError

NODE_CASES = 1800  # the number grows with onnx; 1.23 has 1884


def quantized_model(rng: np.random.Generator, batch: int = 2) -> tuple[ModelProto, ModelBuilder]:
    builder = ModelBuilder(rng)
    x, w = builder.activation((batch, 3, 6, 6)), builder.weight((4, 3, 3, 3))
    y = builder.node("Relu", [builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)])])
    return builder.model([builder.quantize(y).name]), builder


def check_as_good_as_reference(results: Sequence[CaseResult]) -> None:
    worse = {r.name: r.reason for r in results if r.reference == "passed" and r.outcome != "passed"}
    assert not worse
    assert not [r.name for r in results if r.refusal], "a valid model was not compiled"


def test_module_is_a_backend() -> None:
    assert issubclass(tilewright.backend.TilewrightBackend, Backend)
    assert [d for d in ("FUNCTIONAL", "HOST", "CPU", "CPU:0", "CUDA") if tilewright.backend.supports_device(d)] == [
        "FUNCTIONAL", "HOST", "CPU", "CPU:0"
    ]  # fmt: skip


def test_devices_agree(rng: np.random.Generator) -> None:
    model, builder = quantized_model(rng)
    inputs = builder.random_inputs()
    (on_device,) = tilewright.backend.run_model(model, inputs)
    (on_tiny,) = tilewright.backend.run_model(model, list(inputs.values()), config="tiny")
    (on_host,) = tilewright.backend.run_model(model, inputs, device="HOST")
    np.testing.assert_array_equal(on_device, on_tiny)
    assert np.abs(on_device.astype(int) - on_host.astype(int)).max() <= 1  # the host multiplies floats


def test_layers_say_where_they_run(rng: np.random.Generator) -> None:
    model, _ = quantized_model(rng)
    assert ("qconv2d", "device") in tilewright.backend.prepare(model).layers()
    assert {place for _, place in tilewright.backend.prepare(model, "HOST").layers()} == {"host"}


def test_one_preparation_runs_with_several_shapes() -> None:
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "b"], ["y"])],
        "add",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", "m"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "m"])],
        [numpy_helper.from_array(np.array([2], np.float32), "b")],
    )
    rep = tilewright.backend.prepare(helper.make_model(graph))
    assert not rep.is_compiled
    for shape in ((2, 3), (1, 5), (0, 4)):
        (y,) = rep.run(np.ones(shape, np.float32))
        np.testing.assert_array_equal(y, np.full(shape, 3, np.float32))


def test_single_node() -> None:
    node = helper.make_node("Gemm", ["a", "b"], ["y"], transB=1)
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((4, 3), np.float32)
    (y,) = tilewright.backend.run_node(node, [a, b])
    np.testing.assert_array_equal(y, a @ b.T)
    older = helper.make_node("Upsample", ["x", "s"], ["y"], mode="nearest")
    (y,) = tilewright.backend.run_node(older, {"x": np.array([[1]], np.int32), "s": np.array([1, 2], np.float32)},
                                       opset_version=9)  # fmt: skip
    assert y.tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("device", "error", "message"),
    [("GPU", ConfigError, "a device is one of FUNCTIONAL, HOST, CPU, not 'GPU'")],
)
def test_wrong_device(device: str, error: type[Exception], message: str, rng: np.random.Generator) -> None:
    with pytest.raises(error) as caught:
        tilewright.backend.prepare(quantized_model(rng)[0], device)
    assert str(caught.value) == message


def test_too_many_inputs(rng: np.random.Generator) -> None:
    model, builder = quantized_model(rng)
    arrays = list(builder.random_inputs().values())
    with pytest.raises(InputError, match="the model has 1 inputs, not 2"):
        tilewright.backend.prepare(model).run(arrays * 2)


def test_unknown_operator_falls_back_by_name() -> None:
    node = helper.make_node("Sparkle", ["x"], ["y"], domain="org.example")
    graph = helper.make_graph(
        [node],
        "sparkle",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
    )
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("org.example", 1)]
    rep = tilewright.backend.prepare(helper.make_model(graph, opset_imports=imports))
    assert rep.layers() == [("org.example.Sparkle", "host")]


def test_some_node_cases(seed: int) -> None:
    names = case_names()
    assert len(names) > NODE_CASES
    results = run_cases(sampled(names, 60, seed))
    check_as_good_as_reference(results)
    figures = tally(results)
    assert figures.total == 60
    assert figures.reference_passed > 50
    assert figures.passed + figures.failed + figures.skipped == 60


@pytest.mark.slow
def test_all_cases() -> None:
    results = run_cases(case_names(["node", "simple", "pytorch-operator", "pytorch-converted"]))
    check_as_good_as_reference(results)
    figures = tally([result for result in results if result.kind == "node"])
    assert figures.total > NODE_CASES
    assert figures.share >= 0.98


def test_committed_page(repository: Path) -> None:
    """Every case that did not pass has its row."""
    text = (repository / "docs" / "onnx_nodes.md").read_text()
    assert "do not edit" in text
    rows = [line for line in text.splitlines() if line.startswith("| test_")]
    counts = [line.split("|") for line in text.splitlines() if line.startswith(tuple(f"| {kind} " for kind in KINDS))]
    assert len(counts) == len(KINDS)
    assert sum(int(columns[4]) + int(columns[5]) for columns in counts) == len(rows)


def test_page() -> None:
    result = CaseResult("node", "test_a|b", "failed", "Error: x|y", "passed", "", 0, 1, "too | large")
    text = page([result])
    assert "| test_a\\|b | passed | Error: x\\|y |" in text
    assert "| test_a\\|b | too \\| large |" in text
    assert "| node | 1 | 0 | 1 | 0 | 1 | 0 (0.0%) | 0 |" in text


def test_command(tmp_path: Path) -> None:
    arguments = [
        "--only",
        "^test_(clip_default_int8_inbounds|bernoulli)$",
        "--json",
        "-",
        "--doc",
        tmp_path / "page.md",
    ]
    result = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert result.exit_code == 0  # onnx.reference fails the one that we fail
    assert '"device_layers": 1' in result.output
    assert "draws random numbers" in result.output
    assert "| test_bernoulli | failed |" in (tmp_path / "page.md").read_text()


def test_command_as_module_refuses_a_wrong_pattern() -> None:
    line = [sys.executable, "-m", "tilewright.backend", "--only", "("]
    done = subprocess.run(line, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --only is not a regular expression")
