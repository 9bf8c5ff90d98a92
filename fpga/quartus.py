"""Quartus projects: a Platform Designer component, a system with the HPS around it, timing constraints."""

from __future__ import annotations

import re
from pathlib import Path

from tilewright.fpga.axi_wrapper import ACCELERATOR, WRAPPER, master_ports, slave_ports, wrapper
from tilewright.fpga.boards import Board
from tilewright.fpga.vendor import Project, VendorResult, fmax_mhz, run_tool
from tilewright.hw.elaborate import verilog
from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.isa.instructions import instruction_set

ADVICE = "install Intel's Quartus Prime (Lite will do) and put its bin folder there"

_REVISION = "tilewright"

_COMPONENT = """\
# Written by Tilewright; do not edit. Platform Designer component, configuration {name}, hash {hash}.
package require -exact qsys 16.0
set_module_property NAME tilewright
set_module_property DISPLAY_NAME Tilewright
set_module_property VERSION 1.0
set_module_property GROUP Accelerators
add_fileset synthesis QUARTUS_SYNTH
set_fileset_property synthesis TOP_LEVEL {wrapper}
add_fileset_file tilewright_axi.v VERILOG PATH tilewright_axi.v TOP_LEVEL_FILE
add_fileset_file accelerator.v VERILOG PATH accelerator.v
add_interface clock clock end
add_interface_port clock aclk clk Input 1
add_interface reset reset end
set_interface_property reset associatedClock clock
add_interface_port reset aresetn reset_n Input 1
add_interface registers axi4lite end
set_interface_property registers associatedClock clock
set_interface_property registers associatedReset reset
{slave}
add_interface memory axi4 start
set_interface_property memory associatedClock clock
set_interface_property memory associatedReset reset
set_interface_property memory readIssuingCapability {reads}
set_interface_property memory writeIssuingCapability {writes}
set_interface_property memory combinedIssuingCapability {both}
{master}
add_interface interrupt interrupt end
set_interface_property interrupt associatedAddressablePoint registers
set_interface_property interrupt associatedClock clock
add_interface_port interrupt irq irq Output 1
"""

_SYSTEM = """\
# Written by Tilewright for {board}; do not edit. Run: qsys-script --script=system.tcl
package require -exact qsys 16.0
create_system system
set_project_property DEVICE_FAMILY "Cyclone V"
set_project_property DEVICE {part}
add_instance clock clock_source
set_instance_parameter_value clock clockFrequency {{50000000}}
add_instance pll altera_pll
set_instance_parameter_value pll gui_reference_clock_frequency 50.0
set_instance_parameter_value pll gui_output_clock_frequency0 {clock:.1f}
set_instance_parameter_value pll gui_use_locked 0
add_instance accelerator tilewright
add_connection clock.clk pll.refclk
add_connection clock.clk_reset pll.reset
add_connection pll.outclk0 accelerator.clock
add_connection clock.clk_reset accelerator.reset
add_interface clk clock end
set_interface_property clk EXPORT_OF clock.clk_in
add_interface reset reset end
set_interface_property reset EXPORT_OF clock.clk_in_reset
{host}save_system system.qsys
"""

_HPS = """\
add_instance hps altera_hps
set_instance_parameter_value hps F2SDRAM_Type {{AXI-3}}
set_instance_parameter_value hps F2SDRAM_Width {{{bus_bits}}}
set_instance_parameter_value hps LWH2F_Enable true
set_instance_parameter_value hps S2F_Width 0
set_instance_parameter_value hps F2S_Width 0
set_instance_parameter_value hps F2SINTERRUPT_Enable true
add_connection pll.outclk0 hps.h2f_lw_axi_clock
add_connection pll.outclk0 hps.f2h_sdram0_clock
add_connection hps.h2f_reset accelerator.reset
add_connection hps.h2f_lw_axi_master accelerator.registers
set_connection_parameter_value hps.h2f_lw_axi_master/accelerator.registers baseAddress 0x0000
add_connection accelerator.memory hps.f2h_sdram0_data
set_connection_parameter_value accelerator.memory/hps.f2h_sdram0_data baseAddress 0x0000
add_connection hps.f2h_irq0 accelerator.interrupt
set_connection_parameter_value hps.f2h_irq0/accelerator.interrupt irqNumber 0
add_interface ddr conduit end
set_interface_property ddr EXPORT_OF hps.memory
"""

_SETTINGS = """\
# Written by Tilewright for {board}; do not edit. Run: quartus_sh -t build.tcl
set_global_assignment -name FAMILY "Cyclone V"
set_global_assignment -name DEVICE {part}
set_global_assignment -name TOP_LEVEL_ENTITY {top}
set_global_assignment -name NUM_PARALLEL_PROCESSORS ALL
set_global_assignment -name SEED {seed}
set_global_assignment -name SDC_FILE tilewright.sdc
{sources}
"""

_SOURCES_SYSTEM = "set_global_assignment -name QIP_FILE system/synthesis/system.qip"
_SOURCES_ALONE = """\
set_global_assignment -name VERILOG_FILE tilewright_axi.v
set_global_assignment -name VERILOG_FILE accelerator.v
set_instance_assignment -name VIRTUAL_PIN ON -to *
set_instance_assignment -name VIRTUAL_PIN OFF -to aclk"""

