"""Matrix products and whole networks on the GPU, checked on fresh random inputs, beside what its units can do."""

from __future__ import annotations

import importlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.bench.record import Record
from tilewright.bench.suites import Context

if TYPE_CHECKING:
    from tilewright.compiler.graph.graph import Graph
    from tilewright.compiler.targets.gpu.device import GpuDevice
    from tilewright.gpu import GpuModel

SUITE = "gpu"
_GEMMS = {"gemm4096": 4096, "gemm8192": 8192}
NETWORKS = {f"{name}_b{batch}": (name, batch) for name in ("resnet18", "mobilenet_v2") for batch in (1, 64)}

_HALF_GEMMS = {"gemm4096_f16": 4096, "gemm8192_f16": 8192}

CASES = (*_GEMMS, *_HALF_GEMMS, *NETWORKS)

#: What a multiprocessor does in a cycle of Hopper's rated clock: operations on int8 in its tensor cores; half on fp16.
_OPERATIONS_PER_CYCLE = 8192
_CLOCK_HZ = 1.83e9

_COPY_BYTES = 1 << 30
_SAMPLES = 15
_CHECKED_ROWS = 64

#: A layer that takes many times what its operations and bytes need is waiting: for launches and latency.
_WAITING = 4


@dataclass(frozen=True)
class _Machine:
    """The device with its two ceilings: operations and bytes a second, the latter measured by a copy."""

    device: GpuDevice
    operations: float
    bytes: float

    @property
    def title(self) -> str:
        gpu = self.device.gpu
        return f"{gpu.name}, driver for CUDA {gpu.driver_version}"


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record one case.

    Times are medians of replays of a CUDA graph. The ideal is the sum, over the layers, of what operations at the
    rated clock or bytes at the speed of a copy need, whichever is more.
    """
    from tilewright.compiler.targets.gpu.driver import why_missing

    reason = why_missing()
    if reason:
        yield Record(SUITE, case, "-", "milliseconds", None, "ms", "lower", reason=reason)
        return
    machine = context.results.get("gpu")
    if not isinstance(machine, _Machine):
        machine = context.results["gpu"] = _machine()
    if case in _GEMMS:
        yield from _gemm(case, machine)
    elif case in _HALF_GEMMS:
        yield from _half_gemm(case, machine)
    else:
        yield from _network(case, machine)


def _machine() -> _Machine:
    from tilewright import gpu

    device = gpu.open_device()
    return _Machine(device, device.gpu.processors * _OPERATIONS_PER_CYCLE * _CLOCK_HZ, _copy_rate(device))


def _copy_rate(device: GpuDevice) -> float:
    """Measure bytes a second of a large copy, those read and those written."""
    gpu = device.gpu
    source, target = gpu.allocate(_COPY_BYTES), gpu.allocate(_COPY_BYTES)
    stream = gpu.stream()

    def copy() -> None:
        gpu.check(gpu.api.cuMemcpyDtoDAsync(target, source, _COPY_BYTES, stream))

    times = [gpu.milliseconds(stream, copy, 5) for _ in range(5)]
    gpu.free(source)
    gpu.free(target)
    return 2 * _COPY_BYTES / (sorted(times)[2] / 1e3)


# ---- matrix products -----------------------------------------------------------------------------------------


def _gemm(case: str, machine: _Machine) -> Iterator[Record]:
    """Record a product of square int8 matrices, requantized to int8, beside cuBLAS's to int32."""
    from tilewright import gpu
    from tilewright.compiler.targets.accelerator.networks import NetworkBuilder

    size = _GEMMS[case]
    rng = np.random.default_rng(time.time_ns())
    net = NetworkBuilder(case, (size, size), rng)
    model = gpu.compile_for_gpu(net.graph(net.matrix("x", size)))
    x = rng.integers(-128, 128, (size, size)).astype(np.int8)
    outputs = model.run({"x": x}, machine.device).outputs
    (result,) = outputs.values()
    rows = rng.choice(size, _CHECKED_ROWS, replace=False)
    wrong = int(np.count_nonzero(result[rows] != _rows(model.graph, x[rows])))
    milliseconds = _product_time(model.program.segments[0], machine)
    operations, least = 2 * size**3, 3 * size**2
    ideal = max(operations / machine.operations, least / machine.bytes) * 1e3
    peer, version = _cublas_time(size, "int8")
    record = Record(
        SUITE, case, "-", "milliseconds", milliseconds, "ms", "lower", ideal, version, peer, "tensor cores",
        on=machine.title, wrong=wrong, operations=operations, least_bytes=least, checked=rows.size * size,
    )  # fmt: skip
    yield from _with_speed(record, machine.operations)
    machine.device.unload(model.program.segments[0])


