"""Faults that nobody can see, which are left out of the choice: each rule with its reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from tests.mutation.module_text import ModuleText

#: What a rule is asked: the module, the fault's kind, what is assigned or guarded, the expression.
Rule = Callable[[ModuleText, str, str, str], bool]

#: What resets most registers: the hardware, and the beginning and the end of a run.
CLEARS = re.compile(r"\| \{ *rst, clear *\}")
_PIPE_FLAGS = re.compile(r"flags_\d+")
_PAYLOAD = re.compile(r"spare|gathered|head|fits|length|work|.*payload.*")
#: By the end of a module's name: registers that take the next box while no box is active, of which a flag tells.
_LOADED = {
    ".walker.row": ".*",
    ".walker.column": ".*",
    ".walker": r"(?:entry|slot)_(?:now|\d)|left\d",
    ".runs": r"address|single|start\d|left\d",
}
#: By the end of a module's name: registers that are loaded or decided anew before anybody looks; why stands below.
_ANEW = {".compute.sequencer": "last|leaves", ".fetch": "left"}
#: Counters have 64 bits; a wider register is a payload.
_WIDEST_STATE = 64
#: Bits of a number that no run counts up to: 2^48 cycles are days at any clock.
_ENDLESS = 48


def _resets(module: ModuleText, kind: str, target: str, before: str) -> list[tuple[str, bool]]:
    """Give the registers whose reset a fault drops, and which of them take something new in every cycle."""
    if kind == "reset" and (before == "rst" or CLEARS.fullmatch(module.value_of(before))):
        name = re.sub(r"\[[\d:]+\]$", "", target)
        return [found for found in module.registers_reset_by(before) if found[0] == name]
    return list(module.registers_reset_by(target)) if kind == "operator" and CLEARS.fullmatch(before) else []


def _is_passed_on(module: ModuleText, kind: str, target: str, before: str) -> bool:
    found = _resets(module, kind, target, before)
    is_pipe = module.name.endswith("pipe")
    return bool(found) and all(
        is_passed_on or (is_pipe and _PIPE_FLAGS.fullmatch(name)) for name, is_passed_on in found
    )


def _is_payload(module: ModuleText, kind: str, target: str, before: str) -> bool:
    found = _resets(module, kind, target, before)
    return bool(found) and all(
        _PAYLOAD.fullmatch(name.lstrip("\\")) or module.widths.get(name, 0) > _WIDEST_STATE for name, _ in found
    )


def _is_index(module: ModuleText, kind: str, target: str, before: str) -> bool:
    found = _resets(module, kind, target, before)
    names = next((names for end, names in _LOADED.items() if module.name.endswith(end)), None)
    return bool(found) and names is not None and all(re.fullmatch(names, name) for name, _ in found)


def _is_endless(module: ModuleText, kind: str, target: str, before: str) -> bool:
    return kind == "width" and min(module.width(name) for name in re.split(" [-+] ", before)[:1]) > _ENDLESS


def _is_no_sum(module: ModuleText, kind: str, target: str, before: str) -> bool:
    return kind in ("width", "operator") and before.endswith(" + 1'h0")


def _is_full_level(module: ModuleText, kind: str, target: str, before: str) -> bool:
    return kind == "width" and re.fullmatch(r"(?:inner_)?level - 1'h1|lead_\w+ - 1'h1", before) is not None


def _is_store_padding(module: ModuleText, kind: str, target: str, before: str) -> bool:
    walker = "accelerator.store.reader.walker"
    is_sum = module.name == walker and "box__payload" in before
    return kind == "width" and (is_sum or module.name.startswith(f"{walker}."))


def _is_clamp(module: ModuleText, kind: str, target: str, before: str) -> bool:
    operands = [part.strip().removeprefix("$signed(").rstrip(") ") for part in re.split(" [<>]=? ", before)]
    return kind == "operator" and len(operands) == 2 and any(module.is_called(one, "clamp_") for one in operands)


def _is_read_enable(module: ModuleText, kind: str, target: str, before: str) -> bool:
    is_swap = kind == "operator" and " & " in before
    name = target.lstrip("\\").strip()
    is_bank = ".InterleavedBank" in module.name and name.startswith("$signature__en") and before.startswith("read__")
    return is_swap and (is_bank or re.fullmatch(r"(?:read|operand|addend|bias|scale)__(?:\d+__)?en", name) is not None)


def _is_anew(module: ModuleText, kind: str, target: str, before: str) -> bool:
    found = _resets(module, kind, target, before)
    names = next((names for end, names in _ANEW.items() if module.name.endswith(end)), None)
    return bool(found) and names is not None and all(re.fullmatch(names, name) for name, _ in found)


def _is_never_full(module: ModuleText, kind: str, target: str, before: str) -> bool:
    found = _resets(module, kind, target, before)
    has_room = module.value_of("input__ready").strip()
    return bool(found) and module.name.endswith(".store.signals") and {name for name, _ in found} == {has_room}


def _is_needless_sum(module: ModuleText, kind: str, target: str, before: str) -> bool:
    """Say whether an operator decides when the array, or the vector unit, sums up: in its own instructions' steps."""
    if not module.name.endswith(".compute.operand_pipe") or kind != "operator":
        return False
    vector, row = (module.value_of(f"\\active.{name}") for name in ("vector", "row"))
    others = f"{vector} | {row}"
    of_array = module.value_of(module.value_of(before.removeprefix("step[0] & "))[2:])
    return before in (others, f"step[0] & {vector}") or (before.startswith("step[0] & ") and of_array == others)


