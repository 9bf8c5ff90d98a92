"""The commands that need neither compiler nor simulator, and what all commands share."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tilewright.cli import cli
from tilewright.cli.group import Exit
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import instruction_set

COMMANDS = ("demo", "run", "compile", "quantize", "isa", "config", "bench", "doctor")


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="tilewright")


def test_help_names_every_command() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.output
    assert "Exit codes" in result.output


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_shows_an_example(name: str) -> None:
    result = invoke(name, "--help")
    assert result.exit_code == 0
    assert f"\n  tilewright {name}" in result.output
    assert "--quiet" in result.output


def test_version() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output.startswith("tilewright ")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("nonsense",), "no such command 'nonsense' (see `tilewright --help`)"),
        (("config", "--nonsense"), "no such option"),
        (("isa", "--assemble", "x.s"), "--assemble needs -o FILE (see `tilewright isa --help`)"),
        (("isa", "--markdown", "--disassemble", "x"), "choose one of"),
        (("isa", "--c-header", "--json", "x"), "--c-header prints a text; --json goes without it"),
        (("config", "--toml", "--json", "-"), "--toml and --json - both write to standard output"),
        (("run", "x.onnx", "--on", "cpu", "--latency", "5"), "--latency is for the accelerator; --on cpu does not"),
        (("run", "x.onnx", "--on", "gpu", "-c", "8x8"), "--config is for the accelerator; --on gpu does not"),
        (("run", "x.onnx", "--on", "cpu", "--report", "r.html"), "--report is for the accelerator; --on cpu does not"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], words: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == Exit.USAGE
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.lower().startswith("error: ")
    assert words in result.stderr.lower() or words in result.stderr


def test_start_is_quick_and_light() -> None:
    code = (
        "import sys, tilewright, tilewright.cli; tilewright.cli.cli.get_command(None, 'config');"
        "print([m for m in ('numpy', 'onnx', 'llvmlite', 'amaranth', 'onnxruntime', 'rich') if m in sys.modules])"
    )
    start = time.perf_counter()
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
    assert time.perf_counter() - start < 5  # 0.2 s here; a busy machine may take longer


def test_module_can_be_run() -> None:
    command = [sys.executable, "-m", "tilewright", "config", "tiny", "--json", "-", "--quiet"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["hash"] == PRESETS["tiny"].hash


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_config_toml_is_read_back(name: str, tmp_path: Path) -> None:
    printed = invoke("config", name, "--toml")
    assert printed.exit_code == 0
    path = tmp_path / "c.toml"
    path.write_text(printed.stdout)
    assert Config.load(path) == PRESETS[name]
    again = invoke("config", path, "--json", "-", "--quiet")
    assert json.loads(again.stdout)["hash"] == PRESETS[name].hash


def test_config_set_changes_fields() -> None:
    changes = ("--set", "gemm.block_in=4", "--set", "vector.multiply=false", "--set", "bus.data_bits=256")
    result = invoke("config", "8x8", *changes, "--toml")
    assert result.exit_code == 0
    config = Config.from_toml(result.stdout)
    assert (config.gemm.block_in, config.gemm.block_out, config.vector.multiply) == (4, 8, False)
    assert config.bus.data_bits == 256
    assert config.hash != PRESETS["8x8"].hash


def test_config_shows_every_field_and_lists_presets() -> None:
    shown = invoke("config", "8x8").stdout
    assert all(path in shown for path, _, _ in PRESETS["8x8"].describe_fields())
    listed = invoke("config", "--list").stdout
    assert all(name in listed and config.hash in listed for name, config in PRESETS.items())


def test_quiet_prints_nothing() -> None:
    assert invoke("config", "8x8", "--quiet").output == ""


def test_json_on_standard_output_is_alone_there() -> None:
    result = invoke("config", "8x8", "--json", "-")
    assert json.loads(result.stdout)["fields"]["gemm.block_in"] == 8
    assert "gemm.block_in" in result.stderr


def test_isa_assembles_and_disassembles(tmp_path: Path) -> None:
    isa = instruction_set(PRESETS["8x8"])
    data = isa.encode("LOAD_WGT", {"extent_run": 3, "extent0": 1, "signal": 1}) + isa.encode("GEMM", {"fence": 1})
    binary, text, copy = tmp_path / "p.bin", tmp_path / "p.s", tmp_path / "copy.bin"
    binary.write_bytes(data)
    assert invoke("isa", "-c", "8x8", "--disassemble", binary, "-o", text).exit_code == 0
    assert "LOAD_WGT" in text.read_text()
    result = invoke("isa", "-c", "8x8", "--assemble", text, "-o", copy)
    assert result.exit_code == 0
    assert "2 instructions" in result.stdout
    assert copy.read_bytes() == data


def test_isa_prints_what_is_committed(repository: Path) -> None:
    assert invoke("isa", "--markdown").stdout == (repository / "docs" / "isa.md").read_text()
    assert invoke("isa", "--c-header").stdout == (repository / "fpga" / "driver" / "tilewright_isa.h").read_text()
    assert "LOAD_ACT" in invoke("isa").stdout


def test_isa_as_data(tmp_path: Path) -> None:
    isa = instruction_set(PRESETS["tiny"])
    data = json.loads(invoke("isa", "-c", "tiny", "--json", "-", "--quiet").stdout)
    assert (data["hash"], data["instruction_bytes"]) == (PRESETS["tiny"].hash, isa.instruction_bytes)
    assert [entry["name"] for entry in data["instructions"]] == [i.name for i in isa.instructions]
    for entry in data["instructions"]:
        last = entry["fields"][-1]
        assert entry["fields"][0]["first_bit"] == 0 and last["first_bit"] + last["bits"] == entry["bits"]
    binary, copy = tmp_path / "p.bin", tmp_path / "p.s"
    binary.write_bytes(isa.encode("GEMM", {"fence": 1}))
    listed = json.loads(invoke("isa", "-c", "tiny", "--disassemble", binary, "--json", "-").stdout)
    copy.write_text("\n".join(listed["program"]))
    again = json.loads(invoke("isa", "-c", "tiny", "--assemble", copy, "-o", binary, "--json", "-", "-q").stdout)
    assert (again["instructions"], again["bytes"]) == (1, isa.instruction_bytes)


def test_lists_as_data() -> None:
    targets = json.loads(invoke("synth", "--list", "--json", "-", "--quiet").stdout)
    assert {board["device"] for board in targets["boards"]} <= {device["name"] for device in targets["devices"]}
    suites = json.loads(invoke("bench", "--list", "--json", "-").stdout)
    assert "C2" in next(suite["cases"] for suite in suites if suite["suite"] == "accelerator")


def test_doctor_names_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("CXX", "no-such-compiler")
    result = invoke("doctor", "--json", "-")
    assert result.exit_code == Exit.TOOLCHAIN
    data = json.loads(result.stdout)
    assert data["ok"] is False
    (compiler,) = (f for f in data["findings"] if f["name"] == "C++ compiler")
    assert compiler["found"] == "" and "no-such-compiler" in compiler["advice"]
    assert "cannot run here: C++ compiler missing" in result.stderr


def test_doctor_finds_a_folder_it_cannot_write(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    result = invoke("doctor")
    assert result.exit_code == Exit.TOOLCHAIN
    assert "XDG_CACHE_HOME" in result.stdout


@pytest.mark.verilator
def test_doctor_is_content_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = invoke("doctor")
    assert result.exit_code == 0, result.output
    assert "onnxruntime" in result.stdout
