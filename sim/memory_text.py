"""Contents of memories, as text for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewright.isa.errors import ProgramError
from tilewright.isa.footprint import Entries

#: Values in a line.
VALUES_A_LINE = 16
_MOST_ENTRIES = 64
_MOST_RANGES = 4


def memory_lines(memories: Mapping[str, npt.NDArray[Any]], space: str, first: int, end: int | None) -> Iterator[str]:
    """Give entries `first` to `end` (exclusive) of a scratchpad, or bytes of DRAM; of many, the first.

    Raises
    ------
    ProgramError
        If there is no such memory, or it has no such entries.
    """
    if space not in memories:
        raise ProgramError(f"a memory is one of {', '.join(memories)}, not `{space}`")
    memory = memories[space]
    is_flat = memory.ndim == 1
    end = first + (VALUES_A_LINE if is_flat else 1) if end is None else end
    if not 0 <= first < end <= len(memory):
        raise ProgramError(f"entries of {space} must be in 0..{len(memory) - 1}, not {first}..{end - 1}")
    return _bytes(memory, first, end) if is_flat else _entries(memory, space, first, end)


def _bytes(memory: npt.NDArray[Any], first: int, end: int) -> Iterator[str]:
    for start in range(first, min(end, first + _MOST_ENTRIES * VALUES_A_LINE), VALUES_A_LINE):
        part = memory[start : min(start + VALUES_A_LINE, end)]
        yield f"  0x{start:06x}: {' '.join(f'{v:02x}' for v in part.tolist())}"


def _entries(memory: npt.NDArray[Any], space: str, first: int, end: int) -> Iterator[str]:
    for entry in range(first, min(end, first + _MOST_ENTRIES)):
        values = memory[entry].ravel().tolist()
        for start in range(0, len(values), VALUES_A_LINE):
            head = f"{space}[0x{entry:x}]:" if not start else ""
            yield f"  {head:<12}" + " ".join(f"{v:4}" for v in values[start : start + VALUES_A_LINE])


def ranges_text(entries: Entries) -> str:
    """Write sorted entries as ranges; of many, the first few."""
    breaks = np.flatnonzero(np.diff(entries) > 1)
    first, last = entries[np.append(0, breaks + 1)], entries[np.append(breaks, len(entries) - 1)]
    texts = [hex(a) if a == b else f"{hex(a)}..{hex(b)}" for a, b in zip(first.tolist(), last.tolist(), strict=True)]
    more = f" and {len(texts) - _MOST_RANGES} more ranges" if len(texts) > _MOST_RANGES else ""
    return f"{' '.join(texts[:_MOST_RANGES])}{more}"
