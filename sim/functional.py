"""The functional simulator: the instructions' meanings, compiled to machine code, in stream order."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from tilewright.compiler.tir.interpreter import Array, new_array
from tilewright.compiler.tir.native import NativeModule, compile_functions
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import Engine, InstructionSet, Opcode
from tilewright.isa.ir import Function
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS, memories
from tilewright.sim.api import LaunchResult
from tilewright.sim.decoded_program import DecodedProgram, Integers
from tilewright.sim.dram_access import bytes_moved, check_dram_accesses

_DISPATCHER = "run_program"
_SLICE_INSTRUCTIONS = 2048  # between looks at Python's signals, so that Ctrl-C works


def instruction_functions(isa: InstructionSet) -> tuple[Function, ...]:
    """Return the meanings of all instructions, in table order, over the same memories."""
    mem = memories(isa.config)
    return tuple(instruction.function(mem) for instruction in isa.instructions)


def compile_instructions(isa: InstructionSet, cache: ObjectCache | None = None) -> NativeModule:
    """Return the meanings of all instructions as machine code."""
    return compile_functions(instruction_functions(isa), _DISPATCHER, cache)


class FunctionalSimulator:
    """Runs programs in stream order, as fast as the meanings of the instructions compile to; knows no time.

    Tokens and fences are not looked at: `tilewright.sim.tokens` checks them.

    Parameters
    ----------
    isa : InstructionSet
    cache : ObjectCache, optional
        Of compiled code; by default in the user's cache directory.

    Attributes
    ----------
    isa : InstructionSet
    state : mapping of str to array
        The scratchpads `act`, `wgt`, `acc`, `prm`, `tbl` (shapes as `semantics.memories` says), zero at first, live:
        what is written there, the next launch sees.
    """

    def __init__(self, isa: InstructionSet, cache: ObjectCache | None = None) -> None:
        self.isa = isa
        self._code = compile_instructions(isa, cache or ObjectCache.default())
        buffers = memories(isa.config)
        self.state: Mapping[str, Array] = {name: new_array(b) for name, b in buffers.items() if name != "dram"}

    def reset(self) -> None:
        """Set all scratchpads to zero."""
        for array in self.state.values():
            array.fill(0)

    def launch(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> LaunchResult:
        """Execute `count` instructions that lie at byte `offset` of `dram`, changing `dram` in place.

        The program is decoded and checked before anything is executed.

        Raises
        ------
        ProgramError
            If the program does not lie inside the memory, holds an illegal instruction, or touches bytes outside the
            memory; the message has the instruction's position and text.
        """
        program = self.prepare(dram, offset, count)
        self.execute(program, dram, 0, count)
        return LaunchResult(None, _counters(program), None)

    def prepare(self, dram: npt.NDArray[np.uint8], offset: int, count: int) -> DecodedProgram:
        """Decode and check a program, for `execute`; see `launch`."""
        if not dram.flags.writeable:
            raise ProgramError("the memory must be writeable")
        program = DecodedProgram.of(self.isa, dram, offset, count)
        check_dram_accesses(program, len(dram))
        return program

    def execute(self, program: DecodedProgram, dram: npt.NDArray[np.uint8], first: int, end: int) -> None:
        """Execute the instructions from `first` up to but not including `end` of a program that `prepare` gave."""
        table, arrays = _table(program)[first:end], {**self.state, "dram": dram}
        for start in range(0, len(table), _SLICE_INSTRUCTIONS):
            self._code.run(table[start : start + _SLICE_INSTRUCTIONS], arrays)


def _table(program: DecodedProgram) -> Integers:
    """Return the dispatcher's table: which function, then its operands."""
    words = 1 + max(len(i.operands) for i in program.isa.instructions)
    table = np.zeros((len(program), words), np.int64)
    for number, instruction in enumerate(program.isa.instructions):
        positions = program.positions[instruction.name]
        if len(positions):
            columns = [np.full(len(positions), number), *program.operands[instruction.name].values()]
            table[positions, : len(columns)] = np.stack(columns, axis=1)
    return table


def _counters(program: DecodedProgram) -> dict[str, int]:
    """Count what follows from the program alone."""
    config, loaded, stored = program.isa.config, 0, 0
    for instruction in program.isa.instructions:
        if instruction.engine is Engine.COMPUTE:
            continue
        moved = int(bytes_moved(config, instruction, program.operands[instruction.name]).sum())
        loaded += moved if instruction.engine is Engine.LOAD else 0
        stored += moved if instruction.engine is Engine.STORE else 0
    gemm_steps = _steps(program, Opcode.GEMM)
    return {
        "instructions": len(program),
        "gemm_steps": gemm_steps,
        "vector_steps": _steps(program, Opcode.VECTOR) + _steps(program, Opcode.ROW),
        "macs": gemm_steps * config.macs_per_cycle + _depthwise_taps(program) * config.acc_lanes,
        "bytes_loaded": loaded,
        "bytes_stored": stored,
    }


def _depthwise_taps(program: DecodedProgram) -> int:
    if Opcode.DEPTHWISE.name not in program.operands:
        return 0
    values = program.operands[Opcode.DEPTHWISE.name]
    return int(np.prod([values[f"extent_{name}"] for name in OUT_LOOPS + RED_LOOPS[1:]], axis=0).sum())


def _steps(program: DecodedProgram, opcode: Opcode) -> int:
    if opcode.name not in program.operands:
        return 0
    values = program.operands[opcode.name]
    return int(np.prod([values[f"extent_{name}"] for name in OUT_LOOPS + RED_LOOPS], axis=0).sum())
