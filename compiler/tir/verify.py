"""Checks of well-formedness: types, scopes, index counts, memory spaces."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from tilewright.compiler.tir.printer import buffer_text, stmt_text
from tilewright.compiler.tir.visit import expressions_of, operands_of, statements_of
from tilewright.isa.errors import TilewrightError
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Buffer,
    Cast,
    Const,
    DType,
    Expr,
    For,
    Function,
    If,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Table,
    Var,
)
from tilewright.isa.ir_text import expression_text

#: Memory spaces that every target may use; targets add their own.
SPACES: frozenset[str] = frozenset({"dram", "act", "wgt", "acc", "prm", "tbl", "local"})

_KINDS = ("serial", "unrolled", "vectorized", "parallel", "pipelined")
_BITWISE = (BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR)
_ON_BOOL = (*_BITWISE, BinaryOp.EQ, BinaryOp.NE)
_NOT_ON_FLOAT = (*_BITWISE, BinaryOp.SHL, BinaryOp.SHR, BinaryOp.MOD)


class VerifyError(TilewrightError):
    """A function of the tensor IR is malformed; the message names the node."""


@dataclass(frozen=True)
class _Scope:
    """What is visible at a point of the tree."""

    function: str
    spaces: frozenset[str]
    variables: dict[str, DType]
    buffers: dict[str, Buffer]

    def fail(self, what: str, node: str) -> VerifyError:
        return VerifyError(f"{self.function}: {what}, in `{node}`")

    def with_variable(self, var: Var, node: str) -> _Scope:
        if var.name in self.variables:
            raise self.fail(f"variable `{var.name}` is already defined", node)
        return replace(self, variables={**self.variables, var.name: var.type})

    def with_buffer(self, buffer: Buffer, node: str) -> _Scope:
        if buffer.name in self.buffers:
            raise self.fail(f"buffer `{buffer.name}` is already defined", node)
        if buffer.space not in self.spaces:
            known = ", ".join(sorted(self.spaces))
            raise self.fail(f"memory space `{buffer.space}` is unknown (known: {known})", node)
        if not buffer.shape or min(buffer.shape[1:], default=1) < 1 or buffer.shape[0] < 0:
            raise self.fail(f"buffer `{buffer.name}` has an impossible shape", node)
        return replace(self, buffers={**self.buffers, buffer.name: buffer})


def verify(function: Function, spaces: Iterable[str] = SPACES) -> Function:
    """Check a function and return it.

    Parameters
    ----------
    function : Function
        A buffer whose first extent is 0 has any number of rows.
    spaces : iterable of str
        The memory spaces that buffers may lie in.

    Raises
    ------
    VerifyError
        Naming the function, what is wrong and the statement or expression it was found in.
    """
    scope = _Scope(function.name, frozenset(spaces), {}, {})
    for scalar in function.scalars:
        scope = scope.with_variable(scalar, scalar.name)
    for buffer in function.buffers:
        scope = scope.with_buffer(buffer, buffer_text(buffer))
    _check_stmt(function.body, scope)
    return function


def _first_line(stmt: Stmt) -> str:
    return stmt_text(stmt).splitlines()[0]


def _check_stmt(stmt: Stmt, scope: _Scope) -> None:
    if not isinstance(stmt, Stmt):
        raise scope.fail("a statement is expected", repr(stmt))
    for expr in expressions_of(stmt):
        _check_expr(expr, scope)
    inner = scope
    match stmt:
        case For(var, extent, _, kind):
            _check_loop(var, extent, kind, scope, _first_line(stmt))
            inner = scope.with_variable(var, _first_line(stmt))
        case Store(buffer, indices, value):
            _check_access(buffer, indices, scope, _first_line(stmt))
            if value.dtype != buffer.dtype:
                raise scope.fail(f"a value of type {value.dtype} is stored to {buffer.dtype}", _first_line(stmt))
        case If(condition, _, _) if condition.dtype != DType.BOOL:
            raise scope.fail(f"a condition must be bool, not {condition.dtype}", _first_line(stmt))
        case Allocate(buffer, _):
            inner = scope.with_buffer(buffer, _first_line(stmt))
        case _:
            pass
    for child in statements_of(stmt):
        _check_stmt(child, inner)


def _check_loop(var: Var, extent: Expr, kind: str, scope: _Scope, node: str) -> None:
    if var.type != extent.dtype or not _is_integer(var.type):
        raise scope.fail(f"loop variable {var.type} and extent {extent.dtype} must be one integer type", node)
    if kind not in _KINDS and not kind.startswith("bound:"):
        raise scope.fail(f"loop kind `{kind}` is none of {', '.join(_KINDS)}, bound:<axis>", node)


def _is_integer(dtype: DType) -> bool:
    return dtype != DType.BOOL and not dtype.is_float


def _check_access(buffer: Buffer, indices: tuple[Expr, ...], scope: _Scope, node: str) -> None:
    if scope.buffers.get(buffer.name) != buffer:
        state = "declared otherwise" if buffer.name in scope.buffers else "not in scope"
        raise scope.fail(f"buffer `{buffer.name}` is {state}", node)
    if len(indices) != len(buffer.shape):
        raise scope.fail(f"buffer `{buffer.name}` takes {len(buffer.shape)} indices, not {len(indices)}", node)
    for index in indices:
        if not _is_integer(index.dtype):
            raise scope.fail(f"an index must be an integer, not {index.dtype}", node)


def _check_expr(expr: Expr, scope: _Scope) -> None:
    if not isinstance(expr, Expr):
        raise scope.fail("an expression is expected", repr(expr))
    for operand in operands_of(expr):
        _check_expr(operand, scope)
    match expr:
        case Const(value, dtype):
            _check_const(value, dtype, scope)
        case Var(name, dtype):
            if scope.variables.get(name) != dtype:
                found = scope.variables.get(name)
                state = f"of type {found}, not {dtype}" if found else "not in scope"
                raise scope.fail(f"variable `{name}` is {state}", name)
        case Binary():
            _check_binary(expr, scope)
        case Select(condition, if_true, if_false):
            if condition.dtype != DType.BOOL or if_true.dtype != if_false.dtype:
                types = f"{condition.dtype}, {if_true.dtype}, {if_false.dtype}"
                raise scope.fail(f"select takes bool and two of one type, not {types}", expression_text(expr))
        case Load(buffer, indices):
            _check_access(buffer, indices, scope, expression_text(expr))
        case Lookup(table, index):
            _check_table(table, scope)
            if not _is_integer(index.dtype):
                raise scope.fail(f"an index must be an integer, not {index.dtype}", expression_text(expr))
        case Cast():
            pass
        case _:
            raise scope.fail("an unknown kind of expression", repr(expr))


def _check_const(value: int | float, dtype: DType, scope: _Scope) -> None:
    if isinstance(value, float) != dtype.is_float and not (dtype.is_float and isinstance(value, int)):
        raise scope.fail(f"a constant of type {dtype} cannot be {value!r}", str(value))
    low = 0 if dtype in (DType.U8, DType.BOOL) else -(1 << (dtype.bits - 1))
    if not dtype.is_float and not low <= value < low + (1 << dtype.bits):
        raise scope.fail(f"{value} does not fit into {dtype}", str(value))


def _check_table(table: Table, scope: _Scope) -> None:
    if not table.values or not _is_integer(table.dtype):
        raise scope.fail(f"table `{table.name}` must hold integers", f"{table.dtype}[{len(table.values)}]")
    for value in table.values:
        _check_const(value, table.dtype, scope)


def _check_binary(expr: Binary, scope: _Scope) -> None:
    left, right = expr.left.dtype, expr.right.dtype
    if left != right:
        raise scope.fail(f"`{expr.op}` takes two of one type, not {left} and {right}", expression_text(expr))
    if left == DType.BOOL and expr.op not in _ON_BOOL:
        raise scope.fail(f"`{expr.op}` does not take bool", expression_text(expr))
    if left.is_float and expr.op in _NOT_ON_FLOAT:
        raise scope.fail(f"`{expr.op}` does not take {left}", expression_text(expr))
