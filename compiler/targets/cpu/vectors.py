"""Vectors of LLVM, as instructions use them: types, places, parts of vectors."""

from __future__ import annotations

from typing import Any

from llvmlite import ir as ll

from tilewright.compiler.targets.cpu.bfloat import BFloatType
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value

I8, I16, F32, BF16 = ll.IntType(8), ll.IntType(16), ll.FloatType(), BFloatType()


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


def loaded(builder: ll.IRBuilder, pointer: Value, kind: Any, place: int = 0) -> Value:
    """Load a value of a type, some bytes further, wherever it lies."""
    return builder.load(moved(builder, pointer, place), typ=kind, align=1)


def permuted(builder: ll.IRBuilder, values: tuple[int, ...], places: Value) -> Value:
    """Give entries of a table of at most 32 integers by their places, 16 at a time."""
    kind = vector(I32, 16)
    padded = [*values, *[0] * (32 - len(values))]
    low, high = (ll.Constant(kind, padded[start : start + 16]) for start in (0, 16))
    choose = declared(builder, "llvm.x86.avx512.vpermi2var.d.512", kind, [kind, kind, kind])
    return builder.call(choose, [low, builder.trunc(places, kind), high])
