"""Inputs and outputs of runs: NPZ files, random inputs, comparison."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from tilewright.compiler.graph.types import Value

Arrays = dict[str, NDArray[Any]]


def read_arrays(path: str | Path) -> Arrays:
    """Read an NPZ file.

    Raises
    ------
    InputError
        When it cannot be read, is no NPZ file, is damaged, or holds Python objects.
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise InputError(f"`{path}` is a single array; inputs come as an NPZ file of named arrays")
        with archive:
            return {name: archive[name] for name in archive.files}
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror or error}") from None
    except (ValueError, EOFError, zipfile.BadZipFile, KeyError) as error:
        raise InputError(f"`{path}` is not an NPZ file of plain arrays: {error}") from None


def write_arrays(path: str | Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write an NPZ file, or raise InputError that says why not."""
    try:
        with Path(path).open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # names of values, never `allow_pickle`
    except OSError as error:
        raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None


def random_inputs(values: Mapping[str, Value], seed: int) -> Arrays:
    """Give seeded inputs: integers uniform over their type, floats normal, booleans even."""
    rng = np.random.default_rng(seed)
    return {name: _random_array(value, rng) for name, value in values.items()}


def _random_array(value: Value, rng: np.random.Generator) -> NDArray[Any]:
    shape, dtype = value.known_shape, np.dtype(value.dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return rng.integers(limits.min, limits.max, shape, dtype=dtype, endpoint=True)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(np.bool_)
    return rng.standard_normal(shape).astype(dtype)


def count_differences(expected: Mapping[str, NDArray[Any]], given: Mapping[str, NDArray[Any]]) -> dict[str, int]:
    """Count, for each array, the values that are not exactly as expected; NaN is NaN."""
    return {name: _unequal(given[name], array) for name, array in expected.items()}


def count_far(expected: NDArray[Any], given: NDArray[Any], far: float) -> int:
    """Count values that are off by more than `far` of themselves, or of the root of the mean square of all."""
    wanted = expected.astype(np.float64)
    if not wanted.size:
        return 0
    allowed = far * np.maximum(np.abs(wanted), np.sqrt(np.mean(wanted**2)))
    return int(np.count_nonzero(~(np.abs(given.astype(np.float64) - wanted) <= allowed)))


def _unequal(given: NDArray[Any], expected: NDArray[Any]) -> int:
    if given.shape != expected.shape or given.dtype != expected.dtype:
        return int(expected.size)
    is_nan = (given != given) & (expected != expected)
    return int(np.count_nonzero((given != expected) & ~is_nan))
