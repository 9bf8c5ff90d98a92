"""Several threads compute what one does, again and again, and rest in between."""

from __future__ import annotations

import gc
import os
import platform
import threading
import time

import numpy as np
import pytest

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import level_of
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.native_segment import compile_segment
from tilewright.isa.errors import ConfigError

pytestmark = pytest.mark.skipif(
    (platform.system(), platform.machine()) not in (("Linux", "x86_64"), ("Linux", "aarch64")),
    reason="threads need Linux on x86-64 or AArch64",
)


def _graph(rng: np.random.Generator) -> Graph:
    net = NetworkBuilder("threads", (1, 3, 40, 40), rng)
    y = net.convolution("x", 48, 3)
    z = net.convolution(net.convolution(y, 48, 3, groups=48), 48, 3, residual=y)
    return net.graph(net.matrix(net.global_average(z), 20))


@pytest.mark.parametrize("count", [2, 3])
def test_threads_equal_the_reference(count: int, rng: np.random.Generator) -> None:
    graph = _graph(rng)
    program, machine = lower(graph, level_of()), NativeMachine(count=count)
    processors = os.sched_getaffinity(0)
    for _ in range(20):
        inputs = {"x": rng.integers(-128, 128, graph.shape("x")).astype(np.int8)}
        outputs = program.run(inputs, machine)
        for name, array in evaluate(graph, inputs).items():
            np.testing.assert_array_equal(outputs[name], array)
            assert np.unique(array).size > 1, "every value is the same: the test shows nothing"
    assert os.sched_getaffinity(0) == processors, "the caller stays bound"
    assert min(_idle_shares()) < 0.1, "threads spin when there is nothing to do"
    machine.close()


def test_threads_end_with_what_they_work_for(rng: np.random.Generator) -> None:
    graph = _graph(rng)
    before = threading.active_count()
    for _ in range(8):  # a pool in the place of one whose workers slept on would wake them
        program, machine = lower(graph, level_of()), NativeMachine(count=3)
        program.run({"x": rng.integers(-128, 128, graph.shape("x")).astype(np.int8)}, machine)
        assert threading.active_count() == before + 2
        del program, machine
        gc.collect()
        assert threading.active_count() == before


def test_workers_keep_off_the_processor_of_the_caller(rng: np.random.Generator) -> None:
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        pytest.skip("one processor: there is nowhere else to go")
    program, machine = lower(_graph(rng), level_of()), NativeMachine(count=2)
    before = set(os.listdir("/proc/self/task"))
    pool = machine.load(program.segments[0])._pool
    assert pool is not None
    (worker,) = (int(name) for name in set(os.listdir("/proc/self/task")) - before)
    try:
        for processor in processors[:2]:
            os.sched_setaffinity(0, {processor})
            pool._avoid(processor)
            assert os.sched_getaffinity(worker) == set(processors) - {processor}
    finally:
        os.sched_setaffinity(0, processors)
        machine.close()


def test_small_launches_are_not_shared(rng: np.random.Generator) -> None:
    net = NetworkBuilder("small", (1, 3, 8, 8), rng)
    (segment,) = lower(net.graph(net.convolution("x", 16, 3)), level_of()).segments
    assert compile_segment(segment, count=4).threads == 1
    (segment,) = lower(_graph(rng), level_of()).segments
    assert compile_segment(segment, count=4).threads == 4
    net = NetworkBuilder("middling", (1, 128, 16, 16), rng)
    (segment,) = lower(net.graph(net.convolution("x", 128, 3)), level_of()).segments
    assert 1 < compile_segment(segment, count=999).threads < 999, "threads that do nothing wake and wait"


def _idle_shares() -> list[float]:
    """Processor time in short rests; other threads of the process, such as onnxruntime's, work in some of them."""
    shares = []
    for _ in range(10):
        start = time.process_time()
        time.sleep(0.1)
        shares.append((time.process_time() - start) / 0.1)
    return shares


def test_impossible_number_of_threads_is_refused() -> None:
    with pytest.raises(ConfigError, match="there must be at least 1 thread, not 0"):
        NativeMachine(count=0)
