"""Runs networks' kernels as SPIR-V by an OpenCL runtime that takes it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.portable import to_spirv
from tilewright.compiler.targets.gpu.program import Segment, buffer_bytes
from tilewright.compiler.targets.segmented import Runner


def spirv_device() -> Any | None:
    """Return the first OpenCL device that takes SPIR-V, None without one, and without PyOpenCL."""
    try:
        import pyopencl
    except ImportError:
        return None
    try:
        devices = [device for platform in pyopencl.get_platforms() for device in platform.get_devices()]
    except pyopencl.Error:
        return None
    return next((device for device in devices if "SPIR-V" in _il_version(device)), None)


def _il_version(device: Any) -> str:
    import pyopencl

    try:
        return str(device.il_version)
    except (pyopencl.Error, AttributeError):
        return ""


class OpenClDevice(Runner[Segment]):
    """Launches kernels on an OpenCL device, each a program of its own."""

    def __init__(self, device: Any) -> None:
        import pyopencl

        self._cl = pyopencl
        self._context = pyopencl.Context([device])
        self._queue = pyopencl.CommandQueue(self._context)

    def run(self, segment: Segment, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs."""
        host = np.zeros(segment.plan.size, np.uint8)
        for offset, size, byte in segment.plan.fills:
            host[offset : offset + size] = byte
        for name, port in segment.inputs.items():
            start = segment.plan.offsets[port.storage]
            host[start : start + values[name].nbytes] = np.ascontiguousarray(values[name]).reshape(-1).view(np.uint8)
        memory = self._buffer(host)
        for launch in segment.launches:
            arguments = [
                self._buffer(segment.constants[storage])
                if (storage := launch.arguments[buffer.name]) in segment.constants
                else memory.get_sub_region(segment.plan.offsets[storage], buffer_bytes(buffer))
                for buffer in launch.kernel.function.buffers
            ]
            self._launch(launch.kernel, arguments)
        self._cl.enqueue_copy(self._queue, host, memory)
        self._queue.finish()
        found = {}
        for name, port in segment.outputs.items():
            start, kind = segment.plan.offsets[port.storage], np.dtype(port.dtype)
            size = int(np.prod(port.view.shape)) * kind.itemsize
            found[name] = host[start : start + size].view(kind).reshape(port.view.shape).copy()
        return found

    def _buffer(self, array: Array) -> Any:
        flags = self._cl.mem_flags
        return self._cl.Buffer(self._context, flags.READ_WRITE | flags.COPY_HOST_PTR, hostbuf=np.array(array))

    def _launch(self, kernel: Kernel, arguments: list[Any]) -> None:
        program = self._cl.Program(self._context, to_spirv([kernel])).build()
        threads, (blocks_x, blocks_y) = kernel.threads, kernel.grid
        extents = (threads * blocks_x, blocks_y), (threads, 1)
        self._cl.Kernel(program, kernel.name)(self._queue, *extents, *arguments)
        self._queue.finish()
