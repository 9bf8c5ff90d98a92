"""Compute instructions without a fence read nothing that may not be written yet, step by step."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

import pytest

from tilewright.compiler.targets.accelerator.hazards import following_distance
from tilewright.compiler.targets.accelerator.operations import Operation, Span
from tilewright.compiler.targets.accelerator.tokens import synchronise
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine
from tilewright.isa.order import RESULT_STEPS, compute_steps
from tilewright.isa.semantics import OUT_LOOPS

CONFIG = Config.load("tiny")


def product(
    out: tuple[int, int, int],
    red: int,
    strides: tuple[int, int, int],
    base: int = 0,
    *,
    adds: bool,
    to_acc: bool = True,
) -> Operation:
    """A GEMM whose results, and addends if it has any, lie in `acc` by the same walk."""
    operands = {f"extent_{loop}": extent for loop, extent in zip(OUT_LOOPS, out, strict=True)}
    operands |= {"extent_red0": 1, "extent_red1": 1, "extent_red2": red, "to_acc": int(to_acc), "accumulate": int(adds)}
    for operand in ("b", "d"):
        operands |= {f"{operand}_{loop}": stride for loop, stride in zip(OUT_LOOPS, strides, strict=True)}
        operands[f"{operand}_base"] = base
    touched = sorted(set(walk(operands, "d")))
    spans: tuple[Span, ...] = tuple(("acc", address, 1) for address in touched)
    return Operation("GEMM", Engine.COMPUTE, operands, spans if adds else (), spans if to_acc else (("act", base, 1),))


def walk(operands: dict[str, int], operand: str) -> Iterator[int]:
    """Addresses of an operand by position, in order."""
    for position in itertools.product(*(range(operands[f"extent_{loop}"]) for loop in OUT_LOOPS)):
        offsets = (i * operands[f"{operand}_{loop}"] for i, loop in zip(position, OUT_LOOPS, strict=True))
        yield (operands[f"{operand}_base"] + sum(offsets)) % CONFIG.acc_depth


def nearest_read(stream: list[Operation], fences: list[bool]) -> int:
    """The least number of steps between the completion of a result and a read of it with no fence between them."""
    written: dict[int, int] = {}
    now, nearest = 0, 1 << 30
    for operation, is_fenced in zip(stream, fences, strict=True):
        if is_fenced:
            written.clear()
        operands = operation.operands
        length = operands["extent_red0"] * operands["extent_red1"] * operands["extent_red2"]
        done: dict[int, int] = {}
        for number, (b, d) in enumerate(zip(walk(operands, "b"), walk(operands, "d"), strict=True)):
            if operands["accumulate"] and b in written:
                nearest = min(nearest, now + number * length - written[b])
            if operands["to_acc"]:
                done[d] = now + (number + 1) * length - 1
        now += compute_steps(operands)
        written |= done
    return nearest


@pytest.mark.parametrize("case", range(60))
def test_no_read_is_too_early(case: int, python_random: random.Random) -> None:
    rng = python_random
    stream = []
    for _ in range(rng.randrange(2, 9)):
        out = (rng.choice((1, 2)), rng.choice((1, 2, 4)), rng.choice((1, 3, 8, 16)))
        strides = rng.choice(((64, 16, 1), (64, 16, 1), (1, 2, 8), (0, 16, 1), (5, 3, 2), (16, 0, 1)))
        adds, to_acc = rng.random() < 0.7, rng.random() < 0.8
        stream.append(
            product(out, rng.choice((1, 2, 8, 40)), strides, rng.choice((0, 0, 40)), adds=adds, to_acc=to_acc)
        )
    syncs = synchronise(stream, CONFIG, 0)
    assert nearest_read(stream, [sync.fence for sync in syncs]) >= RESULT_STEPS


@pytest.mark.parametrize(
    ("out", "first", "second", "is_fenced"),
    [
        ((1, 1, 128), 1, 1, False),
        ((1, 1, 127), 1, 1, True),
        ((1, 4, 2), 19, 19, False),  # 7 * 19 + 1
        ((1, 4, 2), 19, 18, True),
        ((1, 4, 2), 18, 19, True),
        ((1, 1, 1), 200, 200, True),  # one result, read at once
    ],
)
def test_in_place_sums_are_fenced_only_when_short(
    out: tuple[int, int, int], first: int, second: int, is_fenced: bool
) -> None:
    strides = (64, 16 if out[1] > 1 else 0, 1)
    stream = [product(out, first, strides, adds=False), product(out, second, strides, adds=True)]
    assert [sync.fence for sync in synchronise(stream, CONFIG, 0)] == [False, is_fenced]
    assert following_distance(stream[0], stream[1], CONFIG.acc_depth) == nearest_read(stream, [False, False])


def test_what_lies_between_counts() -> None:
    """Another walk over the same entries is fenced, unless enough steps lie between."""
    make = lambda red: [  # noqa: E731
        product((1, 1, 8), 1, (0, 0, 1), adds=False),
        product((1, 1, 1), red, (0, 0, 1), base=32, adds=False),
        product((1, 1, 4), 1, (0, 0, 2), adds=True),
    ]
    assert [sync.fence for sync in synchronise(make(RESULT_STEPS), CONFIG, 0)] == [False, False, False]
    assert [sync.fence for sync in synchronise(make(RESULT_STEPS - 2), CONFIG, 0)] == [False, False, True]


@pytest.mark.parametrize("strides", [(0, 0, 0), (0, 1, 1), (0, 1, 2)])
def test_a_walk_that_meets_itself_is_fenced(strides: tuple[int, int, int]) -> None:
    stream = [product((1, 4, 40), 1, strides, adds=False), product((1, 4, 40), 1, strides, adds=True)]
    assert synchronise(stream, CONFIG, 0)[1].fence
