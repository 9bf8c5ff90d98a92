"""Makes inputs of a model constant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, ValueInfoProto, numpy_helper

from tilewright.compiler.frontend.dimensions import BATCH_AXIS
from tilewright.compiler.graph.onnx_nodes import dtype_name
from tilewright.isa.errors import InputError


def fix_inputs(
    model: ModelProto, fixed: Mapping[str, NDArray[Any] | float], dims: Mapping[str, int] | None = None
) -> ModelProto:
    """Return the model with some inputs, for example an attention mask, always the same.

    Parameters
    ----------
    model : ModelProto
        Never changed.
    fixed : mapping
        Arrays by the names of inputs; a number fills an input.
    dims : mapping, optional
        Extents of named dynamic dimensions. The first dimension of an input defaults to 1.

    Raises
    ------
    InputError
        When there is no such input, or a number is given for an input of unknown shape.
    """
    result = ModelProto()
    result.CopyFrom(model)
    infos = {info.name: info for info in result.graph.input}
    for name, given in fixed.items():
        if name not in infos:
            raise InputError(f"there is no input {name!r} to fix; inputs: {', '.join(infos)}")
        dtype = dtype_name(infos[name].type.tensor_type.elem_type)
        array = np.asarray(given).astype(dtype)
        if array.ndim == 0:
            array = np.full(_shape(infos[name], dims or {}), array)
        result.graph.initializer.append(numpy_helper.from_array(array, name))
        result.graph.input.remove(infos[name])
    return result


def _shape(info: ValueInfoProto, dims: Mapping[str, int]) -> tuple[int, ...]:
    extents = []
    for axis, dim in enumerate(info.type.tensor_type.shape.dim):
        extent = dim.dim_value or dims.get(dim.dim_param) or (1 if axis == BATCH_AXIS else 0)
        if extent < 1:
            raise InputError(f"dimension {axis} of input {info.name!r} is not known: give its value in `dims`")
        extents.append(extent)
    return tuple(extents)
