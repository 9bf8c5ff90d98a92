"""Clocks of their own for lanes that rest, in the Verilog that is simulated.

A lane of the epilogue computes a result now and then, but a simulator evaluates its logic in every cycle. Where each
register of a lane stands behind an enable, nothing in it changes while no enable is high. Such lanes get a clock that
is an input of the top module, beside an output that says whether any of their enables is high; the harness raises the
clock with `clk` when it is. What only these registers feed is then evaluated only when they may change. All registers
have the values that they have with one clock, in every cycle.
"""

from __future__ import annotations

import re

#: Kinds of lanes, as `hw.repeated` names their modules, with a number behind.
_KINDS = ("Requantizer", "ResidualAdder", "RowLane", "VectorLane")

_MODULE = re.compile(r"^module (\\?[\w.$]+) ?\((.*?)\);$(.*?)^endmodule", re.M | re.S)
_INSTANCE = re.compile(r"^  (\\\S+)  \S+ \($(.*?)^  \);$", re.M | re.S)
_REGISTER = re.compile(r"^  always @\(posedge clk\)\s+if \((.*?)\)\s", re.M)
_ENABLE = r"en(?:\[[\d:]+\])?"
_OPERAND = r"!?(?:\\\S+ |\w+)(?:\[[\d:]+\])?"
#: The branch in which a register changes although its enable is low; those inside the enable's branch stand deeper.
_OTHERWISE = "\n    else"
_CONNECTED = re.compile(r"^    \.en\((.*)\),?$", re.M)


def with_resting_clocks(verilog: str, top: str) -> tuple[str, tuple[str, ...]]:
    """Give lanes that rest clocks of their own.

    Parameters
    ----------
    verilog : str
        As Yosys writes it.
    top : str

    Returns
    -------
    verilog : str
    clocks : tuple of str
        For each, the top module has an input `clk_<name>` and an output `en_<name>`; none where no lanes qualify.
    """
    clocks: list[str] = []
    for kind in _KINDS:
        changed = _with_clock(verilog, top, kind)
        if changed is not None:
            verilog = changed
            clocks.append(kind)
    return verilog, tuple(clocks)


def _with_clock(verilog: str, top: str, kind: str) -> str | None:
    """Give one kind of lanes its clock; None when there are none, or anything in them changes without an enable."""
    bodies = {found[1]: found[3] for found in _MODULE.finditer(verilog)}
    lane = re.compile(rf"\\{top}\.{kind}\d+")
    lanes = {name for name in bodies if lane.fullmatch(name)}
    parents = [name for name, body in bodies.items() if any(m[1] in lanes for m in _INSTANCE.finditer(body))]
    if len(lanes) != 1 or len(parents) != 1 or not parents[0].startswith(f"\\{top}."):
        return None
    module, parent = lanes.pop(), parents[0]
    instances = [m for m in _INSTANCE.finditer(bodies[parent]) if m[1] == module]
    enables = [found[1] for m in instances if (found := _CONNECTED.search(m[2])) is not None]
    if len(enables) != len(instances) or not _rests(bodies, module):
        return None
    body = bodies[parent]
    for instance in instances:
        body = body.replace(instance[0], instance[0].replace(".clk(clk)", f".clk({top}.clk_{kind})"))
    body += f"  wire en_{kind} = |{{ {', '.join(dict.fromkeys(enables))} }};\n"
    path = parent.removeprefix(f"\\{top}.")
    return _with_ports(verilog.replace(bodies[parent], body), top, kind, f"{path}.en_{kind}")


def _rests(bodies: dict[str, str], module: str) -> bool:
    """Whether all registers of a module, and of the modules in it, stand behind bits of its input `en`."""
    body = bodies[module]
    registers = _REGISTER.findall(body)
    if len(registers) != body.count("always") or _OTHERWISE in body:
        return False
    if not all(_is_enable(body, condition) for condition in registers):
        return False
    inner = [m for m in _INSTANCE.finditer(body) if m[1] in bodies]
    connected = (_CONNECTED.search(m[2]) for m in inner)
    return all(c is not None and re.fullmatch(_ENABLE, c[1]) for c in connected) and all(
        _rests(bodies, m[1]) for m in inner
    )


def _is_enable(body: str, condition: str) -> bool:
    """Whether a condition is an enable, or a wire that is the conjunction of one and something else."""
    wire = re.escape(condition.strip())
    return re.fullmatch(_ENABLE, condition) is not None or (
        re.search(rf"^  assign {wire} +?= {_ENABLE} & {_OPERAND};", body, re.M) is not None
    )


def _with_ports(verilog: str, top: str, kind: str, enable: str) -> str:
    header = re.search(rf"^module {top}\((.*?)\);$", verilog, re.M | re.S)
    assert header is not None, "the top module is there"
    ports = f"  input clk_{kind};\n  output en_{kind};\n  assign en_{kind} = {enable};\n"
    start = f"module {top}({header[1]}, clk_{kind}, en_{kind});\n{ports}"
    return verilog[: header.start()] + start + verilog[header.end() + 1 :]
