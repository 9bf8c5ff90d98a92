"""ONNX models that hypothesis changes: what is accepted computes what onnxruntime computes; the rest is one error."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import ModelProto

from tests.system.edited_models import edited_models, inputs_of
from tests.system.mutated_inputs import SECONDS, alarm
from tilewright.api import compile as compile_for
from tilewright.compiler.frontend import import_onnx
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.onnxruntime_check import compare_operators, run_onnxruntime
from tilewright.compiler.passes.base import run_passes
from tilewright.compiler.passes.pipeline import canonical_passes, recognising_passes
from tilewright.compiler.reference import evaluate_node
from tilewright.isa.errors import TilewrightError

FEW, MANY = 120, 6000
SETTINGS = settings(
    max_examples=FEW, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
#: Roundings more than onnxruntime's: their exponentials and roots are tables.
APPROXIMATE = {"qsoftmax": 2, "qnormalize": 2}


def check_model(model: ModelProto, seed: int) -> str:
    """Import, compile and run; return how far it came."""
    try:
        graph = import_onnx(model)
        shapes = {name: graph.shape(name) for name in graph.inputs}
        compiled = compile_for(model, "tiny", host_fallback=True)
        inputs = inputs_of(model, {n: s for n, s in shapes.items() if s is not None}, seed)
        with np.errstate(all="ignore"):
            outputs = compiled.run(inputs, host="reference").outputs
            assert compiled.count_differences(inputs, outputs) == dict.fromkeys(outputs, 0)
    except TilewrightError as error:
        assert str(error) and "\n" not in str(error).strip(), str(error)
        return "refused"
    try:
        theirs = run_onnxruntime(model, inputs)
    except Exception:  # it has a class for each reason
        return "not onnxruntime's"
    with np.errstate(all="ignore"):
        check_operators(graph, theirs)
        check_integers(model, compiled.config.epilogue.multiplier_bits, inputs)
    return "compared"


def check_operators(graph: Graph, theirs: dict[str, Any]) -> None:
    """Each imported operator gives what onnxruntime gives, both from onnxruntime's operands."""
    values = {**graph.constants, **theirs}
    for node in graph.nodes:
        operands = [values[name] for name in node.inputs if name in values]
        is_scaled = node.op in ("onnx.QuantizeLinear", "onnx.DequantizeLinear")
        if not all(map(_is_finite, operands)) or (is_scaled and not np.all(operands[1] > 0)):
            continue  # what becomes of them is nobody's promise
        for name, ours in evaluate_node(graph, node, values).items():
            values.setdefault(name, ours)
            expected = theirs.get(name)
            if expected is None or not _is_finite(np.asarray(ours)):
                continue
            where = f"{node.op} gives {name}"
            assert np.asarray(ours).shape == expected.shape, where
            assert np.asarray(ours).dtype == expected.dtype, where
            if expected.dtype.kind == "f":
                most = float(np.abs(expected).max(initial=0))
                np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-4 * most + 1e-30, err_msg=where)
            elif expected.dtype.kind in "iu":
                assert np.abs(np.asarray(ours).astype(float) - expected.astype(float)).max(initial=0) <= 1, where


def check_integers(model: ModelProto, bits: int, inputs: dict[str, Any]) -> None:
    """Each recognised operator is within a step of onnxruntime."""
    integers = run_passes(import_onnx(model), (*canonical_passes(), *recognising_passes(bits)))
    for difference in compare_operators(integers, model, inputs):
        assert difference.largest <= APPROXIMATE.get(difference.node.op, 1), difference


def _is_finite(array: Any) -> bool:
    return not isinstance(array, np.ndarray) or array.dtype.kind != "f" or bool(np.isfinite(array).all())


@SETTINGS
@given(edited_models(), st.integers(0, 9))
def test_a_few_edited_models(model: ModelProto, seed: int) -> None:
    with alarm(SECONDS):
        check_model(model, seed)


@pytest.mark.slow
@settings(SETTINGS, max_examples=MANY)
@given(edited_models(), st.integers(0, 9))
def test_many_edited_models(model: ModelProto, seed: int) -> None:
    with alarm(SECONDS):
        check_model(model, seed)
