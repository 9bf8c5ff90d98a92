"""The model that ships with Tilewright, its samples, and the check of what a run gives for them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import Arrays

if TYPE_CHECKING:
    from onnx import ModelProto

    from tilewright.api import Compiled

_DATA = files("tilewright") / "data"

#: Whole models may be this many output steps from onnxruntime, whose rounding differs from processor to processor.
LARGEST_STEPS = 8


@dataclass(frozen=True)
class Verdict:
    """What comparing a run's outputs gave.

    Attributes
    ----------
    values : int
        Output values compared.
    wrong_values : int
        Those that differ from the integer reference.
    same_class, right_class : int
        Images for which the largest output is onnxruntime's, and the label's.
    largest_steps : int
        Largest difference from onnxruntime, in steps of the output's scale.
    """

    values: int
    wrong_values: int
    same_class: int
    right_class: int
    largest_steps: int

    @property
    def is_good(self) -> bool:
        """Whether the outputs are the reference's, and as near to onnxruntime's as they must be."""
        return not self.wrong_values and self.largest_steps <= LARGEST_STEPS


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((_DATA / "default_resnet8.json").read_text(encoding="utf-8"))
    return facts


def default_model() -> ModelProto:
    """Give the model."""
    import onnx

    return onnx.load_model_from_string((_DATA / _facts()["model"]).read_bytes())


def default_samples(count: int) -> tuple[list[Arrays], NDArray[np.int64]]:
    """Give inputs, and the digit that each shows."""
    with as_file(_DATA / _facts()["samples"]) as path, np.load(path) as archive:
        images, labels = archive["image"][:count], archive["label"][:count]
    return [{"image": image[None]} for image in images], labels


def check_run(
    compiled: Compiled,
    samples: Sequence[Arrays],
    labels: NDArray[np.int64],
    outputs: Sequence[Mapping[str, NDArray[Any]]],
) -> Verdict:
    """Compare a classifier's outputs with the integer reference, onnxruntime and the labels."""
    from tilewright.compiler.onnxruntime_check import run_onnxruntime

    values = wrong = same = right = 0
    largest = 0.0
    (name,) = compiled.outputs
    step = compiled.output_step(name)
    for inputs, label, given in zip(samples, labels, outputs, strict=True):
        theirs = run_onnxruntime(default_model(), inputs)[name]
        wrong += sum(compiled.count_differences(inputs, given).values())
        values += given[name].size
        same += int(given[name].argmax() == theirs.argmax())
        right += int(given[name].argmax() == label)
        largest = max(largest, float(np.abs(given[name].astype(np.float64) - theirs).max()) / step)
    return Verdict(values, wrong, same, right, round(largest))
