"""How far the outputs of two forms of a model are from each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Agreement:
    """One output of one form of a model, beside the float model's.

    Attributes
    ----------
    stage, output : str
        Which form, and which output.
    cosine : float
        Of all values of all samples as one vector; 1 when both are zero.
    largest : float
        Largest absolute difference.
    reach : float
        Largest absolute value of the float model's output, to measure `largest` by.
    top1 : float, optional
        Share of rows whose largest value stands at the same place; None for outputs that are no class scores.
    accuracy : float, optional
        Share of rows whose largest value stands at the label.
    """

    stage: str
    output: str
    cosine: float
    largest: float
    reach: float
    top1: float | None = None
    accuracy: float | None = None

    def as_data(self) -> dict[str, Any]:
        """Give it for JSON."""
        return asdict(self)


def agreement_of(
    stage: str, output: str, expected: NDArray[Any], given: NDArray[Any], inputs: Mapping[str, NDArray[Any]],
    labels: NDArray[Any] | None = None,
) -> Agreement:  # fmt: skip
    """Compare outputs `[samples, *shape]`.

    Parameters
    ----------
    stage, output : str
    expected, given : arrays
    inputs : mapping
        The inputs of a sample: an output of an input's shape is no vector of class scores.
    labels : integers [samples], optional
    """
    a, b = expected.astype(np.float64), given.astype(np.float64)
    rows, other = _scores(a, inputs), _scores(b, inputs)
    top1 = accuracy = None
    if rows is not None and other is not None:
        top1 = float(np.mean(rows.argmax(-1) == other.argmax(-1)))
        if labels is not None and other.shape[1] == 1:
            accuracy = float(np.mean(other[:, 0].argmax(-1) == labels.reshape(-1)))
    largest = float(np.abs(a - b).max(initial=0))
    return Agreement(stage, output, cosine(a, b), largest, float(np.abs(a).max(initial=0)), top1, accuracy)


def cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Give the cosine between two arrays as vectors; 1 when both are zero."""
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    if lengths == 0:
        return float(not a.any() and not b.any())
    return float(np.vdot(a, b)) / lengths


def _scores(array: NDArray[np.float64], inputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float64] | None:
    """Give `array` when it looks like class scores `[samples, batch, classes]`: matrices unlike any input."""
    shape = array.shape[1:]
    if len(shape) != 2 or shape[1] < 2 or any(given.shape == shape for given in inputs.values()):
        return None
    return array
