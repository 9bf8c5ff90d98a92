"""Vivado projects: the packaged accelerator, a block design around it, a bitstream for PYNQ."""

from __future__ import annotations

import re
from pathlib import Path

from tilewright.fpga.axi_wrapper import ACCELERATOR, WRAPPER, wrapper
from tilewright.fpga.boards import Board
from tilewright.fpga.driver.pynq import INSTANCE
from tilewright.fpga.vendor import Project, VendorResult, fmax_mhz, run_tool
from tilewright.hw.elaborate import verilog
from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.isa.instructions import instruction_set
from tilewright.isa.registers import ADDRESS_BITS

ADVICE = "install AMD's Vivado (2022.1 or newer) and source its settings64.sh"

#: The reports that the script writes and `read_reports` reads.
UTILIZATION, TIMING = "utilization.rpt", "timing.rpt"

_HEAD = """\
# Written by Tilewright for {board}; do not edit. Run: vivado -mode batch -source build.tcl
# Configuration {name}, hash {hash}.
set here [file dirname [file normalize [info script]]]
cd $here
create_project -force tilewright vivado -part {part}
add_files -norecurse {{accelerator.v tilewright_axi.v}}
"""

_PACKAGE = """\
set_property top {wrapper} [current_fileset]
update_compile_order -fileset sources_1
ipx::package_project -root_dir ip -vendor tilewright -library user -taxonomy /UserIP -import_files -force
set core [ipx::current_core]
set_property name tilewright $core
set_property display_name Tilewright $core
ipx::associate_bus_interfaces -busif m_axi -clock aclk $core
ipx::associate_bus_interfaces -busif s_axi -clock aclk $core
ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::save_core $core
set_property ip_repo_paths [file normalize ip] [current_project]
update_ip_catalog
proc newest {{name}} {{ return [lindex [lsort -dictionary [get_ipdefs -all xilinx.com:ip:$name:*]] end] }}
create_bd_design system
create_bd_cell -type ip -vlnv tilewright:user:tilewright:1.0 {instance}
create_bd_cell -type ip -vlnv [newest smartconnect] control
set_property -dict {{CONFIG.NUM_SI 1 CONFIG.NUM_MI 1}} [get_bd_cells control]
create_bd_cell -type ip -vlnv [newest smartconnect] memory
set_property -dict {{CONFIG.NUM_SI 1 CONFIG.NUM_MI 1}} [get_bd_cells memory]
create_bd_cell -type ip -vlnv [newest proc_sys_reset] reset
"""

_PS7 = """\
create_bd_cell -type ip -vlnv [newest processing_system7] ps
apply_bd_automation -rule xilinx.com:bd_rule:processing_system7 \\
    -config {{make_external "FIXED_IO, DDR" apply_board_preset 1}} [get_bd_cells ps]
set_property -dict {{
    CONFIG.PCW_USE_M_AXI_GP0 1 CONFIG.PCW_USE_S_AXI_HP0 1 CONFIG.PCW_S_AXI_HP0_DATA_WIDTH 64
    CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ {clock:g} CONFIG.PCW_USE_FABRIC_INTERRUPT 1 CONFIG.PCW_IRQ_F2P_INTR 1
}} [get_bd_cells ps]
set clock [get_bd_pins ps/FCLK_CLK0]
connect_bd_net $clock [get_bd_pins ps/M_AXI_GP0_ACLK] [get_bd_pins ps/S_AXI_HP0_ACLK]
connect_bd_net [get_bd_pins ps/FCLK_RESET0_N] [get_bd_pins reset/ext_reset_in]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_GP0] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0]
connect_bd_net [get_bd_pins {instance}/irq] [get_bd_pins ps/IRQ_F2P]
"""

