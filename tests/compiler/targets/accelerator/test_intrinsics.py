"""The intrinsics follow from the instruction set alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.compiler.targets.accelerator.tile_driver import CONFIGS, check_tile
from tilewright.compiler.qops import Epilogue
from tilewright.compiler.targets.accelerator.intrinsics import intrinsics, tensorizer
from tilewright.compiler.targets.accelerator.nests import TileTensorizer, VectorTile
from tilewright.compiler.targets.accelerator.tile_output import Finish, Grid
from tilewright.compiler.tir.printer import stmt_text
from tilewright.compiler.tir.tensorize import TensorizeError
from tilewright.compiler.tir.tensorize.intrinsic import signature
from tilewright.compiler.tir.tensorize.specialise import Specialiser
from tilewright.compiler.tir.verify import verify
from tilewright.isa.config import Config
from tilewright.isa.instructions import instruction_set
from tilewright.isa.ir import Buffer, Const, DType, Function, Load, Store, Var, loops
from tilewright.isa.semantics import memories
from tilewright.isa.vector_ops import VECTOR_OPS, A, VectorOp


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_every_mode_is_a_valid_function(config: Config) -> None:
    isa = instruction_set(config)
    mem = memories(config, 1 << config.bus.address_bits)
    found = intrinsics(isa)
    flags = 1 + config.epilogue.residual
    tables = 1 + (config.epilogue.tables > 0)
    gemm = 4 + 4 * flags * tables
    vector = len(isa.vector_ops) * (gemm + gemm // 2)
    counts = {name: sum(i.name == name for i in found) for name in isa.by_name}
    assert counts["GEMM"] == gemm
    assert counts["VECTOR"] == vector
    assert (counts["LOAD_ACT"], counts["STORE_ACT"], counts["LOAD_WGT"], counts["LOAD_PRM"]) == (4, 1, 1, 1)
    for intrinsic in found:
        scalars = tuple(Var(name) for name in isa.by_name[intrinsic.name].operands)
        verify(Function("mode", scalars, tuple(mem.values()), intrinsic.body))
        assert intrinsic.signature == signature(intrinsic.pattern)
    assert len({intrinsic.body for intrinsic in found}) == len(found)


def test_flags_left_out_change_nothing() -> None:
    """On the way to `acc`, residual and table are without effect: modes with them need no intrinsic of their own."""
    config = CONFIGS["4x4"]
    mem = memories(config, 1 << 16)
    for name in ("GEMM", "VECTOR"):
        meaning = instruction_set(config).by_name[name].meaning(mem)
        bodies = {
            Specialiser({"to_acc": Const(1), "residual": Const(r), "table_enable": Const(t)}).stmt(meaning)
            for r in (0, 1)
            for t in (0, 1)
        }
        assert len(bodies) == 1


def test_golden_pattern() -> None:
    """Partial sums to `acc`, in full: what is left of GEMM's meaning."""
    found = {str(i): i for i in intrinsics(instruction_set(CONFIGS["4x4"]))}
    assert stmt_text(found["GEMM(to_acc, accumulate)"].body).strip() == GOLDEN.strip()


GOLDEN = """
for out0 in range(extent_out0):
  for out1 in range(extent_out1):
    for out2 in range(extent_out2):
      with x: i32[4] in local:
        for lane_c in range(4):
          x[lane_c] = 0
        for red0 in range(extent_red0):
          for red1 in range(extent_red1):
            for red2 in range(extent_red2):
              for lane_c in range(4):
                for lane_k in range(4):
                  x[lane_c] = x[lane_c] \
+ i32(act[a_base + out0 * a_out0 + out1 * a_out1 + out2 * a_out2 \
+ red0 * a_red0 + red1 * a_red1 + red2 * a_red2 & 1023, lane_k]) \
* i32(wgt[w_base + out0 * w_out0 + out1 * w_out1 + out2 * w_out2 \
+ red0 * w_red0 + red1 * w_red1 + red2 * w_red2 & 255, lane_c * 4 + lane_k])
        for lane_c in range(4):
          x[lane_c] = x[lane_c] + acc[b_base + out0 * b_out0 + out1 * b_out1 + out2 * b_out2 & 127, lane_c]
          acc[d_base + out0 * d_out0 + out1 * d_out1 + out2 * d_out2 & 127, lane_c] = x[lane_c]
"""


def test_new_vector_operation_needs_no_line_here(rng: np.random.Generator) -> None:
    op = VectorOp("sum_of_doubles", 9, A + A, "add", "twice the sum")
    isa = instruction_set(CONFIGS["4x4"], (*VECTOR_OPS, op))
    finish = Finish(Epilogue(), shared_parameters=True)
    tile = VectorTile(op, Grid(1, 3, 3), Grid(1, 2, 2), 1, 2, 2, (2, 2), finish=finish)
    (call,) = check_tile(TileTensorizer(isa), isa, tile, {"x": 0, "p": 0, "y": 64}, rng)
    assert call.operands["op"] == 9


def test_foreign_nest_is_refused_with_reasons() -> None:
    config = CONFIGS["4x4"]
    x = Buffer("x", DType.I8, (4, config.atom_bytes), "act")
    y = Buffer("y", DType.U8, (4, config.atom_bytes), "dram")
    i, k = Var("i"), Var("k")
    negated = Store(y, (i, k), (Const(0, DType.I8) - Load(x, (i, k))).cast(DType.U8))
    nest = Function("negate", (), (x, y), loops([(i, 4), (k, config.atom_bytes)], negated))
    with pytest.raises(
        TensorizeError, match=r"`negate` is no instruction: not STORE_ACT\(\), because `-` stands where"
    ):
        tensorizer(instruction_set(config)).calls(nest, {"x": 0, "y": 0})
    copy = replace(nest, name="copy", body=loops([(i, 4), (k, config.atom_bytes)], Store(x, (i, k), Load(x, (i, k)))))
    with pytest.raises(TensorizeError, match="`copy` is no instruction"):
        tensorizer(instruction_set(config)).calls(copy, {"x": 0, "y": 0})
