"""The schedule search: candidates of a GEMM are compiled, checked against each other, and timed on the device."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.fixed_point import to_fixed_point
from tilewright.compiler.targets.gpu.device import GpuDevice
from tilewright.compiler.targets.gpu.epilogue import Finish
from tilewright.compiler.targets.gpu.gemm import ARRAYS, Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_kernels import gemm_kernel, packed_weight
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.ptx import to_ptx
from tilewright.compiler.targets.gpu.schedules import Chooser, Schedule, by_model, candidates, estimate, key
from tilewright.compiler.targets.kernels.layout import Image
from tilewright.compiler.targets.kernels.scaling import Scaling
from tilewright.isa.ir import DType

_REPEATS = 20
_SAMPLES = 3


@dataclass(frozen=True)
class Timing:
    """What a candidate took.

    Attributes
    ----------
    option : Schedule
    milliseconds : float
    differences : int
        Results that are not those of the first candidate.
    """

    option: Schedule
    milliseconds: float
    differences: int


def problems(networks: Sequence[Callable[[Chooser], object]]) -> dict[str, Gemm]:
    """Give the different GEMMs of networks, each of which is lowered with a chooser, by `schedules.key`."""
    found: dict[str, Gemm] = {}

    def choose(gemm: Gemm) -> Schedule:
        found.setdefault(key(gemm), gemm)
        return by_model(gemm)

    for network in networks:
        network(choose)
    return found


def shortlist(gemm: Gemm, most: int, has_wgmma: bool) -> list[Schedule]:
    """Give the candidates of each kind that the model takes to be fast."""
    kinds: dict[type, list[Schedule]] = {}
    for option in sorted(candidates(gemm, has_wgmma), key=lambda option: estimate(gemm, option)):
        kinds.setdefault(type(option), []).append(option)
    return [option for options in kinds.values() for option in options[:most]]


def search(
    gemms: Mapping[str, Gemm], device: GpuDevice, most: int, report: Callable[[str, list[Timing]], None]
) -> dict[str, Schedule]:
    """Time the candidates of every problem.

    Parameters
    ----------
    gemms : mapping
    device : GpuDevice
    most : int
        Candidates of each kind.
    report : callable
        Told each problem's timings, fastest first.
    """
    has_wgmma = device.gpu.capability[0] == 9
    jobs = [(name, option) for name, gemm in gemms.items() for option in shortlist(gemm, most, has_wgmma)]
    workers = min(os.cpu_count() or 1, len(jobs))
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        tasks = [(gemms[name], option, device.gpu.architecture) for name, option in jobs]
        texts = list(pool.map(_compiled, tasks, chunksize=2))
    with ThreadPoolExecutor(workers) as threads:
        modules = list(threads.map(lambda text: _loaded(device, text), texts))
    best: dict[str, Schedule] = {}
    for name, gemm in gemms.items():
        mine = [(option, module) for (job, option), module in zip(jobs, modules, strict=True) if job == name]
        timings = sorted(measure(gemm, mine, device), key=lambda timing: timing.milliseconds)
        report(name, timings)
        best[name] = next(timing.option for timing in timings if not timing.differences)
    return best


def _compiled(task: tuple[Gemm, Schedule, str]) -> str:
    gemm, option, architecture = task
    return to_ptx([gemm_kernel("kernel", gemm, option)], architecture)


def _loaded(device: GpuDevice, text: str) -> Any:
    device.gpu.make_current()
    return device.gpu.load(text)


def measure(gemm: Gemm, options: Sequence[tuple[Schedule, Any]], device: GpuDevice) -> list[Timing]:
    """Time loaded candidates on random data, the first one's results being what others are compared with."""
    rng = np.random.default_rng(0)
    gpu = device.gpu
    images = {"x": gemm.x, "y": gemm.y} | ({"residual": gemm.residual} if gemm.residual is not None else {})
    memory = {name: gpu.allocate(image.bytes) for name, image in images.items()}
    for name in memory:
        gpu.upload(memory[name], _random(gemm.dtype, (images[name].size,), rng))
    weight = _random(gemm.dtype, (gemm.y.channels, gemm.x.channels, *gemm.kernel), rng)
    timings: list[Timing] = []
    expected: NDArray[np.generic] | None = None
    scaling = None if gemm.dtype.is_float else _scaling(gemm, rng)
    for option, module in options:
        kernel = gemm_kernel("kernel", gemm, option)
        constants = _constants(gemm, option, weight, scaling)
        addresses = {**memory, **{name: gpu.allocate(array.nbytes) for name, array in constants.items()}}
        for name, array in constants.items():
            gpu.upload(addresses[name], array)
        gpu.fill(memory["y"], gemm.y.bytes, 0x55)
        milliseconds = _time(device, kernel, module, addresses)
        result = _interior(gemm.y, gpu, memory["y"])
        expected = result if expected is None else expected
        timings.append(Timing(option, milliseconds, _differences(result, expected)))
        for name in constants:
            gpu.free(addresses[name])
    for address in memory.values():
        gpu.free(address)
    return timings


