"""The text of functions, as it was looked at and kept."""

from __future__ import annotations

from collections.abc import Callable

from tilewright.compiler.tir.defer_reductions import defer_reductions
from tilewright.compiler.tir.printer import function_text, stmt_text
from tilewright.compiler.tir.simplify import simplify, substitute
from tilewright.compiler.tir.split_lane_loops import split_lane_loops
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.isa.ir import Block, Buffer, Call, Const, DType, For, Function, If, Load, Store, Var
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS, memories

Golden = Callable[[str, str], None]
TINY = instruction_set(PRESETS["tiny"])


def meaning(name: str) -> Function:
    return TINY.by_name[name].function(memories(TINY.config))


def test_every_statement(golden: Golden) -> None:
    buffer, i, n = Buffer("b", DType.I32, (8, 2), "dram"), Var("i"), Var("n")
    place = (i, Const(0))
    otherwise = If(i.equals(2), Block(()), Store(buffer, place, Const(-1, DType.I32)))
    body = Block(
        (
            For(i, n, If(i < 4, Store(buffer, place, (Load(buffer, place) + 1) * 2), otherwise), "vectorized"),
            Call("GEMM", (("extent", n + 1), ("base", Const(0)), ("stride", Const(4)))),
        )
    )
    golden("tir_every_statement", function_text(Function("f", (n,), (buffer,), body)))


def test_load_plain(golden: Golden) -> None:
    golden("tir_load_wgt", function_text(meaning("LOAD_WGT")))


def test_specialized_gemm(golden: Golden) -> None:
    """With constant operands only what happens is left; the sum over lanes is deferred for the vectoriser."""
    gemm = TINY.by_name["GEMM"]
    extents = {f"extent_{n}": 1 for n in OUT_LOOPS + RED_LOOPS} | {"extent_out1": 4, "extent_out2": 3}
    strides = {"a_out1": 3, "a_out2": 1, "d_base": 40, "d_out1": 3, "d_out2": 1, "to_acc": 1}
    given = gemm.complete({**extents, **strides})
    del given["extent_red2"]
    whole = meaning("GEMM")
    left = tuple(scalar for scalar in whole.scalars if scalar.name not in given)
    function = Function("gemm_tile", left, whole.buffers, simplify(substitute(whole.body, given)))
    golden("tir_gemm_specialized", function_text(function))
    golden("tir_gemm_deferred", function_text(defer_reductions(function)))


def test_split_lane_loops(golden: Golden) -> None:
    source, target = Buffer("s", DType.I8, (16,), "act"), Buffer("t", DType.I8, (2, 8), "act")
    k = Var("k")
    copy = For(k, Const(16), Store(target, (k // 8, k % 8), Load(source, (k,))))
    golden("tir_split_lanes", function_text(split_lane_loops(Function("f", (), (source, target), copy))))


def test_empty_statement() -> None:
    assert stmt_text(Block(())) == "pass\n"