def _is_short_row(module: ModuleText, kind: str, target: str, before: str) -> bool:
    return kind == "width" and module.name.endswith(".window_sequencer") and before == "left_out2 - 1'h1"


def _is_short_burst(module: ModuleText, kind: str, target: str, before: str) -> bool:
    return kind == "width" and module.name.endswith(".write_port") and before == "sent + 1'h1"


def _is_few_responses(module: ModuleText, kind: str, target: str, before: str) -> bool:
    waiting = "waiting + response"
    is_count = before == waiting or (before.endswith(" - matched") and module.value_of(before.split()[0]) == waiting)
    return kind == "width" and module.name.endswith(".write_port") and is_count


RULES: Mapping[str, Rule] = {
    "the register takes something new in every cycle that is not made from itself: without its reset it is right a "
    "cycle later. The hardware's reset lasts longer; and what flows in a pipe when a run is stopped comes out before "
    "anything of the next run can, which flows through the same pipe": _is_passed_on,
    "the register holds data beside a flag that has a reset of its own": _is_payload,
    "an index, or the place in a box, is loaded with the beginning of each before anybody looks at it": _is_index,
    "a counter that wide never gets to its upper bit": _is_endless,
    "to add nothing is to subtract nothing, and carries nothing": _is_no_sum,
    "a counter that begins at a power of two loses its upper bit with the first step down": _is_full_level,
    "boxes of the store engine have no padding, so that indices never get to the bits that sums with it need": (
        _is_store_padding
    ),
    "at the border both of what is chosen between are the border": _is_clamp,
    "`last` of the sequencer is loaded in every cycle in which nothing is issued, and taken with a step only; `leaves` "
    "is 0 in the cycle after one without `busy`, and in the last before a clear, as `halt` was high; `left` of fetch "
    "is loaded when a run begins, and `done` is looked at while it runs": _is_anew,
    "a store that is not finished has a burst or a mark in the walker, the generator, the queue of 4 or that of 9 "
    "marks: there are never 63": _is_never_full,
    "steps of a sum follow each other in every cycle where results are not turned, and the first begins it anew: what "
    "array and vector unit do beside them is not taken": _is_needless_sum,
    "the decoder refuses rows of more than 128 pixels, so that a count of them never gets to its upper bit": (
        _is_short_row
    ),
    "bursts have at most 64 beats, which the upper bit of a byte does not count": _is_short_burst,
    "as many responses wait as there were marks of stores that send nothing in front of theirs, in a queue of nine: "
    "never eight": _is_few_responses,
    "a memory that is read without need: its data are taken in the cycle after a read only": _is_read_enable,
}


def reason_unseen(module: ModuleText, kind: str, target: str, before: str) -> str:
    """Return why a fault cannot be seen; empty when it can."""
    return next((reason for reason, holds in RULES.items() if holds(module, kind, target, before)), "")
