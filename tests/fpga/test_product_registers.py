"""Which registers move into multipliers, and which stay."""

from __future__ import annotations

from typing import Any

import pytest

from tilewright.fpga.product_registers import OUTPUT_REGISTER, pack_product_registers

CLOCK, ENABLE, OTHER, RESET = 2, 3, 4, 5
BITS = 4


def register(bit: int, **changes: Any) -> dict[str, Any]:
    """Give the register that takes bit `bit` of the product: its nets are 10 and 20 more."""
    parameters = {"CEMUX": "CE", "CLKMUX": "CLK", "REGSET": "RESET"} | {
        name: value for name, value in changes.items() if name in ("CEMUX", "CLKMUX", "REGSET")
    }
    nets = {"CLK": CLOCK, "CE": ENABLE, "LSR": "0", "DI": 10 + bit, "Q": 20 + bit}
    nets |= {name: net for name, net in changes.items() if name in nets}
    directions = {port: "output" if port == "Q" else "input" for port in nets}
    connections = {port: [net] for port, net in nets.items()}
    return {
        "type": "TRELLIS_FF", "parameters": parameters, "port_directions": directions, "connections": connections,
    }  # fmt: skip


def module(**others: dict[str, Any]) -> dict[str, Any]:
    """Give a module of a multiplier, of whose product one more bit is read by nothing, and its registers."""
    ports = {f"P{bit}": [10 + bit] for bit in range(BITS + 1)} | {"A0": [30], "B0": [31]}
    directions = {port: "output" if port[0] == "P" else "input" for port in ports}
    multiplier = {"type": "MULT18X18D", "parameters": {}, "port_directions": directions, "connections": ports}
    registers = {f"register{bit}": register(bit) for bit in range(BITS)}
    return {"ports": {"clk": {"bits": [CLOCK]}}, "cells": {"multiplier": multiplier, **registers, **others}}


def lookup(net: int) -> dict[str, Any]:
    """Give a lookup table that reads a net."""
    connections = {"A": [net], "Z": [40]}
    return {
        "type": "LUT4", "parameters": {}, "port_directions": {"A": "input", "Z": "output"}, "connections": connections,
    }  # fmt: skip


def test_the_registers_of_a_product_move() -> None:
    given = module(lut=lookup(20))
    assert pack_product_registers(given) == 1
    assert set(given["cells"]) == {"multiplier", "lut"}
    multiplier = given["cells"]["multiplier"]
    assert multiplier["parameters"] == OUTPUT_REGISTER
    assert [multiplier["connections"][f"P{bit}"] for bit in range(BITS + 1)] == [[20], [21], [22], [23], [14]]
    assert {port: multiplier["connections"][port] for port in ("CLK0", "CE0", "RST0")} == {
        "CLK0": [CLOCK], "CE0": [ENABLE], "RST0": ["0"],
    }  # fmt: skip
    assert all(multiplier["port_directions"][port] == "input" for port in ("CLK0", "CE0", "RST0"))


def test_registers_without_enable_are_always_enabled() -> None:
    given = module(**{f"register{bit}": register(bit, CEMUX="1 ") for bit in range(BITS)})
    for bit in range(BITS):
        for of_port in ("connections", "port_directions"):
            del given["cells"][f"register{bit}"][of_port]["CE"]
    assert pack_product_registers(given) == 1
    assert given["cells"]["multiplier"]["connections"]["CE0"] == ["1"]


@pytest.mark.parametrize(
    "others",
    [
        {"lut": lookup(11)},
        {"register2": register(2, CE=OTHER)},
        {"register2": register(2, CLK=OTHER)},
        {"register2": register(2, LSR=RESET)},
        {f"register{bit}": register(bit, CEMUX="INV") for bit in range(BITS)},
        {f"register{bit}": register(bit, CLKMUX="INV") for bit in range(BITS)},
        {f"register{bit}": register(bit, REGSET="SET") for bit in range(BITS)},
        {"register2": register(2, DI=9), "chooser": lookup(12)},
        {"enabled": register(5, CE=12)},
    ],
    ids=["lookup", "enable", "clock", "reset", "enable-inverted", "edge", "initial", "logic", "enables-another"],
)
def test_what_multipliers_cannot_do_stays(others: dict[str, Any]) -> None:
    given = module(**others)
    expected = module(**others)
    assert pack_product_registers(given) == 0
    assert given == expected


def test_a_product_that_leaves_the_module_stays() -> None:
    given = module()
    given["ports"]["product"] = {"bits": [13]}
    assert pack_product_registers(given) == 0
