"""The accelerator's tensor intrinsics, derived from what `isa` says its instructions mean.

An intrinsic is an instruction in one *mode*: its flags and choices set to constants. Setting them in the instruction's
semantics, and leaving out what then cannot happen, gives the pattern; nothing is written here a second time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from itertools import product
from math import prod

from tilewright.compiler.tir.tensorize.intrinsic import Intrinsic, Signature
from tilewright.compiler.tir.tensorize.specialise import Specialiser
from tilewright.compiler.tir.tensorize.tensorizer import Tensorizer
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.instructions import Instruction, InstructionSet
from tilewright.isa.ir import Buffer, Const, Stmt
from tilewright.isa.sections import Depthwise, Epilogue, Gemm, Vector
from tilewright.isa.semantics import memories

#: Operands that set the borders of a box; without border they are 0 and the tests for it fall away. The border of the
#: run comes last, so that it is preferred where either would do: runs are what DMA is fast at.
_BORDERS = (("pad_top", "pad_bottom"), ("pad_left", "pad_right"))

#: Flags that do not change what one instruction means.
_ORDERING = ("fence",)


Mode = Mapping[str, int]


def intrinsics(isa: InstructionSet) -> tuple[Intrinsic, ...]:
    """Return every instruction in every mode, plainer modes first."""
    table = _Table(isa)
    return tuple(table.intrinsic(instruction, mode) for instruction in isa.instructions for mode in _modes(instruction))


def tensorizer(isa: InstructionSet) -> Tensorizer:
    """Return a tensorizer for an instruction set."""
    return Tensorizer(_Table(isa).alike)


class _Table:
    """The intrinsics of an instruction set, each worked out when it is asked for.

    Parameters
    ----------
    isa : InstructionSet
    """

    def __init__(self, isa: InstructionSet) -> None:
        config = isa.config
        self._isa = isa
        self._memories = memories(config, 1 << config.bus.address_bits)
        self._chosen: dict[tuple[object, ...], Stmt] = {}
        self._accessed: dict[str, set[str]] = {}
        self._signatures = _signatures(config.gemm, config.epilogue, config.vector, config.depthwise)

    def alike(self, wanted: Signature) -> list[Intrinsic]:
        """Return the intrinsics of one signature, plainer modes first."""
        found: list[Intrinsic] = []
        spaces = {space for part in wanted for space in part}
        for instruction in self._isa.instructions:
            if not spaces <= self._spaces(instruction):
                continue
            for mode in _modes(instruction):
                key = (instruction.name, *mode.items())
                if key not in self._signatures:
                    self._signatures[key] = self.intrinsic(instruction, mode).signature
                if self._signatures[key] == wanted:
                    found.append(self.intrinsic(instruction, mode))
        return found

    def _spaces(self, instruction: Instruction) -> set[str]:
        """Return the memories that an instruction accesses in any mode."""
        kept = self._accessed.get(instruction.name)
        if kept is None:
            whole = Intrinsic(instruction.name, {}, instruction.meaning(self._memories), {}, {}, {})
            kept = self._accessed[instruction.name] = {space for part in whole.signature for space in part}
        return kept

    def intrinsic(self, instruction: Instruction, mode: Mode) -> Intrinsic:
        """Return an instruction in one mode; what its choices leave is worked out once for all flags."""
        positive = {name: 1 for name, field in instruction.operands.items() if field.kind is FieldKind.EXTENT}
        choices = {name: mode[name] for name, field in instruction.operands.items() if field.kind is FieldKind.CHOICE}
        key = (instruction.name, *choices.values())
        if key not in self._chosen:
            self._chosen[key] = _specialised(instruction.meaning(self._memories), choices, positive)
        return _intrinsic(instruction, mode, _specialised(self._chosen[key], mode, positive), self._memories)


@lru_cache(maxsize=256)
def _signatures(gemm: Gemm, epilogue: Epilogue, vector: Vector, depthwise: Depthwise) -> dict[object, Signature]:
    """Return the signatures known so far of all instruction sets of these parts, by instruction and mode.

    What an instruction reads and writes does not depend on how deep the memories are.
    """
    return {}


def _modes(instruction: Instruction) -> Iterator[dict[str, int]]:
    """Yield the values of flags and choices, and the absence of borders."""
    names: list[tuple[str, ...]] = []
    values: list[list[tuple[int, ...]]] = []
    for name, field in instruction.operands.items():
        if field.kind is FieldKind.FLAG and field.bits and name not in _ORDERING:
            names.append((name,))
            values.append([(0,), (1,)])
        if field.kind is FieldKind.CHOICE and field.choices:
            names.append((name,))
            values.append([(value,) for value in field.choices.values()])
    for border in _BORDERS:
        if border[0] in instruction.operands:
            names.append(border)
            values.append([(0,) * len(border), ()])
    for chosen in product(*values):
        groups = zip(names, chosen, strict=True)
        mode = {name: value for group, part in groups for name, value in zip(group, part, strict=False)}
        if _is_distinct(instruction, mode):
            yield mode


def _is_distinct(instruction: Instruction, mode: Mode) -> bool:
    """Whether a mode is allowed; flags of the way to `act` mean nothing on the way to `acc`."""
    exclusive = any(sum(mode.get(name, 0) for name in group) > 1 for group in instruction.exclusive)
    return not exclusive and not (mode.get("to_acc") and (mode.get("residual") or mode.get("table_enable")))


def _specialised(body: Stmt, values: Mapping[str, int], positive: Mapping[str, int]) -> Stmt:
    return Specialiser({name: Const(value) for name, value in values.items()}, positive).stmt(body)


def _intrinsic(instruction: Instruction, mode: Mode, body: Stmt, mem: Mapping[str, Buffer]) -> Intrinsic:
    holes = {name: field for name, field in instruction.operands.items() if name not in mode and _is_hole(field)}
    return Intrinsic(
        name=instruction.name,
        mode=dict(mode),
        body=body,
        holes={name: field.values for name, field in holes.items() if not _wraps(field)},
        entry_elements={space: prod(buffer.shape[1:]) for space, buffer in mem.items()},
        alignment={name: field.align for name, field in holes.items() if field.align > 1},
    )


def _is_hole(field: Field) -> bool:
    return field.kind is not FieldKind.SYNC and field.name not in _ORDERING


def _wraps(field: Field) -> bool:
    return field.kind in (FieldKind.STRIDE, FieldKind.DRAM_STRIDE)
