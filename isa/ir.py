"""The loop-nest language: what instructions mean is stated in it, and the compiler's tensor IR is built of it.

Expressions and statements are immutable. A program is loops over integer ranges around stores of scalar expressions to
buffers in named memory spaces. `tilewright.compiler.tir` adds a printer, a verifier, an interpreter, schedules and code
generators; here is only the language.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class DType(StrEnum):
    """Scalar types; integers wrap in two's complement."""

    BOOL = "bool"
    I8 = "i8"
    U8 = "u8"
    I16 = "i16"
    I32 = "i32"
    I64 = "i64"
    F16 = "f16"
    BF16 = "bf16"
    F32 = "f32"

    @property
    def bits(self) -> int:
        """Width of the type."""
        return {"bool": 1, "bf16": 16}.get(self.value) or int(self.value[1:])

    @property
    def is_float(self) -> bool:
        """Whether this is a floating-point type."""
        return self in (DType.F16, DType.BF16, DType.F32)


class BinaryOp(StrEnum):
    """Two-operand operators; both sides have one type. Division and modulo round towards minus infinity."""

    ADD = "+"
    SUB = "-"
    MUL = "*"
    DIV = "//"
    MOD = "%"
    MIN = "min"
    MAX = "max"
    AND = "&"
    OR = "|"
    XOR = "^"
    SHL = "<<"
    SHR = ">>"  # arithmetic for signed types
    LT = "<"
    LE = "<="
    EQ = "=="
    NE = "!="

    @property
    def is_comparison(self) -> bool:
        """Whether the result is a bool."""
        return self in (BinaryOp.LT, BinaryOp.LE, BinaryOp.EQ, BinaryOp.NE)


class Expr:
    """Base of scalar expressions; Python's operators build `Binary` nodes, integers become constants."""

    __slots__ = ()

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        raise NotImplementedError

    def _binary(self, op: BinaryOp, other: Expr | int) -> Binary:
        return Binary(op, self, other if isinstance(other, Expr) else Const(other, self.dtype))

    def __add__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.ADD, other)

    def __sub__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.SUB, other)

    def __mul__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.MUL, other)

    def __floordiv__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.DIV, other)

    def __mod__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.MOD, other)

    def __and__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.AND, other)

    def __or__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.OR, other)

    def __xor__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.XOR, other)

    def __lshift__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.SHL, other)

    def __rshift__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.SHR, other)

    def __lt__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.LT, other)

    def __le__(self, other: Expr | int) -> Binary:
        return self._binary(BinaryOp.LE, other)

    def equals(self, other: Expr | int) -> Binary:
        """Build the comparison (`==` is structural equality of nodes)."""
        return self._binary(BinaryOp.EQ, other)

    def differs(self, other: Expr | int) -> Binary:
        """Build the comparison for inequality."""
        return self._binary(BinaryOp.NE, other)

    def minimum(self, other: Expr | int) -> Binary:
        """Build the smaller of the two."""
        return self._binary(BinaryOp.MIN, other)

    def maximum(self, other: Expr | int) -> Binary:
        """Build the larger of the two."""
        return self._binary(BinaryOp.MAX, other)

    def cast(self, dtype: DType) -> Expr:
        """Convert; narrowing integers keeps the low bits."""
        return self if dtype == self.dtype else Cast(dtype, self)


@dataclass(frozen=True, slots=True)
class Const(Expr):
    """A literal."""

    value: int | float
    type: DType = DType.I64

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.type


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop variable or a scalar parameter, identified by its name."""

    name: str
    type: DType = DType.I64

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.type


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    """`left op right`."""

    op: BinaryOp
    left: Expr
    right: Expr

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return DType.BOOL if self.op.is_comparison else self.left.dtype


@dataclass(frozen=True, slots=True)
class Select(Expr):
    """`if_true` where `condition` holds, else `if_false`; both may be evaluated."""

    condition: Expr
    if_true: Expr
    if_false: Expr

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.if_true.dtype


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """`value` converted to `type`; signed sources are sign-extended, `u8` and `bool` are zero-extended."""

    type: DType
    value: Expr

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.type


@dataclass(frozen=True, slots=True)
class Buffer:
    """A typed array, row-major, in a memory space (`dram`, `act`, `wgt`, ..., or `local`)."""

    name: str
    dtype: DType
    shape: tuple[int, ...]
    space: str = "local"


@dataclass(frozen=True, slots=True)
class Load(Expr):
    """One element of a buffer."""

    buffer: Buffer
    indices: tuple[Expr, ...]

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.buffer.dtype


@dataclass(frozen=True, slots=True)
class Table:
    """A constant array of integers, a part of the program itself."""

    name: str
    dtype: DType
    values: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lookup(Expr):
    """One entry of a constant table; the index must be in range wherever the value counts."""

    table: Table
    index: Expr

    @property
    def dtype(self) -> DType:
        """Type of the value."""
        return self.table.dtype


class Stmt:
    """Base of statements."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class For(Stmt):
    """`body` for every value of `var` in `range(extent)`.

    `kind` is `serial`, or an annotation for code generators: `unrolled`, `vectorized`, `parallel`, `pipelined`,
    `bound:<axis>`.
    """

    var: Var
    extent: Expr
    body: Stmt
    kind: str = "serial"


@dataclass(frozen=True, slots=True)
class Store(Stmt):
    """Write one element."""

    buffer: Buffer
    indices: tuple[Expr, ...]
    value: Expr


@dataclass(frozen=True, slots=True)
class If(Stmt):
    """`then` where `condition` holds, else `otherwise`."""

    condition: Expr
    then: Stmt
    otherwise: Stmt | None = None


@dataclass(frozen=True, slots=True)
class Block(Stmt):
    """Statements in order."""

    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Allocate(Stmt):
    """A buffer that lives during `body`; its content is undefined at first."""

    buffer: Buffer
    body: Stmt


@dataclass(frozen=True, slots=True)
class Call(Stmt):
    """A tensorized instruction with its operands."""

    name: str
    operands: tuple[tuple[str, Expr], ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A named procedure over buffers and scalars."""

    name: str
    scalars: tuple[Var, ...]
    buffers: tuple[Buffer, ...]
    body: Stmt


def loops(nest: Iterable[tuple[Var, Expr | int]], body: Stmt) -> Stmt:
    """Wrap `body` in loops, the first pair outermost."""
    for var, extent in reversed(list(nest)):
        body = For(var, extent if isinstance(extent, Expr) else Const(extent, var.type), body)
    return body


def total(terms: Iterable[Expr]) -> Expr:
    """Add up the expressions, left to right."""
    first, *rest = terms
    result = first
    for term in rest:
        result = result + term
    return result


def variable_names(expr: Expr) -> frozenset[str]:
    """Return the names of the variables that an expression reads."""
    match expr:
        case Var(name):
            return frozenset((name,))
        case Binary(_, left, right):
            return variable_names(left) | variable_names(right)
        case Select(condition, if_true, if_false):
            return variable_names(condition) | variable_names(if_true) | variable_names(if_false)
        case Cast(_, inner) | Lookup(_, inner):
            return variable_names(inner)
        case Load(_, indices):
            return frozenset[str]().union(*map(variable_names, indices))
        case _:
            return frozenset()
