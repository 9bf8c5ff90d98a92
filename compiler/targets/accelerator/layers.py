"""One node of the graph as steps: finds its tiling, places its constants, calls the lowering for its kind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.qops import Epilogue, operand, window, window_counts
from tilewright.compiler.targets.accelerator.attention import attention_layer
from tilewright.compiler.targets.accelerator.convolution import Convolution, convolution_steps
from tilewright.compiler.targets.accelerator.depthwise import Depthwise, depthwise_steps
from tilewright.compiler.targets.accelerator.depthwise_tile import pack_depthwise_weights
from tilewright.compiler.targets.accelerator.depthwise_tiling import choose_depthwise_tiling
from tilewright.compiler.targets.accelerator.dram import ConstantPool
from tilewright.compiler.targets.accelerator.folding import fold_weights
from tilewright.compiler.targets.accelerator.layout import (
    Array,
    Bytes,
    ChannelMap,
    TensorLayout,
    pack_parameters,
    pack_weights,
)
from tilewright.compiler.targets.accelerator.legality import ROWWISE, STACKED, is_depthwise
from tilewright.compiler.targets.accelerator.moves import Movers, is_move, move_steps
from tilewright.compiler.targets.accelerator.nests import TileTensorizer
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.problem import Tiling
from tilewright.compiler.targets.accelerator.problems import (
    Blocks,
    convolution_problem,
    depthwise_problem,
    part_of,
)
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.compiler.targets.accelerator.tiling import Choice, choose_tiling
from tilewright.compiler.targets.accelerator.vector_layer import (
    Region,
    VectorLayer,
    choose_vector_tiling,
    vector_steps,
)
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.vector_ops import VectorOp


@dataclass(frozen=True)
class LayerSteps:
    """What lowering one layer gives.

    Attributes
    ----------
    steps : list of Step
    predicted_cycles : int
        0 where there is no estimate.
    constant_bytes : int
        Weights, parameters and tables.
    tiling : str
    """

    steps: list[Step]
    predicted_cycles: int
    constant_bytes: int
    tiling: str


@dataclass(frozen=True)
class LayerContext:
    """What lowering needs beside the node.

    Attributes
    ----------
    graph : Graph
    tiles : TileTensorizer
    isa : InstructionSet
    pool : ConstantPool
    pads : Scratchpads
    """

    graph: Graph
    tiles: TileTensorizer
    isa: InstructionSet
    pool: ConstantPool
    pads: Scratchpads

    @property
    def config(self) -> Config:
        """The configuration."""
        return self.isa.config

    def vector_op(self, name: str) -> VectorOp:
        """The vector operation of that name."""
        return next(op for op in self.isa.vector_ops if op.name == name)

    def constant(self, node: Node, name: str) -> Array:
        """The array of a node's constant operand."""
        return self.graph.constants[operand(node, name)]


def layer_steps(
    context: LayerContext, node: Node, sources: list[Placed], target: Placed, blocks: Blocks | None = None
) -> LayerSteps:
    """Lower one node whose activations lie in `sources` and whose result goes to `target`.

    With `blocks`, only these channel blocks of a convolution's result are computed.

    Raises
    ------
    CapacityError
        Naming the layer, the memory, and the bytes needed and available.
    """
    before = context.pool.end
    try:
        if is_depthwise(context.graph, node, context.config):
            steps, cycles, tiling = _depthwise(context, node, sources, target, blocks)
        elif node.op in ("qconv2d", "qmatmul"):
            steps, cycles, tiling = _multiplied(context, node, sources, target, blocks)
        elif is_move(node, sources[0].layout, target.layout):
            movers = Movers(context.pool, context.pads, context.tiles, context.vector_op("sum"))
            steps, cycles, tiling = list(move_steps(movers, node, sources, target, layer_name(node))), 0, ""
        elif node.op in (*STACKED, *ROWWISE):
            steps, cycles, tiling = attention_layer(context, node, layer_name(node), sources, target)
        else:
            steps, cycles, tiling = _reduced(context, node, sources, target)
    except CapacityError as error:
        message = str(error)
        raise CapacityError(message if "layer" in message else f"layer {layer_name(node)}: {message}") from None
    return LayerSteps(steps, cycles, context.pool.end - before, tiling)


def layer_name(node: Node) -> str:
    """What a layer is called in reports."""
    return node.name


# ---- convolutions and matrix products --------------------------------------------------------------------------------


