"""Models of ECP5's cells, and what synthesis makes of memories and multipliers, against the RTL on random stimuli."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from amaranth.lib import wiring

from tests.fpga.ecp5_models import ecp5_models
from tests.fpga.lockstep import Parts, Words, ecp5_lockstep, parts_netlist, routed_netlist
from tilewright.hw.dot_product import DotProduct
from tilewright.hw.interleaved_bank import InterleavedBank
from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.requantizer import Requantizer
from tilewright.hw.residual_adder import ResidualAdder
from tilewright.hw.vector_alu import VECTOR_DATAPATH, VectorLane
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set

CYCLES = 4000
TINY = PRESETS["tiny"]


def memories() -> tuple[wiring.Component, ...]:
    """Give block RAMs of each width that there is, and a distributed one."""
    return (
        MemoryBank(20, 64, read_ports=2, clearing_ports=1),
        MemoryBank(18, 1024),
        MemoryBank(9, 2048),
        MemoryBank(4, 4096),
        MemoryBank(8, 8),
        InterleavedBank(20, 256),
    )


def products() -> tuple[wiring.Component, ...]:
    """Give parts with multipliers: of bytes, of more bits than a multiplier has, with and without signs."""
    return DotProduct(TINY), Requantizer(TINY), ResidualAdder(TINY), VectorLane(instruction_set(TINY), VECTOR_DATAPATH)


def without_collisions(stimuli: dict[str, Words]) -> dict[str, Words]:
    """Read nothing in the cycles in which the same word is written: synthesis knows that it would not matter."""
    changed = dict(stimuli)
    for name, addresses in stimuli.items():
        read = re.fullmatch(r"(?P<part>part\d+__)(?P<port>read__\d+__)addr", name)
        if read is None:
            continue
        enable = read["part"] + read["port"] + "en"
        for half in ("", "0__", "1__"):
            write = f"{read['part']}write__{half}"
            if f"{write}addr" not in stimuli:
                continue
            at, written = addresses, stimuli[f"{write}addr"]
            meets = at == written if not half else at == written << 1 | int(half[0])
            changed[enable] = changed[enable] & ~(meets & (stimuli[f"{write}en"] == 1)).astype(np.uint32)
    assert any((changed[name] != words).any() for name, words in stimuli.items()) or "part0__read__0__en" not in stimuli
    return changed


def test_each_cell_has_one_model() -> None:
    names = Counter(re.findall(r"^module (\S+?)\s*\(", ecp5_models(), re.M))
    assert {name: count for name, count in names.items() if count > 1} == {}
    assert {"DP16KD", "MULT18X18D", "TRELLIS_FF", "TRELLIS_DPR16X4", "LUT4", "CCU2C"} <= set(names)


@pytest.mark.fpga
@pytest.mark.verilator
@pytest.mark.parametrize(
    ("parts", "synthesize"), [(memories, parts_netlist), (products, parts_netlist), (products, routed_netlist)]
)
def test_netlists_do_what_the_rtl_does(
    parts: Callable[[], tuple[wiring.Component, ...]],
    synthesize: Callable[[str, str, Path], str],
    tmp_path: Path,
    rng: np.random.Generator,
) -> None:
    model = ecp5_lockstep(Parts(parts()), tmp_path, synthesize)
    rtl, netlist = model.run(without_collisions(model.stimuli(rng, CYCLES)))
    assert set(rtl) == {port.name for port in model.ports if not port.is_input}
    for name, expected in rtl.items():
        different = np.flatnonzero((expected != netlist[name]).any(axis=1))
        assert not len(different), f"{name} differs in {len(different)} cycles, first in {different[0]}"
        assert len(np.unique(expected, axis=0)) > 10, f"{name} hardly changes"
