"""The static memory plan: which tensors share memory, worked out before the network runs.

A tensor's border is written once, so that memory with a border is shared only by tensors with the same border.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

ALIGNMENT = 1024


@dataclass(frozen=True)
class Storage:
    """Memory of one tensor.

    Attributes
    ----------
    name : str
    size : int
        Bytes.
    border : hashable
        What the border looks like; None without one.
    fill : int
        Byte that the memory is filled with at first.
    """

    name: str
    size: int
    border: Hashable = None
    fill: int = 0


@dataclass(frozen=True)
class MemoryPlan:
    """Where storages lie.

    Attributes
    ----------
    offsets : dict of str to int
    fills : tuple of (int, int, int)
        Offset, size and byte of what is filled once.
    size : int
        Bytes of everything.
    """

    offsets: dict[str, int]
    fills: tuple[tuple[int, int, int], ...]
    size: int


@dataclass
class _Slot:
    offset: int
    size: int
    border: Hashable
    fill: int
    free_after: int


def plan_memory(storages: Sequence[Storage], uses: Iterable[Iterable[str]], kept: frozenset[str]) -> MemoryPlan:
    """Give every storage a place.

    Parameters
    ----------
    storages : sequence of Storage
    uses : iterable of iterable of str
        The storages that each launch touches, in order.
    kept : frozenset of str
        Storages that nothing else may use: inputs and outputs.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for step, names in enumerate(uses):
        for name in names:
            first.setdefault(name, step)
            last[name] = step
    slots: list[_Slot] = []
    offsets: dict[str, int] = {}
    end = 0
    for storage in sorted(storages, key=lambda s: first.get(s.name, 0)):
        start, stop = first.get(storage.name, 0), last.get(storage.name, 0)
        slot = None if storage.name in kept else _free_slot(slots, storage, start)
        if slot is None:
            size = -(-storage.size // ALIGNMENT) * ALIGNMENT
            slot = _Slot(end, size, storage.border, storage.fill, stop)
            slots.append(slot)
            end += size
        slot.free_after = 1 << 30 if storage.name in kept else stop
        offsets[storage.name] = slot.offset
    fills = tuple((slot.offset, slot.size, slot.fill & 0xFF) for slot in slots)
    return MemoryPlan(offsets, fills, end)


def _free_slot(slots: list[_Slot], storage: Storage, start: int) -> _Slot | None:
    """Find the smallest free memory that a storage may use."""
    fitting = [
        slot
        for slot in slots
        if slot.free_after < start and slot.border == storage.border and slot.size >= storage.size
    ]
    return min(fitting, key=lambda slot: slot.size, default=None)
