"""Random instructions that go on with sums: they add to what the instruction before left in `acc`, in the same order.

Between such two the compiler leaves the fence out wherever the sums are far enough apart (`isa/order.py`).
"""

from __future__ import annotations

import random

from tilewright.isa.footprint import footprint
from tilewright.isa.generator import RandomInstruction
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.order import STEPWISE, compute_steps, result_count
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

_WALK = ("base", *OUT_LOOPS)


def starting_sums(isa: InstructionSet, one: RandomInstruction, rng: random.Random) -> RandomInstruction:
    """Return an instruction as one that leaves some dozens of sums in `acc`, side by side in any order of the loops."""
    if one.instruction.opcode not in STEPWISE:
        return one
    extents = {loop: rng.choice(most) for loop, most in zip(OUT_LOOPS, ((1, 2), (1, 2, 4), (4, 9, 16)), strict=True)}
    changes = {f"extent_{loop}": extent for loop, extent in extents.items()} | {"to_acc": 1}
    stride = 1
    for loop in rng.sample(OUT_LOOPS, len(OUT_LOOPS)):
        changes[f"d_{loop}"] = stride
        stride *= extents[loop]
    started = _changed(isa, one, changes)
    return one if started.footprint.reads_own_writes else started


def adding_to(
    isa: InstructionSet, first: RandomInstruction, second: RandomInstruction, most_steps: int
) -> RandomInstruction:
    """Return `second` as one that adds to the sums of `first`; unchanged where that cannot be.

    Its results go where they went, or back to the sums' places where that would have it read what it writes.
    """
    opcodes = (first.instruction.opcode, second.instruction.opcode)
    if any(opcode not in STEPWISE for opcode in opcodes) or not first.values["to_acc"] or not _is_injective(first):
        return second
    changes = {f"extent_{loop}": first.values[f"extent_{loop}"] for loop in OUT_LOOPS}
    changes |= {f"b_{name}": first.values[f"d_{name}"] for name in _WALK} | {"accumulate": 1}
    changes |= {"from_acc": 0} if "from_acc" in second.values else {}
    if compute_steps({**second.values, **changes}) > most_steps:
        changes |= {f"extent_{loop}": 1 for loop in RED_LOOPS}
    elsewhere = _changed(isa, second, changes)
    back = {f"d_{name}": first.values[f"d_{name}"] for name in _WALK} | {"to_acc": 1}
    return _changed(isa, second, changes | back) if elsewhere.footprint.reads_own_writes else elsewhere


def _is_injective(one: RandomInstruction) -> bool:
    """Whether every sum has an entry of its own."""
    sums = result_count(one.values)
    return sums > 0 and len(one.footprint.writes.get("acc", ())) == sums


def _changed(isa: InstructionSet, one: RandomInstruction, changes: dict[str, int]) -> RandomInstruction:
    values = {**one.values, **changes}
    if not all(constraint.holds(values) for constraint in one.instruction.constraints):
        return one
    return RandomInstruction(one.instruction, values, footprint(isa, one.instruction.opcode, values))
