"""Kernels of the tensor IR as LLVM IR, vectors written out.

Every kernel becomes `void name(i64 begin, i64 end, buffers...)`, which does the tasks from `begin` to `end`. Loops of
kind `vectorized` become vectors: an expression in which the loop's variable occurs is a vector, any other a scalar.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.bfloat import narrowed, widened
from tilewright.compiler.targets.cpu.instruction import Operands
from tilewright.compiler.targets.cpu.instructions import INSTRUCTIONS
from tilewright.compiler.targets.cpu.kernel import Kernel
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.targets.cpu.vector_ops import binary, cast
from tilewright.compiler.targets.cpu.vectors import permuted, splat, vector
from tilewright.compiler.tir import llvm_scalars as scalars
from tilewright.compiler.tir.arithmetic import binary as folded
from tilewright.compiler.tir.llvm import CodegenError
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value
from tilewright.compiler.tir.simplify import is_natural
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Call,
    Cast,
    Const,
    DType,
    Expr,
    For,
    If,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Table,
    Var,
    variable_names,
)

POINTER = ll.PointerType()


@dataclass(frozen=True)
class _Lane:
    """The variable of the vectors that are being computed."""

    name: str
    count: int


@dataclass
class _Emitter:
    """The state of emitting one kernel."""

    level: Level
    builder: ll.IRBuilder
    entry: ll.IRBuilder
    bounds: tuple[Value, Value]
    variables: dict[str, Value | int] = field(default_factory=dict)
    pointers: dict[str, Value] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    known: dict[int, Value | int] = field(default_factory=dict)
    lane: _Lane | None = None


def emit_kernels(module: ll.Module, kernels: Sequence[Kernel], level: Level) -> None:
    """Add kernels to a module.

    Raises
    ------
    CodegenError
        For what has no machine code.
    """
    for kernel in kernels:
        _emit_kernel(module, kernel, level)


def _emit_kernel(module: ll.Module, kernel: Kernel, level: Level) -> None:
    function = kernel.function
    kind = ll.FunctionType(ll.VoidType(), [I64, I64, *[POINTER] * len(function.buffers)])
    target = ll.Function(module, kind, name=kernel.name)
    target.linkage = "internal"
    for name in ("nounwind", "noinline"):
        target.attributes.add(name)
    entry, start = target.append_basic_block("entry"), target.append_basic_block("start")
    begin, end, *buffers = target.args
    emitter = _Emitter(level, ll.IRBuilder(start), ll.IRBuilder(entry), (begin, end))
    for buffer, argument in zip(function.buffers, buffers, strict=True):
        argument.name = buffer.name
        argument.add_attribute("noalias")
        emitter.pointers[buffer.name], emitter.buffers[buffer.name] = argument, buffer
    _stmt(emitter, function.body)
    emitter.builder.ret_void()
    emitter.entry.branch(start)


# ---- statements ----------------------------------------------------------------------------------------------


def _stmt(e: _Emitter, stmt: Stmt) -> None:
    match stmt:
        case For():
            _for(e, stmt)
        case Store():
            e.known.clear()
            _store(e, stmt)
        case If(condition, then, otherwise):
            _if(e, condition, then, otherwise)
        case Block(body):
            for inner in body:
                _stmt(e, inner)
        case Allocate(buffer, body):
            pointer = e.entry.alloca(scalars.memory_type(buffer.dtype), size=I64(buffer.shape[0]), name=buffer.name)
            pointer.align, pointer.type = 64, POINTER
            e.pointers[buffer.name], e.buffers[buffer.name] = pointer, buffer
            _stmt(e, body)
        case Call(name, operands):
            e.known.clear()
            _call(e, name, operands)
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _for(e: _Emitter, stmt: For) -> None:
    e.known.clear()
    extent = _index(e, stmt.extent)
    if stmt.kind == "parallel":
        _loop(e, stmt, *e.bounds)
    elif stmt.kind == "vectorized" and isinstance(extent, int) and e.lane is None:
        e.lane = _Lane(stmt.var.name, extent)
        _stmt(e, stmt.body)
        e.lane = None
    elif isinstance(extent, int) and (stmt.kind == "unrolled" or extent == 1):
        for value in range(extent):
            e.variables[stmt.var.name] = value
            _stmt(e, stmt.body)
    else:
        _loop(e, stmt, I64(0), _as_value(extent))
    e.known.clear()


def _loop(e: _Emitter, stmt: For, begin: Value, end: Value) -> None:
    function = e.builder.function
    body, after = function.append_basic_block("loop"), function.append_basic_block("after")
    before = e.builder.block
    if isinstance(begin, ll.Constant) and isinstance(end, ll.Constant) and begin.constant < end.constant:
        e.builder.branch(body)
    else:
        e.builder.cbranch(e.builder.icmp_signed("<", begin, end), body, after)
    e.builder.position_at_end(body)
    index = e.builder.phi(I64)
    index.add_incoming(begin, before)
    e.variables[stmt.var.name] = index
    _stmt(e, stmt.body)
    following = e.builder.add(index, I64(1), flags=("nuw", "nsw"))
    index.add_incoming(following, e.builder.block)
    e.builder.cbranch(e.builder.icmp_signed("<", following, end), body, after)
    e.builder.position_at_end(after)


def _if(e: _Emitter, condition: Expr, then: Stmt, otherwise: Stmt | None) -> None:
    e.known.clear()
    holds = _scalar(e, condition)
    with e.builder.if_else(holds) as (yes, no):
        with yes:
            e.known.clear()
            _stmt(e, then)
        with no:
            e.known.clear()
            _stmt(e, otherwise or Block(()))
    e.known.clear()


def _store(e: _Emitter, stmt: Store) -> None:
    buffer, dtype = stmt.buffer, stmt.buffer.dtype
    if e.lane is None:
        scalars.store(e.builder, _pointer(e, buffer, stmt.indices[0]), _scalar(e, stmt.value), dtype)
        return
    value = _vector(e, stmt.value)
    if _slope(stmt.indices[0], e.lane.name) == 1:
        narrow = narrowed(e.builder, value) if dtype == DType.BF16 else value
        e.builder.store(narrow, _pointer(e, buffer, stmt.indices[0]), align=1)
        return
    for number in range(e.lane.count):
        element = e.builder.extract_element(value, I32(number))
        scalars.store(e.builder, _of_lane(e, number, lambda: _pointer(e, buffer, stmt.indices[0])), element, dtype)


def _of_lane(e: _Emitter, number: int, emit: Callable[[], Value]) -> Value:
    """Emit something for one element of the vectors."""
    lane, known = e.lane, e.known
    assert lane is not None
    e.lane, e.known, e.variables[lane.name] = None, {}, number
    result = emit()
    e.lane, e.known = lane, known
    del e.variables[lane.name]
    return result


def _call(e: _Emitter, name: str, operands: tuple[tuple[str, Expr], ...]) -> None:
    instruction = INSTRUCTIONS.get(name)
    if instruction is None:
        raise CodegenError(f"`{name}` is no instruction of a CPU")
    numbers: dict[str, int] = {}
    pointers: dict[str, Value] = {}
    for key, expr in operands:
        role, _, buffer = key.partition("@")
        place = _index(e, expr)
        if buffer:
            pointers[role] = _moved(e, e.buffers[buffer], place)
        else:
            assert isinstance(place, int)
            numbers[role] = place
    instruction.emit(e.builder, e.level, Operands(numbers, pointers))


# ---- places --------------------------------------------------------------------------------------------------


def _pointer(e: _Emitter, buffer: Buffer, index: Expr) -> Value:
    """Give the address of an element, of the first one where a vector is meant."""
    if e.lane is not None:
        return _of_lane(e, 0, lambda: _pointer(e, buffer, index))
    return _moved(e, buffer, _index(e, index))


def _moved(e: _Emitter, buffer: Buffer, place: Value | int) -> Value:
    pointer = e.pointers[buffer.name]
    if isinstance(place, int) and place == 0:
        return pointer
    kind = scalars.memory_type(buffer.dtype)
    moved = e.builder.gep(pointer, [_as_value(place)], inbounds=True, source_etype=kind)
    moved.type = POINTER  # llvmlite's own is of the element
    return moved


def _slope(expr: Expr, name: str) -> int | None:
    """Give by how much an index grows with a variable; None where it does not grow evenly."""
    match expr:
        case Var(own):
            return 1 if own == name else 0
        case Const():
            return 0
        case Binary(BinaryOp.ADD | BinaryOp.SUB as op, left, right):
            a, b = _slope(left, name), _slope(right, name)
            return None if a is None or b is None else a + b if op == BinaryOp.ADD else a - b
        case Binary(BinaryOp.MUL, left, Const(value)):
            inner = _slope(left, name)
            return None if inner is None else inner * int(value)
    return None if name in variable_names(expr) else 0


def _as_value(index: Value | int) -> Value:
    return I64(index) if isinstance(index, int) else index


def _index(e: _Emitter, expr: Expr) -> Value | int:
    """Compute a scalar of 64 bits: an int where everything is known."""
    match expr:
        case Const(value):
            return int(value)
        case Var(name):
            return e.variables[name]
    found = e.known.get(id(expr))
    if found is None:
        found = e.known[id(expr)] = _new_index(e, expr)
    return found


def _new_index(e: _Emitter, expr: Expr) -> Value | int:
    if not isinstance(expr, Binary) or expr.op.is_comparison:
        return _scalar(e, expr)
    op, left, right = expr.op, _index(e, expr.left), _index(e, expr.right)
    if isinstance(left, int) and isinstance(right, int):
        return int(folded(op, DType.I64)(left, right))
    if (op == BinaryOp.MUL and 0 in (left, right)) or (op == BinaryOp.MOD and right == 1):
        return 0
    if (right == 0 and op in (BinaryOp.ADD, BinaryOp.SUB)) or (right == 1 and op in (BinaryOp.MUL, BinaryOp.DIV)):
        return left
    if (left == 0 and op == BinaryOp.ADD) or (left == 1 and op == BinaryOp.MUL):
        return right
    a, b = _as_value(left), _as_value(right)
    if op in (BinaryOp.DIV, BinaryOp.MOD) and is_natural(expr.left) and isinstance(right, int):
        return e.builder.udiv(a, b) if op == BinaryOp.DIV else e.builder.urem(a, b)
    if op in (BinaryOp.ADD, BinaryOp.MUL):
        return (e.builder.add if op == BinaryOp.ADD else e.builder.mul)(a, b, flags=("nsw",))
    return scalars.binary(e.builder, op, a, b, DType.I64)


# ---- values --------------------------------------------------------------------------------------------------


def _scalar(e: _Emitter, expr: Expr) -> Value:
    value = _value(e, expr)
    return _as_value(value)


def _vector(e: _Emitter, expr: Expr) -> Value:
    """Compute a vector, of equal elements where the variable does not occur."""
    assert e.lane is not None
    value = _as_value(_value(e, expr))
    return value if isinstance(value.type, ll.VectorType) else splat(e.builder, value, e.lane.count)


def _value(e: _Emitter, expr: Expr) -> Value | int:
    """Compute a value; one that occurs twice in a statement as the same object is computed once."""
    match expr:
        case Const(value, dtype):
            return scalars.constant(value, dtype)
        case Var(name) if e.lane is not None and e.lane.name == name:
            return ll.Constant(vector(I64, e.lane.count), list(range(e.lane.count)))
        case Var(name):
            return e.variables[name]
    found = e.known.get(id(expr))
    if found is None:
        found = e.known[id(expr)] = _new_value(e, expr)
    return found


def _new_value(e: _Emitter, expr: Expr) -> Value | int:
    match expr:
        case Binary(op, left, right):
            is_scalar = e.lane is None or e.lane.name not in variable_names(expr)
            if expr.dtype == DType.I64 and is_scalar and not op.is_comparison:
                return _new_index(e, expr)
            a, b = _alike(e, left, right)
            return binary(e.builder, op, a, b, left.dtype)
        case Select(condition, if_true, if_false):
            return e.builder.select(*_alike(e, condition, if_true, if_false))
        case Cast(dtype, inner):
            return cast(e.builder, _as_value(_value(e, inner)), inner.dtype, dtype)
        case Load(buffer, indices):
            return _loaded(e, buffer, indices[0])
        case Lookup(table, index):
            if e.lane is None or e.lane.name not in variable_names(index):
                return _looked_up(e, table, _scalar(e, index))
            places = _vector(e, index)
            if _is_permuted(e, table):
                return permuted(e.builder, table.values, places)
            return _gathered(e, lambda n: _looked_up(e, table, e.builder.extract_element(places, I32(n))), table.dtype)
        case _:
            raise TypeError(f"not an expression: {expr!r}")


def _alike(e: _Emitter, *operands: Expr) -> list[Value]:
    """Compute operands, all as vectors if one is."""
    values = [_as_value(_value(e, operand)) for operand in operands]
    if not any(isinstance(value.type, ll.VectorType) for value in values):
        return values
    assert e.lane is not None
    count = e.lane.count
    return [v if isinstance(v.type, ll.VectorType) else splat(e.builder, v, count) for v in values]


def _loaded(e: _Emitter, buffer: Buffer, index: Expr) -> Value:
    if e.lane is None or e.lane.name not in variable_names(index):
        return scalars.load(e.builder, _moved(e, buffer, _index(e, index)), buffer.dtype)
    if _slope(index, e.lane.name) == 1:
        kind = vector(scalars.memory_type(buffer.dtype), e.lane.count)
        value = e.builder.load(_pointer(e, buffer, index), typ=kind, align=1)
        return widened(e.builder, value) if buffer.dtype == DType.BF16 else value
    if _slope(index, e.lane.name) is None and not isinstance(index, Binary):
        places = _vector(e, index)
        return _gathered(e, lambda n: _element(e, buffer, e.builder.extract_element(places, I32(n))), buffer.dtype)

    def element(number: int) -> Value:
        return _of_lane(e, number, lambda: scalars.load(e.builder, _pointer(e, buffer, index), buffer.dtype))

    return _gathered(e, element, buffer.dtype)


def _element(e: _Emitter, buffer: Buffer, place: Value) -> Value:
    kind = scalars.memory_type(buffer.dtype)
    return scalars.load(
        e.builder, e.builder.gep(e.pointers[buffer.name], [place], inbounds=True, source_etype=kind), buffer.dtype
    )


def _gathered(e: _Emitter, element: Callable[[int], Value], dtype: DType) -> Value:
    """Put elements together that lie apart."""
    assert e.lane is not None
    result = ll.Constant(vector(scalars.register_type(dtype), e.lane.count), ll.Undefined)
    for number in range(e.lane.count):
        result = e.builder.insert_element(result, element(number), I32(number))
    return result


def _is_permuted(e: _Emitter, table: Table) -> bool:
    """Whether a table's entries fit two vectors, from which the level can choose."""
    assert e.lane is not None
    is_small = table.dtype == DType.I32 and len(table.values) <= 2 * e.level.lanes
    return is_small and e.level.has_rounding and e.lane.count == e.level.lanes


def _looked_up(e: _Emitter, table: Table, index: Value) -> Value:
    """Read an entry of a constant table, which stands in the module once."""
    module, kind = e.builder.module, scalars.memory_type(table.dtype)
    found = module.globals.get(table.name)
    if found is None:
        found = ll.GlobalVariable(module, ll.ArrayType(kind, len(table.values)), table.name)
        found.global_constant, found.linkage = True, "internal"
        found.initializer = ll.Constant(found.value_type, list(table.values))
    place = e.builder.gep(found, [index], inbounds=True, source_etype=kind)
    return scalars.load(e.builder, place, table.dtype)
