"""From the integer graph to launches of kernels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler import qops
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.partition import is_integer_node
from tilewright.compiler.targets.gpu import pointwise, rows, windows
from tilewright.compiler.targets.gpu.epilogue import Finish, Scaling
from tilewright.compiler.targets.gpu.gemm import CHUNK, Gemm, padded_channels
from tilewright.compiler.targets.gpu.gemm_direct import direct_gemm
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling, tiled_gemm
from tilewright.compiler.targets.gpu.gemm_warpgroup import STEP, Grouping, warpgroup_gemm
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.layout import ALIGNMENT, NARROW, Image, Pads, View
from tilewright.compiler.targets.gpu.memory_plan import Storage, plan_memory
from tilewright.compiler.targets.gpu.program import GpuProgram, Launch, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, Schedule, by_model
from tilewright.isa.errors import CapacityError

_NO_PADS: Pads = (0, 0, 0, 0)

#: Places in a tensor are computed in 32 bits.
_LARGEST = 1 << 31


@dataclass(frozen=True)
class _Need:
    """What a reader asks of an image."""

    pads: Pads = _NO_PADS
    value: int = 0
    is_narrow: bool = False


@dataclass(frozen=True)
class _Placed:
    """A value in memory: where, in which order and, when it is one, as which image."""

    storage: str
    size: int
    view: View
    image: Image | None = None


def lower(graph: Graph, choose: Chooser = by_model) -> GpuProgram:
    """Compile an integer graph.

    Parameters
    ----------
    graph : Graph
    choose : callable
        Gives the schedule of each convolution and matrix product.

    Raises
    ------
    CapacityError
        When a tensor takes 2 GB or more.
    """
    steps: list[Segment | Node] = []
    for is_device, nodes in _parts(graph):
        if is_device:
            steps.append(_Lowering(graph, nodes, choose).segment())
        else:
            steps += nodes
    return GpuProgram(graph, tuple(steps))


def _parts(graph: Graph) -> list[tuple[bool, tuple[Node, ...]]]:
    """Group the nodes by where they run, as few groups as their order allows."""
    known = {*graph.inputs, *graph.constants, ""}
    pending, parts, is_device = list(graph.nodes), [], False
    while pending:
        taken: list[Node] = []
        rest: list[Node] = []
        for node in pending:
            if has_kernel(graph, node) == is_device and known.issuperset(node.inputs):
                taken.append(node)
                known.update(node.outputs)
            else:
                rest.append(node)
        if taken:
            parts.append((is_device, tuple(taken)))
        pending, is_device = rest, not is_device
    return parts


@dataclass
class _Lowering:
    """The state of lowering one segment."""

    graph: Graph
    nodes: tuple[Node, ...]
    choose: Chooser
    places: dict[str, _Placed] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    constants: dict[str, NDArray[Any]] = field(default_factory=dict)
    launches: list[Launch] = field(default_factory=list)

    def segment(self) -> Segment:
        made = {output for node in self.nodes for output in node.outputs}
        entering = dict.fromkeys(
            name for node in self.nodes for name in self._activations(node) if name and name not in made
        )
        inputs = {name: self._enter(name) for name in entering}
        for node in self.nodes:
            _LOWERINGS[node.op](self, node)
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
        self.places[name] = _Placed(f"in:{name}", prod(shape), view)
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
        kernel = pointwise.move(self._name("leave"), placed.view, placed.size, view, prod(view.shape))
        self._launch(kernel, {"x": placed.storage, "y": storage}, name, "copy", 0, (prod(view.shape), prod(view.shape)))
        return storage, view

    def _name(self, what: str) -> str:
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
        self.places[name] = _Placed(storage, image.size, image.view, image)

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

    def _need(self, node: Node, name: str) -> _Need:
        if node.op not in ("qconv2d", "qmaxpool", "qavgpool") or node.inputs[0] != name:
            return _Need()
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
        return _Need(pads, value, is_narrow)

    def image(self, node: Node, name: str, need: _Need | None = None) -> tuple[str, Image]:
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

    def _gather(self, name: str, placed: _Placed, storage: str, image: Image) -> None:
        is_planar = pointwise.is_planar(placed.view, image)
        build = pointwise.gather_planes if is_planar else pointwise.gather
        kernel = build(self._name("gather"), placed.view, placed.size, image)
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
        bias, multiplier, shift = (self._array(node, name) for name in ("bias", "multiplier", "shift"))
        return Scaling.of(bias, multiplier, shift)

    def _array(self, node: Node, operand: str) -> NDArray[Any]:
        return np.asarray(self.graph.constants[qops.operand(node, operand)])

    def parameters(self, node: Node, scaling: Scaling | None, channels: int) -> dict[str, str]:
        """Keep a node's constants, and name them by argument."""
        arrays = dict(scaling.arrays(channels)) if scaling is not None else {}
        if qops.has_operand(node.op, "table") and qops.operand(node, "table"):
            arrays["table"] = self._array(node, "table").astype(np.int8)
        return {key: self.constant(f"{node.output}:{key}", array) for key, array in arrays.items()}

    def residual(self, node: Node) -> tuple[dict[str, str], Image | None]:
        """Give a node's second operand as an argument."""
        name = qops.operand(node, "residual") if qops.has_operand(node.op, "residual") else ""
        if not name:
            return {}, None
        storage, image = self.image(node, name, _Need())
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
        kernel = gemm_kernel(self._name(node.op), gemm, chosen)
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


