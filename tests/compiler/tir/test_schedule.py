"""Every primitive: the text after it, the same result as before, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from textwrap import dedent

import numpy as np
import pytest

from tests.compiler.tir.schedule_driver import check_equal
from tilewright.compiler.tir.printer import stmt_text
from tilewright.compiler.tir.schedule import Schedule, ScheduleError
from tilewright.isa.ir import (
    Allocate,
    Block,
    Buffer,
    Const,
    DType,
    Expr,
    For,
    Function,
    If,
    Load,
    Stmt,
    Store,
    Var,
    loops,
)

I8, I32 = DType.I8, DType.I32
i, j, k = Var("i"), Var("j"), Var("k")


def at(buffer: Buffer, *indices: Expr) -> Load:
    return Load(buffer, indices)


def copy() -> Function:
    x, y = Buffer("x", I8, (10,)), Buffer("y", I8, (10,))
    return Function("copy", (), (x, y), loops([(i, 10)], Store(y, (i,), at(x, i))))


def rows() -> Function:
    """`y[i, j] = x[i * 8 + j] + 1`."""
    x, y = Buffer("x", I8, (32,)), Buffer("y", I8, (4, 8))
    return Function("rows", (), (x, y), loops([(i, 4), (j, 8)], Store(y, (i, j), at(x, i * 8 + j) + 1)))


def flat() -> Function:
    """`y[i * 8 + j] = x[i, j]`."""
    x, y = Buffer("x", I8, (4, 8)), Buffer("y", I8, (32,))
    return Function("flat", (), (x, y), loops([(i, 4), (j, 8)], Store(y, (i * 8 + j,), at(x, i, j))))


def matmul() -> Function:
    a, b, c = Buffer("a", I8, (4, 6)), Buffer("b", I8, (6, 5)), Buffer("c", I32, (4, 5))
    product = at(a, i, k).cast(I32) * at(b, k, j).cast(I32)
    return Function("matmul", (), (a, b, c), loops([(i, 4), (j, 5), (k, 6)], Store(c, (i, j), at(c, i, j) + product)))


def prefix() -> Function:
    """Each element needs the one before."""
    y = Buffer("y", I32, (9, 3))
    return Function("prefix", (), (y,), loops([(i, 8), (j, 3)], Store(y, (i + 1, j), at(y, i, j) + 1)))


def blur() -> Function:
    """A temporary of which neighbours are added."""
    x, t, y = Buffer("x", I8, (34,)), Buffer("t", I32, (34,)), Buffer("y", I32, (4, 8))
    first = loops([(k, 34)], Store(t, (k,), at(x, k).cast(I32) * 3))
    index = i * 8 + j
    second = loops([(i, 4), (j, 8)], Store(y, (i, j), at(t, index) + at(t, index + 1) + at(t, index + 2)))
    return Function("blur", (), (x, y), Allocate(t, Block((first, second))))


@dataclass(frozen=True)
class Case:
    name: str
    before: Callable[[], Function]
    step: Callable[[Schedule], Schedule]
    after: str


CASES = [
    Case("split exactly", rows, lambda s: s.split("j", 4), """
        for i in range(4):
          for j_o in range(2):
            for j_i in range(4):
              y[i, j_o * 4 + j_i] = x[i * 8 + (j_o * 4 + j_i)] + 1
        """),
    Case("split with guard", copy, lambda s: s.split("i", 4, "a", "b"), """
        for a in range(3):
          for b in range(4):
            if a * 4 + b < 10:
              y[a * 4 + b] = x[a * 4 + b]
        """),
    Case("fuse", rows, lambda s: s.fuse("i", "j"), """
        for i_j in range(32):
          y[i_j // 8, i_j % 8] = x[i_j // 8 * 8 + i_j % 8] + 1
        """),
    Case("reorder", matmul, lambda s: s.reorder("k", "i"), """
        for k in range(6):
          for j in range(5):
            for i in range(4):
              c[i, j] = c[i, j] + i32(a[i, k]) * i32(b[k, j])
        """),
    Case("reorder of independent columns", prefix, lambda s: s.split("j", 3).reorder("j_i", "j_o"), """
        for i in range(8):
          for j_i in range(3):
            for j_o in range(1):
              y[i + 1, j_o * 3 + j_i] = y[i, j_o * 3 + j_i] + 1
        """),
    Case("unroll", copy, lambda s: s.unroll("i"), """
        for i in range(10):  # unrolled
          y[i] = x[i]
        """),
    Case("unroll in full", prefix, lambda s: s.unroll("j", expand=True), """
        for i in range(8):
          y[i + 1, 0] = y[i, 0] + 1
          y[i + 1, 1] = y[i, 1] + 1
          y[i + 1, 2] = y[i, 2] + 1
        """),
    Case("vectorize and parallel", rows, lambda s: s.vectorize("j").parallel("i"), """
        for i in range(4):  # parallel
          for j in range(8):  # vectorized
            y[i, j] = x[i * 8 + j] + 1
        """),
    Case("bind", rows, lambda s: s.bind("i", "block.x").bind("j", "thread.x"), """
        for i in range(4):  # bound:block.x
          for j in range(8):  # bound:thread.x
            y[i, j] = x[i * 8 + j] + 1
        """),
    Case("stage_read", rows, lambda s: s.stage_read("i", "x", "act"), """
        for i in range(4):
          with x_act: i8[8] in act:
            for x_act_0 in range(8):
              x_act[x_act_0] = x[i * 8 + x_act_0]
            for j in range(8):
              y[i, j] = x_act[j] + 1
        """),
    Case("stage_read of overlapping windows", blur, lambda s: s.stage_read("i", "t", "local", "w"), """
        with t: i32[34] in local:
          for k in range(34):
            t[k] = i32(x[k]) * 3
          for i in range(4):
            with w: i32[10] in local:
              for w_0 in range(10):
                w[w_0] = t[i * 8 + w_0]
              for j in range(8):
                y[i, j] = w[j] + w[j + 1] + w[j + 2]
        """),
    Case("stage_write", flat, lambda s: s.stage_write("i", "y", "act"), """
        for i in range(4):
          with y_act: i8[8] in act:
            for j in range(8):
              y_act[j] = x[i, j]
            for y_act_0 in range(8):
              y[i * 8 + y_act_0] = y_act[y_act_0]
        """),
    Case("stage_write of an update", matmul, lambda s: s.stage_write("j", "c", "acc"), """
        for i in range(4):
          for j in range(5):
            with c_acc: i32[1, 1] in acc:
              for c_acc_in0 in range(1):
                for c_acc_in1 in range(1):
                  c_acc[c_acc_in0, c_acc_in1] = c[i + c_acc_in0, j + c_acc_in1]
              for k in range(6):
                c_acc[0, 0] = c_acc[0, 0] + i32(a[i, k]) * i32(b[k, j])
              for c_acc_0 in range(1):
                for c_acc_1 in range(1):
                  c[i + c_acc_0, j + c_acc_1] = c_acc[c_acc_0, c_acc_1]
        """),
    Case("compute_at", blur, lambda s: s.compute_at("t", "i"), """
        for i in range(4):
          with t: i32[10] in local:
            for k in range(10):
              t[k] = i32(x[i * 8 + k]) * 3
            for j in range(8):
              y[i, j] = t[j] + t[j + 1] + t[j + 2]
        """),
    Case("pipeline", rows, lambda s: s.stage_read("i", "x", "act", "a").pipeline("i"), """
        for i in range(4):  # pipelined
          with a: i8[8] in act:
            for a_0 in range(8):
              a[a_0] = x[i * 8 + a_0]
            for j in range(8):
              y[i, j] = a[j] + 1
        """),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_primitive(case: Case, rng: np.random.Generator) -> None:
    before = case.before()
    after = case.step(Schedule(before)).function
    assert stmt_text(after.body).strip() == dedent(case.after).strip()
    check_equal(before, after, rng)


def with_table() -> Function:
    """An index that is looked up."""
    x, y = Buffer("x", I8, (4,)), Buffer("y", I8, (256,))
    return Function("lookup", (), (x, y), loops([(i, 4)], Store(y, (at(x, i).cast(DType.I64) + 128,), at(x, i))))


def shifted() -> Function:
    x, y = Buffer("x", I8, (8,)), Buffer("y", I8, (8,))
    body: Stmt = If(i < 7, Store(y, (i,), at(x, i + 1)))
    return Function("shifted", (), (x, y), loops([(i, 8)], body))


def ragged() -> Function:
    y = Buffer("y", I8, (8, 8))
    return Function("ragged", (), (y,), For(i, Const(8), For(j, i + 1, Store(y, (i, j), Const(1, I8)))))


def produced_in_place() -> Function:
    t, y = Buffer("t", I32, (8,)), Buffer("y", I32, (8,))
    body = Block((loops([(k, 8)], Store(t, (k,), at(y, k))), loops([(i, 8)], Store(y, (i,), at(t, i) + 1))))
    return Function("in_place", (), (y,), Allocate(t, body))


REFUSALS = [
    (rows, lambda s: s.split("q", 2), "`rows` has no loop `q`; its loops are i, j"),
    (rows, lambda s: s.split("j", 9), "loop `j` of 8 cannot be split by 9"),
    (rows, lambda s: s.split("j", 2, "i", "l"), "`rows` uses the name `i` already"),
    (rows, lambda s: s.split("j", 2, "l", "l"), "`rows` uses the name `l` already"),
    (matmul, lambda s: s.fuse("i", "k"), "loop `k` is not the whole body of loop `i`"),
    (ragged, lambda s: s.reorder("j", "i"), "the extent of loop `j` depends on the loops around it"),
    (ragged, lambda s: s.split("j", 2), "loop `j` must have a constant extent"),
    (prefix, lambda s: s.reorder("j", "i"), "loop `i` cannot be moved, its iterations depend on each other by `y`"),
    (blur, lambda s: s.reorder("k", "i"), "loops k, i are not perfectly nested"),
    (with_table, lambda s: s.parallel("i"), "loop `i` cannot be parallel, its iterations depend on each other by `y`"),
    (matmul, lambda s: s.parallel("k"), "loop `k` cannot be parallel, its iterations depend on each other by `c`"),
    (prefix, lambda s: s.vectorize("i"), "loop `i` cannot be vectorized, its iterations depend"),
    (rows, lambda s: s.vectorize("i"), "loop `i` cannot be vectorized, loop `j` is inside"),
    (rows, lambda s: s.unroll("j").vectorize("j"), "loop `j` is unrolled already"),
    (rows, lambda s: s.unroll("i", expand=True), "loop `i` cannot be written out, loop `j` is inside"),
    (rows, lambda s: s.bind("i", "warp"), "axis must be one of block.x, .*, not `warp`"),
    (rows, lambda s: s.bind("i", "thread.x").bind("j", "thread.x"), "loop `i` is bound to thread.x already"),
    (rows, lambda s: s.stage_read("i", "z", "act"), "`rows` has no buffer `z`; it has x, y"),
    (rows, lambda s: s.stage_read("i", "y", "act"), "loop `i` writes `y`: use stage_write"),
    (rows, lambda s: s.stage_write("i", "x", "act"), "loop `i` does not write `x`: use stage_read"),
    (shifted, lambda s: s.stage_read("i", "x", "act"), "the part of `x` that is staged may leave its axis 0 of 8"),
    (with_table, lambda s: s.stage_write("i", "y", "act"), "an index of `y` is not affine"),
    (blur, lambda s: s.compute_at("x", "i"), "`blur` allocates no `x`"),
    (produced_in_place, lambda s: s.compute_at("t", "i"), "`y` changes before `t` would be computed"),
    (rows, lambda s: s.pipeline("i"), "loop `i` cannot be pipelined, its body stages nothing"),
]


@pytest.mark.parametrize(("before", "step", "message"), REFUSALS, ids=[text for _, _, text in REFUSALS])
def test_refusal(before: Callable[[], Function], step: Callable[[Schedule], Schedule], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        step(Schedule(before()))


def test_primitives_compose(rng: np.random.Generator) -> None:
    before = matmul()
    tiled = Schedule(before).split("i", 2).split("j", 5).reorder("i_o", "j_o", "k", "i_i", "j_i")
    done = tiled.stage_read("i_o", "a", "act")
    assert done.loops == ["i_o", "a_act_0", "a_act_1", "j_o", "k", "i_i", "j_i"]
    check_equal(before, done.simplify().function, rng)


def test_random_sequences_keep_the_meaning(rng: np.random.Generator) -> None:
    """Random steps, the refused ones skipped; what is done must not change the result."""
    done = 0
    for source in (rows, flat, matmul, prefix, blur):
        for _ in range(12):
            schedule = Schedule(source())
            for _ in range(5):
                try:
                    schedule = _random_step(schedule, rng)
                    done += 1
                except ScheduleError:
                    pass
            check_equal(source(), schedule.function, rng)
    assert done > 60


def _random_step(schedule: Schedule, rng: np.random.Generator) -> Schedule:
    if not schedule.loops:
        raise ScheduleError("no loops left")
    loop, other = (str(rng.choice(schedule.loops)) for _ in range(2))
    buffer = str(rng.choice([b.name for b in schedule.function.buffers]))
    match int(rng.integers(8)):
        case 0:
            return schedule.split(loop, int(rng.integers(1, 6)))
        case 1:
            return schedule.fuse(loop, other)
        case 2:
            return schedule.reorder(loop, other)
        case 3:
            return schedule.stage_read(loop, buffer, "act", f"s{rng.integers(1000)}")
        case 4:
            return schedule.stage_write(loop, buffer, "act", f"s{rng.integers(1000)}")
        case 5:
            return schedule.unroll(loop, expand=True)
        case 6:
            return schedule.compute_at("t", loop)
        case _:
            return schedule.simplify()
