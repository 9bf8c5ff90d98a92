"""What a value in a graph is: a name, an element type and a shape."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.isa.errors import ModelError

Array = NDArray[Any]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A named tensor.

    Parameters
    ----------
    name
        Unique in its graph. A name that comes from the ONNX model always means that model's tensor.
    dtype
        NumPy's name of the element type, `"int8"`; `"other"` for what is no numeric tensor.
    shape
        Every extent, or None when it is not known before the graph runs.
    """

    name: str
    dtype: str
    shape: Shape | None

    @property
    def known_shape(self) -> Shape:
        """The shape, for values of operators that require it to be known."""
        if self.shape is None:
            raise ModelError(f"the shape of {self.name} is not known")
        return self.shape

    def __str__(self) -> str:
        extents = "?" if self.shape is None else ",".join(map(str, self.shape))
        return f"{self.dtype}[{extents}]"


class FrozenMap(Mapping[str, Any]):
    """An immutable mapping from names to attribute values, in the order given."""

    def __init__(self, items: Mapping[str, Any] | None = None) -> None:
        self._items: dict[str, Any] = {key: frozen(value) for key, value in (items or {}).items()}

    def __getitem__(self, key: str) -> Any:
        return self._items[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __repr__(self) -> str:
        return f"FrozenMap({self._items})"


def frozen(value: Any) -> Any:
    """Make an attribute value immutable: lists become tuples, arrays become read-only."""
    if isinstance(value, np.ndarray):
        return read_only(value)
    if isinstance(value, (list, tuple)):
        return tuple(frozen(item) for item in value)
    return value


def read_only(array: Array) -> Array:
    """Give a view of `array` that cannot be written through."""
    view = array.view()
    view.flags.writeable = False
    return view
