"""Finds ranges of activations that keep rows: what transformers with a few huge values need.

In transformers, single tokens reach values hundreds of times larger than all others. A range that holds them leaves the
others few steps; the least squared error of all values keeps them nevertheless. What counts behind a layer
normalization, an attention or a mean of tokens is every row's error beside its own size, so that is made small. Of what
a softmax takes, the probabilities are what counts: how low a score lies that is nothing anyway does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import ModelProto

Array = NDArray[Any]

#: Samples that ranges are found on, and rows of a value.
MOST_SAMPLES = 16
MOST_ROWS = 1024

#: Factors by which the largest magnitudes may shrink.
SHRINKS = tuple(float(f) for f in np.geomspace(1, 0.02, 20))

_STEPS = 255


def row_ranges(
    model: ModelProto, samples: Sequence[Mapping[str, Array]], names: Sequence[str], symmetric: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """Return the range of each value, lowest and highest, with which its rows keep most.

    Parameters
    ----------
    model : ModelProto
        The float model.
    samples : sequence of mappings
        Inputs by name.
    names : sequence of str
        Values.
    symmetric : sequence of str
        Those of them whose range lies symmetrically around 0.
    """
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    found = {name: constants[name] for name in names if name in constants}
    computed = [name for name in names if name not in constants]
    collected: dict[str, list[Array]] = {name: [] for name in computed}
    session = _session(model, computed)
    for sample in samples[:MOST_SAMPLES]:
        for name, array in zip(computed, session.run(computed, dict(sample)), strict=True):
            collected[name].append(np.asarray(array).reshape(-1, array.shape[-1] if array.ndim else 1))
    found |= {name: np.concatenate(arrays) for name, arrays in collected.items()}
    scores = {node.input[0] for node in model.graph.node if node.op_type == "Softmax"}
    return {
        name: best_range(rows, is_symmetric=name in symmetric, are_scores=name in scores)
        for name, rows in found.items()
    }


def best_range(rows: Array, *, is_symmetric: bool = False, are_scores: bool = False) -> tuple[float, float]:
    """Return the range with the least sum of the rows' relative squared errors.

    Parameters
    ----------
    rows : float array [rows, channels]
    is_symmetric : bool
        Whether the lowest is minus the highest.
    are_scores : bool
        Whether the errors of their softmax count.
    """
    if len(rows) > MOST_ROWS:
        rows = rows[np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False)]
    rows = rows.astype(np.float32)
    expected = softmax(rows) if are_scores else rows
    weights = 1 / np.maximum(expected.var(-1), 1e-12)
    low, high = min(float(rows.min()), 0.0), max(float(rows.max()), 0.0)
    if is_symmetric:
        high = max(high, -low)
        low = -high
    best = _error(rows, expected, weights, (low, high), are_scores)
    for _ in range(2):  # each side by itself, given the other
        for side in (0, 1) if not is_symmetric else (1,):
            start = (low, high)
            for shrink in SHRINKS[1:]:
                tried = (start[0] * shrink if side == 0 or is_symmetric else start[0], start[1])
                tried = (tried[0], start[1] * shrink if side == 1 else start[1])
                error = _error(rows, expected, weights, tried, are_scores)
                if error < best:
                    best, (low, high) = error, tried
    return low, high


def softmax(rows: Array) -> Array:
    """Return the probabilities of each row."""
    powers = np.exp(rows - rows.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _error(rows: Array, expected: Array, weights: Array, reach: tuple[float, float], are_scores: bool) -> float:
    low, high = reach
    step = max(high - low, 1e-12) / _STEPS
    rounded = np.rint(np.clip(rows, low, high) / step) * step
    found = softmax(rounded) if are_scores else rounded
    return float((((found - expected) ** 2).mean(-1) * weights).sum())


def _session(model: ModelProto, names: Sequence[str]) -> onnxruntime.InferenceSession:
    whole = ModelProto()
    whole.CopyFrom(model)
    given = {output.name for output in whole.graph.output}
    whole.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names if name not in given)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(whole.SerializeToString(), options, providers=["CPUExecutionProvider"])
