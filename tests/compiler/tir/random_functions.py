"""Random small functions of the tensor IR: well-typed, indices in range, divisors not zero."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

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
    Function,
    If,
    Load,
    Select,
    Stmt,
    Store,
    Var,
)

INTEGERS = (DType.I8, DType.U8, DType.I16, DType.I32, DType.I64)
FLOATS = (DType.F32, DType.F16, DType.BF16)
KINDS = ("serial", "serial", "unrolled", "vectorized", "parallel")

_ARITHMETIC = (BinaryOp.ADD, BinaryOp.SUB, BinaryOp.MUL, BinaryOp.MIN, BinaryOp.MAX)
_BITWISE = (BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR, BinaryOp.SHL, BinaryOp.SHR)
_COMPARISONS = (BinaryOp.LT, BinaryOp.LE, BinaryOp.EQ, BinaryOp.NE)


@dataclass
class Generator:
    """Draws functions over one buffer of each type."""

    rng: random.Random
    with_floats: bool = False
    loops: list[Var] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    names: int = 0

    def function(self) -> Function:
        types = [*INTEGERS, DType.BOOL, *(FLOATS if self.with_floats else ())]
        parameters = tuple(Buffer(f"b_{t}", t, (self.rng.choice((4, 6, 16)), 4), "dram") for t in types)
        scalars = tuple(Var(f"s_{t}", t) for t in INTEGERS)
        self.buffers = list(parameters)
        body = Block(tuple(self.statement(3) for _ in range(3)))
        return Function("random", scalars, parameters, body)

    def fresh(self, prefix: str) -> str:
        self.names += 1
        return f"{prefix}{self.names}"

    def statement(self, depth: int) -> Stmt:
        kind = self.rng.choice(("store", "for", "for", "if", "block", "allocate") if depth else ("store",))
        match kind:
            case "for":
                return self.loop(depth)
            case "if":
                otherwise = self.statement(depth - 1) if self.rng.random() < 0.5 else None
                return If(self.expression(DType.BOOL, 2), self.statement(depth - 1), otherwise)
            case "block":
                return Block(tuple(self.statement(depth - 1) for _ in range(self.rng.randint(0, 3))))
            case "allocate":
                return self.allocation(depth)
            case _:
                return self.store()

    def loop(self, depth: int) -> Stmt:
        var = Var(self.fresh("i"))
        extent: Expr = Const(self.rng.choice((0, 1, 2, 3, 4, 8)))
        if self.rng.random() < 0.3:
            extent = Var("s_i64") & 7
        self.loops.append(var)
        body = self.statement(depth - 1)
        self.loops.pop()
        return For(var, extent, body, self.rng.choice(KINDS))

    def allocation(self, depth: int) -> Stmt:
        buffer = Buffer(self.fresh("x"), self.rng.choice(INTEGERS), (self.rng.choice((1, 4, 8)), 2))
        rows, columns = Var(self.fresh("r")), Var(self.fresh("c"))
        value = self.expression(buffer.dtype, 1)
        clear = For(rows, Const(buffer.shape[0]), For(columns, Const(2), Store(buffer, (rows, columns), value)))
        self.buffers.append(buffer)
        body = Block((clear, self.statement(depth - 1), self.store()))
        self.buffers.remove(buffer)
        return Allocate(buffer, body)

    def store(self) -> Stmt:
        buffer = self.rng.choice(self.buffers)
        return Store(buffer, self.indices(buffer), self.expression(buffer.dtype, 3))

    def indices(self, buffer: Buffer) -> tuple[Expr, ...]:
        return tuple(self.index(extent) for extent in buffer.shape)

    def index(self, extent: int) -> Expr:
        if not self.loops or self.rng.random() < 0.2:
            return Const(self.rng.randrange(extent))
        value: Expr = self.rng.choice(self.loops) * self.rng.choice((1, 1, 2, -1)) + self.rng.randint(-3, 5)
        if self.rng.random() < 0.3:
            value = value + Var("s_i32", DType.I32).cast(DType.I64)
        if self.rng.random() < 0.2:
            value = value // self.rng.choice((2, 3, 4))
        return value & (extent - 1) if not extent & (extent - 1) else value % extent

    def expression(self, dtype: DType, depth: int) -> Expr:
        if depth == 0 or self.rng.random() < 0.15:
            return self.leaf(dtype)
        choice = self.rng.random()
        if choice < 0.1:
            branches = self.expression(dtype, depth - 1), self.expression(dtype, depth - 1)
            return Select(self.expression(DType.BOOL, depth - 1), *branches)
        if choice < 0.25:
            return self.expression(self.rng.choice(self.types()), depth - 1).cast(dtype)
        if dtype == DType.BOOL:
            return self.condition(depth)
        return self.arithmetic(dtype, depth)

    def types(self) -> tuple[DType, ...]:
        return (*INTEGERS, DType.BOOL, *(FLOATS if self.with_floats else ()))

    def condition(self, depth: int) -> Expr:
        if self.rng.random() < 0.3:
            op = self.rng.choice((BinaryOp.AND, BinaryOp.OR, BinaryOp.XOR, BinaryOp.EQ, BinaryOp.NE))
            return Binary(op, self.expression(DType.BOOL, depth - 1), self.expression(DType.BOOL, depth - 1))
        dtype = self.rng.choice(self.types()[:5])
        sides = self.expression(dtype, depth - 1), self.expression(dtype, depth - 1)
        return Binary(self.rng.choice(_COMPARISONS), *sides)

    def arithmetic(self, dtype: DType, depth: int) -> Expr:
        left = self.expression(dtype, depth - 1)
        if dtype.is_float:
            op = self.rng.choice((*_ARITHMETIC, BinaryOp.DIV))
            return Binary(op, left, self.expression(dtype, depth - 1))
        if self.rng.random() < 0.2:
            return Binary(self.rng.choice((BinaryOp.DIV, BinaryOp.MOD)), left, self.divisor(dtype, depth))
        return Binary(self.rng.choice(_ARITHMETIC + _BITWISE), left, self.expression(dtype, depth - 1))

    def divisor(self, dtype: DType, depth: int) -> Expr:
        """An odd number, or a constant."""
        if self.rng.random() < 0.5:
            return self.expression(dtype, depth - 1) | 1
        values = (1, 2, 3, 7, 8, 100) if dtype == DType.U8 else (1, 2, 3, 7, 8, 100, -1, -2, -5)
        return Const(self.rng.choice(values), dtype)

    def leaf(self, dtype: DType) -> Expr:
        buffers = [b for b in self.buffers if b.dtype == dtype]
        if buffers and self.rng.random() < 0.5:
            buffer = self.rng.choice(buffers)
            return Load(buffer, self.indices(buffer))
        if dtype in INTEGERS and self.rng.random() < 0.3:
            return Var(f"s_{dtype}", dtype)
        if dtype == DType.I64 and self.loops and self.rng.random() < 0.6:
            return self.rng.choice(self.loops)
        return self.constant(dtype)

    def constant(self, dtype: DType) -> Expr:
        if dtype == DType.BOOL:
            return Const(self.rng.randint(0, 1), dtype)
        if dtype.is_float:
            return Const(self.rng.choice((0.0, -0.5, 1.0, 3.0, 1024.0)), dtype)
        low = 0 if dtype == DType.U8 else -(1 << (dtype.bits - 1))
        high = low + (1 << dtype.bits) - 1
        return Const(self.rng.choice((0, 1, 2, low, high, self.rng.randint(low, high))), dtype)
