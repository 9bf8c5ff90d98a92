"""Makes inputs of a model constant."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, numpy_helper

from tilewright.compiler.graph.onnx_nodes import value_from_proto
from tilewright.isa.errors import InputError


def fix_inputs(model: ModelProto, fixed: Mapping[str, NDArray[Any] | float]) -> ModelProto:
    """Return the model with some inputs, for example an attention mask, always the same.

    Parameters
    ----------
    model : ModelProto
        Never changed.
    fixed : mapping
        Arrays by the names of inputs; a number fills an input whose shape is known.

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
        value = value_from_proto(name, infos[name].type)
        array = np.asarray(given)
        if array.ndim == 0:
            if value.shape is None:
                raise InputError(f"the shape of input {name!r} is not known: fix it to an array, not a number")
            array = np.full(value.shape, given)
        result.graph.initializer.append(numpy_helper.from_array(array.astype(value.dtype), name))
        result.graph.input.remove(infos[name])
    return result
