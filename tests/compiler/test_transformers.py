"""Transformers from float to the device: clean-up, quantization, integer operators, one launch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, helper

from tests.compiler.transformer_models import TransformerModel, bert, sentences, vision
from tilewright.compiler.frontend.fixed_inputs import fix_inputs
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.qops import operand
from tilewright.compiler.quantize import clean_up
from tilewright.compiler.reference import evaluate
from tilewright.compiler.row_ranges import best_range
from tilewright.isa.config import Config
from tilewright.isa.errors import InputError
from tilewright.isa.instructions import instruction_set
from tilewright.quantization import quantize
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.runner import run

CONFIG = Config.load("16x16").with_values(vector={"rows": True})
FORMATS = {"onnx.QuantizeLinear", "onnx.DequantizeLinear"}


def _model(name: str) -> ModelProto:
    rng = np.random.default_rng(0)
    return bert(rng, 20, 64, 2) if name == "bert" else vision(rng, 32, 8, 64, 2, 2)


def _shape(model: ModelProto) -> list[int]:
    return [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]


def _kinds(model: ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def _run(model: ModelProto, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {session.get_inputs()[0].name: x})[0])


@pytest.mark.parametrize("name", ["bert", "vision"])
def test_a_whole_transformer_runs_in_one_launch(name: str) -> None:
    model, rng = _model(name), np.random.default_rng(1)
    samples = [{"x": rng.normal(size=_shape(model)).astype(np.float32)} for _ in range(16)]
    quantized = quantize(model, samples, samples=12)
    assert all(agreement.cosine > 0.99 for agreement in quantized.agreements)
    graph = load_integer_graph(quantized.model)
    program = compile_model(graph, CONFIG)
    assert {step.node.op for step in program.host_steps} <= FORMATS
    assert len(program.launches) == 1
    outputs = run(program, samples[0], FunctionalSimulator(instruction_set(CONFIG))).outputs
    for key, expected in evaluate(graph, samples[0]).items():
        np.testing.assert_array_equal(outputs[key], expected)


def test_masked_sentences_run_in_one_launch() -> None:
    model, rng = sentences(np.random.default_rng(0), 24, 64, 2), np.random.default_rng(1)
    samples = []
    for length in rng.integers(3, 24, 24):
        mask = (np.arange(24) < length).astype(np.int64)[None]
        samples.append({"ids": rng.integers(0, 50, (1, 24)) * mask, "mask": mask})
    quantized = quantize(model, samples, samples=16)
    assert all(agreement.cosine > 0.99 for agreement in quantized.agreements)
    graph = load_integer_graph(quantized.model)
    program = compile_model(graph, CONFIG)
    layers = Counter(layer.op for layer in program.layers)
    assert layers["qbatchmatmul"] == 2 and layers["qsoftmax"] == 1 and len(program.launches) == 1
    products = [node for node in graph.nodes if node.op == "qbatchmatmul"]
    assert graph.shape(operand(products[0], "residual")) == (1, 1, 1, 24)  # the mask
    for sample in samples[:2]:
        outputs = run(program, sample, FunctionalSimulator(instruction_set(CONFIG))).outputs
        for key, expected in evaluate(graph, sample).items():
            np.testing.assert_array_equal(outputs[key], expected)


@pytest.mark.parametrize("name", ["bert", "vision"])
def test_the_clean_up_keeps_what_is_computed(name: str) -> None:
    model = _model(name)
    x = np.random.default_rng(2).normal(size=_shape(model)).astype(np.float32)
    cleaned = clean_up(model)
    np.testing.assert_allclose(_run(cleaned, x), _run(model, x), rtol=1e-3, atol=1e-4)
    kinds = _kinds(cleaned)
    assert not kinds.keys() & {"Erf", "Sqrt", "Div", "Pow"}
    projections = {"bert": 6, "vision": 2 * 6}[name]
    assert kinds["Gemm"] >= projections  # queries, keys and values apart
    assert kinds["MatMul"] == {"bert": 2, "vision": 4}[name]  # products of activations alone


def test_a_mask_that_keeps_everything_falls_away() -> None:
    m = TransformerModel(np.random.default_rng(0))
    kept = m.node("Sub", [m.constant(1), m.node("Cast", ["mask"], to=onnx.TensorProto.FLOAT)])
    masked = m.node("Add", ["x", m.node("Mul", [kept, m.constant(-10000)])])
    model = m.model(m.node("Softmax", [masked], axis=-1), "masked", (1, 5, 8), (1, 5, 8))
    model.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.INT64, (1, 1, 8)))
    fixed = clean_up(fix_inputs(model, {"mask": 1}))
    assert [node.op_type for node in fixed.graph.node] == ["Softmax"]
    with pytest.raises(InputError, match="no input 'other' to fix; inputs: x, mask"):
        fix_inputs(model, {"other": 1})


def test_a_sum_by_the_number_of_its_rows_is_a_mean() -> None:
    m = TransformerModel(np.random.default_rng(0))
    total = m.node("ReduceSum", ["x", m.integers(1)], keepdims=0)
    model = m.model(m.node("Div", [total, m.constant(5)]), "mean", (1, 5, 8), (1, 8))
    assert _kinds(clean_up(model)) == {"ReduceMean": 1}


def test_the_range_of_rows_leaves_out_what_a_single_row_reaches() -> None:
    rows = np.random.default_rng(0).normal(size=(500, 64)).astype(np.float32)
    rows[0, 0] = 300
    low, high = best_range(rows)
    assert -8 < low < -2 and 2 < high < 40
    assert best_range(rows, is_symmetric=True)[0] == -best_range(rows, is_symmetric=True)[1]
