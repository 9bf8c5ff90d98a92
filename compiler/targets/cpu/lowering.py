"""What lowering a segment keeps track of on a processor: the caller's memory, offset bytes, and kernels used again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.cpu import pointwise
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish, Requantization
from tilewright.compiler.targets.cpu.kernel import Kernel, Source
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.program import Launch, Segment, Terminal
from tilewright.compiler.targets.cpu.rows import broadcast
from tilewright.compiler.targets.kernels.integer_operands import IntegerOperands
from tilewright.compiler.targets.kernels.layout import ALIGNMENT, Image, Placed, View
from tilewright.compiler.targets.kernels.lowering import ELEMENTS, layer_name
from tilewright.compiler.targets.kernels.memory_plan import Storage
from tilewright.compiler.targets.kernels.scaling import continued
from tilewright.isa.ir import DType


@dataclass
class CpuLowering(IntegerOperands[Launch]):
    """The state of lowering one segment. Bytes in memory are 128 more than int8; what enters may be signed.

    Attributes
    ----------
    level : Level
    """

    level: Level
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

    @property
    def element(self) -> DType:
        """Type of the values in memory."""
        return DType.U8

    # ---- memory ----------------------------------------------------------------------------------------------

    def border_byte(self, value: int) -> int:
        """Give the byte in memory of what a border holds."""
        return value + OFFSET

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
        self._move(name, placed, Placed(storage, prod(shape), View.plain(shape), None, ELEMENTS[dtype]))

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

    def operand(self, name: str) -> Placed:
        """Give a value as offset bytes, copied where it is signed."""
        placed = self.places[name]
        if placed.dtype != DType.I8:
            return placed
        storage, size = f"t:{name}:bytes", prod(placed.view.shape)
        found = Placed(storage, size, View.plain(placed.view.shape), None, DType.U8)
        if storage not in self.storages:
            self.storages[storage] = Storage(storage, size)
            self._move(name, placed, found)
        self.places[name] = found
        return found

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
        self.storages[storage] = Storage(storage, size + self.slack)
        return Placed(storage, size, View(shape, strides), None, DType.U8)

    def rows_of(self, name: str) -> Placed:
        """Give a value with its last dimension side by side, where whole vectors may be read."""
        placed = self.operand(name)
        if placed.view.strides[-1:] == (1,) and not placed.storage.startswith("in:"):
            return placed
        return self.padded_rows(name, placed, placed.view.shape[-2] if len(placed.view.shape) > 1 else 1)

    def padded_rows(self, name: str, placed: Placed, rows: int) -> Placed:
        """Copy a value to rows of whole vectors, and so many of them."""
        found = self._rows(f"t:{name}:rows{rows}", placed.view.shape, rows)
        self._move(name, placed, found)
        return found

    def row_residual(self, node: Node) -> tuple[dict[str, str], Placed | None]:
        """Give a node's second operand, with its last dimension side by side."""
        name = qops.operand(node, "residual")
        if not name:
            return {}, None
        shape = self.graph.shape(node.output)
        placed = self.rows_of(name)
        if placed.view.shape[-1] != shape[-1]:
            repeated = broadcast(placed.view, (*placed.view.shape[:-1], shape[-1]))
            placed = self.padded_rows(f"{name}:repeated", replace(placed, view=repeated), repeated.shape[-2])
        return {"residual": placed.storage}, placed

    # ---- launches --------------------------------------------------------------------------------------------

    def gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        """Append the launch that brings a value into an image."""
        flip = placed.dtype == DType.I8
        source: Source = pointwise.Move(placed.view, placed.size, image.view, image.size, flip)
        if pointwise.ZipPlanes.fits(placed.view, image):
            source = pointwise.ZipPlanes(placed.view, placed.size, image, flip)
        if storage == placed.storage:
            storage += ":image"
        self.store_image(name, storage, image)
        self._launch(source, {"x": placed.storage, "y": storage}, name, "copy", 0)

    def copy(self, node: Node, placed: Placed, view: View, target: Placed, what: str = "") -> None:
        """Append the copy of a value, in row-major order, into a view of a target."""
        source = pointwise.Move(placed.view, placed.size, view, target.size)
        self.emit(node, source, {"x": placed.storage, "y": target.storage})

    def _move(self, name: str, placed: Placed, target: Placed) -> None:
        """Append the copy of a value, signed bytes as offset ones or the other way where they differ."""
        flip = (placed.dtype == DType.I8) != (target.dtype == DType.I8)
        source = pointwise.Move(placed.view, placed.size, target.view, target.size, flip)
        self._launch(source, {"x": placed.storage, "y": target.storage}, name, "copy", 0)

    def _launch(self, source: Source, arguments: dict[str, str], layer: str, op: str, macs: int) -> None:
        kernel = self.kernels.get(source)
        if kernel is None:
            kernel = self.kernels[source] = source.build(f"k{len(self.kernels)}_{type(source).__name__.lower()}")
        self.launches.append(Launch(kernel, arguments, layer, op, macs))

    def emit(self, node: Node, source: Source, arguments: Mapping[str, str], macs: int = 0) -> None:
        """Append a launch that computes a node."""
        self._launch(source, dict(arguments), layer_name(node), node.op, macs)

    # ---- operators -------------------------------------------------------------------------------------------

    def scaling(
        self, node: Node, less: NDArray[Any] | int = 0, largest: int = 1 << 31, region: int | None = None
    ) -> Requantization:
        """Give the requantization of a node: from its bias `less` is taken, what bytes are too large by.

        Where the constants are those of regions, only one holds.
        """
        bias, multiplier, shift = (self.array(node, name) for name in ("bias", "multiplier", "shift"))
        if region is not None:
            multiplier, shift = multiplier[region : region + 1], shift[region : region + 1]
        wrapped = (bias.astype(np.int64) - less).astype(np.int32)
        return Requantization.of(self.level, wrapped, multiplier, shift, largest)

    def finish(self, node: Node, scaling: Requantization | None) -> Finish:
        """Give what follows the sums of a node."""
        return Finish.of(self.level, node.get("epilogue") or qops.Epilogue(), scaling, self.has_table(node))

    def parameters(
        self, node: Node, scaling: Requantization | None, channels: int, has_bias: bool = True
    ) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays: dict[str, NDArray[Any]] = {}
        if scaling is not None:
            arrays = {key: continued(array, channels) for key, array in scaling.arrays.items()}
            if has_bias:
                arrays["bias"] = continued(scaling.bias, channels)
        if self.has_table(node):
            arrays["table"] = self.array(node, "table").astype(np.int8).view(np.uint8) ^ np.uint8(OFFSET)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}
