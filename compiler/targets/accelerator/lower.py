"""From the integer graph to a program: partition, placement, layers, streams, instructions."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod

import llvmlite
import numpy as np
import onnx

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.program import HostStep, Launch, LayerReport, Program, Transfer
from tilewright.compiler.qops import mac_count
from tilewright.compiler.targets.accelerator.chaining import Kept, border_loads, plan_chain
from tilewright.compiler.targets.accelerator.dram import ConstantPool, Lifetime, aligned, check_address_space, plan
from tilewright.compiler.targets.accelerator.emit import encode
from tilewright.compiler.targets.accelerator.layers import LayerContext, LayerSteps, layer_name, layer_steps
from tilewright.compiler.targets.accelerator.legality import is_depthwise
from tilewright.compiler.targets.accelerator.nests import TileTensorizer
from tilewright.compiler.targets.accelerator.operations import Operation, Step
from tilewright.compiler.targets.accelerator.ordering import ordered
from tilewright.compiler.targets.accelerator.partition import (
    Form,
    HostPlan,
    LaunchPlan,
    LayerPlan,
    Partition,
    form_layout,
    partition,
)
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.problems import Blocks, ideal_cycles
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.compiler.targets.accelerator.tokens import synchronise
from tilewright.isa.config import ISA_VERSION, Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine, InstructionSet, instruction_set


@dataclass(frozen=True)
class Options:
    """How to compile.

    Attributes
    ----------
    is_host_fallback : bool
        Let the host compute a layer of which no tile fits the scratchpads, instead of refusing the model.
    """

    is_host_fallback: bool = False


def lower(graph: Graph, config: Config, options: Options = Options()) -> Program:
    """Compile an integer graph.

    Raises
    ------
    CapacityError
        When a layer's smallest tile, or the whole program, does not fit a memory.
    """
    parts = partition(graph, config)
    for _ in range(len(graph.nodes) + 1):
        try:
            return _lowered(graph, parts, config)
        except _LayerTooLarge as error:
            if not options.is_host_fallback:
                raise CapacityError(str(error)) from None
            refused = {**_refusals(parts), error.node.output: str(error)}
            parts = partition(graph, config, [refused.get(node.outputs[0]) for node in graph.nodes])
    raise AssertionError("every layer was refused and still one was lowered")


class _LayerTooLarge(Exception):
    """A layer does not fit; carries its node."""

    def __init__(self, node: Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def _refusals(parts: Partition) -> dict[str, str]:
    return {step.node.output: step.reason for step in parts.steps if isinstance(step, HostPlan)}


def _lowered(graph: Graph, parts: Partition, config: Config) -> Program:
    isa = instruction_set(config)
    offsets, tensor_bytes = plan(_lifetimes(graph, parts, config), config)
    pool = ConstantPool(tensor_bytes, config)
    lowering = _Lowering(graph, isa, parts, offsets, pool, tensor_bytes)
    lowered = {id(step): lowering.launch(step) for step in parts.steps if isinstance(step, LaunchPlan)}
    start = pool.end
    words: list[bytes] = []
    steps: list[HostStep | Launch] = []
    count = 0
    for step in parts.steps:
        if isinstance(step, HostPlan):
            steps.append(HostStep(step.node, step.reason))
            continue
        data = lowered[id(step)]
        number = len(data) // isa.instruction_bytes
        steps.append(
            Launch(
                start, number, count,
                tuple(lowering.transfer(form) for form in step.uploads),
                tuple(lowering.transfer(form) for form in step.downloads),
            )
        )  # fmt: skip
        padding = aligned(len(data), config) - len(data)
        words.append(data + bytes(padding))
        start += len(data) + padding
        count += number
    check_address_space(start, config)
    image = np.concatenate([pool.image(), np.frombuffer(b"".join(words), np.uint8)])
    return Program(
        name=graph.name,
        config=config,
        toolchain=toolchain_versions(),
        inputs=tuple(graph.values[name] for name in graph.inputs),
        outputs=tuple(graph.values[name] for name in graph.outputs),
        constants=_host_constants(graph, parts),
        opsets=dict(graph.opsets),
        steps=tuple(steps),
        image_offset=tensor_bytes,
        image=image,
        dram_bytes=start,
        layers=tuple(lowering.reports),
        instruction_layers=np.array([op.layer for op in lowering.stream], np.int32),
        instruction_labels=tuple(op.label for op in lowering.stream),
    )


@lru_cache(maxsize=16)
def tile_tensorizer(config: Config) -> TileTensorizer:
    """Return the tensorizer of a configuration, which remembers the tiles that it has worked out."""
    return TileTensorizer(instruction_set(config))


def toolchain_versions() -> dict[str, str]:
    """Return the versions of what a program is compiled with."""
    return {
        "isa": str(ISA_VERSION),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnx": onnx.__version__,
        "llvmlite": llvmlite.__version__,
    }


class _Lowering:
    """Lowers the launches of a partition one after the other."""

    def __init__(
        self, graph: Graph, isa: InstructionSet, parts: Partition, offsets: Mapping[str, int], pool: ConstantPool,
        tensor_bytes: int,
    ) -> None:  # fmt: skip
        self.graph, self.isa, self.parts, self.offsets, self.pool = graph, isa, parts, offsets, pool
        self.tensor_bytes = tensor_bytes
        self.tiles = tile_tensorizer(isa.config)
        self.reports: list[LayerReport] = []
        self.stream: list[Operation] = []

    def launch(self, step: LaunchPlan) -> bytes:
        """Lower one launch and return its instructions."""
        config = self.isa.config
        context = LayerContext(self.graph, self.tiles, self.isa, self.pool, Scratchpads(config))
        kept = plan_chain(self.graph, config, step, lambda form: _root(form, self.parts))
        steps: list[Step] = []
        index = 0
        before: Kept | None = None
        while index < len(step.layers):
            between = kept.get(index)
            if between is not None and between.parts:
                steps += self.pair(context, step.layers[index : index + 2], between)
                index, before = index + 2, None
                continue
            layer = step.layers[index]
            if before is not None:
                context.pads.continue_after(before.resident)
            if between is not None:
                between = replace(between, resident=context.pads.keep(between.resident))
            result = self.lowered(context, layer, before, between, None)
            if between is not None:
                self._add_border(between, layer, result)
            self.account(layer, [result])
            steps += result.steps
            index, before = index + 1, between
        check_address_space(self.pool.end, config)
        stream = ordered(steps, config)
        self.stream += stream
        return encode(self.isa, stream, synchronise(stream, config, self.tensor_bytes))

    def pair(self, context: LayerContext, pair: Sequence[LayerPlan], between: Kept) -> list[Step]:
        """Lower two layers part by part."""
        config = self.isa.config
        between = replace(between, resident=context.pads.keep(between.resident))
        steps: list[Step] = []
        results: tuple[list[LayerSteps], list[LayerSteps]] = ([], [])
        for blocks in between.parts:
            context.pads.continue_after(between.resident)
            results[0].append(self.lowered(context, pair[0], None, between, blocks))
            context.pads.continue_after(between.resident, between.spare(config)[0])
            results[1].append(self.lowered(context, pair[1], between, None, blocks))
            steps += [*results[0][-1].steps, *results[1][-1].steps]
        self._add_border(between, pair[0], results[0][0])
        for layer, parts in zip(pair, results, strict=True):
            self.account(layer, parts)
        return steps

    def lowered(
        self, context: LayerContext, layer: LayerPlan, source: Kept | None, target: Kept | None, blocks: Blocks | None
    ) -> LayerSteps:
        """Lower (some channel blocks of) a layer, given what stays in `act`."""
        config = self.isa.config
        inputs, output = [self.placed(form) for form in layer.sources], self.placed(layer.target)
        if source is not None:
            inputs[0] = source.after(inputs[0], blocks, config)
        if target is not None:
            output = target.before(output, blocks, config)
        try:
            return layer_steps(context, layer.node, inputs, output, blocks)
        except CapacityError as error:
            raise _LayerTooLarge(layer.node, str(error)) from None

    def _add_border(self, kept: Kept, layer: LayerPlan, result: LayerSteps) -> None:
        layout = form_layout(self.graph, layer.target, self.isa.config)
        border = border_loads(kept.resident, layout, self.isa.config, layer_name(layer.node))
        result.steps[0].loads[:0] = border

    def account(self, layer: LayerPlan, parts: Sequence[LayerSteps]) -> None:
        """Number a layer's operations and report on it."""
        operations = [operation for part in parts for step in part.steps for operation in step.operations()]
        for operation in operations:
            operation.layer = len(self.reports)
        result = replace(
            parts[0], predicted_cycles=sum(part.predicted_cycles for part in parts),
            constant_bytes=sum(part.constant_bytes for part in parts),
            tiling=parts[0].tiling + (f", in {len(parts)} parts" if len(parts) > 1 else ""),
        )  # fmt: skip
        tensors = [self.placed(form) for form in (*layer.sources, layer.target)]
        self.reports.append(_report(self.graph, layer.node, result, operations, tensors, self.isa.config))

    def placed(self, form: Form) -> Placed:
        """Where a tensor lies."""
        layout = form_layout(self.graph, form, self.isa.config)
        return Placed(self.offsets[_key(_root(form, self.parts))], layout)

    def transfer(self, form: Form) -> Transfer:
        """A tensor on its way to or from the host."""
        placed = self.placed(form)
        return Transfer(form.value, placed.offset, placed.layout)


