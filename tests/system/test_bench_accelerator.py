"""What the accelerator's suite says of each case: the bound, how far it is, and arrays of other shapes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tilewright.bench.measurement import Measurement
from tilewright.bench.suites import Context
from tilewright.bench.workloads import WORKLOADS
from tilewright.cli import cli
from tilewright.compiler.targets.accelerator.workloads import CONV1
from tilewright.isa.config import Config
from tilewright.sim.api import DramTiming


def cycles_of(path: Path, *arguments: str) -> dict[str, dict[str, object]]:
    command = ["bench", "accelerator", "--on", "fast", "--json", str(path), *arguments]
    result = CliRunner().invoke(cli, command, prog_name="tilewright")
    assert result.exit_code == 0, result.output
    records = json.loads(path.read_text())
    return {record["case"]: record for record in records if record["metric"] == "cycles"}


def test_the_bound_is_busy_for_most_of_the_cycles(tmp_path: Path) -> None:
    found = cycles_of(tmp_path / "r.json", "--only", "conv1$|gemm_m16")
    conv1, gemm = found["conv1"], found["gemm_m16_n1024_k1024"]
    # the first layer's reduction of 147 is computed as 160: the array is busy for longer than its peak would allow
    assert conv1["ideal"] == CONV1.macs / 256
    busy = float(conv1["bound_percent"]) * int(conv1["value"]) / 100  # type: ignore[arg-type, call-overload]
    assert conv1["bound"] == "array" and busy == pytest.approx(CONV1.macs / 256 * 160 / 147, rel=1e-3)
    assert gemm["bound"] == "bus" and 95 < float(gemm["bound_percent"]) < 100  # type: ignore[arg-type]


def test_arrays_of_other_shapes_have_buses_to_match(tmp_path: Path) -> None:
    found = cycles_of(tmp_path / "r.json", "--only", "resnet18_convs")
    shapes = {"resnet18_convs": (16, 16, 16), "resnet18_convs_8x8": (8, 8, 8), "resnet18_convs_16x32": (16, 32, 32),
              "resnet18_convs_32x32": (32, 32, 32)}  # fmt: skip
    assert set(found) == set(shapes)
    for case, (block_in, block_out, bytes_per_cycle) in shapes.items():
        record = found[case]
        assert record["config"] == f"1x{block_in}x{block_out}"
        assert record["bytes_per_cycle"] == bytes_per_cycle
        assert record["ideal"] == 7_084_224 * 256 // (block_in * block_out)
        assert int(record["ideal"]) >= 0.9 * int(record["value"])  # type: ignore[call-overload]


def test_an_asked_configuration_is_used_for_all() -> None:
    workload = WORKLOADS["resnet18_convs_32x32"]
    context = Context(Config.load("16x16"), DramTiming(bytes_per_cycle=8), lambda *_: None)
    assert context.for_config(workload.config, workload.is_scaled) is context
    own = Context(context.config, context.dram, context.progress, is_config_asked=False)
    scaled = own.for_config(workload.config, workload.is_scaled)
    assert scaled.config.name == "32x32" and scaled.dram.bytes_per_cycle == 16
    assert own.for_config(workload.config).dram.bytes_per_cycle == 8


def test_sums_count_what_is_busy() -> None:
    part = Measurement(100, 80.0, 90.0, 1000, busy_cycles=95.0)
    assert (part.scaled(3) + part).busy_cycles == 4 * 95.0


def test_compiling_is_measured_in_a_new_process(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = CliRunner().invoke(cli, ["bench", "compile", "--only", "resnet8", "--config", "8x8", "--json", str(path)])
    assert result.exit_code == 0, result.output
    found = {record["metric"]: record["value"] for record in json.loads(path.read_text())}
    assert set(found) == {"time", "cpu_time", "peak_memory"}
    assert found["cpu_time"] > 0 and 20 < found["peak_memory"] < 1536


@pytest.mark.slow
def test_resnet18_compiles_within_its_limits(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    result = CliRunner().invoke(cli, ["bench", "compile", "--only", "resnet18", "--json", str(path)])
    assert result.exit_code == 0, result.output
    found = {record["metric"]: record["value"] for record in json.loads(path.read_text())}
    assert found["cpu_time"] <= 5 and found["peak_memory"] <= 1536
