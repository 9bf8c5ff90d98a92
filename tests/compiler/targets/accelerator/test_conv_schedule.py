"""A whole convolution, from its plain definition to instructions: split, staged, pipelined, tensorized, and run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.compiler.targets.accelerator.tile_driver import CONFIGS, Memories, random_memories, run_calls
from tilewright.compiler.targets.accelerator.intrinsics import tensorizer
from tilewright.compiler.tir.interpreter import interpret, new_array
from tilewright.compiler.tir.printer import stmt_text
from tilewright.compiler.tir.schedule import Schedule, ScheduleError
from tilewright.compiler.tir.tensorize import InstructionCall, TooManyLoops
from tilewright.compiler.tir.verify import verify
from tilewright.isa.instructions import instruction_set
from tilewright.isa.ir import Allocate, Block, Buffer, Const, DType, Function, Load, Store, Var, loops
from tilewright.isa.parameter_record import BIAS, SHIFT
from tilewright.isa.semantics import kept_multiplier, parameter, rounding_shift, saturate

LANES, BLOCKS, SIZE, KERNEL = 4, 2, 4, 3
INPUT = SIZE + KERNEL - 1
DRAM = {"x": 0, "w": 1024, "p": 2048, "y": 4096}
CONFIG = CONFIGS["4x4"]


def conv2d() -> Function:
    """Define a 3x3 convolution of 8 to 8 channels on tensors in DRAM; the input has its border already."""
    x = Buffer("x", DType.I8, (BLOCKS, INPUT, INPUT, LANES), "dram")
    w = Buffer("w", DType.I8, (BLOCKS, BLOCKS, KERNEL, KERNEL, LANES, LANES), "dram")
    p = Buffer("p", DType.U8, (BLOCKS, LANES, 8), "dram")
    y = Buffer("y", DType.I8, (BLOCKS, SIZE, SIZE, LANES), "dram")
    sums = Buffer("sums", DType.I32, (LANES,))
    co, oh, ow, ci, kh, kw = (Var(n) for n in ("co", "oh", "ow", "ci", "kh", "kw"))
    c0, c1, c2, k = (Var(n) for n in ("c0", "c1", "c2", "k"))
    product = Load(x, (ci, oh + kh, ow + kw, k)).cast(DType.I32) * Load(w, (co, ci, kh, kw, c1, k)).cast(DType.I32)
    bias, multiplier, shift = (
        parameter(lambda byte: Load(p, (co, c2, Const(byte))), part) for part in (BIAS, kept_multiplier(CONFIG), SHIFT)
    )
    scaled = saturate(rounding_shift(Load(sums, (c2,)).cast(DType.I64) * multiplier, shift) + -3, -128, 127)
    finish = Block(
        (
            Store(sums, (c2,), Load(sums, (c2,)) + bias.cast(DType.I32)),
            Store(y, (co, oh, ow, c2), saturate(scaled, -3, 127).cast(DType.I8)),
        )
    )
    reduction = [(ci, BLOCKS), (kh, KERNEL), (kw, KERNEL), (c1, LANES), (k, LANES)]
    body = Block(
        (
            loops([(c0, LANES)], Store(sums, (c0,), Const(0, DType.I32))),
            loops(reduction, Store(sums, (c1,), Load(sums, (c1,)) + product)),
            loops([(c2, LANES)], finish),
        )
    )
    return Function("conv2d", (), (x, w, p, y), loops([(co, BLOCKS), (oh, SIZE), (ow, SIZE)], Allocate(sums, body)))


def staged() -> Schedule:
    """Work in bands of two rows; inputs, weights, parameters and results go through the scratchpads."""
    banded = Schedule(conv2d()).split("oh", 2, "band", "row").reorder("band", "co")
    inputs = banded.stage_read("band", "x", "act", "xt").stage_read("co", "w", "wgt", "wt")
    return inputs.stage_read("co", "p", "prm", "pt").stage_write("co", "y", "act", "yt").pipeline("band")


def tensorized(schedule: Schedule) -> Schedule:
    """Every nest becomes an instruction."""
    tools = tensorizer(instruction_set(CONFIG))
    place = DRAM | {"xt": 0, "wt": 0, "pt": 0, "yt": 256}
    for nest in ("xt_0", "wt_0", "pt_0", "row", "yt_0"):
        schedule = schedule.tensorize(nest, tools, place)
    return schedule


def record(function: Function) -> list[InstructionCall]:
    """Interpret a function of instructions only; return these, in order."""
    calls: list[InstructionCall] = []

    def taking(name: str) -> Any:
        def take(operands: Mapping[str, int], _: Mapping[str, NDArray[Any]]) -> None:
            calls.append(InstructionCall(name, {key: int(value) for key, value in operands.items()}))

        return take

    names = instruction_set(CONFIG).by_name
    interpret(verify(function), {}, {b.name: new_array(b) for b in function.buffers}, {n: taking(n) for n in names})
    return calls


def expected(before: Memories) -> Memories:
    after = {space: array.copy() for space, array in before.items()}
    typed = after | {"dram": after["dram"].view(np.int8)}
    function = conv2d()
    views = {}
    for buffer in function.buffers:
        size = int(np.prod(buffer.shape))
        memory = after["dram"] if buffer.dtype is DType.U8 else typed["dram"]
        views[buffer.name] = memory[DRAM[buffer.name] : DRAM[buffer.name] + size].reshape(buffer.shape)
    interpret(function, {}, views)
    return after


def test_convolution_as_instructions(rng: np.random.Generator) -> None:
    isa = instruction_set(CONFIG)
    calls = record(tensorized(staged()).function)
    assert [c.name for c in calls] == 2 * ["LOAD_ACT", *2 * ["LOAD_PRM", "LOAD_WGT", "GEMM", "STORE_ACT"]]
    before = random_memories(CONFIG, rng)
    parameters = before["dram"][DRAM["p"] : DRAM["p"] + BLOCKS * LANES * 8].reshape(-1, 8)
    parameters[:, 2:4], parameters[:, 6], parameters[:, 7] = 0, 0, rng.integers(24, 27, len(parameters))
    actual = {space: array.copy() for space, array in before.items()}
    run_calls(isa, calls, actual)
    result, wanted = actual["dram"], expected(before)["dram"]
    np.testing.assert_array_equal(result, wanted)
    assert len(np.unique(result[DRAM["y"] : DRAM["y"] + BLOCKS * SIZE * SIZE * LANES])) > 20


def test_golden_schedule() -> None:
    text = stmt_text(tensorized(staged()).function.body)
    short = re.sub(r"\((?:[^()]|\([^()]*\))*\)$", "(...)", text, flags=re.M).strip()
    assert short == GOLDEN.strip()
    assert "dram_stride0=144, dram_base=band * 48 & 4294967295)" in text
    assert "extent_red0=2, extent_red1=3, extent_red2=3, a_out1=6, a_out2=1, a_red0=24, a_red1=6, a_red2=1," in text


GOLDEN = """
for band in range(2):  # pipelined
  with xt: i8[2, 4, 6, 4] in act:
    LOAD_ACT(...)
    for co in range(2):
      with yt: i8[1, 2, 4, 4] in act:
        with pt: u8[1, 4, 8] in prm:
          LOAD_PRM(...)
          with wt: i8[1, 2, 3, 3, 4, 4] in wgt:
            LOAD_WGT(...)
            GEMM(...)
        STORE_ACT(...)
