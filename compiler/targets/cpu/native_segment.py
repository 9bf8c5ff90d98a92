"""Segments as machine code of this computer, with all that running them needs: no kernel, no graph."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import llvmlite
import numpy as np
from llvmlite import binding
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu import emit
from tilewright.compiler.targets.cpu.program import Segment, Terminal
from tilewright.compiler.targets.cpu.segment_code import emit_segment, optimized, used_threads
from tilewright.compiler.targets.kernels import layout
from tilewright.compiler.tir import llvm_scalars
from tilewright.compiler.tir.native import Host
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.isa import row_ops

#: What memory and constants are aligned to, in bytes.
ALIGNMENT = 64

#: Bytes behind the memory plan that reads of whole vectors may touch.
SLACK = 4096


@dataclass(frozen=True)
class Constants:
    """All constants of a segment in one array.

    Attributes
    ----------
    offsets : dict of str to int
    data : array of uint8
        Aligned.
    """

    offsets: Mapping[str, int]
    data: NDArray[np.uint8]

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Constants:
        """Lay out arrays one after the other; equal ones once."""
        offsets: dict[str, int] = {}
        known: dict[bytes, int] = {}
        parts: list[tuple[int, bytes]] = []
        end = 0
        for name, array in arrays.items():
            data = array.tobytes()
            if data not in known:
                known[data] = end
                parts.append((end, data))
                end += -(-len(data) // ALIGNMENT) * ALIGNMENT + ALIGNMENT
            offsets[name] = known[data]
        found = aligned(end)
        for start, data in parts:
            found[start : start + len(data)] = np.frombuffer(data, np.uint8)
        return cls(offsets, found)


def aligned(size: int) -> NDArray[np.uint8]:
    """Return zeroed memory that begins at a multiple of a vector."""
    raw = np.zeros(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    return raw[start : start + size]


class LaunchInfo(NamedTuple):
    """What a launch is called, and how much it does."""

    layer: str
    op: str
    macs: int
    tasks: int


@dataclass(frozen=True, eq=False)
class NativeSegment:
    """A segment's machine code and what calling it takes.

    Attributes
    ----------
    code : bytes
        An object file.
    constants : array of uint8
        Aligned.
    memory_bytes : int
        Of the memory plan; `SLACK` more must be there.
    fills : tuple of (int, int, int)
        Offset, size and byte of what memory is filled with once.
    terminals : dict of str to Terminal
        In the order of the code's pointers; by `in:` or `out:` and the value's name.
    launches : tuple of LaunchInfo
    threads : int
        That run it: one, unless `share` is among its functions.
    """

    code: bytes
    constants: NDArray[np.uint8]
    memory_bytes: int
    fills: tuple[tuple[int, int, int], ...]
    terminals: Mapping[str, Terminal]
    launches: tuple[LaunchInfo, ...]
    threads: int


def compile_segment(segment: Segment, objects: ObjectCache | None = None, count: int = 1) -> NativeSegment:
    """Compile a segment for this computer.

    Parameters
    ----------
    segment : Segment
    objects : ObjectCache, optional
        Where compiled code is kept; by default nowhere.
    count : int
        Threads that may run it; there will be as many as have anything to do in it.
    """
    count = used_threads(segment, count)
    constants, host = Constants.of(segment.constants), Host.this()

    def build() -> bytes:
        machine = host.target_machine()
        text = emit_segment(segment, constants.offsets, count)
        code: bytes = machine.emit_object(optimized(text, machine))
        return code

    made_of = repr((description(segment), dict(constants.offsets), count))
    key = ObjectCache.key(made_of, host.triple, host.cpu, host.features, versions(), _digest_of_generators())
    code = objects.get(key, build) if objects is not None else build()
    launches = tuple(
        LaunchInfo(launch.layer, launch.op, launch.macs, launch.kernel.tasks) for launch in segment.launches
    )
    plan = segment.plan
    return NativeSegment(code, constants.data, plan.size, plan.fills, segment.terminals, launches, count)


def versions() -> str:
    """Name what makes machine code."""
    return f"llvmlite {llvmlite.__version__} LLVM {binding.llvm_version_info}"


def description(segment: Segment) -> tuple[object, ...]:
    """Return what a segment's code follows from."""
    launches = tuple((launch.kernel.name, tuple(launch.arguments.items())) for launch in segment.launches)
    return segment.sources, launches, segment.plan.offsets, tuple(segment.terminals), segment.level


@cache
def _digest_of_generators() -> str:
    """Return the hash of the programs that make the code."""
    modules = (emit, layout, llvm_scalars, row_ops)
    folders = {Path(str(module.__file__)).parent for module in modules}
    digest = hashlib.sha256()
    for path in sorted(path for folder in folders for path in folder.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
