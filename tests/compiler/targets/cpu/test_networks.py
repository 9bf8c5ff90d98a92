"""Small networks on every level that this processor has, and kernel by kernel through the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.kernel import SPACES
from tilewright.compiler.targets.cpu.levels import LEVELS, Level, host_levels, level_of
from tilewright.compiler.targets.cpu.lower import lower
from tilewright.compiler.targets.cpu.program import InterpretedMachine, Segment
from tilewright.compiler.targets.segmented import Runner
from tilewright.compiler.tir.verify import verify
from tilewright.isa.errors import ConfigError


def _check(graph: Graph, level: Level, machine: Runner[Segment], rng: np.random.Generator) -> None:
    program = lower(graph, level)
    inputs = {key: rng.integers(-128, 128, graph.shape(key)).astype(np.int8) for key in graph.inputs}
    outputs = program.run(inputs, machine)
    for key, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], array)
        assert np.unique(array).size > 1, "every value is the same: the test shows nothing"


#: Every network on the best level and, in turn, on one of the others.
_BEST, *_OTHERS = host_levels()
_PAIRS = [
    (name, level) for n, name in enumerate(NETWORKS) for level in (_BEST, *_OTHERS[n % max(1, len(_OTHERS)) :][:1])
]


@pytest.mark.parametrize(("name", "level"), _PAIRS, ids=[f"{name}-{level.name}" for name, level in _PAIRS])
def test_networks_equal_the_reference(name: str, level: Level, rng: np.random.Generator) -> None:
    _check(NETWORKS[name](rng), level, NativeMachine(), rng)


@pytest.mark.parametrize("level", [LEVELS[0], LEVELS[-1]], ids=lambda level: level.name)
@pytest.mark.parametrize("name", ["image_7x7", "conv3x3_stride2", "depthwise", "table", "max_pool", "average"])
def test_kernels_mean_the_same_to_the_interpreter(name: str, level: Level, rng: np.random.Generator) -> None:
    graph = NETWORKS[name](rng)
    for kernel in lower(graph, level).segments[0].kernels:
        verify(kernel.function, SPACES)
    _check(graph, level, InterpretedMachine(), rng)


@pytest.mark.parametrize("level", host_levels(), ids=lambda level: level.name)
def test_random_convolutions_equal_the_reference(level: Level, rng: np.random.Generator) -> None:
    for _ in range(8):
        kernel, stride = int(rng.choice([1, 2, 3, 5, 7])), int(rng.integers(1, 3))
        height, width = (int(n) for n in rng.integers(kernel, 20, 2))
        channels = int(rng.choice([1, 3, 4, 5, 16, 17, 40]))
        groups = int(rng.choice([1, 1, channels]))
        outputs = channels if groups > 1 else int(rng.integers(1, 80))
        shape = (int(rng.integers(1, 3)), channels, height, width)
        net = NetworkBuilder("random", shape, rng)
        graph = net.graph(net.convolution("x", outputs, kernel, stride, groups=groups))
        _check(graph, level, NativeMachine(), rng)


def test_unknown_level_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"this processor runs the levels .*portable, not `sse9`"):
        level_of("sse9")