_PS8 = """\
create_bd_cell -type ip -vlnv [newest zynq_ultra_ps_e] ps
apply_bd_automation -rule xilinx.com:bd_rule:zynq_ultra_ps_e -config {{apply_board_preset 1}} [get_bd_cells ps]
set_property -dict {{
    CONFIG.PSU__USE__M_AXI_GP0 1 CONFIG.PSU__USE__M_AXI_GP1 0 CONFIG.PSU__USE__M_AXI_GP2 0
    CONFIG.PSU__USE__S_AXI_GP2 1 CONFIG.PSU__SAXIGP2__DATA_WIDTH {bus_bits}
    CONFIG.PSU__FPGA_PL0_ENABLE 1 CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ {clock:g} CONFIG.PSU__USE__IRQ0 1
}} [get_bd_cells ps]
set clock [get_bd_pins ps/pl_clk0]
connect_bd_net $clock [get_bd_pins ps/maxihpm0_fpd_aclk] [get_bd_pins ps/saxihp0_fpd_aclk]
connect_bd_net [get_bd_pins ps/pl_resetn0] [get_bd_pins reset/ext_reset_in]
connect_bd_intf_net [get_bd_intf_pins ps/M_AXI_HPM0_FPD] [get_bd_intf_pins control/S00_AXI]
connect_bd_intf_net [get_bd_intf_pins memory/M00_AXI] [get_bd_intf_pins ps/S_AXI_HP0_FPD]
connect_bd_net [get_bd_pins {instance}/irq] [get_bd_pins ps/pl_ps_irq0]
"""

_SYSTEM = """\
connect_bd_net $clock [get_bd_pins reset/slowest_sync_clk] [get_bd_pins {instance}/aclk] \\
    [get_bd_pins control/aclk] [get_bd_pins memory/aclk]
connect_bd_net [get_bd_pins reset/peripheral_aresetn] [get_bd_pins {instance}/aresetn] \\
    [get_bd_pins control/aresetn] [get_bd_pins memory/aresetn]
connect_bd_intf_net [get_bd_intf_pins control/M00_AXI] [get_bd_intf_pins {instance}/s_axi]
connect_bd_intf_net [get_bd_intf_pins {instance}/m_axi] [get_bd_intf_pins memory/S00_AXI]
assign_bd_address
set_property range {range} [get_bd_addr_segs -of_objects [get_bd_addr_spaces ps/*] -filter {{NAME =~ *{instance}*}}]
validate_bd_design
save_bd_design
set wrapper [make_wrapper -files [get_files system.bd] -top]
add_files -norecurse $wrapper
set_property top system_wrapper [current_fileset]
update_compile_order -fileset sources_1
launch_runs impl_1 -to_step write_bitstream -jobs 4
wait_on_run impl_1
if {{[get_property PROGRESS [get_runs impl_1]] ne "100%"}} {{ error "ERROR: implementation failed" }}
open_run impl_1
report_utilization -file {utilization}
report_utilization -hierarchical -file hierarchy.rpt
report_timing_summary -file {timing}
file copy -force [glob vivado/tilewright.runs/impl_1/*.bit] tilewright_{hash}.bit
file copy -force [lindex [glob vivado/tilewright.gen/sources_1/bd/system/hw_handoff/*.hwh] 0] tilewright_{hash}.hwh
"""

_ALONE = """\
add_files -fileset constrs_1 -norecurse clock.xdc
synth_design -top {wrapper} -part {part} -mode out_of_context
opt_design
place_design
phys_opt_design
route_design
report_utilization -file {utilization}
report_utilization -hierarchical -file hierarchy.rpt
report_timing_summary -file {timing}
write_checkpoint -force tilewright_{hash}.dcp
"""


