"""A transformer encoder, natively and on several levels, against the integer reference."""

from __future__ import annotations

import numpy as np
import pytest

from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.transformers import TransformerShape, transformer_graph
from tilewright.compiler.targets.cpu.jit import NativeMachine
from tilewright.compiler.targets.cpu.levels import Level, host_levels
from tilewright.compiler.targets.cpu.lower import lower

_LEVELS = [level for level in host_levels() if level.name in ("avx512_vnni", "avx2", "portable")]


@pytest.mark.parametrize("level", _LEVELS, ids=lambda level: level.name)
@pytest.mark.parametrize("rows", [9, 32])
def test_encoder_equals_the_reference(rows: int, level: Level, rng: np.random.Generator) -> None:
    graph = transformer_graph(TransformerShape("small", rows, 48, 3, 80, 1), rng, 16)
    inputs = {name: rng.integers(-128, 128, graph.shape(name)).astype(np.int8) for name in graph.inputs}
    outputs = lower(graph, level).run(inputs, NativeMachine())
    for name, array in evaluate(graph, inputs).items():
        np.testing.assert_array_equal(outputs[name], array)
        assert np.unique(array).size > 1, "every value is the same: the test shows nothing"
