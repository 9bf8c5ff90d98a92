"""Checks what a caller gives against what a model asks for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from tilewright.compiler.graph.types import Value
from tilewright.isa.errors import InputError

_TEXT = "object"  # the element type of strings


def check_inputs(expected: Iterable[Value], inputs: Mapping[str, Any]) -> None:
    """Raise InputError unless `inputs` are exactly the values asked for; of sequences only the presence is checked."""
    known = {value.name: value for value in expected}
    for name in inputs:
        if name not in known:
            raise InputError(f"the model has no input {name!r}; it has {', '.join(map(repr, known))}")
    for name, value in known.items():
        if name not in inputs:
            raise InputError(f"input {name!r} is missing: the model needs {value}")
        if value.dtype != "other":
            _check_array(value, np.asarray(inputs[name]))


def _check_array(value: Value, given: np.ndarray) -> None:
    dtype = _TEXT if given.dtype.kind in "OUST" else given.dtype.name
    if dtype != value.dtype:
        raise InputError(f"input {value.name!r} must be {value.dtype}, not {given.dtype.name}")
    if value.shape is not None and given.shape != value.shape:
        raise InputError(f"input {value.name!r} must have shape {value.shape}, not {given.shape}")
