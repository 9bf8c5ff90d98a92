"""What lowering a segment keeps track of on a GPU: what enters and leaves, and launches with the bytes they move."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.targets.gpu import pointwise
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.program import Launch, Port, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser
from tilewright.compiler.targets.kernels.layout import ALIGNMENT, Image, Placed, View
from tilewright.compiler.targets.kernels.lowering import ELEMENTS, Lowering, layer_name
from tilewright.compiler.targets.kernels.memory_plan import Storage
from tilewright.isa.errors import CapacityError

#: Places in a tensor are computed in 32 bits.
_LARGEST = 1 << 31


@dataclass
class GpuLowering(Lowering[Launch], ABC):
    """The state of lowering one segment.

    Attributes
    ----------
    choose : callable
        Gives the schedule of each convolution and matrix product.
    """

    choose: Chooser

    def segment(self, lower: Callable[[Node], None]) -> Segment:
        """Lower the nodes, each by `lower`."""
        inputs = {name: self._enter(name) for name in self.entering()}
        for node in self.nodes:
            lower(node)
        outputs = {name: self._leave(name) for name in self.leaving()}
        for storage in self.storages.values():
            if storage.size >= _LARGEST:
                raise CapacityError(
                    f"tensor `{storage.name.partition(':')[2]}` takes {storage.size:,} bytes with its border: kernels "
                    f"reach less than {_LARGEST:,}; use a smaller batch"
                )
        plan = self.plan([port.storage for port in (*inputs.values(), *outputs.values())])
        return Segment(tuple(self.launches), plan, self.constants, inputs, outputs)

    # ---- memory ----------------------------------------------------------------------------------------------

    def _enter(self, name: str) -> Port:
        shape, kind = self.graph.shape(name), ELEMENTS[self.graph.dtype(name)]
        view, storage = View.plain(shape), f"in:{name}"
        image = Image.of(shape, dtype=kind)
        if kind == self.element and len(shape) != 4 and image.view.is_plain:
            self.places[name] = Placed(storage, image.size, view, image, kind)
            self.storages[storage] = Storage(storage, image.bytes)
        else:
            self.places[name] = Placed(storage, prod(shape), view, None, kind)
            self.storages[storage] = Storage(storage, self.bytes(prod(shape), kind))
        if name in self.graph.constants:  # a constant where a value is expected
            self.constants[storage] = self.graph.constants[name].reshape(-1)
        return Port(storage, view, self.graph.dtype(name))

    def _leave(self, name: str) -> Port:
        placed, kind = self.places[name], ELEMENTS[self.graph.dtype(name)]
        if placed.view.is_plain and placed.dtype == kind:
            return Port(placed.storage, placed.view, self.graph.dtype(name))
        storage, size = f"out:{name}", prod(placed.view.shape)
        target = Placed(storage, size, View.plain(placed.view.shape), None, kind)
        self.storages[storage] = Storage(storage, self.bytes(size, kind))
        kernel = pointwise.move(self.kernel_name("leave"), placed, target.view, target)
        moved = self.bytes(size, placed.dtype), self.bytes(size, kind)
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, moved)
        return Port(storage, target.view, self.graph.dtype(name))

    def new_rows(self, name: str) -> Placed:
        """Give a result memory in which its last dimension lies side by side."""
        shape = self.graph.shape(name)
        if len(shape) != 4:
            self.new_image(name)
            return self.places[name]
        pitch = -(-shape[-1] // ALIGNMENT) * ALIGNMENT
        strides = (*(prod(shape[axis + 1 : -1]) * pitch for axis in range(3)), 1)
        storage, size = f"t:{name}", prod(shape[:-1]) * pitch
        self.storages[storage] = Storage(storage, self.bytes(size))
        self.places[name] = Placed(storage, size, View(shape, strides), None, self.element)
        return self.places[name]

    # ---- launches --------------------------------------------------------------------------------------------

    def kernel_name(self, what: str) -> str:
        """Name the next launch's kernel."""
        return f"k{len(self.launches)}_{what}"

    def gather(self, name: str, placed: Placed, storage: str, image: Image) -> None:
        """Append the launch that brings a value into an image."""
        is_planar = pointwise.is_planar(placed.view, image)
        build = pointwise.gather_planes if is_planar else pointwise.gather
        kernel = build(self.kernel_name("gather"), placed, image)
        self.store_image(name, storage, image)
        size = prod(image.shape)
        moved = self.bytes(size, placed.dtype), self.bytes(size, image.dtype)
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, moved)

    def copy(self, node: Node, placed: Placed, view: View, target: Placed, what: str) -> None:
        """Append the copy of a value, in row-major order, into a view of a target."""
        kernel = pointwise.move(self.kernel_name(what), placed, view, target)
        self.emit(node, kernel, {"x": placed.storage, "y": target.storage})

    def _launch(
        self, kernel: Kernel, arguments: dict[str, str], layer: str, op: str, macs: int, moved: tuple[int, int]
    ) -> None:
        self.launches.append(Launch(kernel, arguments, layer, op, macs, *moved))

    def emit(self, node: Node, kernel: Kernel, arguments: Mapping[str, str], macs: int = 0, constants: int = 0) -> None:
        """Append a launch that computes a node."""
        read = sum(prod(self.graph.shape(name)) for name in dict.fromkeys(self.activations(node)) if name) + constants
        written = prod(self.graph.shape(node.output))
        moved = self.bytes(read), self.bytes(written)
        self._launch(kernel, dict(arguments), layer_name(node), node.op, macs, moved)
