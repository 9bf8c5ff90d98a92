"""Walking and rebuilding trees of the loop-nest language."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from tilewright.isa.ir import (
    Allocate,
    Binary,
    Block,
    Call,
    Cast,
    Expr,
    For,
    Function,
    If,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Var,
)


def expressions_of(stmt: Stmt) -> tuple[Expr, ...]:
    """Return the expressions that stand directly in a statement, in order of evaluation."""
    match stmt:
        case For(_, extent, _, _):
            return (extent,)
        case Store(_, indices, value):
            return (*indices, value)
        case If(condition, _, _):
            return (condition,)
        case Call(_, operands):
            return tuple(value for _, value in operands)
        case _:
            return ()


def statements_of(stmt: Stmt) -> tuple[Stmt, ...]:
    """Return the statements directly inside a statement."""
    match stmt:
        case For(_, _, body, _) | Allocate(_, body):
            return (body,)
        case If(_, then, otherwise):
            return (then,) if otherwise is None else (then, otherwise)
        case Block(body):
            return body
        case _:
            return ()


def operands_of(expr: Expr) -> tuple[Expr, ...]:
    """Return the expressions directly inside an expression."""
    match expr:
        case Binary(_, left, right):
            return (left, right)
        case Select(condition, if_true, if_false):
            return (condition, if_true, if_false)
        case Cast(_, value) | Lookup(_, value):
            return (value,)
        case Load(_, indices):
            return indices
        case _:
            return ()


def walk_statements(root: Stmt | Function) -> Iterator[Stmt]:
    """Yield every statement, outermost first."""
    stmt = root.body if isinstance(root, Function) else root
    yield stmt
    for inner in statements_of(stmt):
        yield from walk_statements(inner)


def walk_expressions(root: Stmt | Function | Expr) -> Iterator[Expr]:
    """Yield every expression, those inside another after it."""
    if isinstance(root, Expr):
        yield root
        for operand in operands_of(root):
            yield from walk_expressions(operand)
        return
    for stmt in walk_statements(root):
        for expr in expressions_of(stmt):
            yield from walk_expressions(expr)


def variables_of(root: Stmt | Function | Expr) -> frozenset[str]:
    """Return the names of all variables that are read."""
    return frozenset(expr.name for expr in walk_expressions(root) if isinstance(expr, Var))


def rebuild_expr(expr: Expr, change: Callable[[Expr], Expr]) -> Expr:
    """Return `expr` with `change` applied to the expressions directly inside it; itself when nothing changes."""
    old = operands_of(expr)
    new = tuple(change(operand) for operand in old)
    if all(a is b for a, b in zip(old, new, strict=True)):
        return expr
    match expr:
        case Binary(op):
            return Binary(op, *new)
        case Select():
            return Select(*new)
        case Cast(dtype):
            return Cast(dtype, *new)
        case Load(buffer):
            return Load(buffer, new)
        case Lookup(table):
            return Lookup(table, *new)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def rebuild_shared(expr: Expr, change: Callable[[Expr, Callable[[Expr], Expr]], Expr]) -> Expr:
    """Rebuild an expression in which parts occur several times, each part once.

    Parameters
    ----------
    expr : Expr
    change : Callable
        Given a part and the function that rebuilds a part inside it, returns what replaces the part.
    """
    done: dict[int, Expr] = {}

    def visit(part: Expr) -> Expr:
        result = done.get(id(part))
        if result is None:
            result = done[id(part)] = change(part, visit)
        return result

    return visit(expr)


def rebuild_stmt(stmt: Stmt, change: Callable[[Stmt], Stmt], change_expr: Callable[[Expr], Expr]) -> Stmt:
    """Return `stmt` with the changes applied to the statements and expressions directly inside it."""
    match stmt:
        case For(var, extent, body, kind):
            return For(var, change_expr(extent), change(body), kind)
        case Store(buffer, indices, value):
            return Store(buffer, tuple(change_expr(i) for i in indices), change_expr(value))
        case If(condition, then, otherwise):
            return If(change_expr(condition), change(then), None if otherwise is None else change(otherwise))
        case Block(body):
            return Block(tuple(change(inner) for inner in body))
        case Allocate(buffer, body):
            return Allocate(buffer, change(body))
        case Call(name, operands):
            return Call(name, tuple((key, change_expr(value)) for key, value in operands))
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def map_expressions(stmt: Stmt, change: Callable[[Expr], Expr]) -> Stmt:
    """Return `stmt` with `change` applied to every outermost expression in it."""
    return rebuild_stmt(stmt, lambda inner: map_expressions(inner, change), change)
