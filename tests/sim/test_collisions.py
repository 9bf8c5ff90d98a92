"""What synthesis is told of block RAM: no word matters that is read in the cycle in which it is written.

The RTL is changed so that such a read gives the word's complement, and random programs must not notice. That they would
is shown by complementing each word that is read in the cycle of any write.
"""

from __future__ import annotations

import re
from functools import cache, partial

import pytest

from tests.sim.random_runs import RANDOM_CONFIGS
from tests.sim.timing_configs import TIMING_DRAMS
from tilewright.hw.elaborate import verilog
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.cross_check import MAX_CYCLES, CrossCheck
from tilewright.sim.random_programs import corner_program
from tilewright.sim.rtl import RtlSimulator, Stalls

pytestmark = pytest.mark.verilator

CONFIGS = ("tiny", "rectangular")
PROGRAMS, INSTRUCTIONS = 6, 100

_WRITE = re.compile(
    r"^    if \((?P<en>[^\n]+)\)\n      (?P<name>(?:memory|half)\d*)\[(?P<at>[^\n]+)\] <= [^\n]+;$", re.MULTILINE
)
_READ = r"^(?P<target>      _\d+_) <= {name}\[(?P<at>[^\n]+)\];$"


@cache
def colliding(name: str, any_write: bool) -> tuple[str, int]:
    """Return the RTL with reads that writes disturb, and how many reads there are."""
    text = verilog(instruction_set(RANDOM_CONFIGS[name]))
    modules = re.split(r"(?<=^endmodule\n)", text, flags=re.MULTILINE)
    changed = [_disturbed(module, any_write) for module in modules]
    return "".join(text for text, _ in changed), sum(count for _, count in changed)


def _disturbed(module: str, any_write: bool) -> tuple[str, int]:
    total = 0
    for write in list(_WRITE.finditer(module)):

        def disturb(read: re.Match[str], write: re.Match[str] = write) -> str:
            same = "1'b1" if any_write else f"(({write['at']}) == ({read['at']}))"
            word = f"{write['name']}[{read['at']}]"
            return f"{read['target']} <= (({write['en']}) && {same}) ? ~{word} : {word};"

        module, count = re.subn(_READ.format(name=write["name"]), disturb, module, flags=re.MULTILINE)
        total += count
    return module, total


def simulator(isa: InstructionSet, timing: DramTiming, stalls: Stalls, *, name: str, any_write: bool) -> RtlSimulator:
    text, _ = colliding(name, any_write)
    return RtlSimulator(isa, timing, stalls=stalls, max_cycles=MAX_CYCLES, verilog=text)


def test_each_kind_of_block_ram_is_disturbed() -> None:
    text, reads = colliding("tiny", False)
    memories = re.findall(r"^  reg \[\d+:0\] (?:memory|half)\d* \[", text, re.MULTILINE)
    assert len(memories) >= 6 and reads >= len(memories)


@pytest.mark.parametrize("name", CONFIGS)
def test_words_read_while_written_do_not_matter(name: str, seed: int) -> None:
    isa = instruction_set(RANDOM_CONFIGS[name])
    check = CrossCheck(isa, TIMING_DRAMS[0], Stalls(), partial(simulator, name=name, any_write=False))
    for number in range(seed, seed + PROGRAMS):
        mismatch = check.compare(corner_program(isa, number, INSTRUCTIONS))
        assert mismatch is None, f"seed {number}: {mismatch.report}"


def test_words_read_during_any_write_do_matter(seed: int) -> None:
    isa = instruction_set(RANDOM_CONFIGS[CONFIGS[0]])
    check = CrossCheck(isa, TIMING_DRAMS[0], Stalls(), partial(simulator, name=CONFIGS[0], any_write=True))
    programs = (corner_program(isa, number, INSTRUCTIONS) for number in range(seed, seed + PROGRAMS))
    assert any(check.compare(program) is not None for program in programs)