def project(config: Config, board: Board) -> Project:
    """Return the Vivado project of a configuration on a board.

    Without a processor beside the fabric the accelerator is implemented alone, for figures.

    Raises
    ------
    ConfigError
        For a board whose device is not Vivado's, or a memory port that the board lacks.
    """
    if board.device.family.name not in ("xc7", "xcup"):
        raise ConfigError(f"Vivado has no device {board.device.part} ({board.title})")
    _check_bus(config, board)
    values = {
        "board": board.title, "name": config.name, "hash": config.hash, "part": board.device.part,
        "wrapper": WRAPPER, "instance": INSTANCE, "clock": board.clock_mhz, "bus_bits": config.bus.data_bits,
        "range": f"{max(4, (1 << ADDRESS_BITS) // 1024)}K", "utilization": UTILIZATION, "timing": TIMING,
    }  # fmt: skip
    system = {"ps7": _PACKAGE + _PS7 + _SYSTEM, "ps8": _PACKAGE + _PS8 + _SYSTEM}.get(board.host, _ALONE)
    files = {
        "build.tcl": (_HEAD + system).format(**values),
        "accelerator.v": verilog(instruction_set(config), ACCELERATOR),
        "tilewright_axi.v": wrapper(config),
        "clock.xdc": f"create_clock -name aclk -period {1000 / board.clock_mhz:.3f} [get_ports aclk]\n",
    }
    return Project(f"tilewright_{config.hash}", files, ("vivado", "-mode", "batch", "-source", "build.tcl"))


def _check_bus(config: Config, board: Board) -> None:
    if board.host == "ps7" and config.bus.burst_beats > 16:
        raise ConfigError(f"`bus.burst_beats` must be at most 16 on {board.title} (AXI3), not {config.bus.burst_beats}")
    widest = {"ps7": 64, "ps8": 128}.get(board.host)
    if widest is not None and config.bus.data_bits > widest:
        raise ConfigError(f"`bus.data_bits` must be at most {widest} on {board.title}, not {config.bus.data_bits}")


def build(written: Project, folder: Path, clock_mhz: float) -> VendorResult:
    """Run Vivado in the folder of a written project and read its reports.

    Raises
    ------
    ToolchainError
        If Vivado is missing or fails.
    """
    run_tool(written.command, folder, ADVICE)
    return read_reports(folder, clock_mhz)


_NAMES = {
    "Slice LUTs": "LUT", "CLB LUTs": "LUT", "Slice Registers": "FF", "CLB Registers": "FF",
    "Block RAM Tile": "RAMB36", "DSPs": "DSP",
}  # fmt: skip
_ROW = re.compile(r"^\| *(?P<name>[^|]+?)\*? *\| *(?P<used>[\d.]+) *\|(?P<rest>.*)\|$", re.M)
_VERSION = re.compile(r"^\| Tool Version *: *(?P<version>Vivado v\.\S+)", re.M)
_SLACK = re.compile(r"^ *WNS\(ns\).*\n *[- ]+\n *(?P<slack>-?[\d.]+|NA)", re.M)


def read_reports(folder: Path, clock_mhz: float) -> VendorResult:
    """Read what the script's reports say.

    Raises
    ------
    ToolchainError
        If a report is missing or says something else.
    """
    utilization, timing = (_text(folder / name) for name in (UTILIZATION, TIMING))
    used: dict[str, tuple[float, float]] = {}
    for row in _ROW.finditer(utilization):
        name = _NAMES.get(row["name"])
        cells = [cell.strip() for cell in row["rest"].split("|")]
        if name is not None and name not in used and len(cells) >= 2:
            used[name] = float(row["used"]), float(cells[-2])
    version, slack = _VERSION.search(utilization), _SLACK.search(timing)
    if version is None or slack is None or len(used) < len(set(_NAMES.values())) or slack["slack"] == "NA":
        raise ToolchainError(f"the reports in {folder} are not Vivado's: no version, slack or resources in them")
    worst = float(slack["slack"])
    return VendorResult("vivado", version["version"], "routed", None, used, worst, fmax_mhz(clock_mhz, worst))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ToolchainError(f"Vivado wrote no report {path}: {error.strerror}") from None
