"""Projects for Vivado and Quartus: golden files, what their scripts do, and runs with stand-ins of the tools.

Neither tool has run these projects here: the reports are synthetic.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tilewright.fpga import quartus, vivado
from tilewright.fpga.axi_wrapper import WRAPPER, master_ports, slave_ports, wrapper
from tilewright.fpga.boards import BOARDS, Board
from tilewright.fpga.driver.pynq import INSTANCE
from tilewright.fpga.synthesis import run_yosys
from tilewright.fpga.vendor import Project, VendorResult
from tilewright.hw.elaborate import verilog
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.isa.instructions import instruction_set

HERE = Path(__file__).parent
CONFIG = PRESETS["tiny"].with_values(bus={"burst_beats": 16})
GOLDEN = {
    "pynq-z1": (vivado.project, ("build.tcl", "tilewright_axi.v", "clock.xdc")),
    "ultra96-v2": (vivado.project, ("build.tcl",)),
    "arty-a7-100t": (vivado.project, ("build.tcl",)),
    "de10-nano": (
        quartus.project,
        ("build.tcl", "system.tcl", "tilewright_hw.tcl", "tilewright.qsf", "tilewright.qpf", "tilewright.sdc"),
    ),
    "de0-cv": (quartus.project, ("build.tcl", "tilewright.qsf", "tilewright.sdc")),
}


@pytest.fixture(scope="module")
def projects() -> dict[str, Project]:
    return {name: write(CONFIG, BOARDS[name]) for name, (write, _) in GOLDEN.items()}


@pytest.mark.parametrize(("name", "file"), [(name, file) for name, (_, files) in GOLDEN.items() for file in files])
def test_golden(name: str, file: str, projects: dict[str, Project], request: pytest.FixtureRequest) -> None:
    found = projects[name].files[file].replace(CONFIG.hash, "HASH")
    golden = HERE / "golden" / f"{name}.{file}"
    if request.config.getoption("--update-golden"):
        golden.write_text(found)
    assert found == golden.read_text()


def test_the_wrapper_connects_every_port(tmp_path: Path) -> None:
    """Yosys finds no unknown port, and every port of the accelerator but its trace is connected."""
    design = verilog(instruction_set(CONFIG), "accelerator")
    for name, text in (("accelerator.v", design), ("wrapper.v", wrapper(CONFIG))):
        (tmp_path / name).write_text(text)
    files = f"{tmp_path / 'accelerator.v'} {tmp_path / 'wrapper.v'}"
    run_yosys("", (f"read_verilog {files}", f"hierarchy -check -top {WRAPPER}", "proc", "check -assert"), tmp_path)
    header = re.search(r"^module accelerator\((?P<ports>.*?)\);", design, re.M | re.S)
    assert header is not None
    ports = {port.strip(" \\") for port in header["ports"].replace("\n", " ").split(",")}
    connected = set(re.findall(r"\.(\w+)\(", wrapper(CONFIG)))
    assert {port for port in ports if not port.startswith("trace")} == connected
    assert len(connected) == len(master_ports(CONFIG)) + len(slave_ports()) + 3


def run_tcl(script: str) -> list[list[str]]:
    """Run a script whose commands do nothing; give the words of each command that is not Tcl's own."""
    tkinter = pytest.importorskip("tkinter")
    tcl = tkinter.Tcl()
    seen: list[list[str]] = []

    def unknown(*words: str) -> str:
        seen.append(list(words))
        return "100%" if "PROGRESS" in words else words[-1] if words[0].startswith("get_") else words[0]

    tcl.createcommand("unknown", unknown)
    tcl.createcommand("file", lambda *words: "here")
    tcl.createcommand("cd", lambda *words: None)
    tcl.createcommand("glob", lambda *words: "found")
    tcl.createcommand("package", lambda *words: seen.append(["package", *words]))
    tcl.eval(script)
    return seen


@pytest.mark.parametrize("name", ["pynq-z1", "ultra96-v2"])
def test_vivado_connects_every_pin(name: str, projects: dict[str, Project]) -> None:
    commands = run_tcl(projects[name].files["build.tcl"])
    connected = {word for command in commands if command[0].startswith("connect_bd") for word in command[1:]}
    pins = {f"{INSTANCE}/{pin}" for pin in ("aclk", "aresetn", "irq", "m_axi", "s_axi")}
    pins |= {f"{cell}/{pin}" for cell in ("control", "memory") for pin in ("aclk", "aresetn", "S00_AXI", "M00_AXI")}
    pins |= {f"reset/{pin}" for pin in ("slowest_sync_clk", "ext_reset_in", "peripheral_aresetn")}
    missing = pins - connected
    assert not missing
    named = [command[0] for command in commands]
    for earlier, later in (
        ("ipx::package_project", "create_bd_design"), ("validate_bd_design", "make_wrapper"),
        ("make_wrapper", "launch_runs"), ("wait_on_run", "report_utilization"),
    ):  # fmt: skip
        assert named.index(earlier) < named.index(later)


