"""The instructions that kernels call: what they compute, for the interpreter, and the LLVM IR that they are.

An operand is a number or, as `role@buffer`, a place in a buffer; numbers are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tilewright.compiler.targets.cpu.data_movement import DATA_MOVEMENT
from tilewright.compiler.targets.cpu.dot_products import DOT_PRODUCTS
from tilewright.compiler.targets.cpu.float_functions import FLOAT_FUNCTIONS
from tilewright.compiler.targets.cpu.float_products import FLOAT_PRODUCTS
from tilewright.compiler.targets.cpu.instruction import Array, Instruction
from tilewright.compiler.targets.cpu.matrix_tiles import MATRIX_TILES
from tilewright.compiler.targets.cpu.roundings import ROUNDINGS

INSTRUCTIONS: Mapping[str, Instruction] = {
    instruction.name: instruction
    for group in (DOT_PRODUCTS, FLOAT_PRODUCTS, FLOAT_FUNCTIONS, ROUNDINGS, DATA_MOVEMENT, MATRIX_TILES)
    for instruction in group
}


def interpreted() -> dict[str, Callable[[Mapping[str, int], Mapping[str, Array]], None]]:
    """Return the instructions for `tir.interpreter`."""
    return {name: _interpreted(instruction) for name, instruction in INSTRUCTIONS.items()}


def _interpreted(instruction: Instruction) -> Callable[[Mapping[str, int], Mapping[str, Array]], None]:
    def execute(operands: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        numbers, found = {}, {}
        for key, value in operands.items():
            role, _, name = key.partition("@")
            if name:
                found[role] = arrays[name].reshape(-1)[value:]
            else:
                numbers[role] = value
        instruction.execute(numbers, found)

    return execute
