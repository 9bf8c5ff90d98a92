"""Whole networks on the GPU: integer ones equal to the reference, float ones in fp16 and fp32 beside torch.compile."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import count_far
from tilewright.bench import gpu_peers
from tilewright.bench.gpu import FLOAT_NETWORKS, FLOAT_SHARES, FLOAT_UNITS, NETWORKS, SAMPLES, SUITE, Machine
from tilewright.bench.record import Record

if TYPE_CHECKING:
    from onnx import ModelProto

    from tilewright.compiler.graph.graph import Graph
    from tilewright.gpu import GpuModel

#: A layer that takes many times what its operations and bytes need is waiting: for launches and latency.
_WAITING = 4

#: Replays that are timed together.
_MANY, _FEW = 100, 20


def measure_integer(case: str, machine: Machine) -> Record:
    """Record an integer network."""
    from tilewright import gpu

    name, batch = NETWORKS[case]
    model = gpu.compile_for_gpu(network_graph(name, batch))
    rng = np.random.default_rng(time.time_ns())
    x = rng.integers(-128, 128, model.graph.shape("x")).astype(np.int8)
    outputs = model.run({"x": x}, machine.device).outputs
    wrong, checked = _compared(model, network_graph(name, 1), x, outputs, machine)
    return replace(
        _record(case, model, batch, machine, machine.operations, "tensor cores"), wrong=wrong, checked=checked
    )


def measure_float(case: str, machine: Machine) -> Record:
    """Record a float network."""
    from tilewright import gpu

    name, batch, precision = FLOAT_NETWORKS[case]
    model = gpu.compile_for_gpu(float_model(name, batch, precision), precision=precision)
    rng = np.random.default_rng(time.time_ns())
    x = rng.standard_normal(model.source.shape("x"), np.float32).astype(model.source.dtype("x"))
    (result,) = model.run({"x": x}, machine.device).outputs.values()
    single = gpu.compile_for_gpu(float_model(name, 1, precision), precision=precision)
    wrong = int(np.isnan(result).sum())
    images = sorted({0, batch - 1})
    for image in images:
        (expected,) = single.reference({"x": x[image : image + 1]}).values()
        wrong += count_far(expected, result[image : image + 1], gpu.FAR[precision])
    peak = machine.operations * FLOAT_SHARES[precision]
    record = _record(case, model, batch, machine, peak, FLOAT_UNITS[precision])
    version, peer = gpu_peers.compiled_time(name, batch, precision)
    return replace(record, wrong=wrong, checked=len(images) * result[0].size, peer=version, peer_value=peer)


def _record(case: str, model: GpuModel, batch: int, machine: Machine, peak: float, units: str) -> Record:
    """Time a network and count what it must do."""
    from tilewright import gpu

    milliseconds = gpu.time_graphs(model.program, machine.device, SAMPLES, _MANY if batch == 1 else _FEW)
    launches = [launch for launch in model.program.launches if launch.op != "copy"]
    operations = sum(2 * launch.macs for launch in launches)
    least = sum(launch.read_bytes + launch.written_bytes for launch in launches)
    by_work = sum(2 * launch.macs / peak for launch in launches)
    ideal = 1e3 * sum(
        max(2 * launch.macs / peak, (launch.read_bytes + launch.written_bytes) / machine.bytes) for launch in launches
    )
    limit = units if by_work * 1e3 > ideal / 2 else "memory"
    for segment in model.program.segments:
        machine.device.unload(segment)
    return Record(
        SUITE, case, "-", "milliseconds", milliseconds, "ms", "lower", ideal,
        bound="launches and latency" if milliseconds > _WAITING * ideal else limit,
        on=machine.title, operations=operations, least_bytes=least,
    )  # fmt: skip


def network_graph(name: str, batch: int) -> Graph:
    """Return an integer network from its structure, with seeded random weights."""
    from tilewright.compiler.targets.accelerator.networks import mobilenet_v2_graph, resnet18_graph

    make = {"resnet18": resnet18_graph, "mobilenet_v2": mobilenet_v2_graph}[name]
    return make(np.random.default_rng(len(name)), batch=batch)


def float_model(name: str, batch: int, precision: str) -> ModelProto:
    """Return a float network from its structure, with seeded random weights."""
    from tilewright.bench import float_networks

    rng = np.random.default_rng(len(name))
    make = float_networks.resnet18 if name == "resnet18" else float_networks.encoder_layer
    return make(rng, batch, is_half=precision == "fp16")


def _compared(
    model: GpuModel, single: Graph, x: NDArray[np.int8], outputs: dict[str, NDArray[Any]], machine: Machine
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