def test_quartus_connects_every_interface(projects: dict[str, Project]) -> None:
    files = projects["de10-nano"].files
    interfaces = [c[1] for c in run_tcl(files["tilewright_hw.tcl"]) if c[0] == "add_interface"]
    ends = {word for c in run_tcl(files["system.tcl"]) if c[0] == "add_connection" for word in c[1:]}
    assert {f"accelerator.{name}" for name in interfaces} <= ends
    ports = [c[2] for c in run_tcl(files["tilewright_hw.tcl"]) if c[0] == "add_interface_port"]
    declared = set(re.findall(r"(?:input|output) wire (?:\[\d+:0\] )?(\w+)", wrapper(CONFIG)))
    constant = {f"m_axi_{way}{name}" for way in ("ar", "aw") for name in ("lock", "cache", "prot", "qos")}
    assert set(ports) | constant == declared and len(ports) == len(set(ports))


@pytest.mark.parametrize(
    ("write", "board", "changes", "message"),
    [
        (vivado.project, "de10-nano", {}, "Vivado has no device 5CSEBA6U23I7"),
        (quartus.project, "pynq-z1", {}, "Quartus has no device xc7z020clg400-1"),
        (vivado.project, "pynq-z1", {"burst_beats": 32}, r"`bus.burst_beats` must be at most 16 .*AXI3.*, not 32"),
        (vivado.project, "pynq-z1", {"data_bits": 128}, r"`bus.data_bits` must be at most 64 .*, not 128"),
    ],
)
def test_what_a_board_cannot_have(
    write: Callable[[Config, Board], Project], board: str, changes: dict[str, int], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        write(CONFIG.with_values(bus=changes), BOARDS[board])


def copying(*names: str) -> str:
    return "".join(f"shutil.copy({str(HERE / 'reports' / name)!r}, {name!r})\n" for name in names)


def build_vivado(project: Project, folder: Path) -> VendorResult:
    return vivado.build(project, folder, 100)


def build_quartus(project: Project, folder: Path) -> VendorResult:
    return quartus.build(project, folder, 100, seed=3)


TOOLS = [
    pytest.param("pynq-z1", "vivado", build_vivado, ("utilization.rpt", "timing.rpt"), id="vivado"),
    pytest.param(
        "de10-nano", "quartus_sh", build_quartus, ("tilewright.fit.summary", "tilewright.sta.summary"), id="quartus"
    ),
]  # fmt: skip


@pytest.mark.parametrize(("board", "tool", "build", "reports"), TOOLS)
def test_a_run_is_read(board, tool, build, reports, projects, stand_in, tmp_path: Path) -> None:
    check = f"assert sys.argv[1:] == {list(projects[board].command[1:])!r} and open('build.tcl').read()\n"
    stand_in(tool, check + copying(*reports))
    folder = tmp_path / "project"
    folder.mkdir()
    projects[board].write(folder)
    result = build(projects[board], folder).as_data()
    assert result["stage"] == "routed" and result["tool"] == tool.removesuffix("_sh")
    if tool == "vivado":
        assert result["version"] == "Vivado v.2022.2" and result["seed"] is None
        assert result["used"]["LUT"] == {"used": 15321, "available": 53200}
        assert result["used"]["RAMB36"] == {"used": 96.5, "available": 140}
        assert result["used"]["DSP"] == {"used": 208, "available": 220}
        assert result["slack_ns"] == 1.25 and result["fmax_mhz"] == pytest.approx(1000 / 8.75)
    else:
        assert result["version"] == "22.1std.2" and result["seed"] == 3
        assert result["used"]["ALM"] == {"used": 14210, "available": 41910}
        assert result["used"]["FF"]["used"] == 22071
        assert result["slack_ns"] == -0.625 and result["fmax_mhz"] == pytest.approx(1000 / 10.625)


@pytest.mark.parametrize(("board", "tool", "build", "reports"), TOOLS)
def test_failures_are_told(board, tool, build, reports, projects, stand_in, tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match=f"`{tool}` is not on the PATH: install"):
        build(projects[board], tmp_path)
    stand_in(tool, "print('ERROR: [Place 30-640] does not fit'); sys.exit(1)")
    with pytest.raises(ToolchainError, match=r"failed: ERROR: \[Place 30-640\] does not fit; see .*tool.log"):
        build(projects[board], tmp_path)
    stand_in(tool, "")
    with pytest.raises(ToolchainError, match="wrote no report"):
        build(projects[board], tmp_path)
    stand_in(tool, "".join(f"open({name!r}, 'w').write('something')\n" for name in reports))
    with pytest.raises(ToolchainError, match="no version, slack or resources"):
        build(projects[board], tmp_path)
    assert os.listdir(tmp_path) and shutil.which(tool)
