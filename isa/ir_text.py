"""Expressions of the loop-nest language as text, with the fewest parentheses."""

from __future__ import annotations

from tilewright.isa.ir import Binary, BinaryOp, Cast, Const, Expr, Load, Lookup, Select, Var

_PRECEDENCE = {
    "<": 1,
    "<=": 1,
    "==": 1,
    "!=": 1,
    "|": 2,
    "^": 3,
    "&": 4,
    "<<": 5,
    ">>": 5,
    "+": 6,
    "-": 6,
    "*": 7,
    "//": 7,
    "%": 7,
}
_ATOM = 9


def expression_text(expr: Expr) -> str:
    """Return an expression in Python-like notation."""
    return _text(expr)[0]


def _text(expr: Expr) -> tuple[str, int]:
    match expr:
        case Const(value):
            return str(value), _ATOM
        case Var(name):
            return name, _ATOM
        case Cast(dtype, value):
            return f"{dtype}({_text(value)[0]})", _ATOM
        case Select(condition, if_true, if_false):
            return f"select({_text(condition)[0]}, {_text(if_true)[0]}, {_text(if_false)[0]})", _ATOM
        case Load(buffer, indices):
            return f"{buffer.name}[{', '.join(_text(i)[0] for i in indices)}]", _ATOM
        case Lookup(table, index):
            return f"{table.name}[{_text(index)[0]}]", _ATOM
        case Binary(BinaryOp.MIN | BinaryOp.MAX as op, left, right):
            return f"{op}({_text(left)[0]}, {_text(right)[0]})", _ATOM
        case Binary(op, left, right):
            level = _PRECEDENCE[op]
            return f"{_operand(left, level)} {op} {_operand(right, level + 1)}", level
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _operand(expr: Expr, level: int) -> str:
    text, own = _text(expr)
    return text if own >= level else f"({text})"
