"""What ROW means: operations on rows, all channels of one position, each batch row by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tilewright.isa.config import Config
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Const,
    DType,
    Expr,
    For,
    If,
    Load,
    Stmt,
    Store,
    Var,
    loops,
    total,
    variable_names,
)
from tilewright.isa.row_ops import OFFSET, PLACE, SUM, SUM_BITS, A, B, RowOp
from tilewright.isa.semantics import (
    OUT_LOOPS,
    RED_LOOPS,
    act_element,
    affine,
    compute,
    field,
    for_outputs,
    substitute,
    wrapped,
)

_ZERO = (Const(0, DType.I64),)
_ROW, _CHANNEL = Var("lane_b"), Var("lane_c")
_LOWEST = -128


def row(config: Config, mem: Mapping[str, Buffer], ops: Sequence[RowOp]) -> Stmt:
    """Return the meaning of ROW: by `op`, one of the row operations; an unknown `op` is illegal."""
    body: Stmt = Block(())
    for op in ops:
        meaning = _reduction(config, mem, op) if op.reduce else _mapping(config, mem, op)
        body = If(field("op").equals(op.code), meaning, body)
    return body


def _local(name: str) -> Buffer:
    return Buffer(name, DType.I64, (1,))


def _operand_a(config: Config, mem: Mapping[str, Buffer]) -> Expr:
    width, address = config.gemm.block_out, affine("a", OUT_LOOPS + RED_LOOPS)
    return act_element(config, mem["act"], address, width, _ROW, _CHANNEL).cast(DType.I64)


def _operand_b(config: Config, mem: Mapping[str, Buffer]) -> Expr:
    """Return the entry of a batch row, which its first channel holds."""
    entry = wrapped(affine("b", OUT_LOOPS), config.acc_depth)
    return Load(mem["acc"], (entry, _ROW * config.gemm.block_out)).cast(DType.I64)


def _value(config: Config, mem: Mapping[str, Buffer], op: RowOp, use: Stmt, value: Buffer) -> Stmt:
    """Return what puts a channel's contribution into `value` and uses it."""
    a, b = _local("a"), _local("b")
    operands: Mapping[str, Expr] = {A.name: Load(a, _ZERO), B.name: Load(b, _ZERO)}
    given = [Store(a, _ZERO, _operand_a(config, mem))]
    if op.uses_b:
        given.append(Store(b, _ZERO, _operand_b(config, mem)))
    body: Stmt = Block((*given, Store(value, _ZERO, substitute(op.combine, operands)), use))
    return Allocate(a, Allocate(b, body) if op.uses_b else body)


def _mapping(config: Config, mem: Mapping[str, Buffer], op: RowOp) -> Stmt:
    """Return an operation with a result for every channel, which goes through the epilogue."""
    x, value = Buffer("x", DType.I32, (config.acc_lanes,)), _local("value")
    lane = _ROW * config.gemm.block_out + _CHANNEL
    keep = Store(x, (lane,), Load(value, _ZERO).cast(DType.I32))
    lanes = [(_ROW, config.gemm.batch), (_CHANNEL, config.gemm.block_out)]
    step = loops(lanes, Allocate(value, _value(config, mem, op, keep, value)))
    return compute(config, mem, Const(0, DType.I32), step, x, has_second=False)


def _is_valid(op: RowOp) -> Expr:
    """Return whether a channel counts: in the last step of a reduction only the first `tail` may."""
    last = total(Const(1, DType.I64) + Var(name) - field(f"extent_{name}") for name in RED_LOOPS).equals(0)
    return (last & field("tail").differs(0) & (field("tail") <= _CHANNEL)).equals(Const(0, DType.BOOL))


def _reduction(config: Config, mem: Mapping[str, Buffer], op: RowOp) -> Stmt:
    """Return an operation with one result a row, which goes to all channels of an entry of `acc`."""
    reduced, value = Buffer("reduced", DType.I64, (config.gemm.batch,)), _local("value")
    combine = {"add": BinaryOp.ADD, "max": BinaryOp.MAX}[op.reduce]
    start = Const(0 if op.reduce == "add" else _LOWEST, DType.I64)
    add = Store(reduced, (_ROW,), Binary(combine, Load(reduced, (_ROW,)), Load(value, _ZERO)))
    step = If(_is_valid(op), Allocate(value, _value(config, mem, op, add, value)))
    rows = [(_ROW, config.gemm.batch)]
    body = Block(
        (
            loops(rows, Store(reduced, (_ROW,), start)),
            loops(
                [(Var(name), field(f"extent_{name}")) for name in RED_LOOPS],
                loops([*rows, (_CHANNEL, config.gemm.block_out)], step),
            ),
            loops(rows, _finish(config, mem, op, reduced)),
        )
    )
    return for_outputs(Allocate(reduced, body))


def _finish(config: Config, mem: Mapping[str, Buffer], op: RowOp, reduced: Buffer) -> Stmt:
    """Return what makes the result of a reduced row and writes it."""
    row_sum, place, b, bit = _local("sum"), _local("place"), _local("b"), Var("bit")
    held: Expr = Load(reduced, (_ROW,))
    held = held + OFFSET if op.adds_offset else held
    steps: list[Stmt] = []
    needed = [row_sum]
    if _needs_place(op):
        # The sum's lowest bits, and the position of the highest one among them.
        steps.append(Store(row_sum, _ZERO, held & ((1 << SUM_BITS) - 1)))
        is_set = Const(0, DType.I64) < (Load(row_sum, _ZERO) >> bit)
        find = If(is_set, Store(place, _ZERO, bit))
        steps += [Store(place, _ZERO, Const(0, DType.I64)), For(bit, Const(SUM_BITS, DType.I64), find)]
        needed.append(place)
    else:
        steps.append(Store(row_sum, _ZERO, held))
    if op.uses_b:
        steps.append(Store(b, _ZERO, _operand_b(config, mem)))
        needed.append(b)
    values = {SUM.name: Load(row_sum, _ZERO), PLACE.name: Load(place, _ZERO), B.name: Load(b, _ZERO)}
    result = substitute(op.finish, values).cast(DType.I32)
    entry = wrapped(affine("d", OUT_LOOPS), config.acc_depth)
    write = Store(mem["acc"], (entry, _ROW * config.gemm.block_out + _CHANNEL), result)
    body: Stmt = Block((*steps, loops([(_CHANNEL, config.gemm.block_out)], write)))
    for buffer in needed:
        body = Allocate(buffer, body)
    return body


def _needs_place(op: RowOp) -> bool:
    return PLACE.name in variable_names(op.finish)
