"""Lowers what attention is made of: products of activations, transposition."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.qops import operand
from tilewright.compiler.targets.accelerator.layout import pack_parameters
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.products import (
    Product,
    Transposition,
    choose_product_tiling,
    identity_rows,
    product_steps,
    transposition_steps,
)

if TYPE_CHECKING:
    from tilewright.compiler.targets.accelerator.layers import LayerContext

#: Steps, estimated cycles, the tiling in words.
Lowered = tuple[list[Step], int, str]


def attention_layer(context: LayerContext, node: Node, name: str, sources: list[Placed], target: Placed) -> Lowered:
    """Lower one node on stacks of matrices.

    Raises
    ------
    CapacityError
        When its smallest tile does not fit.
    """
    if node.op == "transpose":
        return _transposed(context, name, sources[0], target)
    return _product(context, node, name, sources, target)


def _product(context: LayerContext, node: Node, name: str, sources: list[Placed], target: Placed) -> Lowered:
    config = context.config
    values = [context.constant(node, key) for key in ("bias", "multiplier", "shift")]
    entry = pack_parameters(values[0], values[1], values[2], config.gemm.block_out, config)[: config.prm_entry_bytes]
    table = operand(node, "table")
    tail = Tail(
        node["epilogue"], context.pool.add(entry),
        context.pool.add(context.graph.constants[table].view(np.uint8)) if table else None,
        sources[2] if len(sources) > 2 else None,
    )  # fmt: skip
    product = Product(sources[0], sources[1], target, tail, node["zero_in"], name)
    tiling = choose_product_tiling(product, config)
    steps = list(product_steps(product, tiling, context.pads, context.tiles, context.vector_op("sum")))
    layout = target.layout
    entries = layout.blocks * (config.lanes // config.gemm.block_out)
    cycles = layout.groups * layout.width * entries * sources[0].layout.blocks
    return steps, cycles, f"rows {len(tiling.rows)}x{max(tiling.rows)}, {tiling.blocks} blocks, of activations"


def _transposed(context: LayerContext, name: str, source: Placed, target: Placed) -> Lowered:
    config = context.config
    rows = source.layout.width
    ones, zeros = np.ones(rows, np.int32), np.zeros(rows, np.int32)
    parameters = context.pool.add(pack_parameters(zeros, ones, zeros, rows, config))
    layer = Transposition(source, target, context.pool.add(identity_rows(config)), parameters, name)
    steps = list(transposition_steps(layer, context.pads, context.tiles))
    entries = target.layout.blocks * (config.lanes // config.gemm.block_out)
    return steps, target.layout.groups * target.layout.width * entries, "by the identity"