def _with_speed(record: Record, peak: float) -> Iterator[Record]:
    """Yield a time and what it is in operations a second."""
    assert record.value is not None and record.operations is not None
    yield record
    unit = "TOPS" if record.case in _GEMMS else "TFLOP/s"
    speed = replace(record, metric="speed", value=record.operations / record.value / 1e9, unit=unit, better="higher")
    peer = record.peer_value and record.operations / record.peer_value / 1e9
    yield replace(speed, ideal=peak / 1e12, peer_value=peer)


def _rows(graph: Graph, x: NDArray[np.int8]) -> NDArray[Any]:
    """Compute some rows by the reference: those of a graph with fewer rows."""
    from tilewright.compiler.graph.types import Value
    from tilewright.compiler.reference import evaluate

    (node,) = graph.nodes
    values = {**graph.values, "x": Value("x", "int8", x.shape), node.output: Value(node.output, "int8", None)}
    return next(iter(evaluate(replace(graph, values=values), {"x": x}).values()))


def _product_time(segment: Any, machine: _Machine) -> float:
    """Time the product alone: bringing its operands into place is not a part of it."""
    device = machine.device
    loaded = device.load(segment)
    (index,) = (i for i, launch in enumerate(segment.launches) if launch.op == "qmatmul")
    return _median(device, loaded, [index], 20)


