"""Functions of the tensor IR as LLVM IR.

Every function becomes `void name(i64 *scalars, element *buffer, ...)`: its scalar parameters lie in one array, in
order. With `dispatcher` a further function runs a whole table of calls: many small calls cost one call from Python.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llvmlite import ir as ll

from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.byte_products import BytePairs, find_byte_pairs
from tilewright.compiler.tir.llvm_scalars import I64, Value
from tilewright.isa.errors import TilewrightError
from tilewright.isa.ir import (
    Allocate,
    Binary,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
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

_POINTER = ll.PointerType()
_ALIGNMENT = 64
_MAX_VECTOR_LANES = 16
_LOOP_TAG = "tilewright.loop"


class CodegenError(TilewrightError):
    """A function has no machine code on this target."""


def emit_module(functions: Sequence[Function], dispatcher: str | None = None) -> str:
    """Return LLVM IR text with the functions.

    Parameters
    ----------
    functions : sequence of Function
        Verified functions of different names.
    dispatcher : str, optional
        Name of a function `void (i64 *table, i64 words, i64 count, buffers...)` that runs `count` calls: a row of the
        table has `words` entries, the first the position in `functions`, then the scalars. All functions must have
        the same buffers.

    Raises
    ------
    CodegenError
        For a `Call`, or functions of different buffers under one dispatcher.
    """
    module = ll.Module(name="tilewright")
    for function in functions:
        _emit_function(module, function)
    if dispatcher is not None:
        _emit_dispatcher(module, functions, dispatcher)
    return _with_loop_ids(str(module))


def _with_loop_ids(text: str) -> str:
    """Make the loops' metadata nodes distinct and refer to themselves, which llvmlite cannot write."""
    return re.sub(rf'(!\d+) = !{{ !"{_LOOP_TAG}\.\d+"', r"\1 = distinct !{ \1", text)


# ---- functions -----------------------------------------------------------------------------------------------


@dataclass
class _Context:
    """The state of emitting one function."""

    builder: ll.IRBuilder
    entry: ll.IRBuilder  # allocations go here
    variables: dict[str, Value] = field(default_factory=dict)
    pointers: dict[str, Value] = field(default_factory=dict)
    known: dict[int, Value] = field(default_factory=dict)  # values of shared subexpressions of one statement


def _emit_function(module: ll.Module, function: Function) -> None:
    kind = ll.FunctionType(ll.VoidType(), [_POINTER] * (1 + len(function.buffers)))
    target = ll.Function(module, kind, name=function.name)
    for argument in target.args:
        argument.add_attribute("noalias")
    target.attributes.add("nounwind")
    entry, start = target.append_basic_block("entry"), target.append_basic_block("start")
    context = _Context(ll.IRBuilder(start), ll.IRBuilder(entry))
    for position, scalar in enumerate(function.scalars):
        context.variables[scalar.name] = _read_scalar(context.entry, target.args[0], position, scalar)
    for buffer, argument in zip(function.buffers, target.args[1:], strict=True):
        argument.name = buffer.name
        context.pointers[buffer.name] = argument
    _emit_stmt(context, function.body)
    context.builder.ret_void()
    context.entry.branch(start)


def _read_scalar(builder: ll.IRBuilder, row: Value, position: int, scalar: Var) -> Value:
    """Read a scalar parameter: the low bits of its 64-bit place."""
    pointer = builder.gep(row, [I64(position)], inbounds=True, source_etype=I64)
    if scalar.type.is_float:
        return scalars.load(builder, pointer, scalar.type)
    value = builder.load(pointer, typ=I64, name=scalar.name)
    target = scalars.register_type(scalar.type)
    return value if target == I64 else builder.trunc(value, target)


def _emit_dispatcher(module: ll.Module, functions: Sequence[Function], name: str) -> None:
    buffers = functions[0].buffers
    for function in functions:
        if function.buffers != buffers:
            raise CodegenError(f"`{function.name}` has other buffers than `{functions[0].name}`: no dispatcher")
    kind = ll.FunctionType(ll.VoidType(), [_POINTER, I64, I64, *[_POINTER] * len(buffers)])
    target = ll.Function(module, kind, name=name)
    table, words, count, *pointers = target.args
    builder = ll.IRBuilder(target.append_basic_block("entry"))
    with _Loop(builder, count, "serial", module) as index:
        row = builder.gep(table, [builder.mul(index, words)], source_etype=I64)
        operands = builder.gep(row, [I64(1)], source_etype=I64)
        following = target.append_basic_block("next")
        choice = builder.switch(builder.load(row, typ=I64), following)
        for number, function in enumerate(functions):
            block = target.append_basic_block(function.name)
            choice.add_case(I64(number), block)
            case = ll.IRBuilder(block)
            case.call(module.globals[function.name], [operands, *pointers])
            case.branch(following)
        builder.position_at_end(following)
    builder.ret_void()


