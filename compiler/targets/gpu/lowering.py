"""What lowering a segment keeps track of: values in memory, layouts that readers ask for, constants, launches."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu import pointwise
from tilewright.compiler.targets.gpu.epilogue import Finish, Scaling
from tilewright.compiler.targets.gpu.gemm import CHUNK, Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_direct import direct_gemm
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling, tiled_gemm
from tilewright.compiler.targets.gpu.gemm_warpgroup import STEP, Grouping, warpgroup_gemm
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.layout import NARROW, Image, Pads, View
from tilewright.compiler.targets.gpu.memory_plan import Storage, plan_memory
from tilewright.compiler.targets.gpu.program import Launch, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, Schedule
from tilewright.isa.errors import CapacityError

_NO_PADS: Pads = (0, 0, 0, 0)

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
    """A value in memory: where, in which order and, when it is one, as which image."""

    storage: str
    size: int
    view: View
    image: Image | None = None


@dataclass
class Lowering:
    """The state of lowering one segment: where values lie, and the launches so far."""

    graph: Graph
    nodes: tuple[Node, ...]
    choose: Chooser
    places: dict[str, Placed] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def segment(self, lowerings: Mapping[str, Callable[[Lowering, Node], None]]) -> Segment:
        """Lower the nodes, each as its operator says."""
        made = {output for node in self.nodes for output in node.outputs}
        entering = dict.fromkeys(
            name for node in self.nodes for name in self._activations(node) if name and name not in made
        )
        inputs = {name: self._enter(name) for name in entering}
        for node in self.nodes:
            lowerings[node.op](self, node)
        leaving = [name for name in made if name in self.graph.outputs or self._is_read_outside(name)]
        outputs = {name: self._leave(name) for name in sorted(leaving)}
        kept = frozenset(storage for storage, _ in (*inputs.values(), *outputs.values()))
        uses = [[name for name in launch.arguments.values() if name in self.storages] for launch in self.launches]
        for storage in self.storages.values():
            if storage.size >= _LARGEST:
                raise CapacityError(
                    f"tensor `{storage.name.partition(':')[2]}` takes {storage.size:,} bytes with its border: kernels "
                    f"reach less than {_LARGEST:,}; use a smaller batch"
                )
        plan = plan_memory(list(self.storages.values()), uses, kept)
        return Segment(tuple(self.launches), plan, self.constants, inputs, outputs)

    def _activations(self, node: Node) -> list[str]:
        """Name what a node reads that is no parameter."""
        operator = qops.OPERATORS[node.op]
        if operator.is_variadic:
            return list(node.inputs)
        return [name for formal, name in zip(operator.operands, node.inputs, strict=True) if not formal.is_constant]

    def _is_read_outside(self, name: str) -> bool:
        inside = {id(node) for node in self.nodes}
        return any(id(node) not in inside for node in self.graph.consumers[name])

    # ---- memory ----------------------------------------------------------------------------------------------

    def _enter(self, name: str) -> tuple[str, View]:
        shape = self.graph.shape(name)
        view = View.plain(shape)
        self.places[name] = Placed(f"in:{name}", prod(shape), view)
        self.storages[f"in:{name}"] = Storage(f"in:{name}", prod(shape))
        if name in self.graph.constants:  # a constant where a value is expected
            self.constants[f"in:{name}"] = self.graph.constants[name].reshape(-1)
        return f"in:{name}", view

    def _leave(self, name: str) -> tuple[str, View]:
        placed = self.places[name]
        if placed.view.is_plain:
            return placed.storage, placed.view
        storage = f"out:{name}"
        view = View.plain(placed.view.shape)
        self.storages[storage] = Storage(storage, prod(view.shape))
        kernel = pointwise.move(self.kernel_name("leave"), placed.view, placed.size, view, prod(view.shape))
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, (prod(view.shape), prod(view.shape)))
        return storage, view

    def kernel_name(self, what: str) -> str:
        """Name the next launch's kernel."""
        return f"k{len(self.launches)}_{what}"

    def new_image(self, name: str) -> Image:
        """Lay out a value as its readers need it, and give it memory."""
        image = self._wished(name, is_gathered=False)
        self._store_image(name, f"t:{name}", image)
        return image

    def _store_image(self, name: str, storage: str, image: Image) -> None:
        outline = (image.batch, image.height, image.width, image.pitch, image.pads, image.value)
        border = None if image.is_dense else outline
        self.storages[storage] = Storage(storage, image.size, border, image.value)
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
        return Image.of(self.graph.shape(name), pads, value, narrow)

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
        is_narrow = is_dense and self.graph.shape(name)[1] <= NARROW and window.dilations[1] == 1
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
        is_planar = pointwise.is_planar(placed.view, image)
        build = pointwise.gather_planes if is_planar else pointwise.gather
        kernel = build(self.kernel_name("gather"), placed.view, placed.size, image)
        self._store_image(name, storage, image)
        size = prod(image.shape)
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, (size, size))

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Keep an array that kernels read."""
        self.constants[name] = np.ascontiguousarray(array)
        return name

    def _launch(
        self, kernel: Kernel, arguments: dict[str, str], layer: str, op: str, macs: int, moved: tuple[int, int]
    ) -> None:
        self.launches.append(Launch(kernel, arguments, layer, op, macs, *moved))

    # ---- operators -------------------------------------------------------------------------------------------

    def finish(self, node: Node, scaling: Scaling | None) -> Finish:
        """Give what follows the sums of a node."""
        has_table = bool(qops.has_operand(node.op, "table") and qops.operand(node, "table"))
        epilogue = node.get("epilogue") or qops.Epilogue()
        if scaling is None:
            return Finish(epilogue, has_table=has_table, has_scaling=False)
        return Finish(epilogue, scaling.is_high, scaling.has_shift, has_table)

    def scaling(self, node: Node) -> Scaling:
        """Give the requantization constants of a node."""
        bias, multiplier, shift = (self.array(node, name) for name in ("bias", "multiplier", "shift"))
        return Scaling.of(bias, multiplier, shift)

    def array(self, node: Node, operand: str) -> NDArray[Any]:
        """Give a constant operand."""
        return np.asarray(self.graph.constants[qops.operand(node, operand)])

    def parameters(self, node: Node, scaling: Scaling | None, channels: int) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays = dict(scaling.arrays(channels)) if scaling is not None else {}
        if qops.has_operand(node.op, "table") and qops.operand(node, "table"):
            arrays["table"] = self.array(node, "table").astype(np.int8)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}

    def residual(self, node: Node) -> tuple[dict[str, str], Image | None]:
        """Give a node's second operand as an argument."""
        name = qops.operand(node, "residual") if qops.has_operand(node.op, "residual") else ""
        if not name:
            return {}, None
        storage, image = self.image(node, name, Need())
        return {"residual": storage}, image

    def emit(self, node: Node, kernel: Kernel, arguments: Mapping[str, str], macs: int = 0, constants: int = 0) -> None:
        """Append a launch that computes a node."""
        read = sum(prod(self.graph.shape(name)) for name in self._activations(node) if name) + constants
        written = prod(self.graph.shape(node.output))
        origin = node.origin[0] if node.origin else node.output
        self._launch(kernel, dict(arguments), origin, node.op, macs, (read, written))

    def gemm(
        self, node: Node, gemm: Gemm, weight: NDArray[np.int8], scaling: Scaling, arguments: dict[str, str]
    ) -> None:
        """Append a convolution or matrix product."""
        chosen = self.choose(gemm)
        kernel = gemm_kernel(self.kernel_name(node.op), gemm, chosen)
        chunk = STEP if isinstance(chosen, Grouping) else CHUNK
        arguments["w"] = self.constant(f"{node.output}:w", gemm.pack(weight, chosen.columns, chosen.run, chunk))
        arguments |= self.parameters(node, scaling, padded_channels(gemm, chosen.columns))
        self.emit(node, kernel, arguments, gemm.macs, weight.size)


def gemm_kernel(name: str, gemm: Gemm, schedule: Schedule) -> Kernel:
    """Build the kernel of a convolution or matrix product."""
    if isinstance(schedule, Tiling):
        return tiled_gemm(name, gemm, schedule)
    if isinstance(schedule, Grouping):
        return warpgroup_gemm(name, gemm, schedule)
    return direct_gemm(name, gemm, schedule)


def _wider(a: Pads, b: Pads) -> Pads:
    return max(a[0], b[0]), max(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _serves(image: Image, need: Need) -> bool:
    if image.pitch == NARROW and not need.is_narrow:
        return False
    if not any(need.pads):
        return True
    return image.value == need.value and all(a >= b for a, b in zip(image.pads, need.pads, strict=True))
