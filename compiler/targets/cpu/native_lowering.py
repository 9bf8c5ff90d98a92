"""What lowering a segment keeps track of on a processor: the caller's memory, and kernels used again."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import ClassVar

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu import pointwise
from tilewright.compiler.targets.cpu.convolution import Convolution
from tilewright.compiler.targets.cpu.kernel import Kernel, Source
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.program import Launch, Segment, Terminal
from tilewright.compiler.targets.cpu.schedules import Chooser
from tilewright.compiler.targets.kernels.layout import ALIGNMENT, Image, Placed, View
from tilewright.compiler.targets.kernels.lowering import ELEMENTS, Lowering, layer_name
from tilewright.compiler.targets.kernels.memory_plan import Storage
from tilewright.isa.ir import DType

_DOT = 4  # products of bytes in a dot product


@dataclass
class NativeLowering(Lowering[Launch], ABC):
    """The state of lowering one segment.

    Attributes
    ----------
    level : Level
    choose : callable
        Gives the schedules of kernels.
    """

    level: Level
    choose: Chooser
    terminals: dict[str, Terminal] = field(default_factory=dict, init=False)
    kernels: dict[Source, Kernel] = field(default_factory=dict, init=False)

    slack: ClassVar[int] = 256  # whole vectors are read

    def segment(self, lower: Callable[[Node], None]) -> Segment:
        """Lower the nodes, each by `lower`."""
        entering = self.entering()
        for name in entering:
            self._enter(name)
        for node in self.nodes:
            lower(node)
        leaving = self.leaving()
        for name in leaving:
            self._leave(name)
        inputs = tuple(name for name in entering if name not in self.graph.constants)
        return Segment(
            tuple(self.kernels.values()), tuple(self.kernels), tuple(self.launches), self.plan(), self.constants,
            self.terminals, inputs, tuple(leaving), self.level,
        )  # fmt: skip

    # ---- memory ----------------------------------------------------------------------------------------------

    def narrow(self, image: Image) -> Image:
        """Lay out an image of a few channels without gaps."""
        return replace(image, pitch=image.channels)

    def _enter(self, name: str) -> None:
        """Give a value from outside a place: where the caller has it, as it is."""
        shape, kind = self.graph.shape(name), ELEMENTS[self.graph.dtype(name)]
        place = Placed(f"in:{name}", prod(shape), View.plain(shape), None, kind)
        self.places[name] = place
        if name in self.graph.constants:
            array = np.ascontiguousarray(self.graph.constants[name]).reshape(-1)
            self.constants[place.storage] = array
        else:
            self.terminals[place.storage] = Terminal(name, self.graph.dtype(name), shape)

    def _leave(self, name: str) -> None:
        """Bring a value to where the caller wants it."""
        storage, dtype = f"out:{name}", self.graph.dtype(name)
        if storage in self.terminals:
            return
        placed = self.places[name]
        shape = placed.view.shape
        self.terminals[storage] = Terminal(name, dtype, shape)
        self.move(name, placed, Placed(storage, prod(shape), View.plain(shape), None, ELEMENTS[dtype]))

    def output_storage(self, name: str) -> str:
        """Give the place of a result that is as the caller wants it: plain, and no byte of a network."""
        if self.is_read_outside(name):
            self.terminals[f"out:{name}"] = Terminal(name, self.graph.dtype(name), self.graph.shape(name))
            return f"out:{name}"
        size = prod(self.graph.shape(name)) * np.dtype(self.graph.dtype(name)).itemsize
        self.storages[f"t:{name}"] = Storage(f"t:{name}", size)
        return f"t:{name}"

    def scratch(self, name: str, size: int) -> str:
        """Give memory to what is only between two launches."""
        storage = f"t:{name}"
        self.storages[storage] = Storage(storage, size + self.slack)
        return storage

    def new_rows(self, name: str) -> Placed:
        """Give a result memory in which its last dimension lies side by side, in whole vectors."""
        shape = self.graph.shape(name)
        if len(shape) != 4:
            self.new_image(name)
            return self.places[name]
        self.places[name] = self._rows(f"t:{name}", shape, shape[-2])
        return self.places[name]

    def _rows(self, storage: str, shape: tuple[int, ...], rows: int) -> Placed:
        """Lay out rows: each in whole vectors, and so many, at least those of the shape, in each matrix."""
        pitch = -(-shape[-1] // ALIGNMENT) * ALIGNMENT
        extents = (*shape[:-2], rows, pitch)
        strides = (*(prod(extents[axis + 1 :]) for axis in range(len(shape) - 1)), 1)
        size = prod(extents)
        self.storages[storage] = Storage(storage, self.bytes(size) + self.slack)
        return Placed(storage, size, View(shape, strides), None, self.element)

    # ---- launches --------------------------------------------------------------------------------------------

    def gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        """Append the launch that brings a value into an image."""
        flip = placed.dtype == DType.I8
        source: Source = self._copy(placed, image.view, image.size, flip, image.dtype)
        if self.element == DType.U8 and pointwise.ZipPlanes.fits(placed.view, image):
            source = pointwise.ZipPlanes(placed.view, placed.size, image, flip)
        if storage == placed.storage:
            storage += ":image"
        self.store_image(name, storage, image)
        self._launch(source, {"x": placed.storage, "y": storage}, name, "copy", 0)

    def copy(self, node: Node, placed: Placed, view: View, target: Placed, what: str = "") -> None:
        """Append the copy of a value, in row-major order, into a view of a target."""
        source = self._copy(placed, view, target.size, False, target.dtype)
        self.emit(node, source, {"x": placed.storage, "y": target.storage})

    def move(self, name: str, placed: Placed, target: Placed) -> None:
        """Append the copy of a value, signed bytes as offset ones or the other way where they differ."""
        flip = (placed.dtype == DType.I8) != (target.dtype == DType.I8)
        source = self._copy(placed, target.view, target.size, flip, target.dtype)
        self._launch(source, {"x": placed.storage, "y": target.storage}, name, "copy", 0)

    def _copy(self, placed: Placed, view: View, size: int, flip: bool, result: DType) -> pointwise.Move:
        """Describe a copy; floats may become narrower or wider."""
        dtype = placed.dtype if placed.dtype.is_float else self.element
        other = result if result.is_float and result != dtype else None
        return pointwise.Move(placed.view, placed.size, view, size, flip, dtype, other)

    def _launch(self, source: Source, arguments: dict[str, str], layer: str, op: str, macs: int) -> None:
        kernel = self.kernels.get(source)
        if kernel is None:
            kernel = self.kernels[source] = source.build(f"k{len(self.kernels)}_{type(source).__name__.lower()}")
        rate = source.rate if isinstance(source, Convolution) else 1 if self.element.is_float else _DOT
        self.launches.append(Launch(kernel, arguments, layer, op, macs, rate))

    def emit(self, node: Node, source: Source, arguments: Mapping[str, str], macs: int = 0) -> None:
        """Append a launch that computes a node."""
        self._launch(source, dict(arguments), layer_name(node), node.op, macs)