"""


def test_staged_conv_keeps_its_meaning(rng: np.random.Generator) -> None:
    plain, tiled = conv2d(), staged().function
    data = {b.name: new_array(b) for b in plain.buffers}
    for array in data.values():
        array[...] = rng.integers(0, 20, array.shape)
    other = {name: array.copy() for name, array in data.items()}
    interpret(verify(plain), {}, data)
    interpret(verify(tiled), {}, other)
    np.testing.assert_array_equal(other["y"], data["y"])


def test_loops_that_do_not_fit_are_named() -> None:
    tools = tensorizer(instruction_set(CONFIG))
    whole = Schedule(conv2d()).split("oh", 2).split("ow", 2).reorder("oh_o", "ow_o", "co", "oh_i", "ow_i")
    staging = whole.stage_read("oh_o", "x", "act", "xt").stage_read("oh_o", "w", "wgt", "wt")
    ready = staging.stage_read("oh_o", "p", "prm", "pt").stage_write("oh_o", "y", "act", "yt")
    place = DRAM | {"xt": 0, "wt": 0, "pt": 0, "yt": 256}
    with pytest.raises(TooManyLoops, match="GEMM.bias_enable. has 3 hardware loops; `ow_o` must be hoisted"):
        ready.tensorize("ow_o", tools, place)
    assert ready.tensorize("co", tools, place).loops[:2] == ["oh_o", "pt_0"]
    with pytest.raises(ScheduleError, match="stage before tensorizing"):
        ready.tensorize("co", tools, place).stage_read("oh_o", "p", "prm", "again")
