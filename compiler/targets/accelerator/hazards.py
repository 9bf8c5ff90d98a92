"""How far a compute instruction's reads are from the results of an earlier one, in steps of the pipeline."""

from __future__ import annotations

from tilewright.compiler.targets.accelerator.operations import Operation
from tilewright.isa.order import STEPWISE, result_count, result_steps
from tilewright.isa.semantics import OUT_LOOPS

_STEPWISE = tuple(opcode.name for opcode in STEPWISE)


def following_distance(first: Operation, second: Operation, acc_depth: int) -> int:
    """Return how many steps at least a read of `acc` follows what it reads, of two instructions in a row.

    Where the second walks the addends in `acc` as the first walks its results there, each result has almost the whole
    instruction's time. With N results of R and S steps, result i is complete in step (i + 1) R - 1 of the first and
    read in step i S of the second, which begins NR steps after the first at the earliest: (N - 1) min(R, S) + 1 steps.
    """
    if not _walks_again(first, second, acc_depth):
        return 1
    return (result_count(first.operands) - 1) * min(result_steps(each.operands) for each in (first, second)) + 1


def _walks_again(first: Operation, second: Operation, acc_depth: int) -> bool:
    """Whether the second's addends are the first's results in the same order, each written once."""
    if first.name not in _STEPWISE or second.name not in _STEPWISE:
        return False
    if not first.operands.get("to_acc") or not second.operands.get("accumulate"):
        return False
    extents = tuple(first.operands[f"extent_{loop}"] for loop in OUT_LOOPS)
    results, addends = _walk(first, "d", extents), _walk(second, "b", extents)
    has_same_extents = all(first.operands[f"extent_{loop}"] == second.operands[f"extent_{loop}"] for loop in OUT_LOOPS)
    return has_same_extents and results == addends and _is_injective(extents, results[1:], acc_depth)


def _walk(operation: Operation, operand: str, extents: tuple[int, ...]) -> tuple[int, ...]:
    """Return base and strides, those of loops that do not turn as 0."""
    strides = (operation.operands.get(f"{operand}_{loop}", 0) for loop in OUT_LOOPS)
    moving = (stride if extent > 1 else 0 for stride, extent in zip(strides, extents, strict=True))
    return operation.operands.get(f"{operand}_base", 0), *moving


def _is_injective(extents: tuple[int, ...], strides: tuple[int, ...], depth: int) -> bool:
    """Whether every iteration has an address of its own: each stride steps over all that the smaller ones reach."""
    moving = sorted((stride, extent) for stride, extent in zip(strides, extents, strict=True) if extent > 1)
    steps_over = [1, *(stride * extent for stride, extent in moving)]
    ends = [*(stride for stride, _ in moving), depth]
    return all(reach <= end for reach, end in zip(steps_over, ends, strict=True))
