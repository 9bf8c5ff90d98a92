"""Runs segments on the GPU: kernels compiled once, memory allocated once, one CUDA graph each."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tilewright.compiler.graph.types import Array
from tilewright.compiler.targets.gpu.driver import TENSOR_MAP_BYTES, Gpu
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.program import Launch, Segment
from tilewright.compiler.targets.gpu.ptx import compile_text, llvm_text
from tilewright.compiler.targets.segmented import Runner
from tilewright.compiler.tir.object_cache import ObjectCache

_ENTRY = "kernel"


@dataclass(frozen=True, eq=False)
class LoadedSegment:
    """A segment on the device.

    Attributes
    ----------
    segment : Segment
    allocations : tuple of int
        Addresses of the memory that it holds.
    addresses : dict of str to int
        Of all storages and constants.
    functions : tuple
        Of the launches.
    arguments : tuple of tuple of int
        Addresses that they are given.
    stream, graph : CUstream, CUgraphExec
    """

    segment: Segment
    allocations: tuple[int, ...]
    addresses: Mapping[str, int]
    functions: tuple[Any, ...]
    arguments: tuple[tuple[int, ...], ...]
    stream: Any
    graph: Any


class GpuDevice(Runner[Segment]):
    """The first GPU of this machine.

    Parameters
    ----------
    cache : ObjectCache, optional
        Where compiled kernels are kept.

    Raises
    ------
    ToolchainError
        When there is none.
    """

    def __init__(self, cache: ObjectCache | None = None) -> None:
        self.gpu = Gpu.open()
        self._cache = cache
        self._loaded: dict[int, LoadedSegment] = {}
        self._modules: dict[str, Any] = {}

    def run(self, segment: Segment, values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute a segment's outputs."""
        loaded = self.load(segment)
        for name, port in segment.inputs.items():
            self.gpu.upload(loaded.addresses[port.storage], values[name])
        self.replay(loaded)
        self.gpu.check(self.gpu.api.cuStreamSynchronize(loaded.stream))
        outputs: dict[str, Array] = {}
        for name, port in segment.outputs.items():
            outputs[name] = np.empty(port.view.shape, port.dtype)
            self.gpu.download(loaded.addresses[port.storage], outputs[name])
        return outputs

    def replay(self, loaded: LoadedSegment) -> None:
        """Start a segment's graph."""
        self.gpu.check(self.gpu.api.cuGraphLaunch(loaded.graph, loaded.stream))

    def load(self, segment: Segment) -> LoadedSegment:
        """Compile and load a segment, once."""
        found = self._loaded.get(id(segment))
        if found is None:
            found = self._loaded[id(segment)] = self._load(segment)
        return found

    def unload(self, segment: Segment) -> None:
        """Give a segment's memory back."""
        loaded = self._loaded.pop(id(segment))
        self.gpu.synchronize()
        for address in loaded.allocations:
            self.gpu.free(address)

    def launch(self, loaded: LoadedSegment, index: int) -> None:
        """Start one launch of a segment by itself."""
        kernel = loaded.segment.launches[index].kernel
        self.gpu.launch(loaded.functions[index], kernel, loaded.arguments[index], loaded.stream)

    def _load(self, segment: Segment) -> LoadedSegment:
        gpu, plan = self.gpu, segment.plan
        functions = self.functions([launch.kernel for launch in segment.launches])
        memory = gpu.allocate(plan.size)
        for offset, size, byte in plan.fills:
            gpu.fill(memory + offset, size, byte)
        constants, places = self._upload(segment)
        addresses = {name: memory + offset for name, offset in plan.offsets.items()} | places
        maps = [self._maps(launch, addresses) for launch in segment.launches]
        arguments = tuple(
            (*(addresses[launch.arguments[b.name]] for b in launch.kernel.function.buffers), *own)
            for launch, own in zip(segment.launches, maps, strict=True)
        )
        allocations = (memory, constants, *(address for own in maps for address in own))
        gpu.synchronize()
        loaded = LoadedSegment(segment, allocations, addresses, functions, arguments, gpu.stream(), None)
        graph = gpu.capture(loaded.stream, lambda: self._launch_all(loaded, segment.launches))
        return replace(loaded, graph=graph)

    def _maps(self, launch: Launch, addresses: Mapping[str, int]) -> tuple[int, ...]:
        by_name = {b.name: addresses[launch.arguments[b.name]] for b in launch.kernel.function.buffers}
        return self.tensor_maps(launch.kernel, by_name)

    def tensor_maps(self, kernel: Kernel, addresses: Mapping[str, int]) -> tuple[int, ...]:
        """Lay a kernel's tensor maps into memory, and give their addresses."""
        places = []
        for tensor_map in kernel.tensor_maps:
            places.append(self.gpu.allocate(TENSOR_MAP_BYTES))
            self.gpu.upload(places[-1], self.gpu.tensor_map(tensor_map, addresses[tensor_map.buffer]))
        return tuple(places)

    def _launch_all(self, loaded: LoadedSegment, launches: Sequence[Launch]) -> None:
        for index in range(len(launches)):
            self.launch(loaded, index)

    def _upload(self, segment: Segment) -> tuple[int, dict[str, int]]:
        """Lay the constants side by side in memory of their own; give its address and theirs."""
        places, end = {}, 0
        for name, array in segment.constants.items():
            places[name] = end
            end += -(-array.nbytes // 256) * 256
        image = np.zeros(end, np.uint8)
        for name, array in segment.constants.items():
            image[places[name] : places[name] + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
        base = self.gpu.allocate(end)
        self.gpu.upload(base, image)
        return base, {name: base + place for name, place in places.items()}

    def functions(self, kernels: Sequence[Kernel]) -> tuple[Any, ...]:
        """Compile kernels, equal ones once and several at a time."""
        named = [replace(kernel, function=replace(kernel.function, name=_ENTRY)) for kernel in kernels]
        texts = [llvm_text([kernel], self.gpu.architecture) for kernel in named]
        missing = [text for text in dict.fromkeys(texts) if text not in self._modules]
        with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
            self._modules.update(zip(missing, pool.map(self._module, missing), strict=True))
        return tuple(self.gpu.function(self._modules[text], kernel) for text, kernel in zip(texts, named, strict=True))

    def _module(self, text: str) -> Any:
        self.gpu.make_current()
        return self.gpu.load(compile_text(text, self.gpu.architecture, self._cache))
