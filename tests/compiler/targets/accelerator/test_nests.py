"""Every intrinsic mode: a tile's instructions do what its nest says, on random shapes and data."""

from __future__ import annotations

import time
from itertools import product

import numpy as np
import pytest

from tests.compiler.targets.accelerator.movement_tiles import LoadBox, LoadEntries, StoreBox
from tests.compiler.targets.accelerator.tile_driver import (
    CONFIGS,
    check_tile,
    kit,
    random_memories,
    run_calls,
    run_nest,
)
from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.accelerator.nests import ConvTile, TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid
from tilewright.compiler.tir.tensorize import TensorizeError
from tilewright.isa.config import Config
from tilewright.isa.instructions import InstructionSet
from tilewright.isa.semantics import memories

CASES = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())


def residual(rng: np.random.Generator) -> Residual:
    zero = [int(v) for v in rng.integers(-128, 128, 3)]
    a, b = (int(v) for v in rng.integers(1, 250, 2))
    return Residual(zero[0], a, zero[1], b, int(rng.integers(0, 12)), zero[2])


def finishes(config: Config, rng: np.random.Generator) -> list[Finish]:
    """Every way a tile can end."""
    raw = [Finish(bias=b, accumulate=a) for b, a in product((False, True), repeat=2)]
    either = (False, True)
    flags = product(either, either, either[: 1 + config.epilogue.residual], either[: 1 + (config.epilogue.tables > 0)])
    for bias, accumulate, with_residual, table in flags:
        low, high = sorted(int(v) for v in rng.integers(-128, 128, 2))
        stage = residual(rng) if with_residual else None
        epilogue = Epilogue(int(rng.integers(-128, 128)), stage, low, high)
        if accumulate and with_residual:
            continue  # both would be read through operand b, from different memories
        raw.append(Finish(epilogue, bias, accumulate, table, shared_parameters=bool(rng.integers(2))))
    return raw


