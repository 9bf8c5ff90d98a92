"""Reads the data that a model is calibrated with: samples, each a set of inputs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import Arrays, read_arrays
from tilewright.compiler.graph.types import Value
from tilewright.isa.errors import InputError


def read_samples(path: str | Path) -> Arrays | list[Arrays]:
    """Read an NPZ or NPY file of arrays whose first axis counts samples, or a folder of files with a sample each.

    Raises
    ------
    InputError
        When there is nothing to read, or a file is damaged.
    """
    source = Path(path)
    if not os.path.isdir(source):  # which raises for no name
        return _read(source)
    files = sorted(file for file in source.iterdir() if file.suffix in (".npz", ".npy"))
    if not files:
        raise InputError(f"`{path}` holds no .npz or .npy files")
    return [_read(file) for file in files]


def _read(path: Path) -> Arrays:
    if path.suffix != ".npy":
        return read_arrays(path)
    try:
        return {"": np.load(path, allow_pickle=False)}
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"cannot read `{path}`: {error}") from None


def samples_of(inputs: Sequence[Value], data: Mapping[str, NDArray[Any]] | Sequence[Mapping[str, Any]]) -> list[Arrays]:
    """Give the inputs of each sample.

    Parameters
    ----------
    inputs : sequence of Value
        What the model asks for; unknown shapes are None.
    data : mapping or sequence of mappings
        Arrays by name whose first axis counts samples, or such a mapping for each sample. The only array may have
        any name when the model has one input. Arrays of other names are left alone.

    Raises
    ------
    InputError
        When an input is missing, of the wrong type or shape, or the arrays count different samples.
    """
    if isinstance(data, Mapping):
        columns = {value.name: _column(value, _array(value, data, len(inputs))) for value in inputs}
        counts = {name: len(column) for name, column in columns.items()}
        if len(set(counts.values())) > 1:
            listed = ", ".join(f"{name!r} {count}" for name, count in counts.items())
            raise InputError(f"the inputs have different numbers of samples: {listed}")
        total = next(iter(counts.values()), 0)
        return [{name: column[index] for name, column in columns.items()} for index in range(total)]
    return [{value.name: _single(value, _array(value, sample, len(inputs))) for value in inputs} for sample in data]


def _array(value: Value, data: Mapping[str, Any], count: int) -> NDArray[Any]:
    if value.name not in data and count == 1 and len(data) == 1:
        array = np.asarray(next(iter(data.values())))
    elif value.name in data:
        array = np.asarray(data[value.name])
    else:
        raise InputError(
            f"the calibration data has no {value.name!r}; it has {', '.join(map(repr, data)) or 'nothing'}"
        )
    if array.dtype.name != value.dtype:
        raise InputError(f"calibration data of {value.name!r} must be {value.dtype}, not {array.dtype.name}")
    return array


def _column(value: Value, array: NDArray[Any]) -> NDArray[Any]:
    """Shape an array as `[samples, *shape of the input]`."""
    rank = None if value.shape is None else len(value.shape)
    if rank is None or array.ndim == rank + 1:
        return array
    if array.ndim != rank or rank == 0:
        raise InputError(
            f"calibration data of {value.name!r} must have {rank} or {rank + 1} dimensions, not {array.ndim}"
        )
    batch = max(value.known_shape[0], 1)
    whole = len(array) // batch
    return array[: whole * batch].reshape(whole, batch, *array.shape[1:])


def _single(value: Value, array: NDArray[Any]) -> NDArray[Any]:
    """Shape an array as one sample, which may lack a batch of one."""
    rank = None if value.shape is None else len(value.shape)
    return array[None] if rank == array.ndim + 1 else array
