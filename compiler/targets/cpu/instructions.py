"""The instructions that kernels call: what they compute, for the interpreter, and the LLVM IR that they are.

An operand is a number or, as `role@buffer`, a place in a buffer; numbers are constants.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from llvmlite import binding
from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.targets.cpu import matrix_tiles
from tilewright.compiler.targets.cpu.bfloat import BFloatType, from_bf16, widened
from tilewright.compiler.targets.cpu.levels import Level
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value

Array = NDArray[Any]

I8, I16, F32, BF16 = ll.IntType(8), ll.IntType(16), ll.FloatType(), BFloatType()
_ROUND_EVEN = 8  # to the nearest, no exceptions
_ROUND_DOWN = 9  # towards minus infinity, no exceptions
_LEAST_POWER = -87.0  # of e that is no denormal float
_LOG2_E, _LN_2_HIGH, _LN_2_LOW = 1.4426950408889634, 0.693359375, -2.12194440e-4
_EXPONENTIAL = (1.0, 1.0, 1 / 2, 1 / 6, 1 / 24, 1 / 120, 1 / 720)  # of what is left, at most ln(2) / 2


@dataclass(frozen=True)
class Operands:
    """What a call gives to the machine: numbers, and addresses by role."""

    numbers: Mapping[str, int]
    pointers: Mapping[str, Value]


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Attributes
    ----------
    name : str
    emit : Callable
        Appends it to a block.
    execute : Callable
        Does it: numbers, then by role arrays that begin at the place.
    """

    name: str
    emit: Callable[[ll.IRBuilder, Level, Operands], None]
    execute: Callable[[Mapping[str, int], Mapping[str, Array]], None]


def interpreted() -> dict[str, Callable[[Mapping[str, int], Mapping[str, Array]], None]]:
    """Return the instructions for `tir.interpreter`."""
    return {name: _interpreted(instruction) for name, instruction in INSTRUCTIONS.items()}


