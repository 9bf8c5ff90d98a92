"""A compiled network: launches of kernels over planned memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.cpu.instructions import interpreted
from tilewright.compiler.targets.cpu.kernel import Kernel, Source
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.kernels.memory_plan import MemoryPlan
from tilewright.compiler.targets.segmented import Runner, SegmentedProgram
from tilewright.compiler.tir.interpreter import ARRAY_TYPES, interpret

_FINISH, _NORMALIZE = 8, 64


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel on its arguments.

    Attributes
    ----------
    kernel : Kernel
    arguments : dict of str to str
        The storage, constant or terminal of each buffer.
    layer : str
        The node that it belongs to.
    op : str
    macs : int
    rate : int
        Multiply-accumulates that take as long as a dot product of four bytes.
    """

    kernel: Kernel
    arguments: dict[str, str]
    layer: str
    op: str
    macs: int = 0
    rate: int = 4

    @property
    def tasks(self) -> int:
        """How many parts threads can do by themselves."""
        return self.kernel.tasks

    @property
    def work(self) -> int:
        """About how long it takes, in dot products of four bytes: what follows the sums of a byte takes eight.

        Rows that are normalized take more, by what was measured.
        """
        sizes = {buffer.name: buffer.shape[0] for buffer in self.kernel.function.buffers}
        finish = _NORMALIZE if self.op in ("qsoftmax", "qnormalize") else _FINISH
        return self.macs // self.rate + finish * sizes.get("y", 0) + sizes.get("x", 0)


@dataclass(frozen=True)
class Terminal:
    """A value that enters or leaves, in the caller's memory.

    Attributes
    ----------
    value : str
    dtype : str
    shape : tuple of int
    """

    value: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Segment:
    """Launches without the host between them: one native function.

    Attributes
    ----------
    kernels : tuple of Kernel
    sources : tuple of Source
        What the kernels are built from.
    launches : tuple of Launch
    plan : MemoryPlan
    constants : dict of str to array
    terminals : dict of str to Terminal
    inputs, outputs : tuple of str
        Names of values.
    level : Level
    """

    kernels: tuple[Kernel, ...]
    sources: tuple[Source, ...]
    launches: tuple[Launch, ...]
    plan: MemoryPlan
    constants: Mapping[str, NDArray[Any]]
    terminals: Mapping[str, Terminal]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    level: Level

    @property
    def memory_bytes(self) -> int:
        """Of the memory plan."""
        return self.plan.size

    def source(self, launch: Launch) -> Source:
        """Give what a launch's kernel is built from."""
        return next(s for kernel, s in zip(self.kernels, self.sources, strict=True) if kernel is launch.kernel)


class CpuProgram(SegmentedProgram[Segment]):
    """A network for the CPU."""

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches in order."""
        return tuple(launch for segment in self.segments for launch in segment.launches)


class InterpretedMachine(Runner[Segment]):
    """Runs kernels by the reference interpreter: slow, and needs no compiler."""

    def run(self, segment: Segment, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs."""
        memory = np.zeros(segment.plan.size, np.uint8)
        for offset, size, byte in segment.plan.fills:
            memory[offset : offset + size] = byte
        outputs = {
            terminal.value: np.zeros(terminal.shape, terminal.dtype)
            for name, terminal in segment.terminals.items()
            if name.startswith("out:")
        }
        for launch in segment.launches:
            arrays = {}
            for buffer in launch.kernel.function.buffers:
                kind = np.dtype(ARRAY_TYPES[buffer.dtype])
                name = launch.arguments[buffer.name]
                if name in segment.constants:
                    flat = np.array(segment.constants[name]).reshape(-1).view(np.uint8)
                elif name in segment.terminals:
                    terminal = segment.terminals[name]
                    source = outputs if name.startswith("out:") else values
                    flat = np.ascontiguousarray(source[terminal.value]).reshape(-1).view(np.uint8)
                else:
                    flat = memory[segment.plan.offsets[name] :]
                arrays[buffer.name] = flat[: buffer.shape[0] * kind.itemsize].view(kind)
            interpret(launch.kernel.function, {}, arrays, interpreted())
        return outputs
