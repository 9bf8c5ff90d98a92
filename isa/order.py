"""What a program may rely on without tokens and fences."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from tilewright.isa.instructions import Opcode
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS

#: A compute step may read, without a fence, what was completed at least so many steps before it: no pipeline is deeper.
RESULT_STEPS = 128

#: Instructions that complete each result with the last step of its reduction, in the order of the output loops.
STEPWISE = (Opcode.GEMM, Opcode.VECTOR)


def compute_steps(values: Mapping[str, int]) -> int:
    """Return how many steps a compute instruction with these operands has; of DEPTHWISE at least."""
    return result_count(values) * result_steps(values)


def result_count(values: Mapping[str, int]) -> int:
    """Return the iterations of a compute instruction's output loops."""
    return prod(values[f"extent_{loop}"] for loop in OUT_LOOPS)


def result_steps(values: Mapping[str, int]) -> int:
    """Return the steps of one result: the iterations of the reduction loops; of DEPTHWISE one at least."""
    return prod(values[f"extent_{loop}"] for loop in RED_LOOPS) if "extent_red0" in values else 1
