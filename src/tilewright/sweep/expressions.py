"""Arithmetic over the fields of a configuration, as written in a search space."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tilewright.isa.errors import ConfigError

Number = int | float | bool

_BINARY: Mapping[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_COMPARE: Mapping[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_UNARY: Mapping[type[ast.unaryop], Callable[[Number], Number]] = {ast.USub: operator.neg, ast.Not: operator.not_}
_FUNCTIONS: Mapping[str, Callable[..., Number]] = {"min": min, "max": max}


@dataclass(frozen=True)
class Expression:
    """One expression: numbers, `section.field` names, `+ - * / // %`, comparisons, `and or not`, `min`, `max`.

    Attributes
    ----------
    text : str
        As written; `value` evaluates it.

    Raises
    ------
    ConfigError
        For anything else in it.
    """

    text: str

    def __post_init__(self) -> None:
        self._check(self._tree)

    @property
    def names(self) -> set[str]:
        """The names that it asks for."""
        return {_dotted(node) for node in ast.walk(self._tree) if isinstance(node, ast.Attribute)}

    def value(self, values: Mapping[str, Number]) -> Number:
        """Evaluate it.

        Parameters
        ----------
        values : mapping of str to number
            By `section.field`.

        Raises
        ------
        ConfigError
            For a name without a value, or a division by zero.
        """
        try:
            return self._evaluate(self._tree, values)
        except ZeroDivisionError:
            raise ConfigError(f"expression `{self.text}` divides by zero") from None

    @property
    def _tree(self) -> ast.expr:
        try:
            return ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ConfigError(f"`{self.text}` is not an expression") from None

    def _check(self, node: ast.expr) -> None:
        match node:
            case ast.Constant(value=value) if isinstance(value, int | float):
                parts: list[ast.expr] = []
            case ast.Attribute(value=ast.Name()):
                parts = []
            case ast.BinOp(left, op, right) if type(op) in _BINARY:
                parts = [left, right]
            case ast.UnaryOp(op, operand) if type(op) in _UNARY:
                parts = [operand]
            case ast.BoolOp(values=values):
                parts = values
            case ast.Compare(left, ops, comparators) if all(type(op) in _COMPARE for op in ops):
                parts = [left, *comparators]
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS and args:
                parts = args
            case _:
                raise ConfigError(f"expression `{self.text}` cannot hold `{ast.unparse(node)}`")
        for part in parts:
            self._check(part)

    def _evaluate(self, node: ast.expr, values: Mapping[str, Number]) -> Number:
        match node:
            case ast.Constant(value=value) if isinstance(value, int | float):
                return value
            case ast.Attribute():
                return self._lookup(_dotted(node), values)
            case ast.BinOp(left, op, right):
                return _BINARY[type(op)](self._evaluate(left, values), self._evaluate(right, values))
            case ast.UnaryOp(op, operand):
                return _UNARY[type(op)](self._evaluate(operand, values))
            case ast.BoolOp(op, parts):
                combine = all if isinstance(op, ast.And) else any
                return combine(self._evaluate(part, values) for part in parts)
            case ast.Compare(left, ops, comparators):
                sides = [self._evaluate(side, values) for side in (left, *comparators)]
                return all(_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False))
            case ast.Call(func=ast.Name(id=name), args=args):
                return _FUNCTIONS[name](*(self._evaluate(argument, values) for argument in args))
        raise AssertionError(f"`_check` let `{ast.dump(node)}` through")

    def _lookup(self, name: str, values: Mapping[str, Number]) -> Number:
        if name not in values:
            raise ConfigError(f"expression `{self.text}` names `{name}`, which is no field of the configuration")
        return values[name]


def _dotted(node: ast.Attribute) -> str:
    assert isinstance(node.value, ast.Name)
    return f"{node.value.id}.{node.attr}"
