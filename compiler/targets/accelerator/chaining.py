"""Keeps a layer's output in the activation scratchpad for the layer that reads it next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.qops import Window, operand, window
from tilewright.compiler.targets.accelerator.depthwise_tiling import choose_depthwise_tiling
from tilewright.compiler.targets.accelerator.layout import TensorLayout, ceil_div
from tilewright.compiler.targets.accelerator.legality import is_depthwise
from tilewright.compiler.targets.accelerator.operations import Operation
from tilewright.compiler.targets.accelerator.partition import Form, LaunchPlan, LayerPlan, form_layout
from tilewright.compiler.targets.accelerator.placement import Placed, Resident
from tilewright.compiler.targets.accelerator.problems import Blocks, convolution_problem, depthwise_problem, part_of
from tilewright.compiler.targets.accelerator.tile_output import Grid
from tilewright.compiler.targets.accelerator.tiling import choose_tiling
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine


@dataclass(frozen=True)
class Kept:
    """An output that stays in `act`, at a place still to be found.

    Attributes
    ----------
    resident : Resident
        With a base of 0.
    is_stored : bool
        Whether somebody else reads it from DRAM.
    parts : tuple of Blocks
        Not empty: only these channel blocks stay at a time; both layers are computed part by part.
    """

    resident: Resident
    is_stored: bool
    parts: tuple[Blocks, ...] = ()

    def spare(self, config: Config) -> tuple[int, int]:
        """Rows of `act` beside a part: for tiles of the layer that computes it, and of the one that reads it."""
        free = config.act_rows - self.resident.grid.size
        return free - free // 3, free // 3

    def before(self, placed: Placed, blocks: Blocks | None, config: Config) -> Placed:
        """Return the tensor as the layer that computes it sees it."""
        spare = self.spare(config)[1] if blocks else 0
        resident = self._holding(blocks)
        return replace(placed, resident=resident, is_stored=self.is_stored, spare_rows=spare)

    def after(self, placed: Placed, blocks: Blocks | None, config: Config) -> Placed:
        """Return the tensor as the layer that reads it sees it."""
        return replace(placed, resident=self._holding(blocks), spare_rows=self.spare(config)[0] if blocks else 0)

    def _holding(self, blocks: Blocks | None) -> Resident:
        return replace(self.resident, first_block=blocks[0]) if blocks else self.resident


#: What a matrix product reads for one result.
_POINT = Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1))

#: What is kept before two layers, and after them.
Around = tuple[Kept | None, Kept | None]


def plan_chain(graph: Graph, config: Config, launch: LaunchPlan, root: Callable[[Form], Form]) -> dict[int, Kept]:
    """Return what layers of a launch keep, by their index.

    A convolution or matrix product keeps its output for the next layer, another one, where both still find a tiling
    with what is left of `act`, and are estimated to take fewer cycles so.

    Parameters
    ----------
    graph, config, launch
    root
        Leads from a form to the one that it is an alias of.
    """
    kept: dict[int, Kept] = {}
    pairs = [(index, pair) for index, pair in enumerate(pairwise(launch.layers)) if _is_chainable(graph, config, *pair)]
    # Depthwise convolutions first: they wait for the bus and the scratchpad, not for the array.
    for index, pair in sorted(pairs, key=lambda entry: not is_depthwise(graph, entry[1][1].node, config)):
        around = (kept.get(index - 1), kept.get(index + 1))
        if any(neighbour is not None and neighbour.parts for neighbour in around):
            continue
        is_stored = _has_other_readers(launch, index, pair[0].target, root)
        whole = Kept(_resident(graph, config, *pair), is_stored)
        best, fewest = None, _pair_cycles(graph, config, pair, around, None)
        for candidate in (whole, *_split(graph, config, pair[1], whole, around)):
            cycles = _pair_cycles(graph, config, pair, around, candidate)
            if cycles is not None and (fewest is None or cycles < fewest):
                best, fewest = candidate, cycles
        if best is not None:
            kept[index] = best
    return kept


def _is_chainable(graph: Graph, config: Config, producer: LayerPlan, consumer: LayerPlan) -> bool:
    is_next = consumer.sources[0] == producer.target and producer.target not in consumer.sources[1:]
    return is_next and all(_is_supported(graph, config, layer) for layer in (producer, consumer))


def _is_supported(graph: Graph, config: Config, layer: LayerPlan) -> bool:
    if form_layout(graph, layer.target, config).groups > 1:
        return False
    if layer.node.op == "qmatmul":
        return operand(layer.node, "weight") in graph.constants
    if layer.node.op != "qconv2d":
        return False
    return layer.node["groups"] == 1 or is_depthwise(graph, layer.node, config)


def _has_other_readers(launch: LaunchPlan, index: int, form: Form, root: Callable[[Form], Form]) -> bool:
    others = [source for i, layer in enumerate(launch.layers) if i != index + 1 for source in layer.sources]
    return any(root(other) == form for other in (*others, *launch.downloads))


def _resident(graph: Graph, config: Config, producer: LayerPlan, consumer: LayerPlan) -> Resident:
    """The output with the border that its reader wants."""
    layout, result = (form_layout(graph, layer.target, config) for layer in (producer, consumer))
    w = _POINT if consumer.node.op == "qmatmul" else window(graph, consumer.node)
    top, left = w.pads[:2]
    needed = [
        (extent - 1) * stride + (kernel - 1) * dilation + 1
        for extent, stride, kernel, dilation in zip(
            (result.height, result.width), w.strides, w.kernel, w.dilations, strict=True
        )
    ]
    rows, columns = max(needed[0], top + layout.height), max(needed[1], left + layout.width)
    placed = Placed(0, layout)
    if is_depthwise(graph, consumer.node, config):
        problem = depthwise_problem(graph, consumer.node, config, placed, Placed(0, result))
        columns += problem.is_seamless(columns, result.width)
    return Resident(0, Grid(layout.blocks, rows, columns), top, left, consumer.node["zero_in"])


def _split(graph: Graph, config: Config, consumer: LayerPlan, whole: Kept, around: Around) -> Iterator[Kept]:
    """Yield ways to keep some channel blocks at a time, for a reader that needs no others: a depthwise convolution."""
    blocks = whole.resident.grid.blocks
    if any(around) or whole.is_stored or not is_depthwise(graph, consumer.node, config):
        return
    for most in sorted({ceil_div(blocks, count) for count in range(2, blocks + 1)}, reverse=True):
        grid = replace(whole.resident.grid, blocks=most)
        if grid.size < config.act_rows:
            parts = tuple((first, min(most, blocks - first)) for first in range(0, blocks, most))
            yield Kept(replace(whole.resident, grid=grid), False, parts)


def _pair_cycles(
    graph: Graph, config: Config, pair: tuple[LayerPlan, LayerPlan], around: Around, between: Kept | None
) -> int | None:
    """The estimate of two layers with what is kept around them and between them; None when nothing fits."""
    total = 0
    for blocks, times in _alike(between.parts if between else ()):
        for layer, source, target in ((pair[0], around[0], between), (pair[1], between, around[1])):
            try:
                total += times * _cycles(graph, config, layer, source, target, blocks)
            except CapacityError:
                return None
    return total


def _alike(parts: tuple[Blocks, ...]) -> tuple[tuple[Blocks | None, int], ...]:
    """Return parts that cost something else, and how often each is there: all but the last are equal."""
    return ((parts[0], len(parts) - 1), (parts[-1], 1)) if parts else ((None, 1),)


def _cycles(
    graph: Graph, config: Config, layer: LayerPlan, source: Kept | None, target: Kept | None, blocks: Blocks | None
) -> int:
    """The estimate of (some channel blocks of) a layer; what is not kept is in DRAM.

    Raises
    ------
    CapacityError
        When nothing fits.
    """
    inputs, outputs = (Placed(0, form_layout(graph, form, config)) for form in (layer.sources[0], layer.target))
    if source is not None:
        inputs = source.after(inputs, blocks, config)
    if target is not None:
        outputs = target.before(outputs, blocks, config)
    if is_depthwise(graph, layer.node, config):
        problem = depthwise_problem(graph, layer.node, config, inputs, outputs)
        tiling = choose_depthwise_tiling(replace(problem, blocks=blocks[1]) if blocks else problem, config)
        if problem.keeps_input and len(tiling.widths) > 1:
            raise CapacityError("lines are longer than the array takes")
        return tiling.cycles
    problem_of_all, _ = convolution_problem(graph, layer.node, config, inputs, outputs)
    return choose_tiling(part_of(problem_of_all, blocks, config), config).cost.cycles


def border_loads(resident: Resident, layout: TensorLayout, config: Config, label: str) -> Iterator[Operation]:
    """Yield the instructions that fill the border of a tensor, which is not computed yet."""
    grid, pitch = resident.grid, resident.grid.columns
    right = pitch - resident.left - layout.width
    bottom = grid.rows - resident.top - layout.height
    end = resident.base + grid.offset(0, resident.top + layout.height - 1, resident.left + layout.width)
    pieces = (
        (resident.base, resident.top * pitch + resident.left, 1),
        (resident.at(0, 0, layout.width), right + resident.left, layout.height - 1),
        (end, right + bottom * pitch, 1),
    )
    for base, run, count in pieces:
        if run and count:
            yield _fill(resident, base % config.act_rows, run, count, config, label)


def _fill(resident: Resident, base: int, run: int, count: int, config: Config, label: str) -> Operation:
    """Fill `count` runs, a line apart, in every block."""
    grid = resident.grid
    operands = {
        "base": base, "extent1": grid.blocks, "extent2": 1, "pad_right": run, "pad_bottom": count,
        "stride0": grid.columns, "stride1": grid.rows * grid.columns, "pad_value": resident.value,
    }  # fmt: skip
    writes = (("act", resident.base % config.act_rows, grid.size),)
    return Operation("LOAD_ACT", Engine.LOAD, operands, (), writes, label=f"{label} border")