def _multiplied(
    context: LayerContext, node: Node, sources: list[Placed], target: Placed, blocks: Blocks | None
) -> tuple[list[Step], int, str]:
    config = context.config
    weight: Array = context.constant(node, "weight")
    if node.op == "qmatmul":
        weight = weight.T[:, :, None, None]
    if sources[0].layout.fold is not None:
        weight = fold_weights(weight, sources[0].layout.fold)
    problem, channels = convolution_problem(context.graph, node, config, sources[0], target)
    tail = Tail(
        node["epilogue"],
        context.pool.add(_parameters(context, node, weight.shape[0])),
        _table(context, node),
        sources[1] if len(sources) > 1 else None,
    )
    weights = context.pool.add(pack_weights(weight, node.get("groups", 1), channels, config))
    if problem.in_height < sources[0].layout.height:
        sources, target = [_as_line(sources[0]), *sources[1:]], _as_line(target)
    base = Convolution(
        problem, sources[0], target,
        channels.starts[0], 0, weights, tail, node["zero_in"], layer_name(node),
    )  # fmt: skip
    steps: list[Step] = []
    cycles = 0
    choice: Choice | None = None
    for part in _parts(base, channels, config) if blocks is None else [_some(base, blocks, config)]:
        choice = choose_tiling(part.problem, config)
        cycles += choice.cost.cycles
        steps += convolution_steps(part, choice.tiling, context.pads, context.tiles, context.vector_op("sum"))
    assert choice is not None
    return steps, cycles, describe(choice.tiling)


def _as_line(placed: Placed) -> Placed:
    """What stays in `act`, as one line of pixels."""
    return replace(placed, resident=placed.resident.flattened()) if placed.resident is not None else placed


def _some(whole: Convolution, blocks: Blocks, config: Config) -> Convolution:
    """The convolution of one group for some of its output blocks."""
    first = blocks[0] * config.sub_out
    entries = first * whole.problem.span * whole.problem.taps(config)
    return replace(
        whole, problem=part_of(whole.problem, blocks, config), target_block=blocks[0],
        weights=whole.weights + entries * config.wgt_entry_bytes,
        tail=replace(whole.tail, parameters=whole.tail.parameters + first * config.prm_entry_bytes),
    )  # fmt: skip


def _parts(whole: Convolution, channels: ChannelMap, config: Config) -> Iterator[Convolution]:
    """Yield the convolution, cut into its output blocks where their inputs are not evenly spaced."""
    if channels.step == 0 or (channels.step == 1 and channels.span == 1):
        yield whole
        return
    problem = whole.problem
    sub_out = config.sub_out
    entries = sub_out * problem.span * problem.taps(config)
    for block, start in enumerate(channels.starts):
        co_count = min(sub_out, problem.co_count - block * sub_out)
        tail = replace(whole.tail, parameters=whole.tail.parameters + block * sub_out * config.prm_entry_bytes)
        yield replace(
            whole, problem=replace(problem, out_blocks=1, co_count=co_count, step=0),
            source_block=start, target_block=block,
            weights=whole.weights + block * entries * config.wgt_entry_bytes, tail=tail,
        )  # fmt: skip


def _depthwise(
    context: LayerContext, node: Node, sources: list[Placed], target: Placed, blocks: Blocks | None
) -> tuple[list[Step], int, str]:
    config = context.config
    weight = context.constant(node, "weight")
    tail = Tail(
        node["epilogue"],
        context.pool.add(_parameters(context, node, weight.shape[0])),
        _table(context, node),
        sources[1] if len(sources) > 1 else None,
    )
    problem = depthwise_problem(context.graph, node, config, sources[0], target)
    weights = context.pool.add(pack_depthwise_weights(weight, config))
    first = 0
    if blocks is not None:
        first, problem = blocks[0], replace(problem, blocks=blocks[1])
    layer = Depthwise(problem, sources[0], target, weights, tail, node["zero_in"], layer_name(node), first)
    tiling = choose_depthwise_tiling(problem, config)
    steps = list(depthwise_steps(layer, tiling, context.pads, context.tiles, context.vector_op("sum")))
    pieces = f"rows {_pieces(tiling.heights)}, columns {_pieces(tiling.widths)}, {tiling.blocks} blocks"
    return steps, tiling.cycles, f"{pieces}, depthwise"


def describe(tiling: Tiling) -> str:
    """Return a tiling in words."""
    heights, widths = _pieces(tiling.heights), _pieces(tiling.widths)
    kinds = (
        f"{'resident' if tiling.is_input_resident else 'streamed'} input, "
        f"{'resident' if tiling.is_weight_resident else 'streamed'} weights"
    )
    return f"rows {heights}, columns {widths}, {tiling.out_blocks} blocks out of {tiling.blocks} in, {kinds}"


def _pieces(sizes: tuple[int, ...]) -> str:
    return "+".join(map(str, sizes)) if len(set(sizes)) > 1 else f"{len(sizes)}x{sizes[0]}"


