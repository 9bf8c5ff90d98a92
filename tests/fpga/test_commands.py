"""The commands for FPGAs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tilewright.cli import cli


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments)


def test_estimates() -> None:
    result = run("synth", "--board", "pynq-z1", "--estimate", "--json", "-", "-q")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert (data["stage"], data["device"], data["fits"]) == ("config-estimate", "xc7z020", True)
    assert 0 < data["total"]["dsp"] <= data["budget"]["dsp"]
    result = run("synth", "--config", "32x32", "--target", "xc7z020", "--estimate")
    assert result.exit_code == 1 and "does not fit" in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("synth", "--config", "32x32", "--target", "xc7z020"), "the largest preset that fits is `pynq-z1`"),
        (("synth",), "give --target DEVICE or --board BOARD"),
        (("synth", "--target", "xc7z020", "--board", "pynq-z1"), "give --target DEVICE or --board BOARD"),
        (("synth", "--target", "xc9"), "no device `xc9`"),
        (("project", "pynq-z9", "x"), "no board `pynq-z9`"),
        (("project", "tang-primer-20k", "x"), "Vivado has no device GW2A"),
        (("route", "--target", "xczu7ev"), "no open flow places and routes xcup devices"),
        (("route", "--speed", "9"), "no speed grade 9 of `lfe5u-85f`"),
        (("route", "--config", "16x16"), "does not fit lfe5u-85f"),
    ],
)
def test_mistakes_are_one_line(arguments: tuple[str, ...], message: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.output and "Traceback" not in result.output


def test_targets_are_listed() -> None:
    result = run("synth", "--list")
    assert result.exit_code == 0 and "xc7z020" in result.output and "kv260" in result.output


def test_a_project_is_written(tmp_path: Path) -> None:
    folder = tmp_path / "build"
    small = ("--set", "gemm.block_in=4", "--set", "gemm.block_out=4")
    result = run("project", "pynq-z1", str(folder), *small, "--json", "-", "-q")
    assert result.exit_code == 0, result.output
    data = json.loads(result.output)
    assert data["files"] == sorted(path.name for path in folder.iterdir())
    assert data["config_hash"] in (folder / "build.tcl").read_text()


def test_building_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    small = ("--set", "gemm.block_in=4", "--set", "gemm.block_out=4")
    result = run("project", "pynq-z1", str(tmp_path / "build"), *small, "--build")
    assert result.exit_code == 3 and "`vivado` is not on the PATH: install AMD's Vivado" in result.output


def test_routing_without_the_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("route", "--config", "tiny", "--target", "5cseba6")
    assert result.exit_code == 3 and "nextpnr-mistral is missing: no package has it" in result.output
