"""What lowering a segment keeps track of: values in memory, layouts that readers ask for, constants, launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.cpu import pointwise
from tilewright.compiler.targets.cpu.epilogue import OFFSET, Finish, Requantization
from tilewright.compiler.targets.cpu.kernel import Kernel, Source
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.program import Launch, Segment, Terminal
from tilewright.compiler.targets.cpu.rows import broadcast
from tilewright.compiler.targets.kernels.layout import ALIGNMENT, Image, Pads, View
from tilewright.compiler.targets.kernels.memory_plan import Storage, plan_memory
from tilewright.compiler.targets.kernels.scaling import continued

_NO_PADS: Pads = (0, 0, 0, 0)
_NARROW = 4


@dataclass(frozen=True)
class Need:
    """What a reader asks of an image."""

    pads: Pads = _NO_PADS
    value: int = 0
    is_narrow: bool = False


@dataclass(frozen=True)
class Placed:
    """A value in memory: where, in which order and, when it is one, as which image."""

    storage: str
    size: int
    view: View
    image: Image | None = None
    is_signed: bool = False


@dataclass
class Lowering:
    """The state of lowering one segment: where values lie, and the launches so far."""

    graph: Graph
    nodes: tuple[Node, ...]
    level: Level
    places: dict[str, Placed] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    terminals: dict[str, Terminal] = field(default_factory=dict)
    kernels: dict[Source, Kernel] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def segment(self, lowerings: Mapping[str, Callable[[Lowering, Node], None]]) -> Segment:
        """Lower the nodes, each as its operator says."""
        made = {output for node in self.nodes for output in node.outputs}
        entering = dict.fromkeys(
            name for node in self.nodes for name in self._activations(node) if name and name not in made
        )
        for name in entering:
            self._enter(name)
        for node in self.nodes:
            lowerings[node.op](self, node)
        leaving = [name for name in made if name in self.graph.outputs or self._is_read_outside(name)]
        for name in sorted(leaving):
            self._leave(name)
        uses = [[name for name in launch.arguments.values() if name in self.storages] for launch in self.launches]
        plan = plan_memory(list(self.storages.values()), uses, frozenset())
        inputs = tuple(name for name in entering if name not in self.graph.constants)
        return Segment(
            tuple(self.kernels.values()), tuple(self.kernels), tuple(self.launches), plan, self.constants,
            self.terminals, inputs, tuple(sorted(leaving)), self.level,
        )  # fmt: skip

    def _activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""
        if node.is_onnx:
            return [node.inputs[0]]
        operator = qops.OPERATORS[node.op]
        if operator.is_variadic:
            return list(node.inputs)
        return [name for formal, name in zip(operator.operands, node.inputs, strict=True) if not formal.is_constant]

    def _is_read_outside(self, name: str) -> bool:
        inside = {id(node) for node in self.nodes}
        return any(id(node) not in inside for node in self.graph.consumers[name])

    # ---- memory ----------------------------------------------------------------------------------------------

    def _enter(self, name: str) -> None:
        """Give a value from outside a place: where the caller has it, as it is."""
        shape = self.graph.shape(name)
        place = Placed(f"in:{name}", prod(shape), View.plain(shape), is_signed=self.graph.dtype(name) == "int8")
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
        target, size = View.plain(shape), prod(shape)
        flip = (dtype == "int8") != placed.is_signed
        self._launch(
            pointwise.Move(placed.view, placed.size, target, size, flip), {"x": placed.storage, "y": storage}, name,
            "copy", 0,
        )  # fmt: skip

    def output_storage(self, name: str) -> str:
        """Give the place of a result that is as the caller wants it: plain, and no byte of a network."""
        if name in self.graph.outputs or self._is_read_outside(name):
            self.terminals[f"out:{name}"] = Terminal(name, self.graph.dtype(name), self.graph.shape(name))
            return f"out:{name}"
        size = prod(self.graph.shape(name)) * np.dtype(self.graph.dtype(name)).itemsize
        self.storages[f"t:{name}"] = Storage(f"t:{name}", size)
        return f"t:{name}"

    def scratch(self, name: str, size: int) -> str:
        """Give memory to what is only between two launches."""
        storage = f"t:{name}"
        self.storages[storage] = Storage(storage, size + _SLACK)
        return storage

    def bytes_of(self, name: str) -> Placed:
        """Give a value as offset bytes, copied where it is signed."""
        placed = self.places[name]
        if not placed.is_signed:
            return placed
        storage, size = f"t:{name}:bytes", prod(placed.view.shape)
        view = View.plain(placed.view.shape)
        if storage not in self.storages:
            self.storages[storage] = Storage(storage, size)
            self._launch(
                pointwise.Move(placed.view, placed.size, view, size, True), {"x": placed.storage, "y": storage}, name,
                "copy", 0,
            )  # fmt: skip
        found = Placed(storage, size, view)
        self.places[name] = found
        return found

    def new_image(self, name: str) -> Image:
        """Lay out a value as its readers need it, and give it memory."""
        image = self._wished(name, is_gathered=False)
        self._store_image(name, f"t:{name}", image)
        return image

    def new_plain(self, name: str) -> Placed:
        """Give a result memory in row-major order."""
        shape = self.graph.shape(name)
        storage, size = f"t:{name}", prod(shape)
        self.storages[storage] = Storage(storage, size + _SLACK)
        self.places[name] = Placed(storage, size, View.plain(shape))
        return self.places[name]

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
        self.storages[storage] = Storage(storage, size + _SLACK)
        return Placed(storage, size, View(shape, strides))

    def rows_of(self, name: str) -> Placed:
        """Give a value with its last dimension side by side, where whole vectors may be read."""
        placed = self.bytes_of(name)
        if placed.view.strides[-1:] == (1,) and not placed.storage.startswith("in:"):
            return placed
        return self.padded_rows(name, placed, placed.view.shape[-2] if len(placed.view.shape) > 1 else 1)

    def padded_rows(self, name: str, placed: Placed, rows: int) -> Placed:
        """Copy a value to rows of whole vectors, and so many of them."""
        storage = f"t:{name}:rows{rows}"
        found = self._rows(storage, placed.view.shape, rows)
        source = pointwise.Move(placed.view, placed.size, found.view, found.size)
        self._launch(source, {"x": placed.storage, "y": storage}, name, "copy", 0)
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

    def _store_image(self, name: str, storage: str, image: Image) -> None:
        outline = (image.batch, image.height, image.width, image.pitch, image.pads, image.value)
        border = None if image.is_dense else outline
        self.storages[storage] = Storage(storage, image.size, border, image.value + OFFSET)
        self.places[name] = Placed(storage, image.size, image.view, image)

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
        return _image(self.graph.shape(name), pads, value, narrow)

    def _need(self, node: Node, name: str) -> Need:
        if node.op not in ("qconv2d", "qmaxpool", "qavgpool") or node.inputs[0] != name:
            return Need()
        window = qops.window(self.graph, node)
        extents = self.graph.shape(name)[2:]
        positions = window.output_extents(*extents)
        after = [
            max(0, (count - 1) * stride + (kernel - 1) * dilation + 1 - extent - before)
            for count, stride, kernel, dilation, extent, before in zip(
                positions, window.strides, window.kernel, window.dilations, extents, window.pads, strict=False
            )
        ]
        pads = (window.pads[0], window.pads[1], after[0], after[1])
        value = qops.INT8_MIN if node.op == "qmaxpool" else node["zero_in"]
        is_dense = node.op == "qconv2d" and node["groups"] == 1
        is_narrow = is_dense and self.graph.shape(name)[1] <= _NARROW and window.dilations[1] == 1
        return Need(pads, value, is_narrow)

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
        copied = Image.of(image.shape, wanted.pads, wanted.value)
        storage = f"t:{name}:{len(self.launches)}"
        self._gather(name, placed, storage, copied)
        self.places[name] = placed
        return storage, copied

    def _gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        source: Source = pointwise.Move(placed.view, placed.size, image.view, image.size, placed.is_signed)
        if pointwise.ZipPlanes.fits(placed.view, image):
            source = pointwise.ZipPlanes(placed.view, placed.size, image, placed.is_signed)
        origin = placed.storage
        if storage == origin:
            storage += ":image"
        self._store_image(name, storage, image)
        self._launch(source, {"x": origin, "y": storage}, name, "copy", 0)

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Keep an array that kernels read."""
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def _launch(self, source: Source, arguments: dict[str, str], layer: str, op: str, macs: int) -> None:
        kernel = self.kernels.get(source)
        if kernel is None:
            kernel = self.kernels[source] = source.build(f"k{len(self.kernels)}_{type(source).__name__.lower()}")
        self.launches.append(Launch(kernel, arguments, layer, op, macs))

    # ---- operators -------------------------------------------------------------------------------------------

    def array(self, node: Node, operand: str) -> NDArray[Any]:
        """Give a constant operand."""
        return np.asarray(self.graph.constants[qops.operand(node, operand)])

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
        has_table = bool(qops.has_operand(node.op, "table") and qops.operand(node, "table"))
        return Finish.of(self.level, node.get("epilogue") or qops.Epilogue(), scaling, has_table)

    def parameters(
        self, node: Node, scaling: Requantization | None, channels: int, has_bias: bool = True
    ) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays: dict[str, NDArray[Any]] = {}
        if scaling is not None:
            arrays = {key: continued(array, channels) for key, array in scaling.arrays.items()}
            if has_bias:
                arrays["bias"] = continued(scaling.bias, channels)
        if qops.has_operand(node.op, "table") and qops.operand(node, "table"):
            arrays["table"] = self.array(node, "table").astype(np.int8).view(np.uint8) ^ np.uint8(OFFSET)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}

    def residual(self, node: Node) -> tuple[dict[str, str], Image | None]:
        """Give a node's second operand as an argument."""
        name = qops.operand(node, "residual") if qops.has_operand(node.op, "residual") else ""
        if not name:
            return {}, None
        storage, image = self.image(node, name, Need())
        return {"residual": storage}, image

    def emit(self, node: Node, source: Source, arguments: Mapping[str, str], macs: int = 0) -> None:
        """Append a launch that computes a node."""
        origin = node.origin[0] if node.origin else node.output
        self._launch(source, dict(arguments), origin, node.op, macs)


_SLACK = 256  # bytes that reads of whole vectors may run over


def _image(shape: tuple[int, ...], pads: Pads, value: int, narrow: bool) -> Image:
    image = Image.of(shape, pads, value)
    return replace(image, pitch=image.channels) if narrow else image


def _wider(a: Pads, b: Pads) -> Pads:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _serves(image: Image, need: Need) -> bool:
    if image.pitch <= _NARROW and not need.is_narrow:
        return False
    if not any(need.pads):
        return True
    return image.value == need.value and all(a >= b for a, b in zip(image.pads, need.pads, strict=True))