def _median(device: GpuDevice, loaded: Any, launches: list[int], repeats: int) -> float:
    """Time launches repeated in one CUDA graph, in milliseconds of one."""
    gpu = device.gpu

    def start() -> None:
        for _ in range(repeats):
            for index in launches:
                device.launch(loaded, index)

    graph = gpu.capture(loaded.stream, start)

    def replay() -> None:
        gpu.check(gpu.api.cuGraphLaunch(graph, loaded.stream))

    replay()
    return sorted(gpu.milliseconds(loaded.stream, replay, 1) for _ in range(_SAMPLES))[_SAMPLES // 2] / repeats


def _cublas_time(size: int, dtype: str) -> tuple[float | None, str | None]:
    """Time cuBLAS through PyTorch, where that is installed."""
    try:
        torch: Any = importlib.import_module("torch")
    except ImportError:
        return None, None
    if dtype == "int8":
        a, b = (torch.randint(-128, 128, (size, size), dtype=torch.int8, device="cuda") for _ in range(2))
        multiply, name = torch._int_mm, "_int_mm"
    else:
        a, b = (torch.randn((size, size), dtype=torch.float16, device="cuda") for _ in range(2))
        multiply, name = torch.matmul, "matmul"
    transposed = b.t()  # columns innermost is what cuBLAS is fastest with
    for _ in range(5):
        multiply(a, transposed)
    times = []
    for _ in range(_SAMPLES):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(20):
            multiply(a, transposed)
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) / 20)
    return float(sorted(times)[_SAMPLES // 2]), f"cuBLAS, torch {torch.__version__} {name}"


def _half_gemm(case: str, machine: _Machine) -> Iterator[Record]:
    """Record a product of square fp16 matrices, summed in fp32, beside cuBLAS's."""
    from tilewright.compiler.targets.gpu.gemm_half import HalfGemm, half_gemm
    from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping

    size, device, gpu = _HALF_GEMMS[case], machine.device, machine.device.gpu
    if gpu.capability[0] != 9:
        yield Record(
            SUITE, case, "-", "milliseconds", None, "ms", "lower", reason=f"{gpu.name} has no wgmma", on=machine.title
        )
        return
    rng = np.random.default_rng(time.time_ns())
    problem, grouping = HalfGemm(size, size, size), Grouping(2, 2, 128, 4)
    kernel = half_gemm("kernel", problem, grouping)
    x, weight = (rng.standard_normal((size, size), np.float32).astype(np.float16) for _ in range(2))
    memory = {name: gpu.allocate(2 * size * size) for name in ("x", "w", "y")}
    gpu.upload(memory["x"], x)
    gpu.upload(memory["w"], problem.pack(weight, grouping))
    gpu.fill(memory["y"], 2 * size * size, 0xFF)  # not a number: what is not written shows
    (function,) = device.functions([kernel])
    arguments = [*memory.values(), *device.tensor_maps(kernel, memory)]
    stream = gpu.stream()

    def start() -> None:
        for _ in range(20):
            gpu.launch(function, kernel, arguments, stream)

    graph = gpu.capture(stream, start)

    def replay() -> None:
        gpu.check(gpu.api.cuGraphLaunch(graph, stream))

    replay()
    milliseconds = sorted(gpu.milliseconds(stream, replay, 1) for _ in range(_SAMPLES))[_SAMPLES // 2] / 20
    result = np.empty((size, size), np.float16)
    gpu.download(memory["y"], result)
    for address in memory.values():
        gpu.free(address)
    rows = rng.choice(size, _CHECKED_ROWS, replace=False)
    expected = x[rows].astype(np.float64) @ weight.astype(np.float64)
    allowed = 2.0**-9 * np.maximum(np.abs(expected), size**0.5)
    wrong = int(np.count_nonzero(~(np.abs(result[rows] - expected) <= allowed))) + int(np.isnan(result).sum())
    operations, least = 2 * size**3, 6 * size**2
    peak = machine.operations / 2
    ideal = max(operations / peak, least / machine.bytes) * 1e3
    peer, version = _cublas_time(size, "float16")
    record = Record(
        SUITE, case, "-", "milliseconds", milliseconds, "ms", "lower", ideal, version, peer, "tensor cores",
        on=machine.title, wrong=wrong, operations=operations, least_bytes=least, checked=rows.size * size,
    )  # fmt: skip
    yield from _with_speed(record, peak)


# ---- networks ------------------------------------------------------------------------------------------------


def _network(case: str, machine: _Machine) -> Iterator[Record]:
    """Record a network."""
    from tilewright import gpu

    name, batch = NETWORKS[case]
    model = gpu.compile_for_gpu(network_graph(name, batch))
    rng = np.random.default_rng(time.time_ns())
    x = rng.integers(-128, 128, model.graph.shape("x")).astype(np.int8)
    outputs = model.run({"x": x}, machine.device).outputs
    wrong, checked = _compared(model, network_graph(name, 1), x, outputs, machine)
    milliseconds = gpu.time_graphs(model.program, machine.device, _SAMPLES, 100 if batch == 1 else 20)
    launches = model.program.launches
    operations = sum(2 * launch.macs for launch in launches)
    least = sum(launch.read_bytes + launch.written_bytes for launch in launches if launch.op != "copy")
    by_work = sum(2 * launch.macs / machine.operations for launch in launches)
    ideal = sum(
        max(2 * launch.macs / machine.operations, (launch.read_bytes + launch.written_bytes) / machine.bytes)
        for launch in launches
        if launch.op != "copy"
    )
    limit = "tensor cores" if by_work > ideal / 2 else "memory"
    yield Record(
        SUITE, case, "-", "milliseconds", milliseconds, "ms", "lower", ideal * 1e3,
        bound="launches and latency" if milliseconds > _WAITING * ideal * 1e3 else limit,
        on=machine.title, wrong=wrong, operations=operations, least_bytes=least, checked=checked,
    )  # fmt: skip
    for segment in model.program.segments:
        machine.device.unload(segment)


def network_graph(name: str, batch: int) -> Graph:
    """Return a network from its structure, with seeded random weights."""
    from tilewright.compiler.targets.accelerator.networks import mobilenet_v2_graph, resnet18_graph

    make = {"resnet18": resnet18_graph, "mobilenet_v2": mobilenet_v2_graph}[name]
    return make(np.random.default_rng(len(name)), batch=batch)


def _compared(
    model: GpuModel, single: Graph, x: NDArray[np.int8], outputs: dict[str, NDArray[Any]], machine: _Machine
) -> tuple[int, int]:
    """Count wrong values, and those compared: all values of the first and the last image of a batch.

    The reference computes the two images by themselves. Values between the layers are those of a second program, which
    gives all of them as outputs.
    """
    from tilewright import gpu
    from tilewright.compiler.reference import evaluate_all

    inner = tuple(node.output for node in model.graph.nodes if node.op != "reshape")
    every = gpu.compile_for_gpu(replace(model.graph, outputs=inner))
    between = every.run({"x": x}, machine.device).outputs
    for segment in every.program.segments:
        machine.device.unload(segment)
    wrong = checked = 0
    for image in sorted({0, len(x) - 1}):
        expected = evaluate_all(single, {"x": x[image : image + 1]})
        for name, array in (*between.items(), *outputs.items()):
            wrong += int(np.count_nonzero(expected[name] != array[image : image + 1]))
            checked += array[image].size
    return wrong, checked