def _serves(image: Image, need: _Need) -> bool:
    if image.pitch == NARROW and not need.is_narrow:
        return False
    if not any(need.pads):
        return True
    return image.value == need.value and all(a >= b for a, b in zip(image.pads, need.pads, strict=True))


def _convolution(state: _Lowering, node: Node) -> None:
    graph = state.graph
    weight = np.asarray(graph.constants[qops.operand(node, "weight")])
    window = qops.window(graph, node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node)
    finish = state.finish(node, scaling)
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    pads = (window.pads[0], window.pads[1])
    if node["groups"] == 1:
        gemm = Gemm(x, y, window.kernel, window.strides, window.dilations, pads, finish, residual)
        state.gemm(node, gemm, weight, scaling, arguments)
        return
    macs = qops.mac_count(graph, node)
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, 1, residual)
    arguments |= state.parameters(node, scaling, y.pitch)
    if weight.shape[1] == 1 and weight.shape[0] == x.channels and max(window.kernel) <= 7:
        sliding = replace(sliding, across=_across(y))
        arguments["w"] = state.constant(f"{node.output}:w", sliding.pack(weight))
        state.emit(node, sliding.depthwise(state._name("depthwise")), arguments, macs, weight.size)
        return
    arguments["w"] = state.constant(f"{node.output}:w", weight.transpose(0, 2, 3, 1).reshape(-1))
    kernel = windows.plain_convolution(state._name("grouped"), sliding, weight.shape[1], node["groups"])
    state.emit(node, kernel, arguments, macs, weight.size)


def _across(y: Image) -> int:
    """Choose how many columns a thread computes: more when there are enough threads anyway."""
    threads = y.pixels * y.pitch // 4
    for across in (4, 2):
        if y.width >= across and threads // across >= 132 * 1024:
            return across
    return 1


def _matrix(state: _Lowering, node: Node) -> None:
    weight = np.asarray(state.graph.constants[qops.operand(node, "weight")])
    shape = state.graph.shape(node.inputs[0])
    storage, x = state.image(node, node.inputs[0], _Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    x, flat_y = _as_matrix(x, prod(shape[:-1])), _as_matrix(y, prod(shape[:-1]))
    scaling = state.scaling(node)
    gemm = Gemm(
        x, flat_y, (1, 1), (1, 1), (1, 1), (0, 0), state.finish(node, scaling),
        None if residual is None else _as_matrix(residual, prod(shape[:-1])),
    )  # fmt: skip
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    state.gemm(node, gemm, weight.T[:, :, None, None], scaling, arguments)


def _as_matrix(image: Image, rows: int) -> Image:
    """Read an image whose channels are the last dimension as rows."""
    assert image.pixels == rows
    return image


def _window_operator(state: _Lowering, node: Node) -> None:
    window = qops.window(state.graph, node)
    storage, x = state.image(node, node.inputs[0])
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    pads = (window.pads[0], window.pads[1])
    arguments |= {"x": storage, "y": state.places[node.output].storage}
    if node.op == "qmaxpool":
        finish = state.finish(node, None)
        sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, _across(y))
        state.emit(node, sliding.maxima(state._name("maxpool")), arguments)
        return
    region = int(_regions(state.graph, node).reshape(-1)[0])
    multiplier, shift = (state._array(node, name)[region : region + 1] for name in ("multiplier", "shift"))
    scaling = Scaling.of(state._array(node, "bias"), multiplier, shift)
    finish = state.finish(node, scaling)
    sliding = windows.Sliding(x, y, window.kernel, window.strides, window.dilations, pads, finish, 1, residual)
    arguments |= state.parameters(node, scaling, y.pitch)
    state.emit(node, sliding.sums(state._name("avgpool")), arguments)


def _global_average(state: _Lowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], _Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    kernel = windows.global_average(state._name("average"), x, y, state.finish(node, scaling), residual)
    state.emit(node, kernel, arguments)


