"""Registers of products, moved into the multipliers of ECP5, which have some: Yosys leaves those outside."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from tilewright.fpga.netlist import Cell, Net, ports_of

_MULTIPLIER, _REGISTER = "MULT18X18D", "TRELLIS_FF"

#: What a multiplier with a register behind it is told.
OUTPUT_REGISTER = {"REG_OUTPUT_CLK": "CLK0", "REG_OUTPUT_CE": "CE0", "REG_OUTPUT_RST": "RST0"}

#: What registers must have been told, `CEMUX` beside it: those inside have no other modes.
_PLAIN = {"CLKMUX": "CLK", "REGSET": "RESET"}


def pack_product_registers(module: Mapping[str, Any]) -> int:
    """Move registers into the multipliers whose products they take; return into how many.

    The way of a product to its register is then inside the multiplier, which is far from most lookup tables. A product
    is moved if nothing but registers takes it, of one clock and one enable, that are not reset.

    Parameters
    ----------
    module : mapping
        A flat module of ECP5's cells as in Yosys's JSON, which is changed.

    Returns
    -------
    int
    """
    cells = module["cells"]
    readers = _readers(module)
    multipliers = [cell for cell in cells.values() if cell["type"] == _MULTIPLIER]
    packed = 0
    for multiplier in multipliers:
        registers = _registers_behind(multiplier, cells, readers)
        controls = {_control(cells[name]) for name in registers.values()}
        if len(controls) == 1 and (control := controls.pop()) is not None:
            _move(multiplier, {port: cells.pop(name) for port, name in registers.items()}, *control)
            packed += 1
    return packed


def _readers(module: Mapping[str, Any]) -> Mapping[Net, list[tuple[str, str]]]:
    """Return what reads each net: the cell's name and port; for ports of the module itself the name is empty."""
    readers: dict[Net, list[tuple[str, str]]] = defaultdict(list)
    for name, port in module["ports"].items():
        for net in port["bits"]:
            readers[net].append(("", name))
    for name, cell in module["cells"].items():
        for port, net in ports_of(cell, "input"):
            readers[net].append((name, port))
    return readers


def _registers_behind(
    multiplier: Cell, cells: Mapping[str, Cell], readers: Mapping[Net, list[tuple[str, str]]]
) -> dict[str, str]:
    """Return the register that takes each bit of a product, by the bit's port; none if something else takes any."""
    registers = {}
    for port, net in ports_of(multiplier, "output"):
        if not (found := readers.get(net)):
            continue
        (name, taken_as), *others = found
        if others or taken_as != "DI" or cells[name]["type"] != _REGISTER:
            return {}
        registers[port] = name
    return registers


def _control(register: Cell) -> tuple[Net, Net] | None:
    """Return a register's clock and enable; None if it has a mode that multipliers do not have."""
    parameters, nets = register["parameters"], register["connections"]
    enable = {"CE": nets.get("CE", ["1"])[0], "1": "1"}.get(parameters["CEMUX"].strip())
    if enable is None or any(parameters[name] != value for name, value in _PLAIN.items()):
        return None
    return (nets["CLK"][0], enable) if nets.get("LSR", ["0"])[0] == "0" else None


def _move(multiplier: Cell, registers: Mapping[str, Cell], clock: Net, enable: Net) -> None:
    for port, register in registers.items():
        multiplier["connections"][port] = register["connections"]["Q"]
    multiplier["parameters"].update(OUTPUT_REGISTER)
    for port, net in {"CLK0": clock, "CE0": enable, "RST0": "0"}.items():  # nextpnr ties none of these by itself
        multiplier["port_directions"][port] = "input"
        multiplier["connections"][port] = [net]
