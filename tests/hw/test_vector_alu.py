"""The vector unit: one adder adds and compares, products of wide operands wrap; ends of the ranges included."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.sim import Simulator

from tilewright.hw.timing import compute_timing
from tilewright.hw.vector_alu import VectorAlu
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import instruction_set

CONFIGS = {
    "acc32": PRESETS["tiny"],
    "acc24": PRESETS["tiny"].with_values(gemm={"acc_bits": 24}),
    "acc20": PRESETS["tiny"].with_values(gemm={"acc_bits": 20}),
    "cascade": PRESETS["tiny"].with_values(gemm={"cascade": 4}),
    "packed": PRESETS["tiny"].with_values(gemm={"packed": True}, depthwise={"enabled": False}),
}


def wrapped(value: int, bits: int) -> int:
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def drawn(rng: np.random.Generator, bits: int, count: int) -> list[int]:
    """Draw signed numbers, often the ends of the range."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    ends = rng.choice([low, low + 1, -1, 0, 1, high], count)
    return np.where(rng.random(count) < 0.4, ends, rng.integers(low, high, count, endpoint=True)).tolist()


def reduced(kind: str, x: int, value: int) -> int:
    return {"add": x + value, "max": max(x, value), "min": min(x, value)}[kind]


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_reductions_equal_the_reference(config: Config, rng: np.random.Generator) -> None:
    isa, bits, lanes = instruction_set(config), config.gemm.acc_bits, config.acc_lanes
    alu = VectorAlu(isa)
    timing = compute_timing(config)
    latency = timing.reduced - timing.operands
    due: dict[int, list[int]] = {}
    seen = 0

    async def drive(ctx) -> None:
        nonlocal seen
        cycle = 0

        async def tick() -> None:
            nonlocal cycle, seen
            await ctx.tick()
            cycle += 1
            if cycle in due:
                assert [ctx.get(x) for x in alu.x] == due[cycle]
                seen += 1

        for _ in range(60):
            op = isa.vector_ops[rng.integers(len(isa.vector_ops))]
            from_acc = int(rng.integers(2))
            zero_a, zero_b = drawn(rng, 8, 2)
            totals = [0] * lanes
            for step in range(int(rng.integers(1, 5))):
                a_act, b, a_acc = drawn(rng, 8, lanes), drawn(rng, 8, lanes), drawn(rng, bits, lanes)
                for port, values in ((alu.a_act, a_act), (alu.b, b), (alu.a_acc, a_acc)):
                    for signal, value in zip(port, values, strict=True):
                        ctx.set(signal, value)
                for name, value in (
                    ("valid", 1), ("first", step == 0), ("op", op.code), ("from_acc", from_acc),
                    ("zero_a", zero_a), ("zero_b", zero_b),
                ):  # fmt: skip
                    ctx.set(getattr(alu, name), int(value))
                for lane in range(lanes):
                    a = a_acc[lane] if from_acc else a_act[lane]
                    value = wrapped((a - zero_a) * (b[lane] - zero_b) if op.name == "mul" else a, bits)
                    totals[lane] = value if step == 0 else wrapped(reduced(op.reduce, totals[lane], value), bits)
                due[cycle + latency] = list(totals)
                await tick()
            ctx.set(alu.valid, 0)
            for _ in range(int(rng.integers(3))):
                await tick()
        ctx.set(alu.valid, 0)
        for _ in range(latency):
            await tick()

    simulator = Simulator(alu)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    assert seen == len(due)
