"""Matrix products and whole networks on the GPU, checked on fresh random inputs, beside what its units can do."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tilewright.bench.record import Record
from tilewright.bench.suites import Context

if TYPE_CHECKING:
    from tilewright.compiler.targets.gpu.device import GpuDevice

SUITE = "gpu"
PRODUCTS = {
    f"gemm{size}{'' if kind == 'i8' else '_' + kind}": (size, kind)
    for kind, sizes in (("i8", (4096, 8192)), ("f16", (4096, 8192)), ("f32", (4096,)))
    for size in sizes
}
NETWORKS = {f"{name}_b{batch}": (name, batch) for name in ("resnet18", "mobilenet_v2") for batch in (1, 64)}
FLOAT_NETWORKS = {
    f"{case}_f{bits}_b{batch}": (name, batch, f"fp{bits}")
    for bits in (16, 32)
    for case, name, batches in (("resnet18", "resnet18", (1, 64)), ("bert_layer", "encoder_layer", (1, 32)))
    for batch in batches
}

CASES = (*PRODUCTS, *NETWORKS, *FLOAT_NETWORKS)

SAMPLES = 15

#: What a multiprocessor does in a cycle of Hopper's rated clock: operations on int8 in its tensor cores, and which part
#: of that on floats; those of fp32 are done elsewhere.
_OPERATIONS_PER_CYCLE = 8192
FLOAT_SHARES = {"fp16": 1 / 2, "fp32": 1 / 32}
FLOAT_UNITS = {"fp16": "tensor cores", "fp32": "FMA units"}
_CLOCK_HZ = 1.83e9

_COPY_BYTES = 1 << 30


@dataclass(frozen=True)
class Machine:
    """The device with its two ceilings: int8 operations and bytes a second, the latter measured by a copy."""

    device: GpuDevice
    operations: float
    bytes: float

    @property
    def title(self) -> str:
        """Name it with its driver."""
        gpu = self.device.gpu
        return f"{gpu.name}, driver for CUDA {gpu.driver_version}"


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record one case.

    Times are medians of replays of a CUDA graph. The ideal is the sum, over the layers, of what operations at the
    rated clock or bytes at the speed of a copy need, whichever is more.
    """
    from tilewright.bench import gpu_networks, gpu_products
    from tilewright.compiler.targets.gpu.driver import why_missing

    reason = why_missing()
    if reason:
        yield Record(SUITE, case, "-", "milliseconds", None, "ms", "lower", reason=reason)
        return
    machine = context.results.get("gpu")
    if not isinstance(machine, Machine):
        machine = context.results["gpu"] = _machine()
    if case in PRODUCTS:
        yield from gpu_products.measure(case, machine)
    elif case in NETWORKS:
        yield gpu_networks.measure_integer(case, machine)
    else:
        yield gpu_networks.measure_float(case, machine)


def _machine() -> Machine:
    from tilewright import gpu

    device = gpu.open_device()
    return Machine(device, device.gpu.processors * _OPERATIONS_PER_CYCLE * _CLOCK_HZ, _copy_rate(device))


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