# ---- statements ----------------------------------------------------------------------------------------------


class _Loop:
    """A loop in the form that LLVM's loop passes like: guarded, the test at the end, one induction variable from 0."""

    def __init__(self, builder: ll.IRBuilder, extent: Value, kind: str, module: ll.Module) -> None:
        self.builder, self.extent, self.kind, self.module = builder, extent, kind, module

    def __enter__(self) -> Value:
        builder, function = self.builder, self.builder.function
        zero = ll.Constant(self.extent.type, 0)
        self.body, self.exit = function.append_basic_block("loop"), function.append_basic_block("exit")
        before = builder.block
        if isinstance(self.extent, ll.Constant) and self.extent.constant > 0:
            builder.branch(self.body)
        else:
            builder.cbranch(builder.icmp_signed("<", zero, self.extent), self.body, self.exit)
        builder.position_at_end(self.body)
        self.index = builder.phi(self.extent.type)
        self.index.add_incoming(zero, before)
        return self.index

    def __exit__(self, *_: object) -> None:
        builder = self.builder
        following = builder.add(self.index, ll.Constant(self.extent.type, 1), flags=("nuw", "nsw"))
        again = builder.icmp_signed("<", following, self.extent)
        self.index.add_incoming(following, builder.block)
        branch = builder.cbranch(again, self.body, self.exit)
        hints = _loop_hints(self.kind, self.extent)
        if hints:
            branch.set_metadata("llvm.loop", _loop_metadata(self.module, hints))
        builder.position_at_end(self.exit)


def _loop_hints(kind: str, extent: Value) -> list[tuple[str, Value | None]]:
    count = extent.constant if isinstance(extent, ll.Constant) else 0
    if kind == "unrolled":
        return [("llvm.loop.unroll.full" if count else "llvm.loop.unroll.enable", None)]
    if kind == "vectorized":
        width = min(_MAX_VECTOR_LANES, count & -count) if count else 0
        lanes = [("llvm.loop.vectorize.width", ll.IntType(32)(width))] if width > 1 else []
        return [
            ("llvm.loop.vectorize.enable", ll.IntType(1)(1)),
            *lanes,
            ("llvm.loop.interleave.count", ll.IntType(32)(1)),
            ("llvm.loop.unroll.disable", None),
        ]
    return []


def _loop_metadata(module: ll.Module, hints: Sequence[tuple[str, Value | None]]) -> Any:
    tag = ll.MetaDataString(module, f"{_LOOP_TAG}.{len(module.metadata)}")
    nodes = []
    for key, value in hints:
        name = ll.MetaDataString(module, key)
        nodes.append(module.add_metadata([name] if value is None else [name, value]))
    return module.add_metadata([tag, *nodes])


def _emit_stmt(context: _Context, stmt: Stmt) -> None:
    match stmt:
        case For():
            _emit_for(context, stmt)
        case Store(buffer, indices, value):
            context.known.clear()
            result = _emit_expr(context, value)
            pointer = _element_pointer(context, buffer, indices)
            scalars.store(context.builder, pointer, result, buffer.dtype)
        case If():
            _emit_if(context, stmt)
        case Block(body):
            for inner in body:
                _emit_stmt(context, inner)
        case Allocate(buffer, body):
            context.pointers[buffer.name] = _allocate(context.entry, buffer)
            _emit_stmt(context, body)
        case Call(name, _):
            raise CodegenError(f"`{name}` is an instruction of another target: it has no machine code here")
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _emit_for(context: _Context, stmt: For) -> None:
    context.known.clear()
    pairs = find_byte_pairs(stmt)
    if pairs is not None:
        _emit_byte_pairs(context, pairs)
        return
    extent = _emit_expr(context, stmt.extent)
    with _Loop(context.builder, extent, stmt.kind, context.builder.module) as index:
        context.variables[stmt.var.name] = index
        _emit_stmt(context, stmt.body)


