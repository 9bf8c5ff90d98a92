"""Area of an ASIC: gates of small parts that can be counted by hand, memories, libraries that lack something."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner

from tests.fpga.lockstep import Parts, lockstep
from tests.fpga.test_cells import without_collisions
from tests.fpga.test_synthesis import _LATCH, Twice
from tests.system.test_bad_input import assert_refused, invoke
from tilewright.cli import cli
from tilewright.fpga import asic
from tilewright.fpga.asic import AsicSynthesis, GateArea, synthesize_rtlil_gates
from tilewright.fpga.liberty import LibertyError, evaluate, read_library
from tilewright.fpga.synthesis import STAGE, tool_version
from tilewright.hw.dot_product import DotProduct
from tilewright.hw.elaborate import component_rtlil
from tilewright.hw.gemm_core import GemmCore
from tilewright.hw.memory_bank import MemoryBank
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ToolchainError
from tilewright.sim.rtl.cache import Cache

pytestmark = pytest.mark.fpga

#: From Debian's package qflow-tech-osu018.
OSU018 = Path("/usr/share/qflow/tech/osu018/osu018_stdcells.lib")

GATE = 'cell ({name}) {{ area : {area}; {inputs} pin (Y) {{ direction : output; function : "{function}"; }} }}\n'
FLIP_FLOP = """
  cell (DFF) {
    area : 9.5;
    ff (IQ, IQN) { clocked_on : "CLK"; next_state : "D"; }
    pin (CLK) { direction : input; clock : true; }
    pin (D) { direction : input; }
    pin (Q) { direction : output; function : "IQ"; }
  }
