"""What lowering a segment keeps track of: values in memory, layouts that readers ask for, constants, launches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import Window
from tilewright.compiler.targets.gpu import pointwise
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.program import Launch, Port, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser
from tilewright.compiler.targets.kernels.layout import NARROW, Image, Pads, View
from tilewright.compiler.targets.kernels.memory_plan import Storage, plan_memory
from tilewright.isa.errors import CapacityError
from tilewright.isa.ir import DType

_NO_PADS: Pads = (0, 0, 0, 0)

#: Element types of graphs.
_TYPES = {"int8": DType.I8, "float16": DType.F16, "float32": DType.F32}

#: Places in a tensor are computed in 32 bits.
_LARGEST = 1 << 31


@dataclass(frozen=True)
class Need:
    """What a reader asks of an image."""

    pads: Pads = _NO_PADS
    value: int = 0
    is_narrow: bool = False


@dataclass(frozen=True)
class Placed:
    """A value in memory: where, of how many elements, in which order and, when it is one, as which image."""

    storage: str
    size: int
    view: View
    image: Image | None = None
    dtype: DType = DType.I8


@dataclass(frozen=True)
class Sliding:
    """A window that a node slides over an image.

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
class Lowering(ABC):
    """The state of lowering one segment: where values lie, and the launches so far."""

    graph: Graph
    nodes: tuple[Node, ...]
    choose: Chooser
    places: dict[str, Placed] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def segment(self, lower: Callable[[Node], None]) -> Segment:
        """Lower the nodes, each by `lower`."""
        made = {output for node in self.nodes for output in node.outputs}
        entering = dict.fromkeys(
            name for node in self.nodes for name in self.activations(node) if name and name not in made
        )
        inputs = {name: self._enter(name) for name in entering}
        for node in self.nodes:
            lower(node)
        leaving = [name for name in made if name in self.graph.outputs or self._is_read_outside(name)]
        outputs = {name: self._leave(name) for name in sorted(leaving)}
        kept = frozenset(port.storage for port in (*inputs.values(), *outputs.values()))
        uses = [[name for name in launch.arguments.values() if name in self.storages] for launch in self.launches]
        for storage in self.storages.values():
            if storage.size >= _LARGEST:
                raise CapacityError(
                    f"tensor `{storage.name.partition(':')[2]}` takes {storage.size:,} bytes with its border: kernels "
                    f"reach less than {_LARGEST:,}; use a smaller batch"
                )
        plan = plan_memory(list(self.storages.values()), uses, kept)
        return Segment(tuple(self.launches), plan, self.constants, inputs, outputs)

    @property
    @abstractmethod
    def element(self) -> DType:
        """Type of the values in memory."""

    @abstractmethod
    def activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""

    @abstractmethod
    def sliding(self, node: Node) -> Sliding | None:
        """Give the window that a node slides over its first input, or None."""

    def _is_read_outside(self, name: str) -> bool:
        inside = {id(node) for node in self.nodes}
        return any(id(node) not in inside for node in self.graph.consumers[name])

    # ---- memory ----------------------------------------------------------------------------------------------

    def _enter(self, name: str) -> Port:
        shape, kind = self.graph.shape(name), _TYPES[self.graph.dtype(name)]
        view, storage = View.plain(shape), f"in:{name}"
        image = Image.of(shape, dtype=kind)
        if kind == self.element and len(shape) != 4 and image.view.is_plain:
            self.places[name] = Placed(storage, image.size, view, image, kind)
            self.storages[storage] = Storage(storage, image.bytes)
        else:
            self.places[name] = Placed(storage, prod(shape), view, None, kind)
            self.storages[storage] = Storage(storage, _bytes(prod(shape), kind))
        if name in self.graph.constants:  # a constant where a value is expected
            self.constants[storage] = self.graph.constants[name].reshape(-1)
        return Port(storage, view, self.graph.dtype(name))

    def _leave(self, name: str) -> Port:
        placed, kind = self.places[name], _TYPES[self.graph.dtype(name)]
        if placed.view.is_plain and placed.dtype == kind:
            return Port(placed.storage, placed.view, self.graph.dtype(name))
        storage = f"out:{name}"
        view = View.plain(placed.view.shape)
        size = prod(view.shape)
        self.storages[storage] = Storage(storage, _bytes(size, kind))
        kinds = placed.dtype, kind
        kernel = pointwise.move(self.kernel_name("leave"), placed.view, placed.size, view, size, kinds)
        moved = _bytes(size, placed.dtype), _bytes(size, kind)
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, moved)
        return Port(storage, view, self.graph.dtype(name))

    def kernel_name(self, what: str) -> str:
        """Name the next launch's kernel."""
        return f"k{len(self.launches)}_{what}"

    def new_image(self, name: str) -> Image:
        """Lay out a value as its readers need it, and give it memory."""
        image = self._wished(name, is_gathered=False)
        self._store_image(name, f"t:{name}", image)
        return image

    def _store_image(self, name: str, storage: str, image: Image) -> None:
        outline = (image.batch, image.height, image.width, image.pitch, image.pads, image.value, image.dtype)
        border = None if image.is_dense else outline
        self.storages[storage] = Storage(storage, image.bytes, border, image.value)
        self.places[name] = Placed(storage, image.size, image.view, image, image.dtype)

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
        return Image.of(self.graph.shape(name), pads, value, narrow, self.element)

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

    def image(self, node: Node, name: str, need: Need | None = None) -> tuple[str, Image]:
        """Give a value as an image that a reader can use, copied where it is none."""
        wanted = need or self._need(node, name)
        placed = self.places[name]
        if placed.image is None:
            self._gather(name, placed, f"t:{name}", self._wished(name, is_gathered=True))
            placed = self.places[name]
        image = placed.image
        assert image is not None
        if _serves(image, wanted):
            return placed.storage, image
        copied = Image.of(image.shape, wanted.pads, wanted.value, dtype=self.element)
        storage = f"t:{name}:{len(self.launches)}"
        self._gather(name, placed, storage, copied)
        self.places[name] = placed
        return storage, copied

    def _gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        is_planar = pointwise.is_planar(placed.view, image)
        build = pointwise.gather_planes if is_planar else pointwise.gather
        kernel = build(self.kernel_name("gather"), placed.view, placed.size, image, placed.dtype)
        self._store_image(name, storage, image)
        size = prod(image.shape)
        moved = _bytes(size, placed.dtype), _bytes(size, image.dtype)
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, moved)

    def move(self, node: Node, placed: Placed, view: View, size: int) -> None:
        """Append the copy of a value in row-major order of both views."""
        storage, kinds = f"t:{node.output}", (placed.dtype, self.element)
        self.storages[storage] = Storage(storage, _bytes(size, self.element))
        kernel = pointwise.move(self.kernel_name(node.op), placed.view, placed.size, view, size, kinds)
        self.places[node.output] = Placed(storage, size, view, None, self.element)
        self.emit(node, kernel, {"x": placed.storage, "y": storage})

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Keep an array that kernels read."""
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def _launch(
        self, kernel: Kernel, arguments: dict[str, str], layer: str, op: str, macs: int, moved: tuple[int, int]
    ) -> None:
        self.launches.append(Launch(kernel, arguments, layer, op, macs, *moved))

    def emit(self, node: Node, kernel: Kernel, arguments: Mapping[str, str], macs: int = 0, constants: int = 0) -> None:
        """Append a launch that computes a node."""
        read = sum(prod(self.graph.shape(name)) for name in dict.fromkeys(self.activations(node)) if name) + constants
        written = prod(self.graph.shape(node.output))
        moved = _bytes(read, self.element), _bytes(written, self.element)
        origin = node.origin[0] if node.origin else node.output
        self._launch(kernel, dict(arguments), origin, node.op, macs, moved)


def _wider(a: Pads, b: Pads) -> Pads:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _serves(image: Image, need: Need) -> bool:
    if image.pitch == NARROW and not need.is_narrow:
        return False
    if not any(need.pads):
        return True
    return image.value == need.value and all(a >= b for a, b in zip(image.pads, need.pads, strict=True))


def _bytes(count: int, kind: DType) -> int:
    return count * kind.bits // 8