def _interpreted(instruction: Instruction) -> Callable[[Mapping[str, int], Mapping[str, Array]], None]:
    def execute(operands: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        numbers, found = {}, {}
        for key, value in operands.items():
            role, _, name = key.partition("@")
            if name:
                found[role] = arrays[name].reshape(-1)[value:]
            else:
                numbers[role] = value
        instruction.execute(numbers, found)

    return execute


# ---- building ------------------------------------------------------------------------------------------------


def declared(builder: ll.IRBuilder, name: str, result: Any, arguments: list[Any]) -> Value:
    """Give an intrinsic of LLVM."""
    found = builder.module.globals.get(name)
    return found or ll.Function(builder.module, ll.FunctionType(result, arguments), name)


def vector(element: Any, count: int) -> Any:
    """Give a vector type."""
    return ll.VectorType(element, count)


def splat(builder: ll.IRBuilder, value: Value, count: int) -> Value:
    """Repeat a scalar."""
    kind = vector(value.type, count)
    if isinstance(value, ll.Constant):
        return ll.Constant(kind, [value.constant] * count)
    first = builder.insert_element(ll.Constant(kind, ll.Undefined), value, I32(0))
    return builder.shuffle_vector(first, ll.Constant(kind, ll.Undefined), ll.Constant(vector(I32, count), [0] * count))


def moved(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    """Give the address some bytes further."""
    return builder.gep(pointer, [I64(place)], inbounds=True, source_etype=I8) if place else pointer


def _load(builder: ll.IRBuilder, pointer: Value, kind: Any, place: int = 0) -> Value:
    return builder.load(moved(builder, pointer, place), typ=kind, align=1)


def permuted(builder: ll.IRBuilder, values: tuple[int, ...], places: Value) -> Value:
    """Give entries of a table of at most 32 integers by their places, 16 at a time."""
    kind = vector(I32, 16)
    padded = [*values, *[0] * (32 - len(values))]
    low, high = (ll.Constant(kind, padded[start : start + 16]) for start in (0, 16))
    choose = declared(builder, "llvm.x86.avx512.vpermi2var.d.512", kind, [kind, kind, kind])
    return builder.call(choose, [low, builder.trunc(places, kind), high])


# ---- dot products --------------------------------------------------------------------------------------------


def _dot(builder: ll.IRBuilder, level: Level, total: Value, x: Value, w: Value) -> Value:
    """Add products of unsigned and signed bytes, four to an element."""
    lanes = level.lanes
    kind = total.type
    if level.dot:
        is_bytes = binding.llvm_version_info[0] >= 22 or not level.dot.startswith("llvm.x86")
        takes = vector(I8, 4 * lanes) if is_bytes else kind
        dot = declared(builder, level.dot, kind, [kind, takes, takes])
        return builder.call(dot, [total, builder.bitcast(x, takes), builder.bitcast(w, takes)])
    wide = vector(ll.IntType(16 if "avx2" in level.needs else 32), 4 * lanes)
    a, b = builder.zext(x, wide), builder.sext(w, wide)
    if "avx2" not in level.needs:
        return _added_up(builder, total, builder.mul(a, b), 4)
    halves = [ll.Constant(vector(I32, 2 * lanes), list(range(s, s + 2 * lanes))) for s in (0, 2 * lanes)]
    short, pairs = vector(ll.IntType(16), 2 * lanes), vector(I32, lanes)
    multiply = declared(builder, "llvm.x86.avx2.pmadd.wd", pairs, [short, short])
    undefined = ll.Constant(wide, ll.Undefined)
    parts = [builder.call(multiply, [builder.shuffle_vector(v, undefined, half) for v in (a, b)]) for half in halves]
    mask = ll.Constant(vector(I32, 2 * lanes), list(range(2 * lanes)))
    return _added_up(builder, total, builder.shuffle_vector(*parts, mask), 2)


def _added_up(builder: ll.IRBuilder, total: Value, products: Value, step: int) -> Value:
    """Add groups of neighbouring elements."""
    undefined = ll.Constant(products.type, ll.Undefined)
    count = total.type.count
    for part in range(step):
        mask = ll.Constant(vector(I32, count), [step * lane + part for lane in range(count)])
        total = builder.add(total, builder.shuffle_vector(products, undefined, mask))
    return total


def _emit_dot_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    sums, words = vector(I32, level.lanes), vector(I8, wide)
    apart = numbers.get("w_step", wide)
    weights = [_load(builder, pointers["w"], words, apart * c) for c in range(columns)]
    for row in range(rows):
        word = builder.load(moved(builder, pointers["x"], row * numbers["step"]), typ=I32, align=1)
        x = builder.bitcast(splat(builder, word, level.lanes), words)
        for column in range(columns):
            place = moved(builder, pointers["acc"], (row * columns + column) * wide)
            total = _dot(builder, level, builder.load(place, typ=sums, align=4), x, weights[column])
            builder.store(total, place, align=4)


def _execute_dot_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.stack([arrays["x"][row * numbers["step"] :][:4] for row in range(rows)]).astype(np.int32)
    apart = numbers.get("w_step", lanes * 4)
    parts = [arrays["w"][column * apart :][: lanes * 4] for column in range(columns)]
    w = np.concatenate(parts).reshape(columns * lanes, 4).astype(np.int32)
    arrays["acc"][: rows * columns * lanes] += (x @ w.T).reshape(-1)


def _emit_fma_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    kind = vector(F32, level.lanes)
    weights = [_load(builder, pointers["w"], kind, wide * c) for c in range(columns)]
    for row in range(rows):
        element = builder.load(moved(builder, pointers["x"], 4 * row * numbers["step"]), typ=F32, align=4)
        x = splat(builder, element, level.lanes)
        for column in range(columns):
            _add_product(builder, moved(builder, pointers["acc"], (row * columns + column) * wide), x, weights[column])


def _add_product(builder: ll.IRBuilder, place: Value, x: Value, w: Value) -> None:
    """Emit `acc += x * w`, rounded once where the processor can."""
    product = builder.fmul(x, w, flags=("contract",))
    total = builder.load(place, typ=x.type, align=4)
    builder.store(builder.fadd(product, total, flags=("contract",)), place, align=4)


def _execute_fma_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.array([arrays["x"][row * numbers["step"]] for row in range(rows)], np.float32)
    arrays["acc"][: rows * columns * lanes] += np.outer(x, arrays["w"][: columns * lanes]).reshape(-1)


def _emit_pair_tile(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit sums of products of bfloat16, two to an element."""
    numbers, pointers = operands.numbers, operands.pointers
    rows, columns, wide = numbers["rows"], numbers["columns"], 4 * level.lanes
    sums, pairs = vector(F32, level.lanes), vector(BF16, 2 * level.lanes)
    dot = declared(builder, f"llvm.x86.avx512bf16.dpbf16ps.{32 * level.lanes}", sums, [sums, pairs, pairs])
    weights = [_load(builder, pointers["w"], pairs, wide * c) for c in range(columns)]
    for row in range(rows):
        word = builder.load(moved(builder, pointers["x"], 2 * row * numbers["step"]), typ=I32, align=1)
        x = builder.bitcast(splat(builder, word, level.lanes), pairs)
        for column in range(columns):
            place = moved(builder, pointers["acc"], (row * columns + column) * wide)
            total = builder.call(dot, [builder.load(place, typ=sums, align=4), x, weights[column]])
            builder.store(total, place, align=4)


def _execute_pair_tile(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows, columns, lanes = numbers["rows"], numbers["columns"], numbers["lanes"]
    x = np.stack([from_bf16(arrays["x"][row * numbers["step"] :][:2]) for row in range(rows)])
    w = from_bf16(arrays["w"][: columns * lanes * 2]).reshape(columns * lanes, 2)
    arrays["acc"][: rows * columns * lanes] += (x @ w.T).reshape(-1)


def _emit_fma_lanes(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    kind = vector(F32, level.lanes)
    w = _load(builder, operands.pointers["w"], kind)
    if operands.numbers["is_bf16"]:
        x = widened(builder, _load(builder, operands.pointers["x"], vector(I16, level.lanes)))
    else:
        x = _load(builder, operands.pointers["x"], kind)
    _add_product(builder, operands.pointers["acc"], x, w)


def _execute_fma_lanes(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    x = arrays["x"][:count]
    arrays["acc"][:count] += (from_bf16(x) if numbers["is_bf16"] else x) * arrays["w"][:count]


def _emit_exponential(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `y = exp(y)` of a vector: a power of two times a polynomial; for what is at most 0, or little more."""
    count = operands.numbers["lanes"]
    floats, ints = vector(F32, count), vector(I32, count)

    def every(value: float) -> Value:
        return ll.Constant(floats, [float(np.float32(value))] * count)

    def product(a: Value, b: Value, c: Value) -> Value:
        return builder.fadd(builder.fmul(a, b, flags=("contract",)), c, flags=("contract",))

    place = operands.pointers["y"]
    x = builder.load(place, typ=floats, align=4)
    x = builder.select(builder.fcmp_ordered("<", x, every(_LEAST_POWER)), every(_LEAST_POWER), x)
    rint = declared(builder, f"llvm.rint.v{count}f32", floats, [floats])
    power = builder.call(rint, [builder.fmul(x, every(_LOG2_E))])
    rest = product(power, every(-_LN_2_HIGH), x)
    rest = product(power, every(-_LN_2_LOW), rest)
    value = every(_EXPONENTIAL[-1])
    for coefficient in reversed(_EXPONENTIAL[:-1]):
        value = product(value, rest, every(coefficient))
    exponent = builder.add(builder.fptosi(power, ints), ll.Constant(ints, [127] * count))
    scale = builder.bitcast(builder.shl(exponent, ll.Constant(ints, [23] * count)), floats)
    builder.store(builder.fmul(value, scale), place, align=4)


def _execute_exponential(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    arrays["y"][:count] = np.exp(np.maximum(arrays["y"][:count], np.float32(_LEAST_POWER)))


def _emit_inverse_root(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `y = 1 / sqrt(y + epsilon)`."""
    place = operands.pointers["y"]
    epsilon = builder.bitcast(I32(operands.numbers["epsilon_bits"]), F32)
    root = declared(builder, "llvm.sqrt.f32", F32, [F32])
    total = builder.fadd(builder.load(place, typ=F32, align=4), epsilon)
    builder.store(builder.fdiv(ll.Constant(F32, 1.0), builder.call(root, [total])), place, align=4)


def _execute_inverse_root(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    epsilon = np.int32(numbers["epsilon_bits"]).view(np.float32)
    arrays["y"][0] = np.float32(1) / np.sqrt(arrays["y"][0] + epsilon)


def _emit_dot_lanes(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    pointers, words = operands.pointers, vector(I8, 4 * level.lanes)
    x, w = (_load(builder, pointers[role], words) for role in ("x", "w"))
    total = builder.load(pointers["acc"], typ=vector(I32, level.lanes), align=4)
    builder.store(_dot(builder, level, total, x, w), pointers["acc"], align=4)


def _execute_dot_lanes(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    x, w = (arrays[role][: 4 * count].reshape(count, 4).astype(np.int32) for role in ("x", "w"))
    arrays["acc"][:count] += (x * w).sum(axis=1, dtype=np.int32)


def _emit_interleave(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    lanes, numbers = level.lanes, operands.numbers
    kind = vector(I8, lanes)
    parts = [_load(builder, operands.pointers["x"], kind, j * numbers["step"]) for j in range(numbers["count"])]
    parts += [ll.Constant(kind, [0] * lanes)] * (4 - len(parts))
    mask = ll.Constant(vector(I32, 2 * lanes), list(range(2 * lanes)))
    low, high = (builder.shuffle_vector(parts[i], parts[i + 1], mask) for i in (0, 2))
    order = ll.Constant(vector(I32, 4 * lanes), [i % 4 * lanes + i // 4 for i in range(4 * lanes)])
    builder.store(builder.shuffle_vector(low, high, order), operands.pointers["q"], align=4)


def _execute_interleave(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    lanes = numbers["lanes"]
    found = np.zeros((lanes, 4), np.uint8)
    for j in range(numbers["count"]):
        found[:, j] = arrays["x"][j * numbers["step"] :][:lanes]
    arrays["q"][: 4 * lanes] = found.reshape(-1)


# ---- requantization ------------------------------------------------------------------------------------------


def _emit_requantize(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit `floor(sum * scale + zero + 1 / 2)`: rounded down from the exact value, first to a float, then to ones."""
    numbers, pointers, lanes = operands.numbers, operands.pointers, level.lanes
    ints, floats = vector(I32, lanes), vector(F32, lanes)
    total = builder.sitofp(builder.load(pointers["acc"], typ=ints, align=4), floats)
    scale = _load(builder, pointers["scale"], floats)
    half = ll.Constant(floats, [numbers["zero"] + 0.5] * lanes)
    fma = declared(builder, "llvm.x86.avx512.vfmadd.ps.512", floats, [floats, floats, floats, I32])
    sums = builder.call(fma, [total, scale, half, I32(_ROUND_DOWN)])
    mask = ll.IntType(16)
    convert = declared(builder, "llvm.x86.avx512.mask.cvtps2dq.512", ints, [floats, ints, mask, I32])
    found = builder.call(convert, [sums, ll.Constant(ints, [0] * lanes), mask(-1), I32(_ROUND_DOWN)])
    for op, bound in (("smax", numbers["low"]), ("smin", numbers["high"])):
        limit = declared(builder, f"llvm.{op}.v{lanes}i32", ints, [ints, ints])
        found = builder.call(limit, [found, ll.Constant(ints, [bound] * lanes)])
    builder.store(found, pointers["y"], align=4)


def _execute_requantize(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    lanes = numbers["lanes"]
    exact = arrays["acc"][:lanes].astype(np.float64) * arrays["scale"][:lanes].astype(np.float64)
    found = np.floor(exact + 0.5) + numbers["zero"]
    arrays["y"][:lanes] = np.clip(found, numbers["low"], numbers["high"]).astype(np.int32)


def _emit_round(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit floats as integers, rounded to even; they must fit."""
    count = operands.numbers["lanes"]
    ints, floats = vector(I32, count), vector(F32, count)
    value = builder.load(operands.pointers["x"], typ=floats, align=4)
    if level.lanes == count == 16:
        mask = ll.IntType(16)
        convert = declared(builder, "llvm.x86.avx512.mask.cvtps2dq.512", ints, [floats, ints, mask, I32])
        found = builder.call(convert, [value, ll.Constant(ints, [0] * count), mask(-1), I32(_ROUND_EVEN)])
    else:
        rint = declared(builder, f"llvm.rint.v{count}f32", floats, [floats])
        found = builder.fptosi(builder.call(rint, [value]), ints)
    builder.store(found, operands.pointers["y"], align=4)


def _execute_round(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    count = numbers["lanes"]
    arrays["y"][:count] = np.rint(arrays["x"][:count]).astype(np.int32)


# ---- tables and words ----------------------------------------------------------------------------------------


def _emit_table(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit a lookup of 64 bytes in a table of 256: two permutations of half of it, chosen by the highest bit."""
    kind = vector(I8, 64)
    permute = declared(builder, "llvm.x86.avx512.vpermi2var.qi.512", kind, [kind, kind, kind])
    quarters = [_load(builder, operands.pointers["table"], kind, 64 * i) for i in range(4)]
    index = _load(builder, operands.pointers["y"], kind)
    low, high = (builder.call(permute, [quarters[i], index, quarters[i + 1]]) for i in (0, 2))
    is_high = builder.icmp_signed("<", index, ll.Constant(kind, [0] * 64))
    builder.store(builder.select(is_high, high, low), operands.pointers["y"], align=1)


def _execute_table(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    arrays["y"][:64] = arrays["table"][arrays["y"][:64]]


def _emit_pack(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit words of some rows side by side, their bytes signed."""
    kind = vector(I32, level.lanes)
    words = ll.Constant(kind, ll.Undefined)
    for row in range(level.lanes):
        word = _load(builder, operands.pointers["x"], I32, row * operands.numbers["step"])
        words = builder.insert_element(words, word, I32(row))
    flipped = builder.xor(words, ll.Constant(kind, [-0x7F7F7F80] * level.lanes))
    builder.store(flipped, operands.pointers["w"], align=1)


def _execute_pack(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    rows = [arrays["x"][row * numbers["step"] :][:4] for row in range(numbers["lanes"])]
    arrays["w"][: 4 * numbers["lanes"]] = (np.concatenate(rows) ^ np.uint8(128)).view(np.int8)


def _emit_zip(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    """Emit 16 pixels of a few planes with their channels side by side."""
    count, kind = operands.numbers["planes"], vector(I8, 16)
    planes = [_load(builder, operands.pointers["x"], kind, c * operands.numbers["step"]) for c in range(count)]
    planes += [ll.Constant(kind, ll.Undefined)] * (4 - count)
    if operands.numbers["flip"]:
        planes[:count] = [builder.xor(plane, ll.Constant(kind, [-128] * 16)) for plane in planes[:count]]
    mask = ll.Constant(vector(I32, 32), list(range(32)))
    low, high = (builder.shuffle_vector(planes[i], planes[i + 1], mask) for i in (0, 2))
    order = ll.Constant(vector(I32, 16 * count), [i % count * 16 + i // count for i in range(16 * count)])
    builder.store(builder.shuffle_vector(low, high, order), operands.pointers["y"], align=1)


def _execute_zip(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    planes = [arrays["x"][c * numbers["step"] :][:16] for c in range(numbers["planes"])]
    found = np.stack(planes, axis=1).reshape(-1)
    arrays["y"][: found.size] = found ^ np.uint8(128) if numbers["flip"] else found


def _emit_prefetch(builder: ll.IRBuilder, level: Level, operands: Operands) -> None:
    pointer = ll.PointerType()
    prefetch = declared(builder, "llvm.prefetch.p0", ll.VoidType(), [pointer, I32, I32, I32])
    for line in range(operands.numbers["lines"]):
        place = moved(builder, operands.pointers["w"], 64 * line)
        place.type = pointer
        builder.call(prefetch, [place, I32(0), I32(2), I32(1)])


def _nothing(numbers: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
    """Do what means nothing to the interpreter, in which sums are always in memory."""


def _emitted(
    emit: Callable[[ll.IRBuilder, Mapping[str, int], Mapping[str, Value]], None], builder: ll.IRBuilder, level: Level,
    operands: Operands,
) -> None:  # fmt: skip
    emit(builder, operands.numbers, operands.pointers)


INSTRUCTIONS: Mapping[str, Instruction] = {
    instruction.name: instruction
    for instruction in (
        Instruction("dot_tile", _emit_dot_tile, _execute_dot_tile),
        Instruction("dot_lanes", _emit_dot_lanes, _execute_dot_lanes),
        Instruction("fma_tile", _emit_fma_tile, _execute_fma_tile),
        Instruction("pair_tile", _emit_pair_tile, _execute_pair_tile),
        Instruction("fma_lanes", _emit_fma_lanes, _execute_fma_lanes),
        Instruction("exponential", _emit_exponential, _execute_exponential),
        Instruction("inverse_root", _emit_inverse_root, _execute_inverse_root),
        Instruction("interleave", _emit_interleave, _execute_interleave),
        Instruction("requantize", _emit_requantize, _execute_requantize),
        Instruction("round_even", _emit_round, _execute_round),
        Instruction("look_up", _emit_table, _execute_table),
        Instruction("pack_words", _emit_pack, _execute_pack),
        Instruction("zip_planes", _emit_zip, _execute_zip),
        *(
            Instruction(name, partial(_emitted, emit), execute)
            for name, emit, execute in (
                ("tiles_configure", matrix_tiles.emit_configure, _nothing),
                ("tiles_load", matrix_tiles.emit_load, _nothing),
                ("tiles_step", matrix_tiles.emit_step, matrix_tiles.execute_step),
                ("tiles_store", matrix_tiles.emit_store, _nothing),
                ("tiles_release", matrix_tiles.emit_release, _nothing),
            )
        ),
        Instruction("prefetch", _emit_prefetch, _nothing),
    )
}
