"""Transposition on the array: the identity times rows that are loaded as weights gives them as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.qops import Epilogue
from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import Bytes, ceil_div
from tilewright.compiler.targets.accelerator.nests import ConvTile, Finish, Grid, TileTensorizer
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.products import entry_loads, matrix_box
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine


@dataclass(frozen=True)
class Transposition:
    """Every matrix of `source` transposed to `target`.

    Attributes
    ----------
    source, target : Placed
        Stacks of matrices `[..., M, C]` and `[..., C, M]`.
    identity : int
        First byte in DRAM of `lanes` rows of the identity.
    parameters : int
        First byte in DRAM of an entry for each block of `block_out` results: 1 where there is a row, else 0.
    name : str
    """

    source: Placed
    target: Placed
    identity: int
    parameters: int
    name: str


def identity_rows(config: Config) -> Bytes:
    """Return `lanes` rows of the identity as they lie in `act`; `batch` is 1."""
    return np.eye(config.lanes, dtype=np.int8).reshape(-1).view(np.uint8)


def transposition_steps(layer: Transposition, pads: Scratchpads, tiles: TileTensorizer) -> Iterator[Step]:
    """Yield the steps of a transposition: matrices, groups of channel blocks.

    Raises
    ------
    CapacityError
        When one channel block does not fit.
    """
    config = tiles.config
    lanes, sub_out = config.lanes, config.sub_out
    source, target = layer.source.layout, layer.target.layout
    count = target.blocks * sub_out
    at_once = source.blocks
    while at_once > 1 and not _fits_transposed(target.blocks, at_once, config):
        at_once = ceil_div(at_once, 2)
    if not _fits_transposed(target.blocks, at_once, config):
        raise CapacityError(f"layer {layer.name}: {target.blocks} blocks of rows do not fit the scratchpads")
    identity, slots = pads.act.take(lanes), pads.slots(target.blocks * at_once * lanes, 2)
    parameters = pads.prm.take(count)
    box = Box(layer.identity, identity, lanes, ())
    step = Step(
        loads=[
            load_entries(
                config, "prm", layer.parameters, parameters, count, 1, count * config.prm_entry_bytes,
                f"{layer.name} parameters",
            ),
            load_box(config, box, Padding(), lanes, f"{layer.name} identity"),
        ]
    )  # fmt: skip
    step.loads[1].reads = ()
    index = 0
    for group in range(source.groups):
        for block in range(0, source.blocks, at_once):
            blocks = min(at_once, source.blocks - block)
            rows = min(blocks * lanes, target.width - block * lanes)
            base, weights = slots.at(index), pads.wgt.take(count * blocks)
            step.loads += entry_loads(layer.source, group, 0, count, (block, blocks), weights, config, layer.name)
            step.computes += _transposed(layer, tiles, (count, blocks, rows), (identity, weights, parameters, base))
            out = matrix_box(layer.target, group, (0, target.blocks), (block * lanes, rows), base, config)
            step.stores.append(store_box(config, out, target.blocks * rows, layer.name))
            yield step
            step = Step()
            index += 1


def _fits_transposed(blocks: int, at_once: int, config: Config) -> bool:
    entries = blocks * config.sub_out
    rows = config.lanes * (1 + 2 * blocks * at_once)
    return rows <= config.act_rows and 2 * entries * at_once <= config.wgt_depth and entries <= config.prm_depth


def _transposed(
    layer: Transposition, tiles: TileTensorizer, extents: tuple[int, int, int], places: tuple[int, int, int, int]
) -> Iterator[Operation]:
    """Yield an instruction for each channel block: the identity times its rows."""
    config = tiles.config
    count, blocks, rows = extents
    identity, weights, parameters, base = places
    out_blocks = layer.target.layout.blocks
    finish = Finish(Epilogue())
    written: Span = ("act", base % config.act_rows, out_blocks * rows)
    for block in range(blocks):
        columns = min(config.lanes, rows - block * config.lanes)
        tile = ConvTile(
            Grid(1, 1, config.lanes), Grid(out_blocks, 1, rows), 1, count, 1, columns, finish=finish,
            weight_pitch=blocks,
        )  # fmt: skip
        placement = {
            "x": identity % config.act_rows * config.ratio, "w": (weights + block) % config.wgt_depth,
            "p": parameters, "y": (base + block * config.lanes) % config.act_rows * config.ratio,
        }  # fmt: skip
        reads: tuple[Span, ...] = (
            ("act", identity % config.act_rows, config.lanes), ("wgt", weights, count * blocks),
            ("prm", parameters, count),
        )  # fmt: skip
        for name, operands in tiles.calls(tile, placement):
            yield Operation(name, Engine.COMPUTE, operands, reads, (written,), label=layer.name)
