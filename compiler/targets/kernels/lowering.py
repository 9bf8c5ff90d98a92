"""What lowering a segment keeps track of on every target: values in memory, and layouts that readers ask for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import Window
from tilewright.compiler.targets.kernels.layout import NARROW, Image, Pads, Placed, View
from tilewright.compiler.targets.kernels.memory_plan import MemoryPlan, Storage, plan_memory
from tilewright.isa.ir import DType

_NO_PADS: Pads = (0, 0, 0, 0)

#: Element types of graphs.
ELEMENTS = {"int8": DType.I8, "uint8": DType.U8, "float16": DType.F16, "float32": DType.F32}


class Launched(Protocol):
    """A kernel on its arguments."""

    @property
    def arguments(self) -> Mapping[str, str]:
        """The storage or constant of each buffer."""


LaunchT = TypeVar("LaunchT", bound=Launched)


@dataclass(frozen=True)
class Need:
    """What a reader asks of an image."""

    pads: Pads = _NO_PADS
    value: int = 0
    is_narrow: bool = False


@dataclass(frozen=True)
class Slid:
    """A window that a node slides over its first input.

    Attributes
    ----------
    window : Window
    value : int
        What every byte of the padding holds.
    is_dense : bool
        Whether all channels are summed up.
    """

    window: Window
    value: int
    is_dense: bool


@dataclass
class Lowering(ABC, Generic[LaunchT]):
    """The state of lowering one segment: where values lie, and the launches so far.

    Attributes
    ----------
    graph : Graph
    nodes : tuple of Node
        Of the segment.
    """

    graph: Graph
    nodes: tuple[Node, ...]
    places: dict[str, Placed] = field(default_factory=dict, init=False)
    storages: dict[str, Storage] = field(default_factory=dict, init=False)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict, init=False)
    launches: list[LaunchT] = field(default_factory=list, init=False)

    #: Bytes behind a plain value that reads may run over.
    slack: ClassVar[int] = 0

    @property
    @abstractmethod
    def element(self) -> DType:
        """Type of the values in memory."""

    def kind_of(self, name: str) -> DType:
        """Give the type that a value is computed to."""
        return self.element

    @abstractmethod
    def activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""

    @abstractmethod
    def sliding(self, node: Node) -> Slid | None:
        """Give the window that a node slides over its first input, or None."""

    @abstractmethod
    def gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        """Append the launch that brings a value into an image."""

    @abstractmethod
    def copy(self, node: Node, placed: Placed, view: View, target: Placed, what: str) -> None:
        """Append the copy of a value, in row-major order, into a view of a target."""

    @abstractmethod
    def new_rows(self, name: str) -> Placed:
        """Give a result memory in which its last dimension lies side by side."""

    def operand(self, name: str) -> Placed:
        """Give a value of which copies can be made."""
        return self.places[name]

    def border_byte(self, value: int) -> int:
        """Give the byte in memory of what a border holds."""
        return value

    def narrow(self, image: Image) -> Image:
        """Lay out an image of a few channels closely."""
        return Image.of(image.shape, image.pads, image.value, True, image.dtype)

    # ---- what a segment reads and leaves ---------------------------------------------------------------------

    def entering(self) -> list[str]:
        """Name the values that come from outside."""
        made = {output for node in self.nodes for output in node.outputs}
        names = (name for node in self.nodes for name in self.activations(node))
        return [name for name in dict.fromkeys(names) if name and name not in made]

    def leaving(self) -> list[str]:
        """Name the values that somebody outside reads."""
        made = {output for node in self.nodes for output in node.outputs}
        return sorted(name for name in made if self.is_read_outside(name))

    def is_read_outside(self, name: str) -> bool:
        """Whether a value is an output, or an operand of a node elsewhere."""
        inside = {id(node) for node in self.nodes}
        return name in self.graph.outputs or any(id(node) not in inside for node in self.graph.consumers[name])

    def plan(self, kept: Sequence[str] = ()) -> MemoryPlan:
        """Plan the memory; nothing else may use that of `kept` storages."""
        uses = [[name for name in launch.arguments.values() if name in self.storages] for launch in self.launches]
        return plan_memory(list(self.storages.values()), uses, frozenset(kept))

    # ---- memory ----------------------------------------------------------------------------------------------

    def new_image(self, name: str) -> Image:
        """Lay out a value as its readers need it, and give it memory."""
        image = self._wished(name, is_gathered=False)
        self.store_image(name, f"t:{name}", image)
        return image

    def new_plain(self, name: str) -> Placed:
        """Give a result memory in row-major order."""
        shape = self.graph.shape(name)
        storage, size, kind = f"t:{name}", prod(shape), self.kind_of(name)
        self.storages[storage] = Storage(storage, self.bytes(size, kind) + self.slack)
        self.places[name] = Placed(storage, size, View.plain(shape), None, kind)
        return self.places[name]

    def store_image(self, name: str, storage: str, image: Image) -> None:
        """Give an image memory, and say that a value lies there."""
        outline = (image.batch, image.height, image.width, image.pitch, image.pads, image.value, image.dtype)
        border = None if image.is_dense else outline
        self.storages[storage] = Storage(storage, image.bytes, border, self.border_byte(image.value))
        self.places[name] = Placed(storage, image.size, image.view, image, image.dtype)

    def bytes(self, count: int, kind: DType | None = None) -> int:
        """Give the bytes of some elements."""
        return count * (kind or self.element).bits // 8

    def image(self, node: Node, name: str, need: Need | None = None) -> tuple[str, Image]:
        """Give a value as an image that a reader can use, copied where it is none."""
        wanted = need or self._need(node, name)
        if self.places[name].image is None:
            self.gather(name, self.places[name], f"t:{name}", self._wished(name, is_gathered=True))
        placed = self.places[name]
        image = placed.image
        assert image is not None
        if _serves(image, wanted):
            return placed.storage, image
        copied = Image.of(image.shape, wanted.pads, wanted.value, dtype=self.kind_of(name))
        storage = f"t:{name}:{len(self.launches)}"
        self.gather(name, placed, storage, copied)
        self.places[name] = placed
        return storage, copied

    def _wished(self, name: str, is_gathered: bool) -> Image:
        """Give the layout that most readers can use as it is."""
        needs = [self._need(node, name) for node in self.graph.consumers[name] if node in self.nodes]
        narrow = is_gathered and bool(needs) and all(need.is_narrow for need in needs)
        bordered = [need for need in needs if any(need.pads)]
        value = bordered[0].value if bordered else 0
        pads = _NO_PADS
        for need in bordered:
            if need.value == value:
                pads = _wider(pads, need.pads)
        image = Image.of(self.graph.shape(name), pads, value, dtype=self.kind_of(name))
        return self.narrow(image) if narrow else image

    def _need(self, node: Node, name: str) -> Need:
        sliding = self.sliding(node)
        if sliding is None or node.inputs[0] != name:
            return Need()
        window = sliding.window
        extents = self.graph.shape(name)[2:]
        positions = window.output_extents(*extents)
        after = [
            max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - extent - before)
            for count, stride, kernel, dilation, extent, before in zip(
                positions, window.strides, window.kernel, window.dilations, extents, window.pads, strict=False
            )
        ]
        pads = (window.pads[0], window.pads[1], after[0], after[1])
        is_narrow = sliding.is_dense and self.graph.shape(name)[1] <= NARROW and window.dilations[1] == 1
        return Need(pads, sliding.value, is_narrow)

    # ---- launches --------------------------------------------------------------------------------------------

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Keep an array that kernels read."""
        self.constants[name] = np.ascontiguousarray(array)
        return name


def layer_name(node: Node) -> str:
    """Name the layer that a node computes."""
    return node.name


def _wider(a: Pads, b: Pads) -> Pads:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _serves(image: Image, need: Need) -> bool:
    if image.pitch <= NARROW and not need.is_narrow:
        return False
    if not any(need.pads):
        return True
    return image.value == need.value and all(a >= b for a, b in zip(image.pads, need.pads, strict=True))