_BUILD_SYSTEM = """\
load_package flow
qexec "qsys-script --script=system.tcl --search-path=.,$"
qexec "qsys-generate system.qsys --synthesis=VERILOG --output-directory=system"
"""

_BUILD = """\
project_open {revision}
execute_flow -compile
project_close
"""


def project(config: Config, board: Board, seed: int = 1) -> Project:
    """Return the Quartus project of a configuration on a board.

    Without a processor beside the fabric the accelerator is implemented alone, its ports on virtual pins.

    Raises
    ------
    ConfigError
        For a board whose device is not Quartus's.
    """
    if board.device.family.name != "cyclonev":
        raise ConfigError(f"Quartus has no device {board.device.part} ({board.title})")
    has_host = board.host == "hps"
    values = {
        "board": board.title, "name": config.name, "hash": config.hash, "part": board.device.part, "seed": seed,
        "wrapper": WRAPPER, "clock": board.clock_mhz, "bus_bits": config.bus.data_bits,
        "reads": config.bus.reads_in_flight, "writes": config.bus.writes_in_flight,
        "both": config.bus.reads_in_flight + config.bus.writes_in_flight, "revision": _REVISION,
        "top": "system" if has_host else WRAPPER, "sources": _SOURCES_SYSTEM if has_host else _SOURCES_ALONE,
        "slave": _interface("registers", "s_axi", {**slave_ports(), "awprot": ("input", 3), "arprot": ("input", 3)}),
        "master": _interface("memory", "m_axi", master_ports(config)),
    }  # fmt: skip
    files = {
        "tilewright_hw.tcl": _COMPONENT.format(**values),
        "tilewright.qsf": _SETTINGS.format(**values),
        "tilewright.qpf": f'PROJECT_REVISION = "{_REVISION}"\n',
        "tilewright.sdc": _constraints(board),
        "build.tcl": (_BUILD_SYSTEM if has_host else "load_package flow\n") + _BUILD.format(**values),
        "accelerator.v": verilog(instruction_set(config), ACCELERATOR),
        "tilewright_axi.v": wrapper(config),
    }
    if has_host:
        files["system.tcl"] = _SYSTEM.format(**values, host=_HPS.format(**values))
    return Project(f"tilewright_{config.hash}", files, ("quartus_sh", "-t", "build.tcl"))


def _interface(name: str, prefix: str, ports: dict[str, tuple[str, int]]) -> str:
    return "\n".join(
        f"add_interface_port {name} {prefix}_{port} {port} {direction.capitalize()} {width}"
        for port, (direction, width) in ports.items()
    )


def _constraints(board: Board) -> str:
    if board.host == "hps":
        return (
            "create_clock -name clk -period 20.000 [get_ports clk_clk]\nderive_pll_clocks\nderive_clock_uncertainty\n"
        )
    return f"create_clock -name aclk -period {1000 / board.clock_mhz:.3f} [get_ports aclk]\nderive_clock_uncertainty\n"


def build(written: Project, folder: Path, clock_mhz: float, seed: int = 1) -> VendorResult:
    """Run Quartus in the folder of a written project and read its reports.

    Raises
    ------
    ToolchainError
        If Quartus is missing or fails.
    """
    run_tool(written.command, folder, ADVICE)
    return read_reports(folder, clock_mhz, seed)


_NAMES = {
    "Logic utilization (in ALMs)": "ALM", "Total RAM Blocks": "M10K", "Total DSP Blocks": "DSP block",
}  # fmt: skip
_ROW = re.compile(r"^(?P<name>[^:\n]+?) *: *(?P<used>[\d,]+) / (?P<available>[\d,]+) \(", re.M)
_REGISTERS = re.compile(r"^Total registers *: *(?P<used>[\d,]+)", re.M)
_VERSION = re.compile(r"^Quartus Prime Version *: *(?P<version>\S+)", re.M)
_SETUP = re.compile(r"^Type *: *Slow .*Setup.*\nSlack *: *(?P<slack>-?[\d.]+)", re.M)


def read_reports(folder: Path, clock_mhz: float, seed: int = 1) -> VendorResult:
    """Read the summaries of the fitter and the timing analyzer.

    Raises
    ------
    ToolchainError
        If a summary is missing or says something else.
    """
    fit, timing = (_text(folder, f"{_REVISION}.{kind}.summary") for kind in ("fit", "sta"))
    used = {
        _NAMES[row["name"]]: (_number(row["used"]), _number(row["available"]))
        for row in _ROW.finditer(fit)
        if row["name"] in _NAMES
    }
    version, registers = _VERSION.search(fit), _REGISTERS.search(fit)
    slacks = [float(match["slack"]) for match in _SETUP.finditer(timing)]
    if version is None or registers is None or not slacks or len(used) < len(_NAMES):
        raise ToolchainError(f"the reports in {folder} are not Quartus's: no version, slack or resources in them")
    used["FF"] = (_number(registers["used"]), 4 * used["ALM"][1])
    worst = min(slacks)
    return VendorResult("quartus", version["version"], "routed", seed, used, worst, fmax_mhz(clock_mhz, worst))


def _number(text: str) -> float:
    return float(text.replace(",", ""))


def _text(folder: Path, name: str) -> str:
    for path in (folder / name, folder / "output_files" / name):
        if path.is_file():
            return path.read_text(encoding="utf-8")
    raise ToolchainError(f"Quartus wrote no report {name} in {folder}")
