"""Compares a graph with onnxruntime, operator by operator and as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from onnx import ModelProto, TypeProto, helper

from tilewright.compiler.frontend.dimensions import bind_dimensions
from tilewright.compiler.frontend.model_file import read_model
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array
from tilewright.compiler.reference import evaluate_node

_SIGNED = ".int8"  # what normalise_int8 appends to the name of an unsigned value


@dataclass(frozen=True)
class OperatorDifference:
    """How far one integer operator is from onnxruntime, both given onnxruntime's own intermediate inputs.

    Parameters
    ----------
    node
        The operator.
    largest
        Largest difference of an element, in steps of the output scale.
    count
        Number of elements that differ.
    total
        Number of elements.
    """

    node: Node
    largest: int
    count: int
    total: int


def run_onnxruntime(
    source: str | Path | ModelProto, inputs: Mapping[str, Array], dims: Mapping[str, int] | None = None
) -> dict[str, Array]:
    """Run a model in onnxruntime without graph optimizations; give every tensor that the model names, by name."""
    model, name = read_model(source)
    bind_dimensions(model, dims, name)
    declared = {value.name for value in model.graph.output}
    produced = dict.fromkeys(output for node in model.graph.node for output in node.output if output)
    constants = {output for node in model.graph.node if node.op_type == "Constant" for output in node.output}
    extra = [output for output in produced if output not in declared and output not in constants]
    model.graph.output.extend(helper.make_value_info(output, TypeProto()) for output in extra)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    results = session.run(names, dict(inputs))
    return {**inputs, **dict(zip(names, map(np.asarray, results), strict=True))}


def compare_operators(
    graph: Graph, source: str | Path | ModelProto, inputs: Mapping[str, Array], dims: Mapping[str, int] | None = None
) -> list[OperatorDifference]:
    """Compare every operator whose int8 result has a counterpart in the model.

    A fused operator stands for several of the model's, whose differences add up: give a graph before
    `fusing_passes` to see each alone.

    Parameters
    ----------
    graph
        What the passes made of the model.
    source, inputs, dims
        The model and the inputs that both run on.
    """
    theirs = run_onnxruntime(source, inputs, dims)
    values: dict[str, Array] = {**graph.constants, **inputs}
    differences = []
    for node in graph.nodes:
        for name, ours in evaluate_node(graph, node, values).items():
            expected = _counterpart(theirs, name, ours)
            values[name] = ours if expected is None else expected
            if expected is not None and ours.dtype.kind in "iu" and not node.is_onnx:
                differences.append(_difference(node, ours, expected))
    return differences


def _counterpart(theirs: Mapping[str, Array], name: str, ours: Array) -> Array | None:
    """Onnxruntime's form of one of our values; None when the model has no such tensor."""
    found = theirs.get(name)
    if found is None and name.endswith(_SIGNED):
        unsigned = theirs.get(name.removesuffix(_SIGNED))
        if unsigned is not None and unsigned.dtype == np.uint8:
            found = (unsigned ^ np.uint8(128)).view(np.int8)
    if found is None or found.shape != ours.shape or found.dtype != ours.dtype:
        return None
    return found


def _difference(node: Node, ours: Array, expected: Array) -> OperatorDifference:
    distance = np.abs(ours.astype(np.int64) - expected.astype(np.int64))
    return OperatorDifference(node, int(distance.max(initial=0)), int(np.count_nonzero(distance)), distance.size)
