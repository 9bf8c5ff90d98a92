"""Proves assertions of Amaranth modules: to AIGER by Yosys, then by ABC's PDR (for all time) or BMC (some cycles)."""

from __future__ import annotations

import re
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyosys
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, Cat, ClockDomain, Elaboratable, Module, Signal, Value
from pyosys import libyosys

#: Assertions and assumptions become outputs and constraints of a netlist of ANDs, inverters and registers that are 0.
_PASSES = (
    "chformal -lower", "prep -flatten -top top", "memory_nordff", "async2sync", "chformal -assume -early", "opt_clean",
    "formalff -clk2ff -ff2anyinit", "setundef -anyseq", "memory_map -formal", "opt_clean", "simplemap", "dffunmap",
    "aigmap", "opt_clean",
)  # fmt: skip

_ABC = Path(pyosys.__file__).parent / "yosys-abc"
_PROVED = ("Property proved", "Explored all reachable states")
_REACHED = re.compile(r"No output asserted in (\d+) frames")
_FAILED = re.compile(r"was asserted in frame (\d+)")


@dataclass(frozen=True)
class Verdict:
    """What came out: `proved` for all time, `bounded` up to a depth, `failed` in a cycle, `open` at the time limit."""

    kind: str
    depth: int
    log: str


class Harness(ABC, Elaboratable):
    """A module to be proved, without a reset: registers begin at their initial values.

    `free` makes inputs, which can do anything that `assume` allows; `promise` states what must hold in every cycle.

    Parameters
    ----------
    broken : bool
        Plant the harness's fault, so that a promise must be seen to fail: otherwise a proof may be of nothing.
    """

    def __init__(self, *, broken: bool = False) -> None:
        self.broken = broken
        self._promises: list[Value] = []
        self._assumptions: list[Value] = []
        self._sync = ClockDomain("sync", reset_less=True)
        self.inputs: list[Signal] = [self._sync.clk]  # a clock that is no port is a constant, and nothing moves

    def free(self, shape: object, name: str) -> Signal:
        signal = Signal(shape, name=name)
        self.inputs.append(signal)
        return signal

    def promise(self, *conditions: object) -> None:
        self._promises += [Value.cast(c).bool() for c in conditions]

    def assume(self, *conditions: object) -> None:
        self._assumptions += [Value.cast(c).bool() for c in conditions]

    @abstractmethod
    def build(self, m: Module) -> None:
        """Add the parts; say what they promise."""

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.domains.sync = self._sync
        self.build(m)
        if self._assumptions:
            m.d.comb += Assume(Cat(self._assumptions).all())
        m.d.comb += Assert(Cat(self._promises).all())
        return m


def aiger(harness: Harness, folder: Path) -> Path:
    """Write a harness as AIGER; inputs must have been made in the constructor."""
    source, target = folder / "design.il", folder / "design.aig"
    source.write_text(rtlil.convert(harness, name="top", ports=harness.inputs, emit_src=False))
    design = libyosys.Design()
    for command in (f"read_rtlil {source}", *_PASSES, f"write_aiger -I -B -zinit {target}"):
        libyosys.Pass.call(design, f"tee -q {command}")
    return target


def prove(harness: Harness, folder: Path, seconds: int = 60) -> Verdict:
    """Prove for all time, by property-directed reachability."""
    return _run(aiger(harness, folder), ["fold", "strash", f"pdr -T {seconds}"], seconds, 0)


def check(harness: Harness, folder: Path, depth: int, seconds: int = 60) -> Verdict:
    """Look for a counterexample of at most `depth` cycles; the verdict says how far that got in time."""
    return _run(aiger(harness, folder), ["fold", "strash", f"bmc3 -F {depth} -T {seconds}"], seconds, depth)


def _run(path: Path, commands: Sequence[str], seconds: int, depth: int) -> Verdict:
    script = "; ".join([f"read_aiger {path}", *commands])
    result = subprocess.run(
        [str(_ABC), "-c", script], capture_output=True, text=True, timeout=10 * seconds + 60, check=False
    )
    log = result.stdout + result.stderr
    failed = _FAILED.search(log)
    if failed:
        return Verdict("failed", int(failed[1]), log)
    if any(words in log for words in _PROVED):
        return Verdict("proved", 0, log)
    reached = _REACHED.search(log)
    if depth and reached:
        return Verdict("bounded", int(reached[1]), log)
    return Verdict("open", 0, log)