def _emit_byte_pairs(context: _Context, pairs: BytePairs) -> None:
    """Multiply all lanes and add neighbours: what back ends select instructions like `vpmaddwd` for."""
    builder = context.builder
    context.variables[pairs.var.name] = ll.Constant(scalars.register_type(pairs.var.type), 0)
    left, right, sums = (
        _element_pointer(context, e.buffer, e.indices) for e in (pairs.left, pairs.right, pairs.target)
    )
    products = builder.mul(*(scalars.load_extended(builder, pointer, pairs.lanes) for pointer in (left, right)))
    added = builder.add(*(scalars.every_other(builder, products, first) for first in (0, 1)))
    place = builder.bitcast(sums, added.type.as_pointer())  # llvmlite knows what allocated memory holds
    builder.store(builder.add(builder.load(place, typ=added.type, align=4), added), place, align=4)


def _emit_if(context: _Context, stmt: If) -> None:
    builder = context.builder
    context.known.clear()
    condition = _emit_expr(context, stmt.condition)
    if stmt.otherwise is None:
        with builder.if_then(condition):
            _emit_stmt(context, stmt.then)
        return
    with builder.if_else(condition) as (then, otherwise):
        with then:
            _emit_stmt(context, stmt.then)
        with otherwise:
            _emit_stmt(context, stmt.otherwise)


def _allocate(builder: ll.IRBuilder, buffer: Buffer) -> Value:
    count = 1
    for extent in buffer.shape:
        count *= extent
    pointer = builder.alloca(scalars.memory_type(buffer.dtype), size=I64(count), name=buffer.name)
    pointer.align = _ALIGNMENT
    return pointer


# ---- expressions ---------------------------------------------------------------------------------------------


def _emit_expr(context: _Context, expr: Expr) -> Value:
    """Emit an expression; one that occurs twice in a statement as the same object is emitted once."""
    value = context.known.get(id(expr))
    if value is None:
        value = context.known[id(expr)] = _emit_new(context, expr)
    return value


def _emit_new(context: _Context, expr: Expr) -> Value:
    builder = context.builder
    match expr:
        case Const(value, dtype):
            return scalars.constant(value, dtype)
        case Var(name):
            return context.variables[name]
        case Binary(op, left, right):
            operands = _emit_expr(context, left), _emit_expr(context, right)
            return scalars.binary(builder, op, *operands, left.dtype)
        case Select(condition, if_true, if_false):
            chosen = [_emit_expr(context, e) for e in (condition, if_true, if_false)]
            return builder.select(*chosen)
        case Cast(dtype, inner):
            return scalars.cast(builder, _emit_expr(context, inner), inner.dtype, dtype)
        case Load(buffer, indices):
            return scalars.load(builder, _element_pointer(context, buffer, indices), buffer.dtype)
        case Lookup(table, index):
            place = scalars.cast(builder, _emit_expr(context, index), index.dtype, _INDEX)
            element = scalars.memory_type(table.dtype)
            pointer = builder.gep(_constant_array(builder.module, table), [place], source_etype=element)
            return scalars.load(builder, pointer, table.dtype)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _element_pointer(context: _Context, buffer: Buffer, indices: tuple[Expr, ...]) -> Value:
    """Return the address of an element; indices are in range, so that their arithmetic does not overflow."""
    builder = context.builder
    place: Value = None
    for index, extent in zip(indices, buffer.shape, strict=True):
        value = scalars.cast(builder, _emit_expr(context, index), index.dtype, _INDEX)
        if place is not None:
            value = builder.add(builder.mul(place, I64(extent), flags=("nsw",)), value, flags=("nsw",))
        place = value
    element = scalars.memory_type(buffer.dtype)
    return builder.gep(context.pointers[buffer.name], [place], inbounds=True, source_etype=element)


def _constant_array(module: ll.Module, table: Table) -> Value:
    """Return the address of a table's entries, which a module holds once."""
    digest = zlib.crc32(repr((table.dtype, table.values)).encode())
    name = f"{table.name}.{digest:08x}"
    array = module.globals.get(name)
    if array is None:
        kind = ll.ArrayType(scalars.memory_type(table.dtype), len(table.values))
        array = ll.GlobalVariable(module, kind, name)
        array.linkage = "internal"
        array.global_constant = True
        array.initializer = ll.Constant(kind, list(table.values))
    return array


_INDEX = Var("").type