"""


def gate(name: str, area: float, inputs: str, function: str) -> str:
    pins = " ".join(f"pin ({pin}) {{ direction : input; }}" for pin in inputs)
    return GATE.format(name=name, area=area, inputs=pins, function=function)


INVERTER, BUFFER = gate("INV", 1, "A", "A'"), gate("BUF", 2, "A", "A")
NAND = gate("NAND2_STRONG", 4, "AB", "!(A B)") + gate("NAND2", 2, "AB", "(!A + !B)")
OTHERS = (
    gate("NOR2", 2, "AB", "!(A+B)") + gate("NAND3", 3, "ABC", "!(A&B&C)") + gate("AND2", 1.5, "AB", "A * B") + BUFFER
)
HEAD = '/* made for\n tests */ library (toy) { // units\n time_unit : "1ns"; capacitive_load_unit (1, pf);\n'


def toy(*cells: str) -> bytes:
    return (HEAD + "".join(cells) + "}\n").encode()


LIBRARY = read_library(toy(INVERTER, NAND, OTHERS, FLIP_FLOP), "toy.lib")


def synthesized(part: wiring.Component, folder: Path) -> AsicSynthesis:
    return synthesize_rtlil_gates(component_rtlil(part, "part"), "part", LIBRARY, Cache(folder))


class InvertingRegister(wiring.Component):
    """A register of the complement."""

    def __init__(self, width: int) -> None:
        super().__init__({"data": In(width), "q": Out(width)})

    def elaborate(self, platform):
        m = Module()
        held = Signal.like(self.data, reset_less=True)
        m.d.sync += held.eq(self.data)
        m.d.comb += self.q.eq(~held)
        return m


class Storage(wiring.Component):
    """A memory with ports whose words come a cycle later, or in the cycle of the address."""

    def __init__(self, width: int, depth: int, domains: tuple[str, ...]) -> None:
        word = Out(width).array(len(domains))
        super().__init__({"address": In((depth - 1).bit_length()), "enable": In(1), "data": In(width), "word": word})
        self.domains = domains
        self.memory = Memory(shape=width, depth=depth, init=[])

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = self.memory
        write = self.memory.write_port()
        m.d.comb += [write.addr.eq(self.address), write.data.eq(self.data), write.en.eq(self.enable)]
        for i, domain in enumerate(self.domains):
            read = self.memory.read_port(domain=domain)
            m.d.comb += [read.addr.eq(self.address + i), self.word[i].eq(read.data)]
        return m


@pytest.mark.parametrize("width", [1, 7])
def test_a_registers_area_is_that_of_its_cells(width: int, tmp_path: Path) -> None:
    found = synthesized(InvertingRegister(width), tmp_path)
    assert found.cells == {"DFF": width, "INV": width}
    assert found.total == GateArea(combinational=width, sequential=9.5 * width, flip_flops=width)
    assert (found.nand2.name, found.gates(found.total.total)) == ("NAND2", 10.5 * width / 2)
    assert (found.tool, found.version, found.stage, found.library) == ("yosys", tool_version(), STAGE, "toy")
    assert "DFF" in found.netlist.read_text()


@pytest.mark.parametrize(
    ("width", "depth", "domains", "stays"),
    [
        (8, 128, ("sync",), False),
        (1, 1025, ("sync",), True),
        (1025, 1, ("sync",), True),
        (33, 32, ("sync", "sync"), True),
        (33, 32, ("sync", "comb"), False),
        (16, 32, ("comb",), False),
    ],
)
def test_large_memories_stay_memories(
    width: int, depth: int, domains: tuple[str, ...], stays: bool, tmp_path: Path
) -> None:
    """As long as an SRAM can be what they are; of all others each bit is a flip-flop."""
    found = synthesized(Storage(width, depth, domains), tmp_path)
    assert found.total.memory_bits == (width * depth if stays else 0)
    if stays:
        assert found.total.flip_flops < width * depth
    else:
        assert found.total.flip_flops >= width * depth


def test_banks_stay_memories(tmp_path: Path) -> None:
    """Each has a register behind its read port, and the sum of their words is a register, too."""
    found = synthesized(Twice(), tmp_path)
    assert found.total.memory_bits == 2 * 36 * 512
    assert 3 * 36 <= found.total.flip_flops <= 3 * 36 + 2


def test_modules_add_up(tmp_path: Path) -> None:
    """And to what Yosys itself says."""
    found = synthesized(GemmCore(PRESETS["tiny"].with_values(depthwise={"enabled": False})), tmp_path)
    (lane,) = [use for use in found.modules if "DotProduct" in use.name]
    assert lane.count == 4 and lane.own.combinational > 0
    total = GateArea()
    for use in found.modules:
        total += use.own * use.count
    assert total == found.total == next(use.total for use in found.modules if use.name == "part")
    said = json.loads((found.netlist.parent / "stat.json").read_text())["design"]
    assert said["area"] == pytest.approx(found.total.total)
    assert said["sequential_area"] == pytest.approx(found.total.sequential)


#: What the cells of `LIBRARY` do.
MODELS = """
module INV(input A, output Y); assign Y = ~A; endmodule
module BUF(input A, output Y); assign Y = A; endmodule
module NAND2(input A, input B, output Y); assign Y = ~(A & B); endmodule
module NAND2_STRONG(input A, input B, output Y); assign Y = ~(A & B); endmodule
module NOR2(input A, input B, output Y); assign Y = ~(A | B); endmodule
module NAND3(input A, input B, input C, output Y); assign Y = ~(A & B & C); endmodule
module AND2(input A, input B, output Y); assign Y = A & B; endmodule
module DFF(input CLK, input D, output reg Q); always @(posedge CLK) Q <= D; endmodule
"""


@pytest.mark.verilator
def test_gates_do_what_the_rtl_does(tmp_path: Path, rng: np.random.Generator) -> None:
    """Multipliers, a memory that becomes flip-flops, one that stays."""

    def synthesize(rtlil: str, top: str, folder: Path) -> str:
        return synthesize_rtlil_gates(rtlil, top, LIBRARY, Cache(folder / "synthesis")).netlist.read_text()

    parts = Parts((DotProduct(PRESETS["tiny"]), MemoryBank(8, 8), MemoryBank(18, 64)))
    model = lockstep(parts, tmp_path, synthesize, MODELS)
    rtl, netlist = model.run(without_collisions(model.stimuli(rng, 2000)))
    assert rtl.keys() == {port.name for port in model.ports if not port.is_input}
    for name, expected in rtl.items():
        assert (expected == netlist[name]).all(), name
        assert len(np.unique(expected, axis=0)) > 10, f"{name} hardly changes"


def test_what_was_synthesized_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = synthesized(InvertingRegister(2), tmp_path)
    monkeypatch.setattr("tilewright.fpga.asic.run_yosys", None)
    assert synthesized(InvertingRegister(2), tmp_path) == first


def test_another_library_is_another_area(tmp_path: Path) -> None:
    large = read_library(toy(INVERTER.replace("area : 1", "area : 2"), NAND, OTHERS, FLIP_FLOP), "toy.lib")
    rtlil = component_rtlil(InvertingRegister(3), "part")
    areas = [synthesize_rtlil_gates(rtlil, "part", library, Cache(tmp_path)).total for library in (LIBRARY, large)]
    assert [area.combinational for area in areas] == [3, 6]


def test_latches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ToolchainError, match="Yosys failed: ERROR: Assertion failed"):
        synthesize_rtlil_gates(_LATCH, "part", LIBRARY, Cache(tmp_path))


def test_a_cell_without_an_area_is_refused(tmp_path: Path) -> None:
    free = read_library(toy(INVERTER, NAND, OTHERS, FLIP_FLOP.replace("area : 9.5;", "")), "toy.lib")
    with pytest.raises(LibertyError, match="library `toy` gives no area for cell `DFF`"):
        synthesize_rtlil_gates(component_rtlil(InvertingRegister(1), "part"), "part", free, Cache(tmp_path))


@pytest.mark.parametrize(
    ("function", "outputs"),
    [
        ("(!(A B))", "1110"), ("(A*B)'", "1110"), ("!A+!B", "1110"), ("A'|B'", "1110"), ("((A)&(B))'", "1110"),
        ("A^B", "0110"), ("!(A+B)", "1000"), ("A*B^(A+B)", "0010"), ("A 1 + B 0", "0011"),
        ("A IQ", "xxxx"), ("(A", "xxxx"), ("", "xxxx"),
    ],
)  # fmt: skip
def test_functions_are_evaluated(function: str, outputs: str) -> None:
    values = [evaluate(function, {"A": a, "B": b}) for a in "01" for b in "01"]
    assert "".join(values) == outputs


CUT = toy(INVERTER, NAND, OTHERS, FLIP_FLOP)[:-30]


MISTAKES: dict[str, tuple[bytes, tuple[str, ...]]] = {
    "empty": (b"", ("is no Liberty file", "it is empty")),
    "binary": (b"\x7fELF\x02\0\0", ("is no Liberty file", r"begins with '\x7fELF", "`library (NAME) {`")),
    "toml": (b"[gemm]\nblock_in = 8\n", ("is no Liberty file", "`library (NAME) {`")),
    "half a statement": (b"library (toy) { cell (", ("no statement of Liberty in `library (toy)`", "'cell ('")),
    "cut": (CUT, ("ends within `pin (Q)`",)),
    "no cells": (toy(), ("library `toy`", "no NAND of two inputs")),
    "no nand": (toy(INVERTER, OTHERS, FLIP_FLOP), ("library `toy`", "no NAND of two inputs")),
    "no inverter": (toy(NAND, OTHERS, FLIP_FLOP), ("library `toy`", "no inverter among its 7 cells")),
    "no buffer": (toy(INVERTER, NAND, FLIP_FLOP), ("library `toy`", "no buffer among its 4 cells")),
    "no flip-flop": (toy(INVERTER, NAND, OTHERS), ("library `toy`", "no flip-flop among its 7 cells")),
    "area in words": (toy(NAND.replace("2;", "many;"), FLIP_FLOP), ("`NAND2`", "a number", "'many'")),
    "negative area": (toy(INVERTER, NAND, FLIP_FLOP.replace("9.5", "-1")), ("`DFF`", "a number", "'-1'")),
}


@pytest.mark.parametrize(("data", "words"), MISTAKES.values(), ids=MISTAKES)
def test_libraries_that_cannot_be_used(data: bytes, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "cells.lib"
    path.write_bytes(data)
    assert_refused(invoke("synth", "--config", "tiny", "--liberty", path), "cells.lib", *words)


def test_libraries_that_cannot_be_read(tmp_path: Path) -> None:
    assert_refused(invoke("synth", "--liberty", tmp_path), "cannot read", tmp_path.name, "directory")
    assert_refused(invoke("synth", "--liberty", tmp_path / "nowhere"), "cannot read", "nowhere", "No such file")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--target", "xc7z020"), ("--target DEVICE", "--board BOARD", "--liberty FILE")),
        (("--board", "pynq-z1"), ("--target DEVICE", "--board BOARD", "--liberty FILE")),
        (("--estimate",), ("--estimate", "not for --liberty")),
        (("--force",), ("--force", "not for --liberty")),
    ],
)
def test_a_library_is_for_no_fpga(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    assert_refused(invoke("synth", "--liberty", "cells.lib", *arguments), *words)


@pytest.fixture
def in_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a library's file, where a register takes the place of the accelerator."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(asic, "Accelerator", lambda isa: InvertingRegister(4))
    path = tmp_path / "cells of a toy.lib"
    path.write_bytes(LIBRARY.text.encode())
    return path


def test_figures_as_data(in_small: Path, tmp_path: Path) -> None:
    netlist = tmp_path / "netlist.v"
    result = invoke("synth", "-c", "tiny", "--liberty", in_small, "--netlist", netlist, "--json", "-", "-q")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert (data["tool"], data["version"], data["stage"], data["seed"]) == ("yosys", tool_version(), STAGE, None)
    assert (data["library"], data["nand2"]) == ("toy", {"cell": "NAND2", "area": 2})
    assert data["config_hash"] == PRESETS["tiny"].hash
    total = data["total"]
    assert total["combinational_nand2"] + total["sequential_nand2"] == total["nand2"] == 21
    assert total["flip_flops"] == data["cells"]["DFF"] == 4
    assert "DFF" in netlist.read_text()


def test_the_table_says_what_is_not_counted(in_small: Path) -> None:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["synth", "-c", "tiny", "--liberty", str(in_small)])
    assert result.exit_code == 0, result.output
    shown = " ".join(result.output.split())
    for words in (f"in toy: {STAGE} by yosys", "an estimate of the gates alone", "no wires, no clock tree, no memories",
                  "not placed"):  # fmt: skip
        assert words in shown


@pytest.mark.slow
@pytest.mark.skipif(not OSU018.exists(), reason="Debian's qflow-tech-osu018 is not installed")
def test_a_whole_accelerator_in_an_open_library() -> None:
    result = invoke("synth", "-c", "tiny", "--liberty", OSU018, "--json", "-", "-q")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert (data["library"], data["nand2"]) == ("osu018_stdcells", {"cell": "NAND2X1", "area": 24})
    memory, total = PRESETS["tiny"].memory, data["total"]
    assert total["memory_bits"] >= 8192 * (memory.act_kib + memory.wgt_kib + memory.acc_kib)
    assert total["flip_flops"] == data["cells"]["DFFPOSX1"] + data["cells"].get("DFFSR", 0)
    parts = {module["name"]: module["total"] for module in data["modules"]}
    whole = parts["accelerator"]
    assert whole["combinational"] == total["combinational"] and whole["sequential"] == total["sequential"]
    assert 0 < parts["accelerator.load"]["combinational"] < parts["accelerator.compute"]["combinational"]
    assert not {"LATCH"} & set(data["cells"])
