"""The scalar steps of the epilogue against the ISA's integer expressions."""

from __future__ import annotations

import random

import pytest
from amaranth.lib import wiring
from amaranth.sim import Simulator

from tilewright.hw.requantizer import Requantizer
from tilewright.hw.residual_adder import ResidualAdder
from tilewright.hw.rounding_shift import RoundingShift
from tilewright.hw.timing import REQUANTIZE_CYCLES, RESIDUAL_CYCLES
from tilewright.isa.config import PRESETS, Config


def wrap64(value: int) -> int:
    return (value + (1 << 63)) % (1 << 64) - (1 << 63)


def scaled(value: int, shift: int, zero: int) -> int:
    """Shift with rounding in 64 bits, zero point, saturation: as `semantics.rounding_shift` says."""
    half = wrap64(1 << shift) >> 1
    return max(-128, min(127, (wrap64(value + half) >> shift) + zero))


def stream_through(
    component: wiring.Component, stimuli: list[dict[str, int]], delays: dict[str, int], cycles: int
) -> list[int]:
    """Feed one stimulus a cycle, each input as late as `delays` says, and collect what comes `cycles` after each."""
    results = []
    output = component.result if "result" in component.signature.members else component.y

    async def drive(ctx):
        ctx.set(component.en, (1 << cycles) - 1)
        for cycle in range(len(stimuli) + cycles):
            if cycle >= cycles:
                results.append(ctx.get(output))
            for name, delay in delays.items():
                if 0 <= cycle - delay < len(stimuli):
                    ctx.set(getattr(component, name), stimuli[cycle - delay][name])
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return results


def interesting(r: random.Random, bits: int, *, signed: bool = True) -> int:
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    small = r.randint(max(low, -300), min(high, 300))
    return r.choice((low, high, small, r.randint(low, high), r.randint(low, high) >> r.randrange(bits)))


@pytest.mark.parametrize("width", [12, 18, 34, 48, 56])
def test_rounding_shift(width: int, python_random: random.Random) -> None:
    r = python_random
    shifts = [s for s in range(64) for _ in range(25)]
    stimuli = [{"value": interesting(r, width), "shift": s, "zero": interesting(r, 8)} for s in shifts]
    seen = stream_through(RoundingShift(width), stimuli, {"value": 0, "shift": 0, "zero": 2}, 4)
    assert seen == [scaled(s["value"], s["shift"], s["zero"]) for s in stimuli]
    assert len(set(seen)) > 200


@pytest.mark.parametrize("acc_bits", [20, 24, 32])
@pytest.mark.parametrize("multiplier_bits", [8, 16, 24])
def test_requantizer(acc_bits: int, multiplier_bits: int, python_random: random.Random) -> None:
    r = python_random
    config = Config().with_values(gemm={"acc_bits": acc_bits}, epilogue={"multiplier_bits": multiplier_bits})
    stimuli = [
        {
            "x": interesting(r, acc_bits),
            "multiplier": interesting(r, multiplier_bits, signed=False),
            "shift": r.choice((r.randrange(64), r.randrange(8, 40))),
            "zero": interesting(r, 8),
        }
        for _ in range(1000)
    ]
    delays = {"x": 0, "multiplier": 0, "shift": 0, "zero": 4}
    seen = stream_through(Requantizer(config), stimuli, delays, REQUANTIZE_CYCLES)
    assert seen == [scaled(s["x"] * s["multiplier"], s["shift"], s["zero"]) for s in stimuli]


@pytest.mark.parametrize("multiplier_bits", [8, 16, 24])
def test_residual_adder(multiplier_bits: int, python_random: random.Random) -> None:
    r = python_random
    config = PRESETS["tiny"].with_values(epilogue={"multiplier_bits": multiplier_bits})
    small = ("y", "b", "zero_a", "zero_b", "zero_out")
    stimuli = [
        {
            **{name: interesting(r, 8) for name in small},
            "multiplier_a": interesting(r, multiplier_bits, signed=False),
            "multiplier_b": interesting(r, multiplier_bits, signed=False),
            "shift": r.choice((r.randrange(64), r.randrange(max(0, multiplier_bits - 4), multiplier_bits + 4))),
        }
        for _ in range(1000)
    ]
    delays = {"y": 0, "b": 0, "zero_a": 0, "zero_b": 0, "multiplier_a": 1, "multiplier_b": 1, "shift": 3, "zero_out": 5}
    seen = stream_through(ResidualAdder(config), stimuli, delays, RESIDUAL_CYCLES)
    expected = []
    for s in stimuli:
        total = (s["y"] - s["zero_a"]) * s["multiplier_a"] + (s["b"] - s["zero_b"]) * s["multiplier_b"]
        expected.append(scaled(total, s["shift"], s["zero_out"]))
    assert seen == expected
