"""What Yosys is told of memories before it maps them."""

from __future__ import annotations

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
