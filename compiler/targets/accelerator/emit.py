"""Encodes a synchronised stream as instruction words."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.compiler.targets.accelerator.operations import Operation
from tilewright.compiler.targets.accelerator.tokens import Sync
from tilewright.isa.encoding import encode_program
from tilewright.isa.instructions import InstructionSet


def encode(isa: InstructionSet, stream: Sequence[Operation], syncs: Sequence[Sync]) -> bytes:
    """Return the bytes of the instructions, one after the other."""
    program = [
        (operation.name, operation.operands | sync.operands(operation.engine))
        for operation, sync in zip(stream, syncs, strict=True)
    ]
    return encode_program(isa, program)
