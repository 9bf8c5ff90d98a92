"""Channels of a tensor put into other channels: a matrix product whose weights are ones and zeros."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.accelerator.convolution import Convolution, convolution_steps
from tilewright.compiler.targets.accelerator.dram import ConstantPool
from tilewright.compiler.targets.accelerator.layout import Bytes, ChannelMap, pack_parameters
from tilewright.compiler.targets.accelerator.nests import TileTensorizer
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.problem import Problem
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.compiler.targets.accelerator.tiling import choose_tiling
from tilewright.isa.config import Config
from tilewright.isa.vector_ops import VectorOp

#: Adds what is there already, unchanged.
_ADD = Residual(0, 1, 0, 1, 0, 0)


@dataclass(frozen=True)
class Selection:
    """What some channel blocks of a tensor are made of.

    Attributes
    ----------
    source, target : Placed
        Of the same extents but the channels'.
    first_block : int
        The first of the target's blocks.
    channels : tuple of int
        The source's channel for each of the target's, from its first block on; -1 where there is none.
    fill : int
        The value of channels that have none.
    is_added : bool
        Whether the target holds values there already, which the others (or `fill`) are added to.
    name : str
    """

    source: Placed
    target: Placed
    first_block: int
    channels: tuple[int, ...]
    fill: int = 0
    is_added: bool = False
    name: str = ""


def selection_steps(
    selection: Selection, pool: ConstantPool, pads: Scratchpads, tiles: TileTensorizer, vector_sum: VectorOp
) -> Iterator[Step]:
    """Yield the steps of a selection.

    Raises
    ------
    CapacityError
        When no tile fits the scratchpads.
    """
    config, source, target = tiles.config, selection.source, selection.target
    blocks = _source_blocks(selection, config)
    bits = config.epilogue.multiplier_bits
    count = len(blocks.starts) * config.lanes
    bias = np.zeros(count, np.int32)
    bias[: len(selection.channels)] = np.where(np.array(selection.channels) < 0, selection.fill, 0)
    parameters = pack_parameters(
        bias, np.array([1 << (bits - 1)]), np.array([bits - 1]), count, config
    )  # fmt: skip
    problem = Problem(
        target.layout.groups, source.layout.height, source.layout.width, target.layout.height, target.layout.width,
        blocks.span, 0, 1, config.sub_out, has_residual=selection.is_added,
    ).flattened()  # fmt: skip
    tail = Tail(
        Epilogue(residual=_ADD if selection.is_added else None),
        pool.add(parameters),
        residual=target if selection.is_added else None,
    )
    weights = pool.add(_weights(selection, blocks, config))
    whole = Convolution(problem, source, target, 0, selection.first_block, weights, tail, 0, selection.name)
    for part in _parts(whole, blocks, config):
        yield from convolution_steps(part, choose_tiling(part.problem, config).tiling, pads, tiles, vector_sum)


def _source_blocks(selection: Selection, config: Config) -> ChannelMap:
    """The source's blocks that each of the target's is made of."""
    lanes = config.lanes
    ranges = []
    for first in range(0, len(selection.channels), lanes):
        used = [channel // lanes for channel in selection.channels[first : first + lanes] if channel >= 0] or [0]
        ranges.append((min(used), max(used) + 1))
    span = max(end - start for start, end in ranges)
    last = selection.source.layout.blocks - span
    return ChannelMap(tuple(min(start, last) for start, _ in ranges), span)


def _weights(selection: Selection, blocks: ChannelMap, config: Config) -> Bytes:
    """Weight entries, as `layout.pack_weights` gives them."""
    lanes, block_in, block_out = config.lanes, config.gemm.block_in, config.gemm.block_out
    dense = np.zeros((len(blocks.starts) * lanes, blocks.span * lanes), np.int8)
    channels = np.array(selection.channels)
    (places,) = np.nonzero(channels >= 0)
    dense[places, channels[places] - np.array(blocks.starts)[places // lanes] * lanes] = 1
    split = dense.reshape(-1, block_out, blocks.span, lanes // block_in, block_in)
    return np.ascontiguousarray(split.transpose(0, 2, 3, 1, 4)).reshape(-1).view(np.uint8)


def _parts(whole: Convolution, blocks: ChannelMap, config: Config) -> Iterator[Convolution]:
    """Yield the blocks with the same source together, every other one alone."""
    sub_out = config.sub_out
    entries = sub_out * whole.problem.span * whole.problem.taps(config) * config.wgt_entry_bytes
    first = 0
    while first < len(blocks.starts):
        end = first + 1
        while end < len(blocks.starts) and blocks.starts[end] == blocks.starts[first]:
            end += 1
        problem = replace(whole.problem, out_blocks=end - first, co_count=(end - first) * sub_out)
        parameters = whole.tail.parameters + first * sub_out * config.prm_entry_bytes
        yield replace(
            whole, problem=problem, source_block=blocks.starts[first], target_block=whole.target_block + first,
            weights=whole.weights + first * entries, tail=replace(whole.tail, parameters=parameters),
        )  # fmt: skip
        first = end
