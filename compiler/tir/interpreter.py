"""The reference interpreter: what a function of the tensor IR means, in plain Python over NumPy arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.tir.arithmetic import (
    Number,
    bfloat16_bits,
    bfloat16_value,
    binary,
    conversion,
)
from tilewright.isa.errors import TilewrightError
from tilewright.isa.ir import (
    Allocate,
    Binary,
    Block,
    Buffer,
    Call,
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
    Var,
)
from tilewright.isa.ir_text import expression_text

Array = NDArray[Any]
Intrinsic = Callable[[Mapping[str, int], Mapping[str, Array]], None]

#: Element types of the arrays that hold buffers; bfloat16 is held as its bits.
ARRAY_TYPES: Mapping[DType, type[np.generic]] = {
    DType.BOOL: np.bool_, DType.I8: np.int8, DType.U8: np.uint8, DType.I16: np.int16, DType.I32: np.int32,
    DType.I64: np.int64, DType.F16: np.float16, DType.BF16: np.uint16, DType.F32: np.float32,
}  # fmt: skip

_POISON = 0x5A  # every byte of a fresh local buffer: reading it by mistake shows

_Env = dict[str, Any]  # values of variables by name; arrays by name with `@` before it
_Value = Callable[[_Env], Number]
_Action = Callable[[_Env], None]


class InterpretError(TilewrightError):
    """A function does something undefined: an index out of range, a division by zero, a missing buffer."""


def interpret(
    function: Function,
    scalars: Mapping[str, int | float],
    buffers: Mapping[str, Array],
    intrinsics: Mapping[str, Intrinsic] | None = None,
) -> None:
    """Execute a function, changing `buffers` in place.

    Parameters
    ----------
    function : Function
    scalars : mapping of str to int or float
        Every scalar parameter's value.
    buffers : mapping of str to array
        Every buffer's array, of the element type in `ARRAY_TYPES` and the buffer's shape (a first extent of 0 is free).
    intrinsics : mapping of str to callable, optional
        What a `Call` of that name does, given its operands and the buffers in scope.

    Raises
    ------
    InterpretError
        For an access out of range, a division by zero, or arguments that do not fit the function.
    """
    env: _Env = {}
    for scalar in function.scalars:
        if scalar.name not in scalars:
            raise InterpretError(f"{function.name}: scalar `{scalar.name}` is not given")
        env[scalar.name] = conversion(scalar.type, scalar.type)(scalars[scalar.name])
    for buffer in function.buffers:
        env[f"@{buffer.name}"] = _checked(function, buffer, buffers)
    _statement(function.body, intrinsics or {})(env)


def evaluate(expr: Expr, scalars: Mapping[str, int | float] | None = None) -> int | float:
    """Return the value of an expression over scalars only."""
    return _expression(expr)(dict(scalars or {}))


def new_array(buffer: Buffer) -> Array:
    """Return a zeroed array that can hold a buffer."""
    return np.zeros(buffer.shape, ARRAY_TYPES[buffer.dtype])


def _checked(function: Function, buffer: Buffer, buffers: Mapping[str, Array]) -> Array:
    if buffer.name not in buffers:
        raise InterpretError(f"{function.name}: buffer `{buffer.name}` is not given")
    array = buffers[buffer.name]
    extents = array.shape[1:] if buffer.shape[0] == 0 else array.shape
    wanted = buffer.shape[1:] if buffer.shape[0] == 0 else buffer.shape
    if array.dtype != ARRAY_TYPES[buffer.dtype] or extents != wanted or array.ndim != len(buffer.shape):
        wanted_text, given = f"{buffer.dtype}{list(buffer.shape)}", f"{array.dtype}{list(array.shape)}"
        raise InterpretError(f"{function.name}: buffer `{buffer.name}` is {wanted_text}, not {given}")
    return array


def _statement(stmt: Stmt, intrinsics: Mapping[str, Intrinsic]) -> _Action:
    match stmt:
        case For(var, extent, body, _):
            return _loop(var.name, _expression(extent), _statement(body, intrinsics))
        case Store():
            return _store(stmt)
        case If(condition, then, otherwise):
            return _branch(condition, then, otherwise or Block(()), intrinsics)
        case Block(body):
            return _sequence([_statement(inner, intrinsics) for inner in body])
        case Allocate(buffer, body):
            return _allocation(buffer, _statement(body, intrinsics))
        case Call():
            return _call(stmt, intrinsics)
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _loop(name: str, extent: _Value, body: _Action) -> _Action:
    def run(env: _Env) -> None:
        for value in range(int(extent(env))):
            env[name] = value
            body(env)

    return run


def _branch(condition: Expr, then: Stmt, otherwise: Stmt, intrinsics: Mapping[str, Intrinsic]) -> _Action:
    holds, yes, no = _expression(condition), _statement(then, intrinsics), _statement(otherwise, intrinsics)

    def run(env: _Env) -> None:
        if holds(env):
            yes(env)
        else:
            no(env)

    return run


def _sequence(actions: list[_Action]) -> _Action:
    def run(env: _Env) -> None:
        for action in actions:
            action(env)

    return run


def _allocation(buffer: Buffer, body: _Action) -> _Action:
    key, array_type = f"@{buffer.name}", np.dtype(ARRAY_TYPES[buffer.dtype])
    poison = np.frombuffer(bytes([_POISON]) * array_type.itemsize, array_type)[0]

    def run(env: _Env) -> None:
        env[key] = np.full(buffer.shape, poison)
        body(env)

    return run


def _call(stmt: Call, intrinsics: Mapping[str, Intrinsic]) -> _Action:
    if stmt.name not in intrinsics:
        raise InterpretError(f"`{stmt.name}` is called, but its meaning is not given")
    intrinsic = intrinsics[stmt.name]
    operands = [(key, _expression(value)) for key, value in stmt.operands]

    def run(env: _Env) -> None:
        arrays = {key[1:]: value for key, value in env.items() if key.startswith("@")}
        intrinsic({key: int(value(env)) for key, value in operands}, arrays)

    return run


def _element(buffer: Buffer, indices: tuple[Expr, ...]) -> Callable[[_Env], tuple[Array, Any]]:
    """Return what finds an element: its array and its index, checked."""
    key = f"@{buffer.name}"
    values = [_expression(index) for index in indices]
    text = f"{buffer.name}[{', '.join(expression_text(i) for i in indices)}]"

    def find(env: _Env) -> tuple[Array, Any]:
        array = env[key]
        place = tuple([int(index(env)) for index in values])
        for position, extent in zip(place, array.shape, strict=True):
            if not 0 <= position < extent:
                raise InterpretError(f"{text}: index {list(place)} is outside {list(array.shape)}")
        return array, place

    return find


def _store(stmt: Store) -> _Action:
    find = _element(stmt.buffer, stmt.indices)
    value = _expression(stmt.value)
    is_bfloat = stmt.buffer.dtype == DType.BF16

    def run(env: _Env) -> None:
        array, place = find(env)
        result = value(env)
        array[place] = bfloat16_bits(result) if is_bfloat else result

    return run


def _expression(expr: Expr) -> _Value:
    match expr:
        case Const(value, dtype):
            constant = conversion(dtype, dtype)(value)
            return lambda env: constant
        case Var(name):
            return lambda env: env[name]
        case Binary():
            return _binary(expr)
        case Select(condition, if_true, if_false):
            holds, yes, no = _expression(condition), _expression(if_true), _expression(if_false)
            return lambda env: yes(env) if holds(env) else no(env)
        case Cast(dtype, value):
            convert, inner = conversion(value.dtype, dtype), _expression(value)
            return lambda env: convert(inner(env))
        case Load():
            return _load(expr)
        case Lookup():
            return _lookup(expr)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _binary(expr: Binary) -> _Value:
    compute = binary(expr.op, expr.left.dtype)
    left, right = _expression(expr.left), _expression(expr.right)

    def run(env: _Env) -> Number:
        try:
            return compute(left(env), right(env))
        except ZeroDivisionError:
            raise InterpretError(f"{expression_text(expr)}: division by zero") from None

    return run


def _load(expr: Load) -> _Value:
    find = _element(expr.buffer, expr.indices)
    is_bfloat = expr.buffer.dtype == DType.BF16

    def run(env: _Env) -> Number:
        array, place = find(env)
        value: Number = array[place].item()
        return bfloat16_value(int(value)) if is_bfloat else value

    return run


def _lookup(expr: Lookup) -> _Value:
    values, index = expr.table.values, _expression(expr.index)

    def run(env: _Env) -> Number:
        place = int(index(env))
        if not 0 <= place < len(values):
            raise InterpretError(f"{expression_text(expr)}: index {place} is outside [{len(values)}]")
        return values[place]

    return run
