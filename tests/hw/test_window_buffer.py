"""The window buffer: windows of pixels in any rows, with any gaps, and what lanes share, against slices of arrays."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from amaranth.sim import Simulator
from numpy.typing import NDArray

from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tilewright.hw.timing import MEMORY_READ_CYCLES, WINDOW_CYCLES, compute_timing
from tilewright.hw.window_buffer import WindowBuffer
from tilewright.isa.config import PRESETS, Config

CONFIGS = {
    **{name: DEPTHWISE_CONFIGS[name] for name in ("4x4", "4x8_batch2", "8x16", "16x4_batch2", "32x4")},
    "two_rows_of_words": PRESETS["16x16"].with_values(depthwise={"enabled": True}, memory={"act_kib": 512}),
}

Bytes = NDArray[np.int8]


@dataclass
class Stimulus:
    """What is given to the buffer, and what it must give, by cycle.

    Attributes
    ----------
    ports : list of dict
        By port, of the cycle in which it is looked at; a port that is not in it has something random.
    operands : dict of int to (lanes, block_in) int8
    """

    ports: list[dict[str, int]] = field(default_factory=list)
    operands: dict[int, Bytes] = field(default_factory=dict)

    def at(self, cycle: int) -> dict[str, int]:
        while len(self.ports) <= cycle:
            self.ports.append({"valid": 0, "shares": 0})
        return self.ports[cycle]


def as_bits(values: Bytes) -> int:
    return int.from_bytes(values.tobytes(), "little")


def windows(config: Config, pixels: Bytes, kernel: tuple[int, int], y: int, x: int) -> Bytes:
    """Return each lane's operands, where the window of a kernel ends with pixel `y`, `x`."""
    rows, columns = config.window_rows, config.window_columns
    window = np.zeros((config.acc_lanes, rows, columns), np.int8)
    taps = pixels[y + 1 - kernel[0] : y + 1, x + 1 - kernel[1] : x + 1]
    window[:, rows - kernel[0] :, columns - kernel[1] :] = np.moveaxis(taps, 2, 0)
    operands = np.zeros((config.acc_lanes, config.gemm.block_in), np.int8)
    operands[:, : rows * columns] = window.reshape(config.acc_lanes, -1)
    return operands


def add_block(
    config: Config,
    stimulus: Stimulus,
    begin: int,
    shape: tuple[int, int],
    kernel: tuple[int, int],
    rng: np.random.Generator,
) -> int:
    """Add the pixels of a block of rows; return the cycle behind the last."""
    arrival = compute_timing(config).operands
    pixels = rng.integers(-128, 128, (*shape, config.acc_lanes), np.int8)
    turn = MEMORY_READ_CYCLES + 1 if config.window_rows > 1 else 1  # a column is read after it was written
    gaps, cycle, before = rng.random() * 0.5, begin, [-turn] * shape[1]
    for y in range(shape[0]):
        for x in range(shape[1]):
            cycle += int(rng.geometric(0.5)) if rng.random() < gaps else 0
            cycle = before[x] = max(cycle, before[x] + turn)
            stimulus.at(cycle).update(valid=1, column=x, kernel_rows=kernel[0], kernel_columns=kernel[1])
            stimulus.at(cycle + arrival)["pixel"] = as_bits(pixels[y, x])
            if y + 1 >= kernel[0] and x + 1 >= kernel[1]:
                stimulus.operands[cycle + arrival + WINDOW_CYCLES] = windows(config, pixels, kernel, y, x)
            cycle += 1
    return cycle


def add_shared(config: Config, stimulus: Stimulus, begin: int, count: int, rng: np.random.Generator) -> int:
    """Add steps whose lanes share operands, the first two cycles behind a pixel; return the cycle behind the last."""
    operands, cycle = compute_timing(config).operands, begin + 1
    for _ in range(count):
        cycle += int(rng.integers(3)) if rng.random() < 0.3 else 0
        common = rng.integers(-128, 128, (config.gemm.batch, config.gemm.block_in), np.int8)
        stimulus.at(cycle)["shares"] = 1
        stimulus.at(cycle + operands - 1).update({f"common{row}": as_bits(c) for row, c in enumerate(common)})
        stimulus.operands[cycle + operands] = np.repeat(common, config.gemm.block_out, axis=0)
        cycle += 1
    return cycle


def drawn(config: Config, rng: np.random.Generator) -> Stimulus:
    """Draw blocks with every kernel in any order, one right behind the other or with shared steps between."""
    stimulus, cycle = Stimulus(), 0
    sizes = range(1, config.window_rows + 1), range(1, config.window_columns + 1)
    kernels = rng.permutation([(rows, columns) for rows in sizes[0] for columns in sizes[1]])
    for rows, columns in kernels.tolist():
        shape = (rows + int(rng.integers(3)), min(columns + int(rng.integers(4)), config.depthwise.columns))
        cycle = add_block(config, stimulus, cycle, shape, (rows, columns), rng)
        if rng.random() < 0.6:
            cycle = add_shared(config, stimulus, cycle, int(rng.integers(1, 5)), rng)
    return stimulus


def check(config: Config, stimulus: Stimulus, rng: np.random.Generator) -> int:
    """Run a stimulus; return how many operands were compared."""
    dut, found = WindowBuffer(config), 0
    stimulus.at(max(stimulus.operands))
    ports = {
        "valid": dut.step.valid, "column": dut.step.column, "shares": dut.shares, "pixel": dut.pixel,
        "kernel_rows": dut.kernel_rows, "kernel_columns": dut.kernel_columns,
        **{f"common{row}": common.as_value() for row, common in enumerate(dut.common)},
    }  # fmt: skip
    bytes_of = {name: -(-len(port) // 8) for name, port in ports.items()}

    async def drive(ctx):
        nonlocal found
        for cycle, values in enumerate(stimulus.ports):
            if cycle in stimulus.operands:
                raw = [ctx.get(lane.as_value()).to_bytes(config.gemm.block_in, "little") for lane in dut.operands]
                lanes = np.array([np.frombuffer(lane, np.int8) for lane in raw])
                assert np.array_equal(lanes, stimulus.operands[cycle]), f"cycle {cycle}"
                found += 1
            for name, port in ports.items():
                anything = int.from_bytes(rng.bytes(bytes_of[name]), "little") % (1 << len(port))
                if name.startswith("kernel"):
                    anything %= 2
                ctx.set(port, values.get(name, anything))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_windows_and_what_lanes_share(config: Config, rng: np.random.Generator) -> None:
    stimulus = drawn(config, rng)
    assert check(config, stimulus, rng) == len(stimulus.operands)


@pytest.mark.parametrize("config", [CONFIGS["4x4"], CONFIGS["two_rows_of_words"]], ids=["4x4", "two_rows_of_words"])
def test_the_longest_rows(config: Config, rng: np.random.Generator) -> None:
    """As many columns as there are, without a gap."""
    stimulus = Stimulus()
    kernel = (config.window_rows, config.window_columns)
    add_block(config, stimulus, 0, (config.window_rows + 1, config.depthwise.columns), kernel, rng)
    assert check(config, stimulus, rng) == len(stimulus.operands)
    assert len(stimulus.operands) == 2 * (config.depthwise.columns - kernel[1] + 1)
