"""Whole small networks, kernel by kernel through the interpreter, against the integer reference."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.gpu.gemm_direct import Splitting
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping
from tilewright.compiler.targets.gpu.kernel import SPACES
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.program import InterpretedDevice
from tilewright.compiler.targets.gpu.schedules import Chooser, Schedule, by_model
from tilewright.compiler.tir.verify import verify
from tilewright.isa.errors import CapacityError


def _check(name: str, rng: np.random.Generator, choose: Chooser) -> None:
    graph = NETWORKS[name](rng)
    program = lower(graph, choose)
    for launch in program.launches:
        verify(launch.kernel.function, SPACES)
    inputs = {key: rng.integers(-128, 128, graph.shape(key)).astype(np.int8) for key in graph.inputs}
    outputs = program.run(inputs, InterpretedDevice())
    expected = evaluate(graph, inputs)
    for key, array in expected.items():
        np.testing.assert_array_equal(outputs[key], array)
        assert np.unique(array).size > 1, "every value is the same: the test shows nothing"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_reference(name: str, rng: np.random.Generator) -> None:
    _check(name, rng, by_model)


_SCHEDULES = {
    "tiled": Tiling((2, 1), (1, 2), 1, 2),
    "direct": Splitting(1, (1, 4), 1),
    "warpgroup": Grouping(1, 1, 32, 3),
}


@pytest.mark.parametrize("name", ["conv3x3", "image_stride2", "table", "matrix"])
@pytest.mark.parametrize("schedule", _SCHEDULES.values(), ids=_SCHEDULES)
def test_schedules_equal_the_reference(name: str, schedule: Schedule, rng: np.random.Generator) -> None:
    _check(name, rng, lambda gemm: schedule)


def test_border_is_shared_by_like_borders_only(rng: np.random.Generator) -> None:
    graph = NETWORKS["residual"](rng)
    (segment,) = lower(graph).segments
    ends = sorted(segment.plan.fills)
    assert all(a + size <= b for (a, size, _), (b, _, _) in pairwise(ends))
    assert segment.plan.size >= max(segment.plan.offsets.values())


def test_too_large_a_tensor_is_refused(rng: np.random.Generator) -> None:
    net = NetworkBuilder("large", (1, 16, 8192, 8192), rng)
    graph = net.graph(net.convolution(net.convolution("x", 32, 1), 16, 1))
    with pytest.raises(CapacityError, match=r"tensor `.*` takes 2,147,\d+,\d+ bytes .* use a smaller batch"):
        lower(graph)