def _pointwise(state: _Lowering, node: Node) -> None:
    storage, x = state.image(node, node.inputs[0], _Need())
    arguments, residual = state.residual(node)
    y = state.new_image(node.output)
    scaling = state.scaling(node) if node.op == "qrequantize" else None
    finish = state.finish(node, scaling)
    if node.op == "qclamp":
        finish = Finish(qops.Epilogue(clamp_low=node["low"], clamp_high=node["high"]), has_scaling=False)
    arguments |= {"x": storage, "y": state.places[node.output].storage, **state.parameters(node, scaling, y.pitch)}
    kernel = pointwise.Pointwise(x, y, finish, residual).kernel(state._name(node.op))
    state.emit(node, kernel, arguments)


def _operand(placed: _Placed) -> rows.Operand:
    return rows.Operand(placed.view, placed.size)


def _new_rows(state: _Lowering, name: str) -> rows.Operand:
    """Give a result memory in which its last dimension lies side by side."""
    shape = state.graph.shape(name)
    if len(shape) != 4:
        state.new_image(name)
        return _operand(state.places[name])
    pitch = -(-shape[-1] // ALIGNMENT) * ALIGNMENT
    strides = (*(prod(shape[axis + 1 : -1]) * pitch for axis in range(3)), 1)
    size = prod(shape[:-1]) * pitch
    state.storages[f"t:{name}"] = Storage(f"t:{name}", size)
    state.places[name] = _Placed(f"t:{name}", size, View(shape, strides))
    return _operand(state.places[name])


def _view_residual(state: _Lowering, node: Node) -> tuple[dict[str, str], rows.Operand | None]:
    name = qops.operand(node, "residual")
    if not name:
        return {}, None
    return {"residual": state.places[name].storage}, _operand(state.places[name])


def _row_operator(state: _Lowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    arguments, residual = _view_residual(state, node)
    y = _new_rows(state, node.output)
    scaling = state.scaling(node)
    channels = scaling.bias.size
    operator = rows.RowOperator(_operand(placed), y, state.finish(node, scaling), channels, residual)
    arguments |= {"x": placed.storage, "y": state.places[node.output].storage}
    arguments |= state.parameters(node, scaling, channels)
    if node.op == "qsoftmax":
        state.emit(node, operator.softmax(state._name("softmax"), node["scale"]), arguments)
        return
    negate = np.broadcast_to(state._array(node, "negate").astype(np.int32), (placed.view.shape[-1],))
    arguments["negate"] = state.constant(f"{node.output}:negate", negate)
    mean = node["mean_scale"], node["mean_shift"]
    kernel = operator.normalization(state._name("normalize"), mean, node["count_log"], node["epsilon"])
    state.emit(node, kernel, arguments)


def _batch_product(state: _Lowering, node: Node) -> None:
    x, b = state.places[node.inputs[0]], state.places[node.inputs[1]]
    arguments, residual = _view_residual(state, node)
    target = _new_rows(state, node.output)
    scaling = state.scaling(node)
    zeros = node["zero_in"], node["zero_y"]
    finish = state.finish(node, scaling)
    kernel = rows.batch_product(state._name("batchmatmul"), _operand(x), _operand(b), zeros, finish, target, residual)
    arguments |= {"x": x.storage, "y": b.storage, "y_out": state.places[node.output].storage}
    macs = prod(target.view.shape) * x.view.shape[-1]
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1), macs)


def _product(state: _Lowering, node: Node) -> None:
    x, b = state.places[node.inputs[0]], state.places[node.inputs[1]]
    target = _new_rows(state, node.output)
    scaling = state.scaling(node)
    zeros = node["zero_a"], node["zero_b"]
    kernel = rows.product(state._name("product"), _operand(x), _operand(b), zeros, state.finish(node, scaling), target)
    arguments = {"x": x.storage, "b": b.storage, "y": state.places[node.output].storage}
    state.emit(node, kernel, arguments | state.parameters(node, scaling, 1))


