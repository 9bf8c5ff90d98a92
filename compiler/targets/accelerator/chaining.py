"""Keeps a layer's output in the activation scratchpad for the layer that reads it next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.qops import window
from tilewright.compiler.targets.accelerator.depthwise_tiling import choose_depthwise_tiling
from tilewright.compiler.targets.accelerator.layout import TensorLayout
from tilewright.compiler.targets.accelerator.legality import is_depthwise
from tilewright.compiler.targets.accelerator.operations import Operation
from tilewright.compiler.targets.accelerator.partition import Form, LaunchPlan, LayerPlan, form_layout
from tilewright.compiler.targets.accelerator.placement import Placed, Resident
from tilewright.compiler.targets.accelerator.problems import convolution_problem, depthwise_problem
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
    """

    resident: Resident
    is_stored: bool


def plan_chain(graph: Graph, config: Config, launch: LaunchPlan, root: Callable[[Form], Form]) -> dict[int, Kept]:
    """Return what layers of a launch keep, by their index.

    A convolution keeps its output for the next layer, another convolution, where both still find a tiling with what is
    left of `act`, and are estimated to take fewer cycles so.

    Parameters
    ----------
    graph, config, launch
    root
        Leads from a form to the one that it is an alias of.
    """
    kept: dict[int, Kept] = {}
    for index in range(len(launch.layers) - 1):
        producer, consumer = launch.layers[index : index + 2]
        if not _is_chainable(graph, config, producer, consumer):
            continue
        before = kept.get(index - 1)
        candidate = Kept(
            _resident(graph, config, producer, consumer), _has_other_readers(launch, index, producer.target, root)
        )
        apart = _total(_cycles(graph, config, producer, before, None), _cycles(graph, config, consumer, None, None))
        together = _total(
            _cycles(graph, config, producer, before, candidate), _cycles(graph, config, consumer, candidate, None)
        )
        if together is not None and (apart is None or together < apart):
            kept[index] = candidate
    return kept


def _is_chainable(graph: Graph, config: Config, producer: LayerPlan, consumer: LayerPlan) -> bool:
    is_next = consumer.sources[0] == producer.target and producer.target not in consumer.sources[1:]
    return is_next and all(_is_supported(graph, config, layer) for layer in (producer, consumer))


def _is_supported(graph: Graph, config: Config, layer: LayerPlan) -> bool:
    if layer.node.op != "qconv2d" or form_layout(graph, layer.target, config).groups > 1:
        return False
    return layer.node["groups"] == 1 or is_depthwise(graph, layer.node, config)


def _has_other_readers(launch: LaunchPlan, index: int, form: Form, root: Callable[[Form], Form]) -> bool:
    others = [source for i, layer in enumerate(launch.layers) if i != index + 1 for source in layer.sources]
    return any(root(other) == form for other in (*others, *launch.downloads))


def _resident(graph: Graph, config: Config, producer: LayerPlan, consumer: LayerPlan) -> Resident:
    """The output with the border that its reader wants."""
    layout, result = (form_layout(graph, layer.target, config) for layer in (producer, consumer))
    w = window(graph, consumer.node)
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


def _total(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _cycles(graph: Graph, config: Config, layer: LayerPlan, source: Kept | None, target: Kept | None) -> int | None:
    """The estimate of a layer that keeps its output as `target`, None being in DRAM; None when nothing fits."""
    inputs = Placed(0, form_layout(graph, layer.sources[0], config), source.resident if source else None)
    outputs = Placed(0, form_layout(graph, layer.target, config))
    if target is not None:
        outputs = replace(outputs, resident=target.resident, is_stored=target.is_stored)
    try:
        if is_depthwise(graph, layer.node, config):
            problem = depthwise_problem(graph, layer.node, config, inputs, outputs)
            tiling = choose_depthwise_tiling(problem, config)
            is_cut = problem.keeps_input and len(tiling.widths) > 1
            return None if is_cut else tiling.cycles
        return choose_tiling(convolution_problem(graph, layer.node, config, inputs, outputs)[0], config).cost.cycles
    except CapacityError:
        return None


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
