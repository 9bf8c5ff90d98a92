"""On a real GPU: small networks equal the reference; without one, the error says what is missing."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.gpu import driver
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.isa.errors import ToolchainError


@pytest.mark.gpu
@pytest.mark.parametrize("name", NETWORKS)
def test_networks_equal_the_reference(name: str, rng: np.random.Generator) -> None:
    from tilewright.compiler.targets.gpu.device import GpuDevice

    graph = NETWORKS[name](rng)
    inputs = {key: rng.integers(-128, 128, graph.shape(key)).astype(np.int8) for key in graph.inputs}
    outputs = lower(graph).run(inputs, GpuDevice())
    for key, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[key], array)


def test_missing_gpu_is_explained() -> None:
    reason = driver.why_missing()
    if not reason:
        pytest.skip("there is a GPU here")
    assert "the GPU target needs an NVIDIA GPU with its driver" in reason


def test_missing_package_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings", None)
    with pytest.raises(ToolchainError, match=r"no package `cuda-bindings`.*tilewright\[gpu\]"):
        driver.Gpu.open()
