"""Which lookup tables behind block RAMs become one, and that they give the same then."""

from __future__ import annotations

import copy
import itertools
import random
from typing import Any

import pytest

from tilewright.fpga.ram_lookups import merge_ram_lookups

WORDS = (10, 11)
OTHERS = (20, 21, 22)
MIDDLE, RESULT, SECOND = 30, 31, 32


def table(inputs: tuple[int | str, ...], output: int, init: int) -> dict[str, Any]:
    """Give a lookup table."""
    nets = (*inputs, *("0",) * (4 - len(inputs)))
    connections = {**{port: [net] for port, net in zip("ABCD", nets, strict=True)}, "Z": [output]}
    directions = {port: "output" if port == "Z" else "input" for port in connections}
    return {
        "type": "LUT4", "parameters": {"INIT": f"{init:016b}"}, "port_directions": directions,
        "connections": connections,
    }  # fmt: skip


def module(**tables: dict[str, Any]) -> dict[str, Any]:
    """Give a module of a block RAM and tables, whose results leave it."""
    connections = {f"DOB{i}": [net] for i, net in enumerate(WORDS)}
    ram = {
        "type": "DP16KD", "parameters": {}, "port_directions": dict.fromkeys(connections, "output"),
        "connections": connections,
    }  # fmt: skip
    return {"ports": {"q": {"bits": [RESULT]}}, "cells": {"ram": ram, **tables}}


def result(cells: dict[str, Any], given: dict[int, int]) -> int:
    """Evaluate the tables until the result is known."""
    values: dict[int | str, int] = {"0": 0, "1": 1, **given}
    while RESULT not in values:
        for cell in cells.values():
            nets = [cell["connections"][port][0] for port in "ABCD"] if cell["type"] == "LUT4" else [None]
            if all(net in values for net in nets):
                index = sum(values[net] << i for i, net in enumerate(nets))
                values[cell["connections"]["Z"][0]] = int(cell["parameters"]["INIT"][15 - index])
    return values[RESULT]


@pytest.mark.parametrize(
    ("inner", "outer", "is_merged"),
    [
        ((*WORDS, 20), (21, MIDDLE), True),
        ((*WORDS, 20), (MIDDLE, 21, 20, "1"), True),
        ((10, 20), (MIDDLE, 20, 21, 22), True),
        ((10,), (MIDDLE, MIDDLE, 21), True),
        ((*WORDS, 20), (21, 22, MIDDLE), False),
        ((20, 21), (MIDDLE, 22), False),
    ],
    ids=["choice", "shared", "full", "twice", "too-many", "no-ram"],
)
def test_tables_are_merged(
    inner: tuple[int | str, ...], outer: tuple[int | str, ...], is_merged: bool, python_random: random.Random
) -> None:
    given = module(
        first=table(inner, MIDDLE, python_random.randrange(1 << 16)),
        second=table(outer, RESULT, python_random.randrange(1 << 16)),
    )
    before = copy.deepcopy(given)
    assert merge_ram_lookups(given) == is_merged
    assert set(given["cells"]) == ({"ram", "second"} if is_merged else {"ram", "first", "second"})
    nets = (*WORDS, *OTHERS)
    for bits in itertools.product((0, 1), repeat=len(nets)):
        values = dict(zip(nets, bits, strict=True))
        assert result(given["cells"], values) == result(before["cells"], values)


def test_a_table_that_something_else_reads_stays() -> None:
    register = {
        "type": "TRELLIS_FF", "parameters": {}, "port_directions": {"DI": "input"}, "connections": {"DI": [MIDDLE]},
    }  # fmt: skip
    given = module(
        first=table((*WORDS, 20), MIDDLE, 0xCACA), second=table((21, MIDDLE), RESULT, 0x8888), register=register
    )
    assert merge_ram_lookups(given) == 1
    assert {"first", "register"} <= set(given["cells"])
    assert given["cells"]["second"]["connections"] == {
        "A": [10], "B": [11], "C": [20], "D": [21], "Z": [RESULT],
    }  # fmt: skip
