"""The canonical tree of a nest: loops, accesses by position, and walking over both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tilewright.compiler.tir.tensorize.polynomial import Poly
from tilewright.isa.errors import TilewrightError
from tilewright.isa.ir import Binary, Buffer, Cast, DType, Expr, Load, Select, Var


class TensorizeError(TilewrightError):
    """A nest is not the meaning of any instruction."""


@dataclass(frozen=True, slots=True)
class Access(Expr):
    """An element of a buffer, by its row-major position.

    Attributes
    ----------
    buffer : Buffer
    offset : Poly
        In elements, of loop variables and scalars.
    opaque : tuple of (int, Expr)
        Multiples of what is no polynomial: values looked up by.
    modulus : int
        The leading index wraps modulo this; 0 if it does not.
    aligned : tuple of (Poly, int)
        Positions (in units of the leading index) that are rounded down to a multiple.
    """

    buffer: Buffer
    offset: Poly
    opaque: tuple[tuple[int, Expr], ...] = ()
    modulus: int = 0
    aligned: tuple[tuple[Poly, int], ...] = ()

    @property
    def dtype(self) -> DType:
        """Type of the element."""
        return self.buffer.dtype


@dataclass(frozen=True, slots=True)
class Loop:
    """One loop of a level."""

    name: str
    extent: Poly


class Node:
    """Base of the canonical tree."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Level(Node):
    """Perfectly nested loops, outermost first; `body` is no `Level`."""

    loops: tuple[Loop, ...]
    body: Node


@dataclass(frozen=True, slots=True)
class Sequence(Node):
    """Levels in order."""

    body: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Branch(Node):
    """A choice."""

    condition: Expr
    then: Level
    otherwise: Level | None


@dataclass(frozen=True, slots=True)
class Local(Node):
    """A temporary buffer."""

    buffer: Buffer
    body: Level


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """One store."""

    target: Access
    value: Expr


def children(expr: Expr) -> tuple[Expr, ...]:
    """Return the direct parts of an expression."""
    match expr:
        case Binary(_, left, right):
            return left, right
        case Select(condition, if_true, if_false):
            return condition, if_true, if_false
        case Cast(_, value):
            return (value,)
        case Load(_, indices):
            return indices
        case Access(_, _, opaque):
            return tuple(e for _, e in opaque)
        case _:
            return ()


def map_levels(node: Node, rewrite: Callable[[Level], Level]) -> Node:
    """Rewrite the levels directly inside a node."""
    match node:
        case Sequence(body):
            return Sequence(tuple(rewrite(level) for level in body))
        case Branch(condition, then, otherwise):
            return Branch(condition, rewrite(then), rewrite(otherwise) if otherwise else None)
        case Local(buffer, body):
            return Local(buffer, rewrite(body))
        case _:
            return node


def map_accesses(node: Node, rewrite: Callable[[Access], Access]) -> Node:
    """Rewrite every access below a node."""

    def expr(e: Expr) -> Expr:
        match e:
            case Access(opaque=opaque):
                return rewrite(replace(e, opaque=tuple((factor, expr(inner)) for factor, inner in opaque)))
            case Binary(op, left, right):
                return Binary(op, expr(left), expr(right))
            case Select(condition, if_true, if_false):
                return Select(expr(condition), expr(if_true), expr(if_false))
            case Cast(dtype, value):
                return Cast(dtype, expr(value))
            case _:
                return e

    def level(inner: Level) -> Level:
        return Level(inner.loops, map_accesses(inner.body, rewrite))

    match node:
        case Assign(target, value):
            return Assign(rewrite(target), expr(value))
        case Branch(condition, then, otherwise):
            return Branch(expr(condition), level(then), level(otherwise) if otherwise else None)
        case _:
            return map_levels(node, level)


def targets(node: Node) -> Iterator[Access]:
    """Yield the access of every store below a node."""
    match node:
        case Level(_, body) | Local(_, body):
            yield from targets(body)
        case Sequence(body):
            for level in body:
                yield from targets(level)
        case Branch(_, then, otherwise):
            yield from targets(then)
            if otherwise:
                yield from targets(otherwise)
        case Assign(target, _):
            yield target


def node_expressions(node: Node) -> Iterator[Expr]:
    """Yield the expressions below a node, store targets included."""
    match node:
        case Level(_, body):
            yield from node_expressions(body)
        case Sequence(body):
            for level in body:
                yield from node_expressions(level)
        case Branch(condition, then, otherwise):
            yield condition
            yield from node_expressions(then)
            if otherwise:
                yield from node_expressions(otherwise)
        case Local(_, body):
            yield from node_expressions(body)
        case Assign(target, value):
            yield target
            yield value


def _walk(expr: Expr) -> Iterator[Expr]:
    yield expr
    for part in children(expr):
        yield from _walk(part)


def accesses(node: Node) -> Iterator[Access]:
    """Yield every access below a node."""
    for expr in node_expressions(node):
        for part in _walk(expr):
            if isinstance(part, Access):
                yield part


def bare_names(node: Node) -> frozenset[str]:
    """Return the variables that stand outside addresses."""
    return frozenset(p.name for e in node_expressions(node) for p in _walk(e) if isinstance(p, Var))
