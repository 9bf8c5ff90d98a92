"""What the load and store instructions of a program move, and whether it lies inside the memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import FieldKind
from tilewright.isa.footprint import footprint
from tilewright.isa.instructions import Engine, Instruction
from tilewright.isa.semantics import memories
from tilewright.sim.decoded_program import DecodedProgram, Integers


def check_dram_accesses(program: DecodedProgram, dram_bytes: int) -> None:
    """Refuse a program that would touch DRAM outside `dram_bytes`.

    Raises
    ------
    ProgramError
        Naming the first such instruction of a kind and the bytes it touches.
    """
    for instruction in program.isa.instructions:
        if instruction.engine is Engine.COMPUTE or not len(program.positions[instruction.name]):
            continue
        low, high = _bounds(program.isa.config, instruction, program.operands[instruction.name])
        suspects = np.flatnonzero((low < high) & ((low < 0) | (high > dram_bytes)))
        for position in program.positions[instruction.name][suspects]:
            _check_exactly(program, int(position), dram_bytes)


def bytes_moved(config: Config, instruction: Instruction, values: Mapping[str, Integers]) -> Integers:
    """Return the bytes that each load or store of a kind moves between DRAM and scratchpad."""
    count = values["extent_run"] * _entry_bytes(config, instruction)
    for extent, _ in _loops(instruction):
        count = count * values[extent]
    return count


def _entry_bytes(config: Config, instruction: Instruction) -> int:
    space = instruction.operands["base"].space
    return config.row_bytes if space == "act_row" else memories(config)[space].shape[1]


def _loops(instruction: Instruction) -> list[tuple[str, str]]:
    """Return the names of extent and DRAM stride of every loop around the runs."""
    strides = [name for name, f in instruction.operands.items() if f.kind is FieldKind.DRAM_STRIDE]
    return [(name.replace("dram_stride", "extent"), name) for name in strides]


def _bounds(config: Config, instruction: Instruction, values: Mapping[str, Integers]) -> tuple[Integers, Integers]:
    """Return the first byte and the one behind the last, strides taken as signed; equal when nothing is moved."""
    low = values["dram_base"].copy()
    high = low + values["extent_run"] * _entry_bytes(config, instruction)
    half = 1 << (config.bus.address_bits - 1)
    for extent, stride in _loops(instruction):
        step = (values[stride] + half) % (2 * half) - half
        reach = step * np.maximum(values[extent] - 1, 0)
        low += np.minimum(reach, 0)
        high += np.maximum(reach, 0)
    moves = bytes_moved(config, instruction, values) > 0
    return np.where(moves, low, 0), np.where(moves, high, 0)


def _check_exactly(program: DecodedProgram, position: int, dram_bytes: int) -> None:
    """Look at every byte: a large stride may be an unsigned one after all."""
    instruction, values = program.instruction(position)
    touched = footprint(program.isa, instruction.opcode, values)
    entries = (touched.writes if instruction.engine is Engine.STORE else touched.reads)["dram"]
    if entries[-1] >= dram_bytes:
        verb = "writes" if instruction.engine is Engine.STORE else "reads"
        outside = int(entries[entries >= dram_bytes][0])
        raise ProgramError(
            f"{program.describe(position)} {verb} byte 0x{outside:x}, outside the memory of {dram_bytes} bytes"
        )
