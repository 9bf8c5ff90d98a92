"""Instructions on the registers of a warp: reductions among its threads, transcendental functions, transposed loads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.instruction import Instruction, Meaning, Operands, assembly, word, word_pointer
from tilewright.compiler.tir.llvm_scalars import I32

_WARP = 32

#: Threads that reduce together: those that hold a row of a product, or a whole warp.
QUAD, WHOLE = 4, 32


def reduction_name(kind: str, width: int) -> str:
    """Name the reduction (`add` or `max`) of one register over neighbouring threads, each of which gets the result."""
    return f"reduce_{kind}_{width}"


def _emit_reduction(kind: str, width: int) -> Callable[[ll.IRBuilder, Operands], None]:
    steps = []
    distance = width // 2
    while distance:
        steps.append(f"shfl.sync.bfly.b32 other, $0, {distance}, 31, -1; {kind}.f32 $0, $0, other;")
        distance //= 2
    text = "{ .reg .b32 other; mov.b32 $0, $1; " + " ".join(steps) + " }"

    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        place = operands.pointers["d"]
        new = assembly(builder, ll.FunctionType(I32, [I32]), text, "=&r,r", [word(builder, place, 0)])
        builder.store(new, word_pointer(builder, place, 0))

    return emit


def _execute_reduction(kind: str, width: int) -> Callable[[Meaning], None]:
    functions: dict[str, Callable[..., Any]] = {"add": np.sum, "max": np.max}

    def execute(meaning: Meaning) -> None:
        places = meaning.starts["d"] + np.arange(_WARP) * meaning.values["d_lane"]
        groups = meaning.arrays["d"][places].reshape(-1, width)
        meaning.arrays["d"][places] = np.repeat(functions[kind](groups, axis=1), width)

    return execute


EXP2, RSQRT, RECIPROCAL = "exp2", "rsqrt", "reciprocal"
_FUNCTIONS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    EXP2: ("ex2.approx.ftz.f32", np.exp2),
    RSQRT: ("rsqrt.approx.ftz.f32", lambda x: 1 / np.sqrt(x)),
    RECIPROCAL: ("rcp.approx.ftz.f32", lambda x: 1 / x),
}


def _emit_function(text: str) -> Callable[[ll.IRBuilder, Operands], None]:
    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        place = operands.pointers["d"]
        kind = ll.FunctionType(I32, [I32])
        new = builder.asm(kind, f"{text} $0, $1;", "=r,r", [word(builder, place, 0)], False)
        builder.store(new, word_pointer(builder, place, 0))

    return emit


def _execute_function(compute: Callable[[Any], Any]) -> Callable[[Meaning], None]:
    def execute(meaning: Meaning) -> None:
        array, start = meaning.arrays["d"], meaning.starts["d"]
        with np.errstate(all="ignore"):
            array[start] = compute(array[start])

    return execute


TRANSPOSED_LOAD = "transposed_load"


def _emit_transposed_load(builder: ll.IRBuilder, operands: Operands) -> None:
    """Load 16 rows of 8 elements of 16 bits: thread `(g, m)` gets column `g` of rows `2 m`, `2 m + 1` and 8 more."""
    text = (
        "{ .reg .b32 lane; mov.u32 lane, %laneid; and.b32 lane, lane, 15; "
        f"mad.lo.u32 lane, lane, {2 * operands.number('pitch')}, $2; "
        "ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {$0, $1}, [lane]; }"
    )
    kind = ll.FunctionType(ll.LiteralStructType([I32, I32]), [I32])
    address = builder.ptrtoint(operands.pointers["source"], I32)
    new = assembly(builder, kind, text, "=r,=r,r,~{memory}", [address])
    for place in range(2):
        builder.store(builder.extract_value(new, place), word_pointer(builder, operands.pointers["d"], place))


def _execute_transposed_load(meaning: Meaning) -> None:
    lane, part = np.arange(_WARP)[:, None], np.arange(4)
    row = part // 2 * 8 + lane % 4 * 2 + part % 2
    place = meaning.starts["d"] + lane * meaning.values["d_lane"] + part
    source = meaning.starts["source"] + row * meaning.values["pitch"] + lane // 4
    meaning.arrays["d"][place] = meaning.arrays["source"][source]


WARP_INSTRUCTIONS = (
    *(
        Instruction(reduction_name(kind, width), _emit_reduction(kind, width), _execute_reduction(kind, width))
        for kind in ("add", "max")
        for width in (QUAD, WHOLE)
    ),
    *(Instruction(name, _emit_function(text), _execute_function(f)) for name, (text, f) in _FUNCTIONS.items()),
    Instruction(TRANSPOSED_LOAD, _emit_transposed_load, _execute_transposed_load),
)