def _time(device: GpuDevice, kernel: Kernel, module: Any, addresses: Mapping[str, int]) -> float:
    gpu = device.gpu
    function, stream = gpu.function(module, kernel), gpu.stream()
    by_name = {buffer.name: addresses[buffer.name] for buffer in kernel.function.buffers}
    arguments = [*by_name.values(), *device.tensor_maps(kernel, by_name)]
    gpu.launch(function, kernel, arguments, stream)
    gpu.synchronize()

    def start() -> None:
        for _ in range(_REPEATS):
            gpu.launch(function, kernel, arguments, stream)

    graph = gpu.capture(stream, start)

    def replay() -> None:
        gpu.check(gpu.api.cuGraphLaunch(graph, stream))

    replay()
    return sorted(gpu.milliseconds(stream, replay, 1) for _ in range(_SAMPLES))[_SAMPLES // 2] / _REPEATS


def _constants(
    gemm: Gemm, option: Schedule, weight: NDArray[np.generic], scaling: Scaling | None
) -> dict[str, NDArray[np.generic]]:
    channels = padded_channels(gemm, option.columns)
    found: dict[str, NDArray[np.generic]] = {"w": packed_weight(gemm, option, weight)}
    if scaling is None:
        return found | {name: np.ones(channels, np.float32) for name in gemm.finish.constants(channels)}
    found |= scaling.arrays(channels)
    if gemm.finish.has_table:
        found["table"] = np.arange(-128, 128, dtype=np.int8)
    names = {"w", *gemm.finish.constants(channels)}
    if "shift" in names and "shift" not in found:
        found["shift"] = np.zeros(channels, np.int32)
    return {name: array for name, array in found.items() if name in names}


def _scaling(gemm: Gemm, rng: np.random.Generator) -> Scaling:
    """Make constants that spread the results over int8."""
    depth = gemm.kernel[0] * gemm.kernel[1] * gemm.x.channels
    factor = to_fixed_point(40 / (5400 * depth**0.5))
    count = gemm.y.channels
    bias = rng.integers(-1000, 1000, count).astype(np.int32)
    found = Scaling.of(bias, np.full(count, factor.multiplier, np.int32), np.full(count, factor.shift, np.int32))
    is_high = isinstance(gemm.finish, Finish) and gemm.finish.is_high
    return found if is_high else replace(found, is_high=False)


def _random(kind: DType, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.generic]:
    if kind.is_float:
        return rng.standard_normal(shape, np.float32).astype(ARRAYS[kind])
    return rng.integers(-128, 128, shape).astype(np.int8)


def _differences(result: NDArray[Any], expected: NDArray[Any]) -> int:
    """Count results that differ; those of fp16, by more than the order of sums explains."""
    if result.dtype == np.int8:
        return int(np.count_nonzero(result != expected))
    wanted = expected.astype(np.float32)
    allowed = 2.0**-7 * np.maximum(np.abs(wanted), np.sqrt(np.mean(wanted**2)))
    return int(np.count_nonzero(~(np.abs(result.astype(np.float32) - wanted) <= allowed)))


def _interior(image: Image, gpu: Any, address: int) -> NDArray[np.generic]:
    """Read an image without its border and the bytes behind its channels."""
    whole = np.empty(image.size, ARRAYS[image.dtype])
    gpu.download(address, whole)
    count = image.batch * image.rows * image.row_pixels * image.pitch
    pixels = whole[:count].reshape(image.batch, image.rows, image.row_pixels, image.pitch)
    top, left = image.pads[:2]
    return pixels[:, top : top + image.height, left : left + image.width, : image.channels].copy()
