"""The array: every way of building it gives the same sums, after the cycles that its timing states."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from tilewright.hw.gemm_core import GemmCore
from tilewright.hw.timing import compute_timing
from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError
from tilewright.isa.sections import Depthwise, Gemm, Memory

MEMORY = Memory(act_kib=8, wgt_kib=16, acc_kib=2)
NO_WINDOWS, WINDOWS = Depthwise(enabled=False), Depthwise(enabled=True)


def config(depthwise: Depthwise = NO_WINDOWS, **gemm: int) -> Config:
    shape = {"batch": 1, "block_in": 8, "block_out": 4} | gemm
    return Config(gemm=Gemm(**shape), memory=MEMORY, depthwise=depthwise)


CONFIGS = {
    "tree": config(),
    "cascade": config(cascade=4),
    "whole_cascade": config(cascade=8),
    "windowed": config(WINDOWS),
    "windowed_cascade": config(WINDOWS, cascade=2),
    "packed": config(packed=True),
    "packed_pairs": config(packed=True, cascade=2),
    "packed_fours": config(packed=True, cascade=4),
    "packed_whole": config(packed=True, cascade=8),
    "packed_batch": config(packed=True, cascade=2, batch=2, block_in=4),
    "packed_narrow": config(packed=True, cascade=2, acc_bits=20),
    "packed_16": config(packed=True, cascade=2, block_in=16, block_out=16),
}


def extreme_int8(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Draw int8, often the ends of the range, where fields run over, or whole rows of one end."""
    values = rng.integers(-128, 128, shape)
    values = np.where(rng.random(shape) < 0.4, rng.choice([-128, -127, 127, 0, -1], shape), values)
    rows = rng.random((*shape[:-1], 1))
    return np.where(rows < 0.2, -128, np.where(rows > 0.9, 127, values))


def wrapped(values: np.ndarray, bits: int) -> np.ndarray:
    return (values + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def as_bits(row: np.ndarray) -> int:
    return int.from_bytes(row.astype(np.int8).tobytes(), "little")


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_sums_equal_the_reference(config: Config, rng: np.random.Generator) -> None:
    gemm, steps = config.gemm, 120
    operands = config.acc_lanes if config.depthwise.enabled else gemm.batch
    a = extreme_int8(rng, (steps, operands, gemm.block_in))
    w = extreme_int8(rng, (steps, gemm.block_out, gemm.block_in))
    first = rng.random(steps) < 0.2
    first[0] = True
    gaps = np.where(rng.random(steps) < 0.3, rng.integers(1, 4, steps), 0)

    expected = []
    total = np.zeros((gemm.batch, gemm.block_out), np.int64)
    for i in range(steps):
        of_lanes = np.repeat(a[i], config.acc_lanes // operands, axis=0)
        products = of_lanes.reshape(gemm.batch, gemm.block_out, gemm.block_in) * w[i]
        total = np.where(first[i], 0, total) + products.sum(axis=2)
        expected.append(wrapped(total, gemm.acc_bits).ravel())

    timing = compute_timing(config)
    latency = timing.reduced - timing.operands
    core = GemmCore(config)
    due: dict[int, int] = {}
    seen = 0

    async def drive(ctx):
        nonlocal seen
        cycle = 0

        async def tick() -> None:
            nonlocal cycle, seen
            await ctx.tick()
            cycle += 1
            if cycle in due:
                found = np.array([ctx.get(x) for x in core.x]) * (-1 if gemm.packed else 1)
                assert wrapped(found, gemm.acc_bits).tolist() == expected[due[cycle]].tolist(), f"step {due[cycle]}"
                seen += 1

        for i in range(steps):
            ctx.set(core.valid, 0)
            for port in core.a:
                ctx.set(port.as_value(), as_bits(extreme_int8(rng, (gemm.block_in,))))
            for _ in range(gaps[i]):
                await tick()
            ctx.set(core.valid, 1)
            ctx.set(core.first, int(first[i]))
            for port, row in zip(core.a, a[i], strict=True):
                ctx.set(port.as_value(), as_bits(row))
            for port, row in zip(core.w, w[i], strict=True):
                ctx.set(port.as_value(), as_bits(row))
            due[cycle + latency] = i
            await tick()
        ctx.set(core.valid, 0)
        for _ in range(latency):
            await tick()

    simulator = Simulator(core)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert seen == steps


@pytest.mark.parametrize(
    ("gemm", "depthwise", "message"),
    [
        ({"cascade": 16}, NO_WINDOWS, r"`gemm.cascade` must be at most `gemm.block_in` \(8\), not 16"),
        ({"packed": True, "cascade": 16, "block_in": 16}, NO_WINDOWS, r"at most 8 with `gemm.packed`, not 16"),
        ({"packed": True}, WINDOWS, r"`gemm.packed` must be false with `depthwise.enabled`"),
    ],
)
def test_impossible_arrays_are_refused(gemm: dict[str, int], depthwise: Depthwise, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(depthwise, **gemm)
