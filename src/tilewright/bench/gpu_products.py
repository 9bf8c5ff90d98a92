"""Square matrix products on the GPU: int8 requantized to int8, fp16 summed in fp32, and fp32, beside cuBLAS's."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.bench.gpu import FLOAT_SHARES, FLOAT_UNITS, PRODUCTS, SAMPLES, SUITE, Machine
from tilewright.bench.gpu_peers import cublas_time
from tilewright.bench.record import Record

if TYPE_CHECKING:
    from tilewright.compiler.graph.graph import Graph
    from tilewright.compiler.targets.gpu.program import GpuProgram

_CHECKED_ROWS = 64


def measure(case: str, machine: Machine) -> Iterator[Record]:
    """Record a product's time, and what it is in operations a second."""
    size, kind = PRODUCTS[case]
    rng = np.random.default_rng(time.time_ns())
    precision = {"f16": "fp16", "f32": "fp32"}.get(kind, "")
    found = _float_product(size, rng, machine, precision) if precision else _integer_product(size, rng, machine)
    program, wrong = found
    milliseconds = _product_time(program, machine)
    peak = machine.operations * FLOAT_SHARES.get(precision, 1)
    operations, least = 2 * size**3, 3 * size**2 * {"f16": 2, "f32": 4}.get(kind, 1)
    ideal = max(operations / peak, least / machine.bytes) * 1e3
    version, peer = cublas_time(size, kind)
    units = FLOAT_UNITS.get(precision, "tensor cores")
    record = Record(
        SUITE, case, "-", "milliseconds", milliseconds, "ms", "lower", ideal, version, peer, units,
        on=machine.title, wrong=wrong, operations=operations, least_bytes=least, checked=_CHECKED_ROWS * size,
    )  # fmt: skip
    yield record
    unit = "TOPS" if kind == "i8" else "TFLOP/s"
    speed = replace(record, metric="speed", value=operations / milliseconds / 1e9, unit=unit, better="higher")
    yield replace(speed, ideal=peak / 1e12, peer_value=peer and operations / peer / 1e9)
    machine.device.unload(program.segments[0])


def _integer_product(size: int, rng: np.random.Generator, machine: Machine) -> tuple[GpuProgram, int]:
    """Give a product and, of some rows, how many of its results are not the reference's."""
    from tilewright import gpu
    from tilewright.compiler.targets.accelerator.networks import NetworkBuilder

    net = NetworkBuilder("product", (size, size), rng)
    model = gpu.compile_for_gpu(net.graph(net.matrix("x", size)))
    x = rng.integers(-128, 128, (size, size)).astype(np.int8)
    (result,) = model.run({"x": x}, machine.device).outputs.values()
    rows = rng.choice(size, _CHECKED_ROWS, replace=False)
    return model.program, int(np.count_nonzero(result[rows] != _rows(model.graph, x[rows])))


def _rows(graph: Graph, x: NDArray[np.int8]) -> NDArray[Any]:
    """Compute some rows by the reference: those of a graph with fewer rows."""
    from tilewright.compiler.graph.types import Value
    from tilewright.compiler.reference import evaluate

    (node,) = graph.nodes
    values = {**graph.values, "x": Value("x", "int8", x.shape), node.output: Value(node.output, "int8", None)}
    return next(iter(evaluate(replace(graph, values=values), {"x": x}).values()))


def _float_product(size: int, rng: np.random.Generator, machine: Machine, precision: str) -> tuple[GpuProgram, int]:
    """Give a product and, of some rows, how many of its results are off by more than rounding."""
    from tilewright import gpu
    from tilewright.compiler.graph.graph import Graph, Node
    from tilewright.compiler.graph.types import Value
    from tilewright.compiler.targets.gpu.float_operators import lower_floats
    from tilewright.compiler.targets.kernels.activation import Activation

    kind = np.dtype({"fp16": "float16", "fp32": "float32"}[precision])
    x, weight = (rng.standard_normal((size, size), np.float32).astype(kind) for _ in range(2))
    node = Node("fmatmul", ("x", "w", "", ""), ("y",), {"activation": Activation()})
    values = {name: Value(name, kind.name, (size, size)) for name in ("x", "w", "y")}
    graph = Graph("product", values, (node,), {"w": weight}, ("x",), ("y",), {})
    program = lower_floats(graph, gpu.chooser(), gpu.PRECISIONS[precision])
    result = program.run({"x": x}, machine.device)["y"]
    rows = rng.choice(size, _CHECKED_ROWS, replace=False)
    expected = x[rows].astype(np.float64) @ weight.astype(np.float64)
    allowed = {"fp16": 2.0**-9, "fp32": 1e-5}[precision] * np.maximum(np.abs(expected), size**0.5)
    wrong = int(np.count_nonzero(~(np.abs(result[rows] - expected) <= allowed))) + int(np.isnan(result).sum())
    return program, wrong


def _product_time(program: GpuProgram, machine: Machine) -> float:
    """Time the product alone, in milliseconds: bringing its operands into place is not a part of it."""
    device, gpu, repeats = machine.device, machine.device.gpu, 20
    (segment,) = program.segments
    loaded = device.load(segment)
    (index,) = (i for i, launch in enumerate(segment.launches) if launch.macs)

    def start() -> None:
        for _ in range(repeats):
            device.launch(loaded, index)

    graph = gpu.capture(loaded.stream, start)

    def replay() -> None:
        gpu.check(gpu.api.cuGraphLaunch(graph, loaded.stream))

    replay()
    return sorted(gpu.milliseconds(loaded.stream, replay, 1) for _ in range(SAMPLES))[SAMPLES // 2] / repeats
