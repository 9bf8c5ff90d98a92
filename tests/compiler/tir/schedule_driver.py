"""What tests of schedule primitives share: running functions on equal random data."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.tir.interpreter import ARRAY_TYPES, interpret
from tilewright.compiler.tir.verify import verify
from tilewright.isa.ir import Function


def run(function: Function, data: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Interpret a function on copies of the data, and return these."""
    arrays = {name: array.copy() for name, array in data.items()}
    interpret(verify(function), {}, arrays)
    return arrays


def check_equal(before: Function, after: Function, rng: np.random.Generator) -> None:
    """Compare what two functions do to random data."""
    data = {b.name: rng.integers(-100, 100, b.shape).astype(ARRAY_TYPES[b.dtype]) for b in before.buffers}
    expected, actual = run(before, data), run(after, data)
    for name in data:
        np.testing.assert_array_equal(actual[name], expected[name], err_msg=name)
    assert any((expected[name] != data[name]).any() for name in data)