def placement(config: Config, finish: Finish, rng: np.random.Generator) -> dict[str, int]:
    """Place operands low and results high; a row is `ratio` atoms."""
    rows, half = config.act_rows, config.act_rows // 2
    place = {
        "x": int(rng.integers(0, 3)) * config.ratio,
        "b": int(rng.integers(0, 3)) * config.ratio,
        "w": int(rng.integers(0, 3)),
        "p": int(rng.integers(0, config.prm_depth - 5)),
        "residual": (half + int(rng.integers(0, 3))) * config.ratio,
        "y": (rows - rows // 4 + int(rng.integers(0, 3))) * config.ratio,
        "table": int(rng.integers(0, max(1, config.epilogue.tables))),
        "addend": 1,
    }
    if finish.epilogue is None:
        place["y"] = 1 if finish.accumulate else 2
    return place


def out_blocks(config: Config, rng: np.random.Generator) -> int:
    parts = config.lanes // config.gemm.block_out
    return int(rng.choice([1, parts, 2 * parts]))


@CASES
def test_convolution(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    in_parts = config.lanes // config.gemm.block_in
    modes = set()
    for finish in finishes(config, rng):
        kernel = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        stride = int(rng.integers(1, 3)), int(rng.integers(1, 3))
        y = Grid(2 if finish.epilogue else 2 * config.lanes // config.gemm.block_out, 2, 2)
        tile = ConvTile(
            Grid(2, 2 * stride[0] + kernel[0], 2 * stride[1] + kernel[1]), y,
            in_blocks=int(rng.choice([1, in_parts, 2 * in_parts])), out_blocks=out_blocks(config, rng),
            rows=int(rng.integers(1, 3)), columns=int(rng.integers(1, 3)), kernel=kernel, stride=stride, finish=finish,
        )  # fmt: skip
        calls = check_tile(tiles, isa, tile, placement(config, finish, rng), rng)
        modes.add(tuple(calls[0].operands.get(name, 0) for name in MODE))
    assert {"GEMM"} == {name for name, _ in calls}
    assert len(modes) == len(finishes(config, rng))


MODE = ("to_acc", "accumulate", "bias_enable", "residual", "table_enable")


@CASES
def test_diagonal_and_dilated_convolution(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    blocks = 2 * config.lanes // config.gemm.block_out
    finish = Finish(Epilogue(3), bias=True)
    for dilation in ((1, 1), (2, 1)):
        tile = ConvTile(
            Grid(2, 6, 4), Grid(2, 2, 2), 0, blocks, 2, 2, (3, 3), (1, 1), dilation, finish, is_diagonal=True
        )
        check_tile(tiles, isa, tile, placement(config, finish, rng), rng)


@CASES
def test_vector(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    parts = config.lanes // config.gemm.block_out
    for op, from_acc in product(isa.vector_ops, (False, True)):
        every = finishes(config, rng)
        for finish in every if config is CONFIGS["4x4"] else [every[i] for i in rng.choice(len(every), 3)]:
            takes_b = finish.accumulate or (finish.epilogue and finish.epilogue.residual)
            if (from_acc and finish.accumulate) or (op.name == "mul" and takes_b):
                continue  # operand b has one place
            kernel = (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
            zeros = [int(v) for v in rng.integers(-128, 128, 2)] if op.name == "mul" else (0, 0)
            x = Grid(2 * (parts if from_acc else 1), 1 + kernel[0], 1 + kernel[1])
            y = Grid(2 if finish.epilogue else 2 * parts, 2, 2)
            tile = VectorTile(
                op, x, y, out_blocks(config, rng), int(rng.integers(1, 3)), int(rng.integers(1, 3)), kernel,
                zero_a=zeros[0], zero_b=zeros[1], from_acc=from_acc, finish=finish,
            )  # fmt: skip
            place = placement(config, finish, rng)
            if from_acc:
                place["x"] = 0
                place["y"] = place["y"] if finish.epilogue else config.acc_depth - y.size
            calls = check_tile(tiles, isa, tile, place, rng)
            assert calls[0].operands["op"] == op.code
            assert calls[0].operands.get("from_acc", 0) == from_acc


@CASES
def test_boxes(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    align = max(1, config.bus_bytes)
    for pads in product((0, 1, 2), repeat=4):
        top, bottom, left, right = pads
        rows, columns = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        source, target = Grid(2, 6, 8), Grid(2, rows + top + bottom, columns + left + right + int(rng.integers(0, 2)))
        blocks, value = int(rng.integers(1, 3)), int(rng.integers(-128, 128))
        tile = LoadBox(source, target, rows, columns, blocks, top, bottom, left, right, value)
        place = {"dram": int(rng.integers(0, 9)) * align, "act": int(rng.integers(0, 5)) * config.ratio}
        if config.row_bytes < config.bus_bytes:
            place["dram"] = int(rng.integers(0, 9)) * config.row_bytes
        (call,) = check_tile(tiles, isa, tile, place, rng)
        assert call.name == "LOAD_ACT"
        assert call.operands["extent_run"] == columns or columns + left + right == 1
        back = StoreBox(target, source, rows, columns)
        (call,) = check_tile(tiles, isa, back, place, rng)
        assert call.name == "STORE_ACT"


@CASES
def test_stepping_box(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    tile = LoadBox(Grid(2, 8, 4), Grid(2, 5, 4), rows=4, columns=4, pad_top=1, pad_value=5, row_step=2)
    (call,) = check_tile(tiles, isa, tile, {"dram": 64, "act": 0}, rng)
    assert call.operands["dram_stride0"] == 2 * 4 * config.row_bytes


@CASES
def test_entries(config: Config, rng: np.random.Generator) -> None:
    isa, tiles = kit(config)
    for space, name in (("wgt", "LOAD_WGT"), ("prm", "LOAD_PRM"), ("tbl", "LOAD_TBL")):
        if space == "tbl" and not config.epilogue.tables:
            continue
        size = memories(config)[space].shape[1]
        runs = LoadEntries(space, 2, 3, 5, 2) if space != "tbl" else LoadEntries(space, 1)
        (call,) = check_tile(tiles, isa, runs, {"dram": 3 * max(size, config.bus_bytes), space: 1}, rng)
        assert call.name == name


def test_loops_that_do_not_fit_are_hoisted(rng: np.random.Generator) -> None:
    config = CONFIGS["8x4"]
    isa, tiles = kit(config)
    finish = Finish(Epilogue(), bias=True)
    tile = ConvTile(Grid(2, 2, 3), Grid(3, 2, 3), 2, 6, 2, 2, finish=finish)  # 3 blocks x 2 parts x 2 rows x 2 columns
    calls = check_tile(tiles, isa, tile, placement(config, finish, rng), rng)
    assert len(calls) == 3
    with pytest.raises(TensorizeError, match="takes \\(3,\\) instructions"):
        tiles.tensorizer.tensorize(tiles.nest(tile), placement(config, finish, rng))


def test_joint_loops_are_merged(rng: np.random.Generator) -> None:
    """Kernel columns and the parts of a row are walked by one loop, and so are full rows of a 1x1 kernel."""
    config = CONFIGS["4x8"]
    isa, tiles = kit(config)
    finish = Finish(Epilogue(), bias=True)
    tile = ConvTile(Grid(2, 4, 4), Grid(1, 2, 2), 4, 1, 2, 2, (3, 3), finish=finish)
    (call,) = check_tile(tiles, isa, tile, placement(config, finish, rng), rng)
    assert [call.operands[f"extent_red{i}"] for i in range(3)] == [2, 3, 6]
    whole = ConvTile(Grid(2, 3, 4), Grid(1, 3, 4), 4, 1, 3, 4, finish=finish)
    (call,) = check_tile(tiles, isa, whole, placement(config, finish, rng), rng)
    assert [call.operands[f"extent_out{i}"] for i in range(3)] == [1, 1, 12]


def conv_kit() -> tuple[InstructionSet, TileTensorizer, ConvTile]:
    isa, tiles = kit(CONFIGS["4x8"])
    return isa, tiles, ConvTile(Grid(2, 4, 6), Grid(1, 2, 2), 4, 1, 2, 2, (2, 2), finish=Finish(Epilogue()))


def test_too_many_reduction_loops_are_named() -> None:
    _, tiles, tile = conv_kit()
    dilated = ConvTile(**{**vars(tile), "dilation": (1, 2)})
    with pytest.raises(TensorizeError, match="3 reduction loops; `ci` must be hoisted"):
        tiles.calls(dilated, {"x": 0, "w": 0, "p": 0, "y": 64})


def test_misaligned_placement_is_refused() -> None:
    _, tiles, tile = conv_kit()
    with pytest.raises(TensorizeError, match="buffer `y` at 65: GEMM addresses it in steps of 2 entries"):
        tiles.calls(tile, {"x": 0, "w": 0, "p": 0, "y": 65})
    with pytest.raises(TensorizeError, match="LOAD_WGT.dram_base must be a multiple of 8"):
        tiles.calls(LoadEntries("wgt", 2), {"dram": 12, "wgt": 0})


def test_value_beyond_its_field_is_refused() -> None:
    _, tiles, tile = conv_kit()
    stage = Residual(0, 1 << 20, 0, 1, 3, 0)
    wide = ConvTile(**{**vars(tile), "finish": Finish(Epilogue(0, stage))})
    with pytest.raises(TensorizeError, match="`residual_multiplier_a` must be in 0..65535, not 1048576"):
        tiles.calls(wide, {"x": 0, "w": 0, "p": 0, "y": 64, "residual": 64})


def test_remembered_tiles_are_fast() -> None:
    _, tiles, tile = conv_kit()
    place = {"x": 0, "w": 0, "p": 0, "y": 64}
    tiles.calls(tile, place)
    start = time.perf_counter()
    for _ in range(2000):
        tiles.calls(tile, place)
    assert (time.perf_counter() - start) / 2000 < 100e-6


@CASES
def test_addresses_wrap(config: Config, rng: np.random.Generator) -> None:
    """A tile whose input runs over the end of the scratchpad does what it does elsewhere."""
    isa, tiles, finish = *kit(config), Finish(Epilogue(2), bias=True)
    parts = config.lanes // config.gemm.block_in
    tile = ConvTile(
        Grid(2, 4, 4), Grid(1, 2, 2), 2 * parts, config.lanes // config.gemm.block_out, 2, 2, (3, 3), finish=finish
    )
    place = {"x": 0, "w": 0, "p": 0, "y": 64 * config.ratio}
    expected = random_memories(config, rng)
    shift = config.act_depth - 5 * config.ratio
    actual = {space: array.copy() for space, array in expected.items()}
    actual["act"] = np.roll(actual["act"], shift, axis=0)
    run_nest(tiles.nest(tile), place, expected)
    run_calls(isa, tiles.calls(tile, {**place, "x": shift, "y": place["y"] + shift}), actual)
    np.testing.assert_array_equal(np.roll(actual["act"], -shift, axis=0), expected["act"])
