"""The proofs, and that each fails where a fault is planted; what they mean stands in docs/dev/formal.md."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.formal.axi import Bursts, ReadMaster, WriteMaster
from tests.formal.csr import Registers
from tests.formal.prover import Harness, check, prove
from tests.formal.streams import BufferedFifoOrder, BufferOrder, BurstQueueOrder, FifoOrder
from tests.formal.tokens import Tokens
from tests.formal.walkers import Entries, Steps

#: For all time.
PROVED: dict[str, Callable[..., Harness]] = {
    "buffer_order": BufferOrder,
    "burst_queue_order": BurstQueueOrder,
    "fifo_order": FifoOrder,
    "buffered_fifo_order": BufferedFifoOrder,
    "tokens": Tokens,
    "bursts": Bursts,
    "read_master": ReadMaster,
    "write_master": WriteMaster,
    "registers": Registers,
}

#: Up to so many cycles: here, and with `-m slow`.
BOUNDED: dict[str, tuple[Callable[..., Harness], int, int]] = {
    "steps": (Steps, 10, 20),
    "step_addresses_a": (partial(Steps, "a"), 5, 8),
    "step_addresses_w": (partial(Steps, "w"), 5, 8),
    "step_addresses_b": (partial(Steps, "b"), 8, 14),
    "step_addresses_p": (partial(Steps, "p"), 8, 14),
    "step_addresses_d": (partial(Steps, "d"), 8, 14),
    "entries": (Entries, 7, 12),
}

SECONDS, SLOW_SECONDS = 150, 3600


@pytest.mark.parametrize("name", PROVED)
def test_proved(name: str, tmp_path: Path) -> None:
    verdict = prove(PROVED[name](), tmp_path, SECONDS)
    assert verdict.kind == "proved", verdict.log


@pytest.mark.parametrize("name", BOUNDED)
def test_bounded(name: str, tmp_path: Path) -> None:
    harness, depth, _ = BOUNDED[name]
    verdict = check(harness(), tmp_path, depth, SECONDS)
    assert (verdict.kind, verdict.depth) == ("bounded", depth), verdict.log


@pytest.mark.slow
@pytest.mark.parametrize("name", BOUNDED)
def test_bounded_further(name: str, tmp_path: Path) -> None:
    harness, _, depth = BOUNDED[name]
    verdict = check(harness(), tmp_path, depth, SLOW_SECONDS)
    assert (verdict.kind, verdict.depth) == ("bounded", depth), verdict.log


@pytest.mark.parametrize("name", [*PROVED, *BOUNDED])
def test_a_planted_fault_is_found(name: str, tmp_path: Path) -> None:
    harness = PROVED[name] if name in PROVED else BOUNDED[name][0]
    verdict = check(harness(broken=True), tmp_path, 12, SECONDS)
    assert verdict.kind == "failed", verdict.log
