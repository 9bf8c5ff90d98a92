"""Transformers on the GPU's kernels: a whole encoder, and the operators that only they have, by the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.compiler.transformer_models import bert
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Value
from tilewright.compiler.qops import Epilogue, output_shape
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.program import InterpretedDevice, Segment
from tilewright.gpu import compile_for_gpu
from tilewright.quantization import quantize

_SCALES = ("bias", "multiplier", "shift")


def _graph(node: Node, shapes: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray]) -> Graph:
    values = {name: Value(name, "int8", shape) for name, shape in shapes.items()}
    values |= {name: Value(name, array.dtype.name, array.shape) for name, array in constants.items()}
    values["out"] = Value("out", "int8", None)
    graph = Graph("one", values, (node,), constants, tuple(shapes), ("out",), {"": 17})
    shape = output_shape(graph, node)
    return Graph("one", {**values, "out": Value("out", "int8", shape)}, (node,), constants, tuple(shapes), ("out",), {})


def _scales(channels: int, multiplier: int, shift: int) -> dict[str, np.ndarray]:
    values = (0, multiplier, shift)
    return {name: np.full(channels, value, np.int32) for name, value in zip(_SCALES, values, strict=True)}


def _case(name: str) -> Graph:
    match name:
        case "qsoftmax":
            attributes = {"scale": 20000, "epilogue": Epilogue(-128)}
            node = Node("qsoftmax", ("x", *_SCALES, "", ""), ("out",), attributes)
            return _graph(node, {"x": (3, 40)}, _scales(1, 1, 15))
        case "qbatchmatmul":
            attributes = {"zero_in": 3, "zero_y": -5, "epilogue": Epilogue(1)}
            node = Node("qbatchmatmul", ("x", "y", *_SCALES, "", ""), ("out",), attributes)
            return _graph(node, {"x": (1, 2, 3, 16), "y": (1, 2, 5, 16)}, _scales(1, 40000, 27))
        case "qmul":
            attributes = {"zero_a": 2, "zero_b": -9, "epilogue": Epilogue(4)}
            node = Node("qmul", ("x", "b", *_SCALES, ""), ("out",), attributes)
            return _graph(node, {"x": (2, 20), "b": (2, 20)}, _scales(1, 40000, 22))
        case "qgather":
            node = Node("qgather", ("x",), ("out",), {"axis": 1, "indices": (2, 0, 2)})
            return _graph(node, {"x": (2, 4, 5)}, {})
        case _:
            attributes = {"factors": (2, 1), "extents": (5, 3)}
            node = Node("qinterleave", ("x", "b"), ("out",), attributes)
            return _graph(node, {"x": (1, 2, 3, 3), "b": (1, 2, 2, 3)}, {})


@pytest.mark.parametrize("name", ["qsoftmax", "qbatchmatmul", "qmul", "qgather", "qinterleave"])
def test_operators_equal_the_reference(name: str, rng: np.random.Generator) -> None:
    graph = _case(name)
    inputs = {key: rng.integers(-128, 128, graph.shape(key)).astype(np.int8) for key in graph.inputs}
    program = lower(graph)
    assert all(isinstance(step, Segment) for step in program.steps)
    (expected,) = evaluate(graph, inputs).values()
    np.testing.assert_array_equal(program.run(inputs, InterpretedDevice())["out"], expected)
    assert np.unique(expected).size > 3


def test_encoder_is_one_segment_and_equals_the_reference() -> None:
    rng = np.random.default_rng(0)
    samples = [{"x": rng.normal(size=(1, 3, 16)).astype(np.float32)} for _ in range(8)]
    model = compile_for_gpu(quantize(bert(rng, 3, 16, 2), samples, samples=6).model)
    assert len(model.program.segments) == 1
    outputs = model.program.run(samples[0], InterpretedDevice())
    assert not any(model.count_differences(samples[0], outputs).values())
