"""Gives every dimension of a model's inputs a number."""

from __future__ import annotations

from collections.abc import Mapping

from onnx import ModelProto, TensorShapeProto, helper

from tilewright.isa.errors import ModelError

BATCH_AXIS = 0


def bind_dimensions(
    model: ModelProto,
    dims: Mapping[str, int] | None,
    name: str,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
) -> None:
    """Replace the dynamic dimensions of the inputs, in place, and forget the shapes that depended on them.

    An input that `shapes` names has that shape. Else a named dimension takes its value from `dims`, and the first
    dimension of an input defaults to 1.

    Raises
    ------
    ModelError
        When a dimension has neither, or `dims` names or sizes something impossible.
    """
    wanted = dict(dims or {})
    constants = {tensor.name for tensor in model.graph.initializer}
    used: set[str] = set()
    for given in model.graph.input:
        if given.name in constants or not given.type.HasField("tensor_type"):
            continue
        if shapes and given.name in shapes:
            used.update(dim.dim_param for dim in given.type.tensor_type.shape.dim)
            elem_type = given.type.tensor_type.elem_type
            given.type.CopyFrom(helper.make_tensor_type_proto(elem_type, shapes[given.name]))
            continue
        for axis, dim in enumerate(given.type.tensor_type.shape.dim):
            used.add(dim.dim_param)
            _bind(dim, axis, given.name, wanted, name)
    for unknown in sorted(set(wanted) - used):
        known = ", ".join(sorted(used - {""})) or "none"
        raise ModelError(f"{name}: no input has a dimension named {unknown!r}; named dimensions: {known}")
    del model.graph.value_info[:]
    for result in model.graph.output:
        if result.type.HasField("tensor_type"):
            result.type.tensor_type.ClearField("shape")


def _bind(dim: TensorShapeProto.Dimension, axis: int, input_name: str, dims: Mapping[str, int], model: str) -> None:
    if dim.HasField("dim_value") and dim.dim_value > 0:
        return
    extent = dims.get(dim.dim_param) if dim.dim_param else None
    if extent is None and axis == BATCH_AXIS:
        extent = 1
    if extent is None:
        what = f"dimension {dim.dim_param!r}" if dim.dim_param else f"dimension {axis}"
        raise ModelError(f"{model}: {what} of input {input_name!r} is not fixed; give its value in `dims`")
    if extent < 1:
        raise ModelError(f"{model}: dimension {dim.dim_param!r} must be at least 1, not {extent}")
    dim.dim_value = extent