def _report(
    graph: Graph, node: Node, result: LayerSteps, operations: list[Operation], tensors: list[Placed], config: Config
) -> LayerReport:
    return LayerReport(
        name=layer_name(node),
        op=node.op,
        origin=node.origin,
        macs=mac_count(graph, node),
        ideal_cycles=ideal_cycles(graph, node, config),
        predicted_cycles=result.predicted_cycles,
        needed_bytes=result.constant_bytes + sum(placed.layout.size_bytes(config) for placed in tensors),
        moved_bytes=sum(moved_bytes(operation, config) for operation in operations),
        tiling=result.tiling,
        instructions=len(operations),
    )


def moved_bytes(operation: Operation, config: Config) -> int:
    """Bytes that an operation moves over the memory port, instruction fetch left out."""
    if operation.engine is Engine.COMPUTE:
        return 0
    sizes = {"LOAD_WGT": config.wgt_entry_bytes, "LOAD_PRM": config.prm_entry_bytes, "LOAD_TBL": 256}
    size = sizes.get(operation.name, config.row_bytes)
    extents = ("extent_run", "extent0", "extent1", "extent2")
    return size * prod(operation.operands.get(name, 1) for name in extents)


def _lifetimes(graph: Graph, parts: Partition, config: Config) -> list[Lifetime]:
    """From the layer that writes a tensor, or the launch before which it is packed, to its last use."""
    spans: dict[Form, list[int]] = {}
    moment = 0
    for step in parts.steps:
        if isinstance(step, HostPlan):
            continue
        for form in step.uploads:
            spans.setdefault(_root(form, parts), []).append(moment)
        for index, layer in enumerate(step.layers):
            # a layer may be computed part by part with the depthwise convolution behind it
            following = [other.node for other in step.layers[index + 1 : index + 2]]
            is_long = any(is_depthwise(graph, node, config) for node in following)
            for form in (*layer.sources, layer.target):
                spans.setdefault(_root(form, parts), []).extend([moment, moment + is_long])
            moment += 1
        for form in step.downloads:
            spans.setdefault(_root(form, parts), []).append(moment - 1)
    sizes = {form: form_layout(graph, form, config).size_bytes(config) for form in spans}
    return [Lifetime(_key(form), sizes[form], min(moments), max(moments)) for form, moments in spans.items()]


def _root(form: Form, parts: Partition) -> Form:
    while form in parts.aliases:
        form = parts.aliases[form]
    return form


def _key(form: Form) -> str:
    kind = "stack" if form.is_stack else "matrix" if form.is_matrix else "image"
    return f"{form.value}/{kind}/{form.fold or ''}"


def _host_constants(graph: Graph, parts: Partition) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    """The constants that host steps, uploads and outputs read."""
    names: set[str] = {*graph.outputs}
    for step in parts.steps:
        names.update(step.node.inputs if isinstance(step, HostPlan) else (form.value for form in step.uploads))
    return {name: array for name, array in graph.constants.items() if name in names}
