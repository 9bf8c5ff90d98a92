"""Chosen tilings fit the scratchpads and cover the problem, for many shapes and configurations."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS
from tilewright.compiler.targets.accelerator.candidates import WATCHED_TILES, Candidates, Cuts, cut_of
from tilewright.compiler.targets.accelerator.cost import estimate, estimates
from tilewright.compiler.targets.accelerator.layout import ceil_div
from tilewright.compiler.targets.accelerator.problem import (
    Problem,
    Tiling,
    chunk_entries,
    chunk_list,
    in_slot_blocks,
    in_slot_rows,
    out_slot_blocks,
    out_slot_rows,
    reductions,
)
from tilewright.compiler.targets.accelerator.tiling import _cuts, choose_tiling, evenly
from tilewright.isa.config import Config
from tilewright.isa.errors import CapacityError

configurations = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def random_problem(rng: np.random.Generator, config: Config) -> Problem:
    kernel = int(rng.choice((1, 1, 3, 5)))
    stride = int(rng.choice((1, 1, 2)))
    size = int(rng.integers(kernel, 40))
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    inputs, outputs = (int(v) for v in rng.integers(1, 200, 2))
    return Problem(
        int(rng.integers(1, 3)), size, size, out, out, ceil_div(inputs, config.lanes), 0,
        ceil_div(outputs, config.lanes), ceil_div(outputs, config.gemm.block_out),
        (kernel, kernel), (stride, stride), (1, 1), (pad, pad), bool(rng.integers(0, 2)),
    ).flattened()  # fmt: skip


@configurations
def test_tilings_fit(config: Config, rng: np.random.Generator) -> None:
    for _ in range(25):
        problem = random_problem(rng, config)
        choice = choose_tiling(problem, config)
        tiling = choice.tiling
        assert sum(tiling.heights) == problem.out_height
        assert sum(tiling.widths) == problem.out_width
        rows = tiling.in_slots * in_slot_rows(problem, tiling) + tiling.out_slots * out_slot_rows(problem, tiling)
        assert rows <= config.act_rows
        assert chunk_entries(problem, tiling, config) <= config.wgt_depth
        if tiling.is_weight_resident:
            assert problem.co_count * problem.span * problem.taps(config) <= config.wgt_depth
        if reductions(problem, tiling) > 1:
            assert out_slot_rows(problem, tiling) * (config.lanes // config.gemm.block_out) <= config.acc_depth
        assert choice.cost.cycles >= problem.steps(config)
        assert choice.cost == estimate(problem, tiling, config)


@configurations
def test_reduction_is_covered_once(config: Config, rng: np.random.Generator) -> None:
    for _ in range(10):
        problem = random_problem(rng, config)
        seen = np.zeros((problem.span, *problem.kernel), int)
        for block, blocks, y, rows, x, columns in chunk_list(problem, choose_tiling(problem, config).tiling):
            seen[block : block + blocks, y : y + rows, x : x + columns] += 1
        assert (seen == 1).all()


def test_nothing_fits() -> None:
    config = Config.load("tiny").with_values(memory={"act_kib": 1})
    problem = Problem(1, 1, 1200, 1, 1, 1, 0, 1, 1, (1, 1200))
    with pytest.raises(CapacityError, match=r"the smallest tile needs \d+ bytes of `memory.act_kib`, which has 1024"):
        choose_tiling(problem, config)


@configurations
def test_many_at_once_are_what_each_is(config: Config, rng: np.random.Generator) -> None:
    """The candidates' columns agree with what is said of one tiling, and their estimates with each one's."""
    for _ in range(5):
        problem = random_problem(rng, config)
        tilings = [choose_tiling(problem, config).tiling, *(random_tiling(rng, problem) for _ in range(20))]
        candidates = Candidates.of(problem, tilings, config)
        assert candidates.chunk_entries.tolist() == [chunk_entries(problem, t, config) for t in tilings]
        assert candidates.reductions.tolist() == [reductions(problem, t) for t in tilings]
        assert candidates.in_slot_blocks.tolist() == [in_slot_blocks(problem, t) for t in tilings]
        assert candidates.out_slot_blocks.tolist() == [out_slot_blocks(problem, t) for t in tilings]
        costs = estimates(candidates, Cuts.of([cut_of(t.heights, t.widths) for t in tilings]))
        assert [costs.at(i) for i in range(len(tilings))] == [estimate(problem, t, config) for t in tilings]


def random_tiling(rng: np.random.Generator, problem: Problem) -> Tiling:
    """Any tiling, whether it fits or not."""
    pieces = [evenly(total, int(rng.integers(1, total + 1))) for total in (problem.out_height, problem.out_width)]
    blocks = (int(rng.integers(1, total + 1)) for total in (problem.out_blocks, problem.span))
    kernel = (int(rng.integers(1, problem.kernel[0] + 1)), int(rng.integers(1, problem.kernel[1] + 1)))
    flags = (bool(flag) for flag in rng.integers(0, 2, 3))
    return Tiling(*pieces, *blocks, kernel, *flags, *map(int, rng.integers(1, 3, 2)))


@pytest.mark.parametrize("heights", [(4,), (1, 3), (2, 3, 3), (3,) * 9 + (2,), (2,) + (4,) * 30 + (3, 1)])
@pytest.mark.parametrize("widths", [(5,), (2, 3), (1,) * 7])
def test_cuts_count_every_tile(heights: tuple[int, ...], widths: tuple[int, ...]) -> None:
    cut = cut_of(heights, widths)
    tiles = list(product(heights, widths))
    assert Counter(tiles) == sum((Counter({s: n}) for s, n in zip(cut.sizes, cut.counts, strict=True)), Counter())
    half = WATCHED_TILES // 2
    watched = tiles if len(tiles) <= WATCHED_TILES else tiles[:half] + tiles[-half:]
    assert [cut.sizes[kind] for kind in cut.watched] == watched
    assert (cut.tiles, cut.last) == (len(tiles), tiles[-1][0] * tiles[-1][1])


@pytest.mark.parametrize("total", [1, 2, 3, 7, 16, 100])
def test_cuts_are_all_that_differ(total: int) -> None:
    sizes = _cuts(total)
    assert list(sizes) == sorted({ceil_div(total, count) for count in range(1, total + 1)}, reverse=True)
    for size in sizes:
        assert sum(evenly(total, size)) == total
        assert max(evenly(total, size)) <= size


@pytest.mark.parametrize(
    ("size", "inputs", "outputs", "kernel", "stride", "least"),
    [(56, 64, 64, 3, 1, 0.97), (56, 64, 128, 1, 2, 0.93), (14, 256, 256, 3, 1, 0.97), (7, 512, 512, 3, 1, 0.97)],
)
def test_estimates_of_known_layers(
    size: int, inputs: int, outputs: int, kernel: int, stride: int, least: float
) -> None:
    """The search finds what keeps a 16x16 array busy."""
    config = Config.load("16x16")
    pad = kernel // 2
    out = (size + 2 * pad - kernel) // stride + 1
    problem = Problem(
        1, size, size, out, out, inputs // 16, 0, outputs // 16, outputs // 16, (kernel, kernel), (stride, stride),
        (1, 1), (pad, pad),
    )  # fmt: skip
    assert problem.steps(config) / choose_tiling(problem, config).cost.cycles >= least


def test_small_tiles_that_overlap_their_loads_are_found() -> None:
    """Many sizes of tiles fit once, only smaller ones fit twice: those whose loads go on beside the computing."""
    config = Config.load("16x16")
    problem = Problem(1, 1, 12544, 1, 12544, 10, 0, 4, 4)
    choice = choose_tiling(problem, config)
    assert (choice.tiling.in_slots, choice.tiling.out_slots) == (2, 2)
    assert reductions(problem, choice.tiling) == 1
    assert choice.cost.cycles < 1.01 * problem.steps(config)
