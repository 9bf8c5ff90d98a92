"""What Yosys is told of memories before it maps them."""

from __future__ import annotations

from collections.abc import Iterable

from tilewright.hw.memory_bank import COLLISION_FREE

_MOST_READ_PORTS = 4


def collision_commands() -> tuple[str, ...]:
    """Return the commands, after `proc`, by which words read while they are written may be anything where RTL says so.

    Yosys looks at that attribute of a memory only where it makes a port of a register and an asynchronous port, and not
    at ports that have been synchronous from the start.
    """
    chosen = " ".join(f"a:{name}" for name in COLLISION_FREE)
    ports = range(1, _MOST_READ_PORTS + 1)
    return (
        "memory_collect",
        *(
            f"setparam -set RD_COLLISION_X_MASK {n}'b{'1' * n} t:$mem_v2 {chosen} %i r:RD_PORTS={n} %i r:WR_PORTS=1 %i"
            for n in ports
        ),
    )


def sram_selection(most_gate_bits: int) -> str:
    """Select, after `memory_collect`, the memories that an SRAM can be: of more bits, and read at the clock only.

    A memory is of more bits if for any number n its words are of n bits or more and there are more than most / n.
    """
    depths: dict[int, int] = {}
    for width in range(1, most_gate_bits + 2):
        depths.setdefault(most_gate_bits // width, width)
    large = (f"r:WIDTH>={width} r:SIZE>{depth} %i" for depth, width in depths.items())
    clocked = (f"r:RD_PORTS={n} r:RD_CLK_ENABLE={n}'b{'1' * n} %i" for n in range(1, _MOST_READ_PORTS + 1))
    return f"{_any_of(large)} {_any_of(clocked)} %i t:$mem_v2 %i"


def _any_of(selections: Iterable[str]) -> str:
    first, *others = selections
    return " ".join((first, *(f"{other} %u" for other in others)))
