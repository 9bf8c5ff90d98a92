"""A compiled network: launches of kernels over planned memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.gpu.instructions import interpreted
from tilewright.compiler.targets.gpu.kernel import Kernel, buffer_bytes
from tilewright.compiler.targets.kernels.layout import View
from tilewright.compiler.targets.kernels.memory_plan import MemoryPlan
from tilewright.compiler.targets.segmented import Runner, SegmentedProgram
from tilewright.compiler.tir.interpreter import ARRAY_TYPES, interpret


@dataclass(frozen=True, eq=False)
class Launch:
    """One kernel on its arguments.

    Attributes
    ----------
    kernel : Kernel
    arguments : dict of str to str
        The storage or constant of each buffer.
    layer : str
        The node that it belongs to.
    op : str
    macs : int
    read_bytes, written_bytes : int
        The least that must be moved.
    """

    kernel: Kernel
    arguments: dict[str, str]
    layer: str
    op: str
    macs: int = 0
    read_bytes: int = 0
    written_bytes: int = 0


class Port(NamedTuple):
    """A plain value that enters or leaves: where it lies, its order, and NumPy's name of its type."""

    storage: str
    view: View
    dtype: str = "int8"


@dataclass(frozen=True, eq=False)
class Segment:
    """Launches without the host between them: one CUDA graph.

    Attributes
    ----------
    launches : tuple of Launch
    plan : MemoryPlan
    constants : dict of str to array
    inputs, outputs : dict of str to Port
    """

    launches: tuple[Launch, ...]
    plan: MemoryPlan
    constants: Mapping[str, NDArray[Any]]
    inputs: Mapping[str, Port]
    outputs: Mapping[str, Port]


class GpuProgram(SegmentedProgram[Segment]):
    """A network for the GPU."""

    @property
    def launches(self) -> tuple[Launch, ...]:
        """All launches in order."""
        return tuple(launch for segment in self.segments for launch in segment.launches)


class InterpretedDevice(Runner[Segment]):
    """Runs kernels by the reference interpreter: slow, and needs no GPU."""

    def run(self, segment: Segment, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs."""
        memory = np.zeros(segment.plan.size, np.int8)
        for offset, size, byte in segment.plan.fills:
            memory[offset : offset + size].view(np.uint8)[:] = byte
        for name, port in segment.inputs.items():
            start = segment.plan.offsets[port.storage]
            memory[start : start + values[name].nbytes] = values[name].reshape(-1).view(np.int8)
            assert port.view.is_plain
        for launch in segment.launches:
            arrays = {}
            for buffer in launch.kernel.function.buffers:
                name = launch.arguments[buffer.name]
                if name in segment.constants:
                    arrays[buffer.name] = np.array(segment.constants[name])
                else:
                    start = segment.plan.offsets[name]
                    arrays[buffer.name] = memory[start : start + buffer_bytes(buffer)].view(ARRAY_TYPES[buffer.dtype])
            interpret(launch.kernel.function, {}, arrays, interpreted())
        return {name: self._output(memory, segment, port) for name, port in segment.outputs.items()}

    def _output(self, memory: NDArray[np.int8], segment: Segment, port: Port) -> Array:
        start, kind = segment.plan.offsets[port.storage], np.dtype(port.dtype)
        size = int(np.prod(port.view.shape)) * kind.itemsize
        return np.array(memory[start : start + size].view(kind)).reshape(port.view.shape)
