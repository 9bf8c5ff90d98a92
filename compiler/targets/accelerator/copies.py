"""Layers that only move data: padding and concatenation of whole channel blocks, through the activation scratchpad."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilewright.compiler.targets.accelerator.boxes import Box, Padding, load_box, store_box
from tilewright.compiler.targets.accelerator.operations import Step
from tilewright.compiler.targets.accelerator.placement import Placed
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError


@dataclass(frozen=True)
class Copy:
    """A whole tensor, surrounded by a border, put into another one.

    Attributes
    ----------
    source, target : Placed
    group, block, row, column : int
        Where in the target the bordered source begins.
    pads : tuple of int
        Top, left, bottom, right.
    value : int
        What the border holds.
    name : str
    """

    source: Placed
    target: Placed
    group: int
    block: int
    row: int
    column: int
    pads: tuple[int, int, int, int]
    value: int
    name: str


def copy_steps(copy: Copy, pads: Scratchpads, config: Config) -> Iterator[Step]:
    """Yield the steps of a copy, some lines at a time.

    Raises
    ------
    CapacityError
        When two lines do not fit.
    """
    source = copy.source.layout
    top, left, bottom, right = copy.pads
    height, width = top + source.height + bottom, left + source.width + right
    most = config.act_rows // 4 // width
    if not most:
        raise CapacityError(
            f"layer {copy.name}: four lines need {4 * width * config.row_bytes} bytes of `memory.act_kib`, "
            f"which has {config.memory.act_kib * 1024}"
        )
    rows = min(most, height)
    slots = pads.slots(rows * width, 4)
    index = 0
    for plane in range(source.groups * source.blocks):
        for row in range(0, height, rows):
            count = min(rows, height - row)
            yield _piece(copy, plane, row, count, slots.at(index), config)
            index += 1


def _piece(copy: Copy, plane: int, row: int, rows: int, base: int, config: Config) -> Step:
    source, target, row_bytes = copy.source.layout, copy.target.layout, config.row_bytes
    top, left, _, right = copy.pads
    width = left + source.width + right
    before = min(max(top - row, 0), rows)
    start = max(row - top, 0)
    inside = max(min(row + rows, top + source.height) - max(row, top), 0)
    first = copy.source.offset + (plane * source.plane + start * source.width) * row_bytes
    load = Box(first, base, source.width, [(inside, source.width * row_bytes, width)])
    padding = Padding(before, rows - before - inside, left, right, copy.value)
    if not inside:
        load, padding = Box(0, base, 0, [(0, 0, width)]), Padding(0, rows, 0, width, copy.value)
    group, block = divmod(plane, source.blocks)
    place = ((copy.group + group) * target.blocks + copy.block + block) * target.plane
    place += (copy.row + row) * target.width + copy.column
    store = Box(copy.target.offset + place * row_bytes, base, width, [(rows, target.width * row_bytes, width)])
    return Step(
        [load_box(config, load, padding, rows * width, f"{copy.name} input")],
        [],
        [store_box(config, store, rows * width, copy.name)],
    )
