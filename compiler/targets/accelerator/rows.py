"""Softmax and normalization along rows: groups of three ROW instructions over as many rows as fit.

Of each group of rows, two reductions leave an entry a row in `acc`, and a third instruction computes every channel from
it. Each instruction reads what the one before wrote, so the second and third are fenced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tilewright.compiler.qops import Epilogue
from tilewright.compiler.targets.accelerator.boxes import Padding, load_box, load_entries, store_box
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step
from tilewright.compiler.targets.accelerator.placement import Placed, Tail
from tilewright.compiler.targets.accelerator.products import matrix_box
from tilewright.compiler.targets.accelerator.scratchpads import Scratchpads, Slots
from tilewright.compiler.targets.accelerator.tiling import evenly
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.instructions import Engine

#: Pieces that a matrix is cut into at least, so that loads, compute and stores overlap.
PIECES = 4


@dataclass(frozen=True)
class RowStage:
    """One of the three instructions: the code of its operation and its operands."""

    op: int
    scale: int = 0
    offset: int = 0


@dataclass(frozen=True)
class RowLayer:
    """An operator on rows.

    Attributes
    ----------
    source, target : Placed
        Stacks of matrices of equal shapes.
    stages : tuple of RowStage
        Two reductions, then what computes every channel.
    channels : int
    tail : Tail
        Its parameters: an entry a channel block, or one for all.
    has_shared_parameters : bool
    name : str
    """

    source: Placed
    target: Placed
    stages: tuple[RowStage, RowStage, RowStage]
    channels: int
    tail: Tail
    has_shared_parameters: bool
    name: str


def row_tiling(layer: RowLayer, config: Config) -> tuple[int, ...]:
    """Return the rows of successive groups of a matrix.

    Raises
    ------
    CapacityError
        When one row, or the parameters, do not fit.
    """
    layout = layer.source.layout
    most = min(config.act_rows // (4 * layout.blocks), config.acc_depth // 2)
    entries = 1 if layer.has_shared_parameters else layout.blocks * config.sub_out
    if most < 1 or entries > config.prm_depth:
        raise CapacityError(f"layer {layer.name}: a row of {layout.blocks} channel blocks does not fit the scratchpads")
    wanted = max(ceil_div(layout.width, max(1, ceil_div(PIECES, layout.groups))), 1)
    return evenly(layout.width, min(most, wanted))


@dataclass(frozen=True)
class _State:
    layer: RowLayer
    config: Config
    inputs: Slots
    outputs: Slots
    results: Slots
    parameters: int
    entries: int
    table: int


def row_steps(layer: RowLayer, pieces: tuple[int, ...], pads: Scratchpads, config: Config) -> Iterator[Step]:
    """Yield the steps of a layer: matrices, groups of rows."""
    layout, most = layer.source.layout, max(pieces)
    entries = 1 if layer.has_shared_parameters else ceil_div(layer.channels, config.gemm.block_out)
    size = layout.blocks * most
    state = _State(
        layer, config, pads.slots(size, 2), pads.slots(size, 2), Slots(pads.acc.take(2 * most), most, 2),
        pads.prm.take(entries), entries, pads.tbl.take(1) if layer.tail.table is not None else 0,
    )  # fmt: skip
    step = Step(loads=list(_constant_loads(state)))
    index = 0
    for group in range(layout.groups):
        row = 0
        for rows in pieces:
            yield _step(state, step, group, (row, rows), index)
            step = Step()
            row += rows
            index += 1


def _constant_loads(state: _State) -> Iterator[Operation]:
    config, tail, name = state.config, state.layer.tail, state.layer.name
    yield load_entries(
        config, "prm", tail.parameters, state.parameters, state.entries, 1, state.entries * config.prm_entry_bytes,
        f"{name} parameters",
    )  # fmt: skip
    if tail.table is not None:
        yield load_entries(config, "tbl", tail.table, state.table, 1, 1, 256, f"{name} table")


def _step(state: _State, step: Step, group: int, rows: tuple[int, int], index: int) -> Step:
    layer, config = state.layer, state.config
    source, target, results = (slots.at(index) for slots in (state.inputs, state.outputs, state.results))
    blocks = layer.source.layout.blocks
    box = matrix_box(layer.source, group, (0, blocks), rows, source, config)
    step.loads.append(load_box(config, box, Padding(), blocks * rows[1], f"{layer.name} input"))
    given: Span = ("act", source % config.act_rows, blocks * rows[1])
    held: Span = ("acc", results % config.acc_depth, rows[1])
    for number, stage in enumerate(layer.stages[:2]):
        operands = _reduction(state, stage, rows[1], given[1], held[1])
        reads = (given,) if number == 0 else (given, held)
        label = f"{layer.name} {('first', 'second')[number]} pass"
        step.computes.append(Operation("ROW", Engine.COMPUTE, operands, reads, (held,), label=label))
    step.computes.append(_mapping(state, rows[1], given, held, target % config.act_rows))
    box = matrix_box(layer.target, group, (0, blocks), rows, target, config)
    step.stores.append(store_box(config, box, blocks * rows[1], layer.name))
    return step


def _walk(state: _State, rows: int, names: tuple[str, str, str]) -> tuple[dict[str, int], dict[str, int]]:
    """Extents and strides of `a` over rows, channel blocks and parts of a block, on loops of these names."""
    config = state.config
    steps = ceil_div(state.layer.channels, config.gemm.block_out)
    blocks, parts = (
        (1, steps) if steps < state.config.sub_out else (steps // state.config.sub_out, state.config.sub_out)
    )
    extents = dict(zip(names, (rows, blocks, parts), strict=True))
    strides = (config.ratio, rows * config.ratio, config.gemm.block_out // config.atom)
    return extents, dict(zip(names, strides, strict=True))


def _reduction(state: _State, stage: RowStage, rows: int, source: int, held: int) -> dict[str, int]:
    extents, strides = _walk(state, rows, ("out0", "red0", "red1"))
    return {
        "op": stage.op, "scale": stage.scale, "offset": stage.offset, "to_acc": 1,
        "tail": state.layer.channels % state.config.gemm.block_out,
        **{f"extent_{loop}": extents.get(loop, 1) for loop in ("out0", "out1", "out2", "red0", "red1", "red2")},
        "a_base": source * state.config.ratio, **{f"a_{loop}": stride for loop, stride in strides.items()},
        "b_base": held, "b_out0": 1, "d_base": held, "d_out0": 1,
    }  # fmt: skip


def _mapping(state: _State, rows: int, given: Span, held: Span, target: int) -> Operation:
    layer, config = state.layer, state.config
    stage, epilogue = layer.stages[2], layer.tail.epilogue
    extents, strides = _walk(state, rows, ("out2", "out0", "out1"))
    per_block = 0 if layer.has_shared_parameters else 1
    has_table = layer.tail.table is not None
    operands = {
        "op": stage.op, "scale": stage.scale, "offset": stage.offset,
        **{f"extent_{loop}": extents.get(loop, 1) for loop in ("out0", "out1", "out2", "red0", "red1", "red2")},
        "a_base": given[1] * config.ratio, **{f"a_{loop}": stride for loop, stride in strides.items()},
        "b_base": held[1], "b_out2": 1,
        "p_base": state.parameters, "p_out0": per_block * state.config.sub_out, "p_out1": per_block,
        "d_base": target * config.ratio, **{f"d_{loop}": stride for loop, stride in strides.items()},
        "bias_enable": 1, **_epilogue_fields(epilogue),
        **({"table_enable": 1, "table": state.table} if has_table else {}),
    }  # fmt: skip
    reads: list[Span] = [given, held, ("prm", state.parameters, state.entries)]
    reads += [("tbl", state.table, 1)] if has_table else []
    written: Span = ("act", target, given[2])
    return Operation("ROW", Engine.COMPUTE, operands, tuple(reads), (written,), label=layer.name)


def _epilogue_fields(epilogue: Epilogue) -> dict[str, int]:
    return {"zero_out": epilogue.zero_out, "clamp_low": epilogue.clamp_low, "clamp_high": epilogue.clamp_high}
