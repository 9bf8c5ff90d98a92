"""Lowers what attention is made of: products of activations, transposition, softmax and normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.qops import operand
from tilewright.compiler.targets.accelerator.layout import ceil_div, pack_parameters
from tilewright.compiler.targets.accelerator.legality import ROWWISE
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.products import (
    Product,
    choose_product_tiling,
    correction_weights,
    product_steps,
)
from tilewright.compiler.targets.accelerator.rows import RowLayer, RowStage, row_steps, row_tiling
from tilewright.compiler.targets.accelerator.transposition import Transposition, identity_rows, transposition_steps

if TYPE_CHECKING:
    from tilewright.compiler.targets.accelerator.layers import LayerContext

#: Steps, estimated cycles, the tiling in words.
Lowered = tuple[list[Step], int, str]


def attention_layer(context: LayerContext, node: Node, name: str, sources: list[Placed], target: Placed) -> Lowered:
    """Lower one node on stacks of matrices, or on their rows.

    Raises
    ------
    CapacityError
        When its smallest tile does not fit.
    """
    if node.op == "transpose":
        return _transposed(context, name, sources[0], target)
    if node.op in ROWWISE:
        return _rows(context, node, name, sources[0], target)
    return _product(context, node, name, sources, target)


def _product(context: LayerContext, node: Node, name: str, sources: list[Placed], target: Placed) -> Lowered:
    config = context.config
    common = node["zero_in"] * node["zero_y"] * context.graph.shape(node.inputs[0])[-1]
    tail = _tail(context, node, config.gemm.block_out, sources[2] if len(sources) > 2 else None, common)
    zero = node["zero_y"]
    channels = context.graph.shape(node.inputs[0])[-1]
    corrections = context.pool.add(correction_weights(zero, channels, config)) if zero else 0
    product = Product(sources[0], sources[1], target, tail, node["zero_in"], zero, corrections, name)
    tiling = choose_product_tiling(product, config)
    steps = list(product_steps(product, tiling, context.pads, context.tiles, context.vector_op("sum")))
    layout = target.layout
    entries = layout.blocks * config.sub_out
    cycles = layout.groups * layout.width * entries * sources[0].layout.blocks
    return steps, cycles, f"rows {len(tiling.rows)}x{max(tiling.rows)}, {tiling.blocks} blocks, of activations"


def _tail(context: LayerContext, node: Node, channels: int, residual: Placed | None = None, addend: int = 0) -> Tail:
    """The epilogue of a node with parameters for so many channels, an addend with every bias."""
    bias, multiplier, shift = (context.constant(node, key) for key in ("bias", "multiplier", "shift"))
    bias = bias + addend
    negate = context.constant(node, "negate") if operand(node, "negate") else None
    parameters = pack_parameters(bias, multiplier, shift, channels, context.config, negate)
    if bias.size == 1:
        parameters = parameters[: context.config.prm_entry_bytes]
    table = operand(node, "table")
    place = context.pool.add(context.graph.constants[table].view(np.uint8)) if table else None
    return Tail(node["epilogue"], context.pool.add(parameters), place, residual)


def _rows(context: LayerContext, node: Node, name: str, source: Placed, target: Placed) -> Lowered:
    codes = {op.name: op.code for op in context.isa.row_ops}
    channels = context.graph.shape(node.output)[-1]
    if node.op == "qsoftmax":
        scale = node["scale"]
        stages = (
            RowStage(codes["max"], scale), RowStage(codes["exp_sum"], scale), RowStage(codes["exp"], scale),
        )  # fmt: skip
    else:
        stages = (
            RowStage(codes["sum"], node["mean_scale"], node["mean_shift"]),
            RowStage(codes["square_sum"], node["count_log"], node["epsilon"]),
            RowStage(codes["normalise"]),
        )
    is_shared = context.constant(node, "bias").size == 1
    tail = _tail(context, node, context.config.gemm.block_out if is_shared else channels)
    layer = RowLayer(source, target, stages, channels, tail, is_shared, name)
    pieces = row_tiling(layer, context.config)
    steps = list(row_steps(layer, pieces, context.pads, context.config))
    layout = target.layout
    cycles = 3 * layout.groups * layout.width * ceil_div(channels, context.config.gemm.block_out)
    return steps, cycles, f"rows {len(pieces)}x{max(pieces)}"


def _transposed(context: LayerContext, name: str, source: Placed, target: Placed) -> Lowered:
    config = context.config
    rows = source.layout.width
    ones, zeros = np.ones(rows, np.int32), np.zeros(rows, np.int32)
    parameters = context.pool.add(pack_parameters(zeros, ones, zeros, rows, config))
    layer = Transposition(source, target, context.pool.add(identity_rows(config)), parameters, name)
    steps = list(transposition_steps(layer, context.pads, context.tiles))
    entries = target.layout.blocks * config.sub_out
    return steps, target.layout.groups * target.layout.width * entries, "by the identity"