# ---- vector unit -----------------------------------------------------------------------------------------------------


def _reduced(context: LayerContext, node: Node, sources: list[Placed], target: Placed) -> tuple[list[Step], int, str]:
    layer = _vector_layer(context, node, sources, target)
    tiling = choose_vector_tiling(layer, context.config)
    steps = list(vector_steps(layer, tiling, context.pads, context.tiles))
    return steps, 0, f"rows {len(tiling.heights)}x{max(tiling.heights)}, {tiling.blocks} blocks"


def _vector_layer(context: LayerContext, node: Node, sources: list[Placed], target: Placed) -> VectorLayer:
    epilogue: Epilogue = node.get("epilogue") or Epilogue()
    if node.op == "qadd":
        epilogue = replace(epilogue, zero_out=0)  # y is x: there is no requantization before the sum
    if node.op == "qclamp":
        epilogue = Epilogue(clamp_low=node["low"], clamp_high=node["high"])
    has_scale = operand(node, "multiplier") != ""
    entries = _uniform_entries(context, node) if has_scale else [_entry(0, 1, 0, context.config)]
    parameters = context.pool.add(np.concatenate(entries))
    residual = sources[1] if len(sources) > 1 else None
    tail = Tail(epilogue, parameters, _table(context, node), residual)
    source = sources[0]
    height, width = target.layout.height, target.layout.width
    kernel, strides, dilations, pads, pad_value = (1, 1), (1, 1), (1, 1), (0, 0), 0
    regions = [Region(0, height, 0, width)]
    if node.op in ("qmaxpool", "qavgpool"):
        w = window(context.graph, node)
        kernel, strides, dilations, pads = w.kernel, w.strides, w.dilations, w.pads[:2]
        pad_value = node["zero_in"] if node.op == "qavgpool" else -128
        if node.op == "qavgpool":
            counts = window_counts(w, source.layout.height, source.layout.width, node["counted_pads"])
            regions = list(count_regions(np.searchsorted(np.array(node["counts"]), counts)))
    elif node.op == "qglobalavgpool":
        kernel = (source.layout.height, source.layout.width)
    else:
        source, target = _flat(source), _flat(target)
        tail = replace(tail, residual=_flat(residual) if residual else None)
        regions = [Region(0, target.layout.height, 0, 1)]
    op = context.vector_op({"qmaxpool": "max", "qmul": "mul"}.get(node.op, "sum"))
    zeros = (node.get("zero_a", 0), node.get("zero_b", 0))
    return VectorLayer(
        source, target, op, kernel, strides, dilations, pads, pad_value,
        tail, len(entries), regions, has_scale, layer_name(node), zeros,
    )  # fmt: skip


def count_regions(indices: Array) -> Iterator[Region]:
    """Yield the rectangles of equal index of an array that is the outer product of its first row and column."""
    rows, columns = _runs(indices), _runs(indices.T)
    for top, bottom in rows:
        for left, right in columns:
            yield Region(top, bottom, left, right, int(indices[top, left]))


def _runs(lines: Array) -> list[tuple[int, int]]:
    """Find the runs of equal lines of an array."""
    changes = [0, *(i for i in range(1, len(lines)) if (lines[i] != lines[i - 1]).any()), len(lines)]
    return list(pairwise(changes))


def _flat(placed: Placed) -> Placed:
    """The same bytes as one column of rows."""
    layout = placed.layout
    return Placed(placed.offset, TensorLayout(layout.shape, False, 1, 1, layout.rows, 1))


# ---- constants -------------------------------------------------------------------------------------------------------


def _parameters(context: LayerContext, node: Node, channels: int) -> Bytes:
    bias, multiplier, shift = (context.constant(node, name) for name in ("bias", "multiplier", "shift"))
    return pack_parameters(bias, multiplier, shift, channels, context.config)


def _uniform_entries(context: LayerContext, node: Node) -> list[Bytes]:
    """One entry for each multiplier, the same for all channels."""
    bias = int(context.constant(node, "bias")[0])
    multipliers, shifts = context.constant(node, "multiplier"), context.constant(node, "shift")
    return [_entry(bias, int(m), int(s), context.config) for m, s in zip(multipliers, shifts, strict=True)]


def _entry(bias: int, multiplier: int, shift: int, config: Config) -> Bytes:
    values = [np.array([value], np.int32) for value in (bias, multiplier, shift)]
    return pack_parameters(values[0], values[1], values[2], config.gemm.block_out, config)[: config.prm_entry_bytes]


def _table(context: LayerContext, node: Node) -> int | None:
    name = operand(node, "table")
    return context.pool.add(context.graph.constants[name].view(np.uint8)) if name else None
