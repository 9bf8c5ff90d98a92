"""The parts of the row unit against the ISA's integer expressions, in NumPy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from amaranth.lib import wiring
from amaranth.sim import Simulator
from numpy.typing import NDArray

from tilewright.compiler.row_functions import exp2n, log2p, normalised
from tilewright.hw.row_finish import RowFinish
from tilewright.hw.row_lane import RowLane
from tilewright.hw.timing import ROW_FACTOR_CYCLES, ROW_FINISH_CYCLES, ROW_LANE_CYCLES

COUNT = 1500

Stimuli = Mapping[str, tuple[int, NDArray[np.int64]]]


def stream_through(
    component: wiring.Component, stimuli: Stimuli, constants: Mapping[str, int], results: Mapping[str, int]
) -> dict[str, NDArray[np.int64]]:
    """Feed a stimulus a cycle, each input in its own cycle, and collect each output in its own."""
    seen: dict[str, list[int]] = {name: [] for name in results}

    async def drive(ctx):
        for name, value in constants.items():
            ctx.set(getattr(component, name), value)
        for cycle in range(COUNT + max(results.values())):
            for name, late in results.items():
                if 0 <= cycle - late < COUNT:
                    seen[name].append(ctx.get(getattr(component, name)))
            for name, (late, values) in stimuli.items():
                if 0 <= cycle - late < COUNT:
                    ctx.set(getattr(component, name), int(values[cycle - late]))
            await ctx.tick()

    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return {name: np.array(values) for name, values in seen.items()}


def at(cycle: str) -> int:
    """Return the cycle of a result after the first inputs."""
    return ROW_LANE_CYCLES[cycle] - ROW_FACTOR_CYCLES


def test_lane_raises_two_to_powers(rng: np.random.Generator) -> None:
    a = rng.integers(-128, 128, COUNT)
    factor = rng.integers(0, 1 << rng.integers(1, 21, COUNT))
    exponents = rng.integers(0, 1 << rng.integers(1, 22, COUNT)) * rng.choice([1, 1, 1, -1], COUNT)
    b = np.clip(exponents + a * factor, -(1 << 31), (1 << 31) - 1)
    zero = np.zeros(COUNT, np.int64)
    stimuli = {"a": (0, a), "factor": (0, factor), "squares": (0, zero), "deviates": (0, zero), "mean": (0, a)}
    seen = stream_through(
        RowLane(), {**stimuli, "exponent": (at("square_sum"), b)}, {"en": -1},
        {"power": at("exp"), "passed": at("sum")},
    )  # fmt: skip
    assert np.array_equal(seen["power"], exp2n(np.maximum(b - a * factor, 0)))
    assert np.array_equal(seen["passed"], a)
    assert len(np.unique(seen["power"])) > COUNT // 3


def test_lane_squares_and_normalises(rng: np.random.Generator) -> None:
    """Every other step squares; the others multiply the deviation with a mantissa."""
    a, mean = rng.integers(-128, 128, COUNT), rng.integers(-(1 << 15), 1 << 15, COUNT)
    spread = rng.integers(-(1 << 15), 1 << 15, COUNT)
    squares = np.arange(COUNT) % 2
    mantissas = exp2n((spread & 4095) << 4) >> 8
    stimuli = {
        "a": (0, a), "mean": (0, mean - 2 * squares), "factor": (0, mantissas),
        "squares": (0, squares), "deviates": (0, 1 - squares), "shift": (at("square_sum"), (spread >> 12) + 9),
    }  # fmt: skip
    results = {"square": at("square_sum"), "normal": at("normalise")}
    seen = stream_through(RowLane(), stimuli, {"en": -1}, results)
    is_square = squares == 1
    assert np.array_equal(seen["square"][is_square], (((a * 256 - mean + 2) >> 2) ** 2)[is_square])
    expected = normalised(a, (mean << 16) + (spread & 0xFFFF))
    assert np.array_equal(seen["normal"][~is_square], expected[~is_square])


def finished(rng: np.random.Generator, kind: str, constants: Mapping[str, int]) -> dict[str, NDArray[np.int64]]:
    """Send sums of all sizes through, and return them with the results."""
    total = rng.integers(0, 1 << rng.integers(1, 45, COUNT)) % (1 << 44)
    total[:45] = [0, *(1 << i for i in range(44))]
    largest, b = rng.integers(-128, 128, COUNT), rng.integers(-(1 << 31), 1 << 31, COUNT)
    stimuli = {
        "total": (0, total), "largest": (0, largest),
        "b": (ROW_FINISH_CYCLES - 2, b), "late_b": (ROW_FINISH_CYCLES - 1, b & 0xFFFF),
    }  # fmt: skip
    flags = {name: int(name == kind) for name in ("takes_largest", "is_exp_sum", "is_square_sum")}
    flags["adds_offset"] = flags["is_square_sum"]
    seen = stream_through(RowFinish(), stimuli, {**flags, **constants}, {"result": ROW_FINISH_CYCLES})
    return {**seen, "total": total, "largest": largest, "b": b}


def wrapped(value: NDArray[np.int64], bits: int) -> NDArray[np.int64]:
    return (value + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)


def test_logarithm_of_a_sum(rng: np.random.Generator) -> None:
    seen = finished(rng, "is_exp_sum", {})
    assert np.array_equal(seen["result"], wrapped(seen["b"] + log2p(seen["total"]) - (23 << 16), 32))


def test_logarithm_of_a_deviation(rng: np.random.Generator) -> None:
    for scale, offset in ((0, 0), (589824, 123), (1048575, 0xFFFFFFFF)):
        seen = finished(rng, "is_square_sum", {"scale": scale, "offset": offset})
        spread = (log2p((seen["total"] + offset) % (1 << 44)) - scale - (12 << 16) + 16) >> 5
        low = np.clip(spread, -(1 << 15), (1 << 15) - 1) & 0xFFFF
        assert np.array_equal(seen["result"], wrapped((seen["b"] << 16) | low, 32))


def test_scaling(rng: np.random.Generator) -> None:
    for kind, name in (("takes_largest", "largest"), ("sum", "total")):
        for scale, shift in ((1, 0), (1048575, 19), (699051, 31)):
            seen = finished(rng, kind, {"scale": scale, "offset": shift | 0xABC00})
            product = wrapped(seen[name], 24) * scale
            assert np.array_equal(seen["result"], wrapped((product + (1 << shift >> 1)) >> shift, 32))
