"""Which programs come to a standstill, and which pairs of instructions tokens and fences order."""

from __future__ import annotations

import pytest

from tilewright.isa.assembly import assemble
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import Engine, instruction_set
from tilewright.sim.decoded_program import DecodedProgram
from tilewright.sim.races import Race, check_races, find_races
from tilewright.sim.random_programs import random_program
from tilewright.sim.tokens import Step, firing_order, steps_of

ISA = instruction_set(PRESETS["tiny"])

BOX = "extent_run=4 extent0=1 extent1=1 extent2=1"
ONCE = "extent_out0=1 extent_out1=1 extent_out2=1 extent_red0=1 extent_red1=1 extent_red2=1"
FOUR = ONCE.replace("out2=1", "out2=4") + " a_out2=1 d_out2=1"


def program(*lines: str) -> DecodedProgram:
    return DecodedProgram.of_bytes(ISA, assemble("\n".join(lines), ISA))


def test_steps() -> None:
    load, compute = steps_of(program(f"LOAD_ACT signal=compute+store {BOX}", f"GEMM wait=load fence=1 {ONCE}"))
    assert load == Step(Engine.LOAD, (), (Engine.COMPUTE, Engine.STORE), False)
    assert compute == Step(Engine.COMPUTE, (Engine.LOAD,), (), True)


def test_a_token_may_come_from_later_in_the_stream() -> None:
    assert firing_order(program(f"GEMM wait=load {ONCE}", f"LOAD_ACT signal=compute {BOX}")) == [1, 0]


def test_standstill_for_a_missing_token() -> None:
    message = (
        r"^the program comes to a standstill: instruction 0 \(`LOAD_ACT wait=compute .*`\) waits for a token from "
        r"compute; instruction 1 \(`GEMM wait=load signal=load .*`\) waits for a token from load$"
    )
    with pytest.raises(ProgramError, match=message):
        firing_order(program(f"LOAD_ACT wait=compute signal=compute {BOX}", f"GEMM wait=load signal=load {ONCE}"))


@pytest.mark.parametrize("ahead", [ISA.config.queue.compute, ISA.config.queue.compute + 1])
def test_standstill_for_a_full_queue(ahead: int) -> None:
    """The load that gives the token must be fetched, which it is not behind a full queue."""
    lines = [f"GEMM wait=load {ONCE}"] + [f"GEMM {ONCE}"] * (ahead - 1) + [f"LOAD_ACT signal=compute {BOX}"]
    if ahead <= ISA.config.queue.compute:
        assert len(firing_order(program(*lines))) == len(lines)
        return
    with pytest.raises(ProgramError, match="instruction 4 finds the compute queue of 4 full$"):
        firing_order(program(*lines))


def test_full_token_counter() -> None:
    """A counter of two bits holds three tokens; nothing that load does next can start before some are taken."""
    isa = instruction_set(PRESETS["tiny"].with_values(queue={"token_bits": 2}))
    load, take = f"LOAD_ACT signal=compute {BOX}", f"GEMM wait=load {ONCE}"
    legal = assemble("\n".join([*[load] * 4, *[take] * 4]), isa)
    assert sorted(firing_order(DecodedProgram.of_bytes(isa, legal))) == list(range(8))
    stuck = assemble("\n".join([load] * 4), isa)
    with pytest.raises(ProgramError, match=r"instruction 3 \(`LOAD.*`\) waits for compute to take some of 3 tokens"):
        firing_order(DecodedProgram.of_bytes(isa, stuck))


LOAD = f"LOAD_ACT base=0 {BOX}"
COPY = f"VECTOR op=sum a_base=0 d_base=8 {FOUR}"  # act 0..3 to act 8..11
#: 16 sums in `acc`, of as many steps each as `extent_red2` says: the last is complete 16 of them after the start.
SUMS = "extent_out0=1 extent_out1=1 extent_out2=16 extent_red0=1 extent_red1=1 b_out2=1 d_out2=1 to_acc=1"
MORE = f"GEMM accumulate=1 {SUMS}"
BACKWARDS = MORE.replace("b_out2=1", "b_base=15 b_out2=-1")
STORE = f"STORE_ACT base=8 dram_base=256 {BOX}"