def _gather_places(state: _Lowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    target = _new_rows(state, node.output)
    axis = node["axis"] % len(target.view.shape)
    extent = placed.view.shape[axis]
    indices = tuple(int(i) % extent for i in node["indices"])
    kernel = rows.gather_places(state._name("gather"), _operand(placed), axis, indices, target)
    state.emit(node, kernel, {"x": placed.storage, "y": state.places[node.output].storage})


def _interleave(state: _Lowering, node: Node) -> None:
    y = state.new_image(node.output)
    target = state.places[node.output]
    high, wide = node["factors"]
    n, c, h, w = y.view.strides
    for number, name in enumerate(node.inputs):
        placed = state.places[name]
        start = y.view.offset + number // wide * h + number % wide * w
        part = View(placed.view.shape, (n, c, h * high, w * wide), start)
        kernel = pointwise.move(state._name("interleave"), placed.view, placed.size, part, y.size)
        state.emit(node, kernel, {"x": placed.storage, "y": target.storage})


def _split_heads(state: _Lowering, node: Node) -> None:
    placed, heads = state.places[node.inputs[0]], node["heads"]
    *outer, count, channels = placed.view.shape
    *steps, row, step = placed.view.strides
    depth = channels // heads
    view = View((*outer, heads, count, depth), (*steps, depth * step, row, step), placed.view.offset)
    state.places[node.output] = _Placed(placed.storage, placed.size, view)


def _merge_heads(state: _Lowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    *outer, heads, count, depth = placed.view.shape
    axes = tuple(range(len(outer)))
    source = placed.view.transposed((*axes, len(outer) + 1, len(outer), len(outer) + 2))
    y = _new_rows(state, node.output)
    *steps, row, step = y.view.strides
    part = View((*outer, count, heads, depth), (*steps, row, depth * step, step), y.view.offset)
    kernel = pointwise.move(state._name("merge"), source, placed.size, part, y.size)
    state.emit(node, kernel, {"x": placed.storage, "y": state.places[node.output].storage})


def _pad(state: _Lowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    y = state.new_image(node.output)
    target = state.places[node.output]
    begins = tuple(node["pads"])[: len(placed.view.shape)]
    kernel = pointwise.pad(state._name("pad"), placed.view, placed.size, begins, node["value"], y.view, y.size)
    state.emit(node, kernel, {"x": placed.storage, "y": target.storage})


def _concat(state: _Lowering, node: Node) -> None:
    y = state.new_image(node.output)
    target = state.places[node.output]
    axis = node["axis"] % len(y.view.shape)
    start = 0
    for name in node.inputs:
        placed = state.places[name]
        shape = placed.view.shape
        part = View(shape, y.view.strides, y.view.offset + start * y.view.strides[axis])
        kernel = pointwise.move(state._name("concat"), placed.view, placed.size, part, y.size)
        state.emit(node, kernel, {"x": placed.storage, "y": target.storage})
        start += shape[axis]


def _reshape(state: _Lowering, node: Node) -> None:
    placed, shape = state.places[node.inputs[0]], tuple(node["shape"])
    if placed.image is not None and _is_same_memory(placed.image, shape):
        image = Image.of(shape)
        state.places[node.output] = _Placed(placed.storage, placed.size, image.view, image)
        return
    if placed.view.is_plain:
        state.places[node.output] = _Placed(placed.storage, placed.size, View.plain(shape))
        return
    storage = f"t:{node.output}"
    view = View.plain(shape)
    state.storages[storage] = Storage(storage, prod(shape))
    kernel = pointwise.move(state._name("reshape"), placed.view, placed.size, view, prod(shape))
    state.places[node.output] = _Placed(storage, prod(shape), view)
    state.emit(node, kernel, {"x": placed.storage, "y": storage})


def _is_same_memory(image: Image, shape: tuple[int, ...]) -> bool:
    other = Image.of(shape)
    flat = image.is_dense and image.height * image.width == 1 and other.height * other.width == 1
    return flat and (image.batch, image.channels, image.pitch) == (other.batch, other.channels, other.pitch)


def _transpose(state: _Lowering, node: Node) -> None:
    placed = state.places[node.inputs[0]]
    view = placed.view.transposed(tuple(node["perm"]))
    state.places[node.output] = _Placed(placed.storage, placed.size, view)


_LOWERINGS: Mapping[str, Callable[[_Lowering, Node], None]] = {
    "qconv2d": _convolution,
    "qmatmul": _matrix,
    "qadd": _pointwise,
    "qmaxpool": _window_operator,
    "qavgpool": _window_operator,
    "qglobalavgpool": _global_average,
    "qrequantize": _pointwise,
    "qclamp": _pointwise,
    "qtable": _pointwise,
    "qsoftmax": _row_operator,
    "qnormalize": _row_operator,
    "qbatchmatmul": _batch_product,
    "qmul": _product,
    "qgather": _gather_places,
    "qinterleave": _interleave,
    "split_heads": _split_heads,
    "merge_heads": _merge_heads,
    "qpad": _pad,
    "qconcat": _concat,
    "reshape": _reshape,
    "transpose": _transpose,
}


def has_kernel(graph: Graph, node: Node) -> bool:
    """Whether a node can run on the GPU; the host computes the others."""
    if not is_integer_node(graph, node) or node.op not in _LOWERINGS:
        return False
    shape = graph.shape(node.inputs[0])
    if node.op == "qmatmul":
        return len(shape) != 4
    if node.op == "qavgpool":
        return len(set(_regions(graph, node).reshape(-1).tolist())) == 1
    return True


def _regions(graph: Graph, node: Node) -> NDArray[np.int64]:
    """Give which of an average's multipliers holds for each window."""
    height, width = graph.shape(node.inputs[0])[2:]
    counts = qops.window_counts(qops.window(graph, node), height, width, node["counted_pads"])
    return np.searchsorted(np.array(node["counts"]), counts)
