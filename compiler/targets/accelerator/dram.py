"""Places tensors and constants in DRAM: tensors first, sharing memory when they live at different times."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Lifetime:
    """A piece of memory that is needed from one moment to another, both included."""

    name: str
    size_bytes: int
    first: int
    last: int


def alignment(config: Config) -> int:
    """Bytes that everything in DRAM is aligned to."""
    return max(64, config.bus_bytes, config.row_bytes, config.wgt_entry_bytes, config.prm_entry_bytes)


def aligned(value: int, config: Config) -> int:
    """`value`, rounded up to the alignment."""
    unit = alignment(config)
    return -(-value // unit) * unit


def plan(lifetimes: Sequence[Lifetime], config: Config) -> tuple[dict[str, int], int]:
    """Return the offset of every piece, and the bytes of all; largest first, at the lowest place that is free."""
    placed: list[tuple[Lifetime, int]] = []
    offsets: dict[str, int] = {}
    for piece in sorted(lifetimes, key=lambda p: (-p.size_bytes, p.first, p.name)):
        meeting = [(o, other) for other, o in placed if other.first <= piece.last and piece.first <= other.last]
        position = 0
        for start, other in sorted(meeting, key=lambda m: m[0]):
            if position + aligned(piece.size_bytes, config) <= start:
                break
            position = max(position, start + aligned(other.size_bytes, config))
        offsets[piece.name] = position
        placed.append((piece, position))
    total = max((offset + aligned(piece.size_bytes, config) for piece, offset in placed), default=0)
    return offsets, total


class ConstantPool:
    """Collects constants behind the tensors; equal ones lie there once."""

    def __init__(self, start: int, config: Config) -> None:
        self.start = start
        self.end = start
        self._config = config
        self._offsets: dict[bytes, int] = {}
        self._parts: list[Bytes] = []

    def add(self, data: Bytes) -> int:
        """Add bytes and return their offset in DRAM."""
        digest = hashlib.sha256(data.tobytes()).digest()
        if digest not in self._offsets:
            self._offsets[digest] = self.end
            padding = aligned(data.size, self._config) - data.size
            self._parts += [data.reshape(-1), np.zeros(padding, np.uint8)]
            self.end += data.size + padding
        return self._offsets[digest]

    def image(self) -> Bytes:
        """Return the bytes from `start` to `end`."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0, np.uint8)


def check_address_space(size_bytes: int, config: Config) -> None:
    """Raise CapacityError when a program is larger than what the accelerator can address."""
    available = 1 << config.bus.address_bits
    if size_bytes > available:
        raise CapacityError(
            f"the program needs {size_bytes} bytes of DRAM; `bus.address_bits` = {config.bus.address_bits} "
            f"reaches {available}"
        )
