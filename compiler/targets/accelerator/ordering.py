"""Makes one stream of the steps of a launch, loads ahead of the compute that they feed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.compiler.targets.accelerator.operations import Operation, Span, Step, spans_overlap
from tilewright.isa.config import Config

#: Steps whose loads may stand before a step's compute.
DISTANCE = 2


def depths(config: Config) -> Mapping[str, int]:
    """Return the units of every memory, as spans count them."""
    return {
        "act": config.act_rows,
        "wgt": config.wgt_depth,
        "acc": config.acc_depth,
        "prm": config.prm_depth,
        "tbl": max(1, config.epilogue.tables),
        "dram": 1 << config.bus.address_bits,
    }


def ordered(steps: Sequence[Step], config: Config, distance: int = DISTANCE) -> list[Operation]:
    """Return a stream that computes what the steps one after the other compute.

    A load moves up before earlier steps' compute while nothing in between touches what it writes or writes what it
    reads; loads into one memory keep their order.
    """
    sizes = depths(config)
    stream: list[Operation] = []
    pending = [list(step.loads) for step in steps]
    for index, step in enumerate(steps):
        stream += pending[index]
        pending[index] = []
        blocked: set[str] = set()
        for ahead in range(index + 1, min(index + 1 + distance, len(steps))):
            if pending[ahead]:
                between = steps[index:ahead]
                _hoist(pending[ahead], stream, between, blocked, sizes)
        stream += step.computes
        stream += step.stores
    return stream


def _hoist(
    loads: list[Operation],
    stream: list[Operation],
    between: Sequence[Step],
    blocked: set[str],
    sizes: Mapping[str, int],
) -> None:
    """Move those loads to the stream that may go before the compute and the stores of the steps `between`."""
    kept = []
    for load in loads:
        if load.name in blocked or _conflicts(load, between, sizes):
            blocked.add(load.name)
            kept.append(load)
        else:
            stream.append(load)
    loads[:] = kept


def _conflicts(load: Operation, between: Sequence[Step], sizes: Mapping[str, int]) -> bool:
    return any(
        _meet(load.writes, operation.reads, sizes)
        or _meet(load.writes, operation.writes, sizes)
        or _meet(load.reads, operation.writes, sizes)
        for step in between
        for operation in (*step.computes, *step.stores)
    )


def _meet(first: Sequence[Span], second: Sequence[Span], sizes: Mapping[str, int]) -> bool:
    return any(spans_overlap(one, other, sizes[one[0]]) for one in first for other in second if one[0] == other[0])
