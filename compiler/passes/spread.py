"""Brings an operand to the shape of the result: broadcasting, as gathers of the one place that there is."""

from __future__ import annotations

import numpy as np

from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.types import Shape


def spread(editor: GraphEditor, name: str, shape: Shape) -> str:
    """Give the int8 value `name` in a shape that it broadcasts to: itself, a constant, or repeated places."""
    own = editor.shape(name)
    if own == shape:
        return name
    array = editor.array(name)
    if array is not None:
        return editor.constant(f"{name}/spread", np.ascontiguousarray(np.broadcast_to(array, shape)))
    aligned = (1,) * (len(shape) - len(own)) + own
    if aligned != own:
        name = editor.emit("reshape", [name], (f"{name}/aligned", "int8", aligned), {"shape": aligned})
    for axis, (extent, wanted) in enumerate(zip(aligned, shape, strict=True)):
        if extent != wanted:
            name = gathered(editor, name, axis, (0,) * wanted)
    return name


def gathered(editor: GraphEditor, name: str, axis: int, indices: tuple[int, ...], origin: tuple[str, ...] = ()) -> str:
    """Give the places `indices` of one dimension; the value itself when these are all in order."""
    shape = editor.shape(name)
    if indices == tuple(range(shape[axis])):
        return name
    result = (*shape[:axis], len(indices), *shape[axis + 1 :])
    attributes = {"axis": axis, "indices": indices}
    return editor.emit("qgather", [name], (f"{name}/gathered", "int8", result), attributes, origin)
