"""The order in which the window sequencer reads pixels, and where it finds windows complete."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from amaranth.sim import Simulator

from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tilewright.hw.layouts import LOOPS
from tilewright.hw.timing import WINDOW_CYCLES, depthwise_cycles, depthwise_row_cycles
from tilewright.hw.window_sequencer import WindowSequencer
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.instructions import instruction_set

SQUARE = PRESETS["16x16"].with_values(depthwise={"enabled": True}, memory={"act_kib": 512})


@dataclass(frozen=True)
class Walk:
    """A depthwise instruction as far as its pixels go."""

    out: tuple[int, int, int]
    kernel: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    base: int = 0

    @property
    def rows(self) -> int:
        return (self.out[1] - 1) * self.strides[0] + self.kernel[0]

    @property
    def columns(self) -> int:
        return (self.out[2] - 1) * self.strides[1] + self.kernel[1]

    def operands(self) -> dict[str, int]:
        """Operands of the command: rows follow each other with a gap of one pixel, blocks with one of five."""
        block = self.rows * (self.columns + 1) + 5
        extents = {f"extent_out{i}": n for i, n in enumerate(self.out)}
        extents |= {f"extent_red{i + 1}": n for i, n in enumerate(self.kernel)}
        doubles = {"double_y": self.strides[0] - 1, "double_x": self.strides[1] - 1}
        return {**extents, **doubles, "a_base": self.base, "a_pixel": 1, "a_row": self.columns + 1, "a_out0": block}

    def pixels(self, config: Config) -> list[tuple[int, int, int, bool]]:
        """Cycle, address, column and whether a result's window is complete, of each pixel."""
        operands, found = self.operands(), []
        for block in range(self.out[0]):
            for y in range(self.rows):
                for x in range(self.columns):
                    cycle = (block * self.rows + y) * depthwise_row_cycles(config, self.columns) + x
                    address = self.base + block * operands["a_out0"] + y * operands["a_row"] + x
                    behind = (y - self.kernel[0] + 1, x - self.kernel[1] + 1)
                    ends = all(n >= 0 and n % s == 0 for n, s in zip(behind, self.strides, strict=True))
                    found.append((cycle, address % config.act_depth, x, ends))
        return found


def walked(config: Config, walk: Walk) -> list[tuple[int, int, int, bool]]:
    """Run the sequencer until long after its last pixel."""
    dut = WindowSequencer(instruction_set(config))
    found = []

    async def drive(ctx):
        for name, value in walk.operands().items():
            ctx.set(getattr(dut.command, name), value)
            ctx.set(getattr(dut.active, name), value)
        singles = sum((n == 1) << LOOPS.index(f"out{i}") for i, n in enumerate(walk.out))
        ctx.set(dut.command.single, singles)
        ctx.set(dut.active.single, singles)
        ctx.set(dut.load, 1)
        await ctx.tick()
        ctx.set(dut.load, 0)
        for cycle in range(depthwise_cycles(config, walk.out[0], walk.rows, walk.columns) + 20):
            step = dut.step
            if ctx.get(step.valid):
                found.append((cycle, ctx.get(step.a), ctx.get(step.column), bool(ctx.get(step.complete))))
            await ctx.tick()

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return found


@pytest.mark.parametrize("name", ["4x4", "8x8", "16x8", "64x4"])
@pytest.mark.parametrize(
    "walk",
    [
        Walk((1, 1, 1), (1, 1)),
        Walk((3, 2, 1), (1, 1), (2, 1)),
        Walk((2, 2, 1), (1, 2)),
        Walk((2, 3, 3), (1, 3), (2, 2), base=1000),
        Walk((1, 4, 5), (1, 4), (1, 2)),
        Walk((2, 1, 13), (1, 4)),
    ],
)
def test_reads_every_pixel_once(name: str, walk: Walk) -> None:
    config = DEPTHWISE_CONFIGS[name]
    assert walked(config, walk) == walk.pixels(config)


@pytest.mark.parametrize("walk", [Walk((2, 3, 3), (3, 5)), Walk((2, 3, 4), (3, 3), (2, 2)), Walk((1, 2, 1), (2, 1))])
def test_kernels_of_several_rows(walk: Walk) -> None:
    assert walked(SQUARE, walk) == walk.pixels(SQUARE)


def test_one_pixel_a_cycle_through_a_layer() -> None:
    """3 x 3 over 56 x 56 pixels of 64 channels."""
    walk = Walk((4, 56, 56), (3, 3))
    pixels = walked(SQUARE, walk)
    assert pixels == walk.pixels(SQUARE)
    assert pixels[-1][0] + 1 == len(pixels) == 4 * 58 * 58
    assert sum(ends for *_, ends in pixels) == 4 * 56 * 56
    assert depthwise_cycles(SQUARE, 4, 58, 58) == 4 * 58 * 58 + WINDOW_CYCLES
