"""Programs as compilers make them: tiles of a layer, loaded, computed and stored in two alternating buffers."""

from __future__ import annotations

import random

from tilewright.isa.footprint import footprint
from tilewright.isa.generator import RandomInstruction
from tilewright.isa.instructions import InstructionSet
from tilewright.sim.random_programs import RandomProgram, synchronised_program

DRAM_BYTES = 1 << 17
MOST_STEPS = 1500

Values = dict[str, int]


def tile_program(isa: InstructionSet, seed: int, tiles: int) -> RandomProgram:
    """Return a program of long runs of rows and weights, long reductions and long stores, everything overlapping."""
    rng = random.Random(seed)
    reductions = rng.choice(((1, 1, 1), (1, 1, 4), (2, 3, 3), (4, 3, 3)))
    drawn = []
    for tile in range(tiles):
        drawn += _tile(isa, rng, tile % 2, reductions, has_weights=tile < 2 or rng.random() < 0.5)
    return synchronised_program(isa, seed, [_checked(isa, name, values) for name, values in drawn], DRAM_BYTES)


def _checked(isa: InstructionSet, name: str, values: Values) -> RandomInstruction:
    instruction = isa.by_name[name]
    complete = instruction.complete(values)
    touched = footprint(isa, instruction.opcode, complete)
    assert not touched.reads_own_writes, f"{name} {values} reads what it writes itself"
    return RandomInstruction(instruction, complete, touched)


def _tile(
    isa: InstructionSet, rng: random.Random, bank: int, reductions: tuple[int, int, int], has_weights: bool
) -> list[tuple[str, Values]]:
    area = isa.config.act_rows // 4
    rows = min(rng.randint(area // 2, area), 200)
    steps = [_load(isa, rng, bank * area, rows)]
    if has_weights:
        steps += _load_weights(isa, rng, bank)
    steps += _compute(isa, rng, bank, rows, reductions)
    return [*steps, _store(isa, rng, (2 + bank) * area, rows)]


def _load(isa: InstructionSet, rng: random.Random, base: int, rows: int) -> tuple[str, Values]:
    width = rng.choice((rows, max(3, rows // 2), max(3, rows // 5)))
    pads = {"pad_left": rng.choice((0, 1)), "pad_right": rng.choice((0, 1)), "pad_top": rng.choice((0, 0, 1))}
    run, height = width - pads["pad_left"] - pads["pad_right"], max(rows // width - pads["pad_top"], 1)
    stride = run + rng.choice((0, 0, 1, 7))
    return "LOAD_ACT", {
        "base": base, "extent_run": run, "extent0": height, "extent1": 1, "extent2": 1, "stride0": width,
        "dram_base": _dram(isa, rng, height * stride), "dram_stride0": stride * isa.config.row_bytes, **pads,
    }  # fmt: skip


def _load_weights(isa: InstructionSet, rng: random.Random, bank: int) -> list[tuple[str, Values]]:
    half = isa.config.wgt_depth // 2
    run = min(rng.randint(1, half), 60)
    bytes_each = isa.config.wgt_entry_bytes
    weights = {"base": bank * half, "extent_run": run, "extent0": 1}
    address = rng.randrange(0, DRAM_BYTES - run * bytes_each, 512) // bytes_each * bytes_each
    parameters = {"base": 4 * bank, "extent_run": 4, "extent0": 1, "dram_base": rng.randrange(0, DRAM_BYTES // 2, 512)}
    return [("LOAD_WGT", {**weights, "dram_base": address}), ("LOAD_PRM", parameters)]


def _compute(
    isa: InstructionSet, rng: random.Random, bank: int, rows: int, reductions: tuple[int, int, int]
) -> list[tuple[str, Values]]:
    config = isa.config
    atoms = config.act_depth // 4
    deep, wide = config.gemm.block_in // config.atom, config.gemm.block_out // config.atom
    product = reductions[0] * reductions[1] * reductions[2]
    outputs = max(1, min(rows * config.ratio // max(wide, deep), MOST_STEPS // product, config.acc_depth))
    loops = {
        "extent_out0": 1, "extent_out1": 1, "extent_out2": outputs,
        **{f"extent_red{i}": extent for i, extent in enumerate(reductions)},
    }  # fmt: skip
    operands = {
        "a_base": bank * atoms, "a_out2": deep, "a_red2": config.ratio,
        "d_base": (2 + bank) * atoms, "d_out2": wide, "p_base": 4 * bank, "clamp_low": -128, "clamp_high": 127,
    }  # fmt: skip
    weights = {"w_base": bank * config.wgt_depth // 2, "w_red2": 1, "w_red1": 3}
    kind = rng.choice(("plain", "plain", "residual", "partial", "vector"))
    if kind == "residual" and config.epilogue.residual:
        return [("GEMM", {**loops, **operands, **weights, "residual": 1, "b_base": bank * atoms, "b_out2": wide})]
    if kind == "partial":
        sums = {"d_base": 0, "d_out2": 1, "to_acc": 1}
        added = {"accumulate": 1, "b_base": 0, "b_out2": 1}
        return [("GEMM", {**loops, **operands, **weights, **sums}), ("GEMM", {**loops, **operands, **weights, **added})]
    if kind == "vector":
        op = rng.choice(isa.vector_ops).code
        return [("VECTOR", {**loops, **operands, "a_out2": wide, "op": op, "b_base": bank * atoms, "b_out2": wide})]
    return [("GEMM", {**loops, **operands, **weights})]


def _store(isa: InstructionSet, rng: random.Random, base: int, rows: int) -> tuple[str, Values]:
    run = rng.choice((rows, max(1, rows // 3)))
    return "STORE_ACT", {
        "base": base, "extent_run": run, "extent0": rows // run, "extent1": 1, "extent2": 1, "stride0": run,
        "dram_base": _dram(isa, rng, rows), "dram_stride0": run * isa.config.row_bytes,
    }  # fmt: skip


def _dram(isa: InstructionSet, rng: random.Random, rows: int) -> int:
    """Return where so many rows fit, at any row."""
    return rng.randrange(0, DRAM_BYTES // isa.config.row_bytes - rows) * isa.config.row_bytes
