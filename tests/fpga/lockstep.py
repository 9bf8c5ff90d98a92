"""A part's RTL and its netlist side by side, given the same: what they answer, cycle by cycle."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Flow, Out

from tests.fpga.ecp5_models import ecp5_models
from tilewright.fpga import ecp5
from tilewright.fpga.devices import FAMILIES, find_device
from tilewright.fpga.synthesis import run_commands, synthesize_rtlil
from tilewright.hw.elaborate import component_rtlil, verilog_of_rtlil
from tilewright.sim.rtl.build import VERILATOR_FLAGS
from tilewright.sim.rtl.cache import Cache
from tilewright.sim.rtl.toolchain import find_toolchain, run_tool

Words = npt.NDArray[np.uint32]

_RTL, _NETLIST, _RESET_CYCLES = "rtl", "netlist", 2

_RUN = """\
#include <cstring>
#include "Vmodel.h"

extern "C" __attribute__((visibility("default"))) void run(
    long cycles, long reset, const uint32_t* given, uint32_t* expected, uint32_t* found) {
  VerilatedContext context;
  Vmodel model{&context};
  for (long cycle = 0; cycle < cycles; cycle++) {
    model.rst = cycle < reset;
    std::memcpy(&model.given, given, sizeof model.given);
    model.clk = 0;
    model.eval();
    std::memcpy(expected, &model.expected, sizeof model.expected);
    std::memcpy(found, &model.found, sizeof model.found);
    model.clk = 1;
    model.eval();
    given += sizeof model.given / 4;
    expected += sizeof model.expected / 4;
    found += sizeof model.found / 4;
  }
}
"""


class Parts(wiring.Component):
    """Parts beside each other, so that they are synthesized and compiled at once: `part0` and so on are theirs."""

    def __init__(self, parts: Sequence[wiring.Component]):
        self._parts = parts
        super().__init__({f"part{i}": Out(part.signature) for i, part in enumerate(parts)})

    def elaborate(self, platform):
        m = Module()
        for i, part in enumerate(self._parts):
            m.submodules[f"inner{i}"] = part
            outer = getattr(self, f"part{i}")
            ports = zip(part.signature.flatten(outer), part.signature.flatten(part), strict=True)
            for (_, member, outside), (_, _, inside) in ports:
                m.d.comb += inside.eq(outside) if member.flow is Flow.In else outside.eq(inside)
        return m


@dataclass(frozen=True)
class Port:
    """A port of the part.

    Attributes
    ----------
    name : str
    bits : int
    is_input : bool
    """

    name: str
    bits: int
    is_input: bool

    @property
    def words(self) -> int:
        """How many words of 32 bits it takes."""
        return -(-self.bits // 32)


@dataclass(frozen=True)
class Lockstep:
    """RTL and netlist, compiled into one model.

    Attributes
    ----------
    ports : tuple of Port
        All but clock and reset.
    library : Path
    """

    ports: tuple[Port, ...]
    library: Path

    def run(self, given: Mapping[str, Words]) -> tuple[dict[str, Words], dict[str, Words]]:
        """Give each input its words (cycles, words), and return those of each output: of the RTL, of the netlist."""
        inputs, outputs = self._ports(True), self._ports(False)
        stimuli = np.ascontiguousarray(np.concatenate([given[port.name] for port in inputs], axis=1), np.uint32)
        cycles, words = len(stimuli), sum(port.words for port in outputs)
        expected, found = np.zeros((cycles, words), np.uint32), np.zeros((cycles, words), np.uint32)
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (stimuli, expected, found))
        ctypes.CDLL(str(self.library)).run(ctypes.c_long(cycles), ctypes.c_long(_RESET_CYCLES), *pointers)
        borders = np.cumsum([port.words for port in outputs])[:-1]
        split = (np.split(array, borders, axis=1) for array in (expected, found))
        rtl, netlist = (dict(zip((port.name for port in outputs), parts, strict=True)) for parts in split)
        return rtl, netlist

    def stimuli(self, rng: np.random.Generator, cycles: int) -> dict[str, Words]:
        """Draw values for all inputs; in every other stretch of cycles addresses are near each other, and meet."""
        drawn = {}
        near = (np.arange(cycles) // 64 % 2 == 1)[:, None]
        for port in self._ports(True):
            words = rng.integers(0, 1 << 32, (cycles, port.words), np.uint32)
            if port.bits % 32:
                words[:, -1] &= (1 << port.bits % 32) - 1
            drawn[port.name] = np.where(near, words & 3, words) if port.name.endswith("addr") else words
        return drawn

    def _ports(self, is_input: bool) -> list[Port]:
        return [port for port in self.ports if port.is_input == is_input]


def parts_netlist(rtlil: str, top: str, folder: Path) -> str:
    """Return the Verilog of what the resources are counted of, its parts kept."""
    return synthesize_rtlil(rtlil, top, FAMILIES["ecp5"], Cache(folder / "synthesis")).netlist.read_text()


def routed_netlist(rtlil: str, top: str, folder: Path) -> str:
    """Return the Verilog of what is placed and routed."""
    verilog, flow = folder / "routed.v", ecp5.flow(find_device("lfe5u-85f"))
    run_commands((f"read_json {flow.make_netlist(rtlil, top, folder)}", f"write_verilog -noattr {verilog}"), folder)
    return verilog.read_text()


def ecp5_lockstep(part: wiring.Component, folder: Path, synthesize: Callable[[str, str, Path], str]) -> Lockstep:
    """Synthesize a part for ECP5 and compile its netlist beside its RTL, in `folder`."""
    return lockstep(part, folder, synthesize, ecp5_models())


def lockstep(
    part: wiring.Component, folder: Path, synthesize: Callable[[str, str, Path], str], models: str
) -> Lockstep:
    """Synthesize a part and compile its netlist, with models of its cells, beside its RTL, in `folder`."""
    rtlil = component_rtlil(part, _RTL)
    netlist = synthesize(rtlil, _RTL, folder)
    netlist = re.sub(rf"^(module |  )(\\?){_RTL}(?=[.(\s])", rf"\1\2{_NETLIST}", netlist, flags=re.M)
    rtl = verilog_of_rtlil(rtlil)
    ports = _ports_of(rtl)
    bench = _bench(ports)
    (folder / "design.v").write_text(bench + rtl + netlist + models)
    tools, library = find_toolchain(), folder / "lockstep.so"
    command = (tools.verilator, *VERILATOR_FLAGS, "--top-module", "bench", "--Mdir", folder, folder / "design.v")
    run_tool(command, "Verilator", root=tools.verilator_root)
    sources = [*(tools.include / name for name in ("verilated.cpp", "verilated_threads.cpp")), *folder.glob("V*.cpp")]
    (folder / "all.cpp").write_text("\n".join((*(f'#include "{path}"' for path in sources), _RUN)))
    flags = ("-std=gnu++20", "-O0", "-fPIC", "-shared", "-fvisibility=hidden", "-pthread", "-w", "-fwrapv")
    includes = tuple(f"-I{path}" for path in (folder, tools.include, tools.include / "vltstd"))
    run_tool((tools.compiler, *flags, *includes, folder / "all.cpp", "-o", library), "the C++ compiler")
    return Lockstep(ports, library)


def _ports_of(verilog: str) -> tuple[Port, ...]:
    """Read the ports of the first module named `rtl`."""
    module = re.search(rf"^module {_RTL}\(.*?^endmodule$", verilog, re.M | re.S)
    assert module is not None
    declared = re.findall(r"^  (input|output) (?:signed )?(?:\[(\d+):0\] )?(\w+) ?;$", module[0], re.M)
    ports = [Port(name, int(high or 0) + 1, flow == "input") for flow, high, name in declared]
    return tuple(port for port in ports if port.name not in ("clk", "rst"))


def _bench(ports: Sequence[Port]) -> str:
    """Give the module that has both, every port in words of its own."""
    inputs, outputs = ([port for port in ports if port.is_input == flow] for flow in (True, False))
    high = {flow: 32 * sum(port.words for port in group) - 1 for flow, group in ((True, inputs), (False, outputs))}
    lines = [f"module bench(input clk, input rst, input [{high[True]}:0] given,"]
    lines += [f"  output [{high[False]}:0] expected, output [{high[False]}:0] found);"]
    for name, answers in ((_RTL, "expected"), (_NETLIST, "found")):
        connections = [".clk(clk)", ".rst(rst)"]
        for group, vector in ((inputs, "given"), (outputs, answers)):
            at = 0
            for port in group:
                connections.append(f".{port.name}({vector}[{at + port.bits - 1}:{at}])")
                if not port.is_input and port.bits % 32:
                    lines.append(f"  assign {vector}[{at + 32 * port.words - 1}:{at + port.bits}] = 0;")
                at += 32 * port.words
        lines.append(f"  {name} the_{name}({', '.join(connections)});")
    return "\n".join((*lines, "endmodule", ""))
