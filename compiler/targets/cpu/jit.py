"""Machine code in this process: loading it, giving it memory, and calling it."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from llvmlite import binding

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.cpu import threads
from tilewright.compiler.targets.cpu.native_segment import SLACK, NativeSegment, aligned, compile_segment
from tilewright.compiler.targets.cpu.program import Segment
from tilewright.compiler.targets.segmented import Runner
from tilewright.compiler.tir.native import Host
from tilewright.compiler.tir.object_cache import ObjectCache


class LoadedSegment:
    """A segment's code and memory; calling it computes the outputs.

    Attributes
    ----------
    outputs : dict of str to array
        Overwritten by the next call.
    """

    def __init__(self, segment: NativeSegment) -> None:
        self._constants = segment.constants
        self._engine = binding.create_mcjit_compiler(binding.parse_assembly(""), Host.this().target_machine())
        self._engine.add_object_file(binding.ObjectFileRef.from_data(segment.code))
        self._engine.finalize_object()
        self._call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3)(self._engine.get_function_address("network"))
        single = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 3, ctypes.c_int64)
        self._single = single(self._engine.get_function_address("launch"))
        is_shared = segment.threads > 1
        self._pool = threads.Pool(segment.threads, len(segment.launches), self._engine) if is_shared else None
        self._memory = aligned(segment.memory_bytes + SLACK)
        for offset, size, byte in segment.fills:
            self._memory[offset : offset + size] = byte
        self.outputs = {
            terminal.value: np.zeros(terminal.shape, terminal.dtype)
            for name, terminal in segment.terminals.items()
            if name.startswith("out:")
        }
        self._addresses = np.zeros(max(1, len(segment.terminals)), np.int64)
        self._inputs: list[tuple[int, str, np.dtype[Any]]] = []
        self._given: list[Array] = []
        for number, (name, terminal) in enumerate(segment.terminals.items()):
            if name.startswith("out:"):
                self._addresses[number] = self.outputs[terminal.value].ctypes.data
            else:
                self._inputs.append((number, terminal.value, np.dtype(terminal.dtype)))
        self._arguments = self._memory.ctypes.data, self._constants.ctypes.data, self._addresses.ctypes.data

    def __call__(self, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute the outputs."""
        self._given = [np.ascontiguousarray(values[name], dtype) for _, name, dtype in self._inputs]
        for (number, _, _), array in zip(self._inputs, self._given, strict=True):
            self._addresses[number] = array.ctypes.data
        if self._pool is not None:
            self._pool.run(*self._arguments)
        else:
            self._call(*self._arguments)
        return self.outputs

    def launch(self, number: int) -> None:
        """Do one launch again, on what the last call left in memory."""
        self._single(*self._arguments, number)

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.close()


class NativeMachine(Runner[Segment | NativeSegment]):
    """Runs segments natively; what is no machine code yet is compiled when it is run first.

    Parameters
    ----------
    cache : ObjectCache, optional
        Where compiled code is kept; by default nowhere.
    count : int
        Threads.

    Raises
    ------
    ConfigError
        When there cannot be so many threads.
    """

    def __init__(self, cache: ObjectCache | None = None, count: int = 1) -> None:
        self._cache = cache
        self._count = count
        self._loaded: dict[int, tuple[Segment | NativeSegment, LoadedSegment]] = {}
        if count != 1:
            threads.check(count)

    def compile(self, segment: Segment) -> NativeSegment:
        """Make machine code of a segment."""
        return compile_segment(segment, self._cache, self._count)

    def load(self, segment: Segment | NativeSegment) -> LoadedSegment:
        """Bring a segment into this process, once."""
        found = self._loaded.get(id(segment))
        if found is None:
            native = self.compile(segment) if isinstance(segment, Segment) else segment
            found = self._loaded[id(segment)] = segment, LoadedSegment(native)
        return found[1]

    def run(self, segment: Segment | NativeSegment, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs."""
        return {name: array.copy() for name, array in self.load(segment)(values).items()}

    def close(self) -> None:
        """End the threads."""
        for _, loaded in self._loaded.values():
            loaded.close()
        self._loaded = {}