ORDERED = {
    "tokens": [LOAD + " signal=compute", COPY + " wait=load signal=store", STORE + " wait=compute"],
    "through a third engine": [
        LOAD + " signal=compute",
        f"VECTOR op=sum a_base=40 d_base=60 wait=load signal=store {ONCE}",
        f"STORE_ACT base=0 dram_base=256 wait=compute {BOX}",
    ],
    "fence": [COPY, f"VECTOR op=sum a_base=8 d_base=20 fence=1 {ONCE}"],
    "write after read in compute": [COPY, f"VECTOR op=sum a_base=40 d_base=0 {ONCE}"],
    "write after write in compute": [COPY, f"VECTOR op=sum a_base=40 d_base=8 {ONCE}"],
    "nothing shared": [LOAD, f"VECTOR op=sum a_base=40 d_base=60 {ONCE}"],
    "sums in place": [f"GEMM {SUMS} extent_red2=9", f"{MORE} extent_red2=9"],
    "steps between": [
        f"GEMM {SUMS} extent_red2=1",
        f"GEMM d_base=32 {SUMS} extent_red2=8",
        f"{MORE} extent_red2=1",
    ],
    "write after read": [COPY + " signal=load", f"LOAD_ACT base=0 wait=compute {BOX}"],
    "through DRAM": [STORE + " signal=load", f"LOAD_ACT base=40 dram_base=256 wait=store {BOX}"],
    "token back": [
        COPY + " signal=store",
        f"STORE_ACT base=40 dram_base=0 wait=compute signal=compute {BOX}",
        f"VECTOR op=sum a_base=8 d_base=20 wait=store {ONCE}",
    ],
}

UNORDERED = {
    "no token": ([LOAD, COPY], [Race(0, 1, "act")]),
    "no fence": ([COPY, f"VECTOR op=sum a_base=11 d_base=20 {ONCE}"], [Race(0, 1, "act")]),
    "write after read": ([COPY, f"LOAD_ACT base=3 {BOX}"], [Race(0, 1, "act")]),
    "write after write": ([f"LOAD_ACT base=11 {BOX}", COPY], [Race(0, 1, "act")]),
    "through DRAM": ([STORE, f"LOAD_ACT base=40 dram_base=268 {BOX}"], [Race(0, 1, "dram")]),
    "token of an earlier instruction": (
        ["LOAD_WGT extent_run=1 extent0=1 signal=compute", LOAD, COPY + " wait=load"],
        [Race(1, 2, "act")],
    ),
    "short sums in place": ([f"GEMM {SUMS} extent_red2=8", f"{MORE} extent_red2=9"], [Race(0, 1, "acc")]),
    "sums in another order": (
        [f"GEMM {SUMS} extent_red2=9", f"{BACKWARDS} extent_red2=9"],
        [Race(0, 1, "acc")],
    ),
    "too few steps between": (
        [f"GEMM {SUMS} extent_red2=1", f"GEMM d_base=32 {SUMS} extent_red2=6", f"{MORE} extent_red2=1"],
        [Race(0, 2, "acc")],
    ),
    "accumulator": (
        [f"VECTOR op=sum to_acc=1 d_base=3 {ONCE}", f"VECTOR op=sum from_acc=1 a_base=3 to_acc=1 d_base=9 {ONCE}"],
        [Race(0, 1, "acc")],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ORDERED)
def test_ordered(name: str) -> None:
    check_races(program(*ORDERED[name]))


@pytest.mark.parametrize("name", UNORDERED)
def test_unordered(name: str) -> None:
    lines, races = UNORDERED[name]
    assert list(find_races(program(*lines))) == races


def test_race_is_described() -> None:
    message = (
        r"^instruction 1 \(`VECTOR op=sum .*`\) is not ordered after instruction 0 \(`LOAD_ACT .*`\), "
        r"with which it shares entries of `act`$"
    )
    with pytest.raises(ProgramError, match=message):
        check_races(program(LOAD, COPY))


@pytest.mark.parametrize("draw", range(4))
def test_random_programs_have_no_races_until_tokens_are_taken_away(draw: int, seed: int) -> None:
    drawn = random_program(ISA, seed + draw, 60)
    decoded = DecodedProgram.of(ISA, drawn.dram, drawn.offset, drawn.count)
    check_races(decoded)
    assert len(firing_order(decoded)) == 60
    bare = []
    for position in range(60):
        instruction, values = decoded.instruction(position)
        kept = {name: value for name, value in values.items() if name not in ("wait", "signal", "fence")}
        bare.append(ISA.encode(instruction.name, kept))
    assert any(find_races(DecodedProgram.of_bytes(ISA, b"".join(bare))))
