"""The GPU's instructions that kernels call: what they compute, for the interpreter, and the PTX that they are.

An operand is a number or, as `role@buffer`, a place in a buffer. What tensorization needs of them is in `intrinsics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from llvmlite import ir as ll

from tilewright.compiler.targets.gpu.instruction import (
    Array,
    Instruction,
    Meaning,
    Operands,
    assembly,
    word,
    word_pointer,
)
from tilewright.compiler.targets.gpu.warp_instructions import WARP_INSTRUCTIONS
from tilewright.compiler.tir.llvm_scalars import I32, I64, Value
from tilewright.isa.ir import DType


def interpreted() -> dict[str, Callable[[Mapping[str, int], Mapping[str, Array]], None]]:
    """Return the instructions for `tir.interpreter`."""
    return {name: _interpreted(instruction) for name, instruction in INSTRUCTIONS.items()}


def _interpreted(instruction: Instruction) -> Callable[[Mapping[str, int], Mapping[str, Array]], None]:
    def execute(operands: Mapping[str, int], arrays: Mapping[str, Array]) -> None:
        values, found, starts = {}, {}, {}
        for key, value in operands.items():
            role, _, name = key.partition("@")
            if name:
                found[role], starts[role] = arrays[name].reshape(-1), value
            else:
                values[role] = value
        instruction.execute(Meaning(values, found, starts))

    return execute


# ---- order ---------------------------------------------------------------------------------------------------


def _assembly(text: str) -> Callable[[ll.IRBuilder, Operands], None]:
    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        kind = ll.FunctionType(ll.VoidType(), [])
        assembly(builder, kind, text.replace("#", str(operands.values.get("count", ""))), "~{memory}", [])

    return emit


_ORDER = (
    Instruction("barrier", _assembly("bar.sync 0;")),
    Instruction("async_commit", _assembly("cp.async.commit_group;")),
    Instruction("async_wait", _assembly("cp.async.wait_group #;")),
    Instruction("dependency_wait", _assembly("griddepcontrol.wait;")),
    Instruction("dependents_launch", _assembly("griddepcontrol.launch_dependents;")),
)


# ---- mma.sync ------------------------------------------------------------------------------------------------

_MMA_TEXTS: Mapping[DType, str] = {
    DType.I8: "m16n8k32.row.col.s32.s8.s8.s32",
    DType.F16: "m16n8k16.row.col.f32.f16.f16.f32",
}
MMA_KINDS = tuple(_MMA_TEXTS)


def mma_name(kind: DType) -> str:
    """Name the product of 16 rows and 8 columns, 32 bytes deep."""
    return f"mma_m16n8k{256 // kind.bits}_{kind}"


def _emit_mma(dtype: DType) -> Callable[[ll.IRBuilder, Operands], None]:
    return lambda builder, operands: _append_mma(builder, operands, dtype)


def _append_mma(builder: ll.IRBuilder, operands: Operands, dtype: DType) -> None:
    d, a, b = (operands.pointers[role] for role in "dab")
    half = operands.number("a_half") * dtype.bits // 32
    a_words = [word(builder, a, place) for place in (0, half, 1, half + 1)]
    b_words = [word(builder, b, place) for place in (0, 1)]
    sums = [word(builder, d, place) for place in range(4)]
    result = ll.LiteralStructType([I32] * 4)
    kind = ll.FunctionType(result, [I32] * 10)
    text = f"mma.sync.aligned.{_MMA_TEXTS[dtype]} {{$0,$1,$2,$3}}, {{$4,$5,$6,$7}}, {{$8,$9}}, {{$0,$1,$2,$3}};"
    constraints = "=r,=r,=r,=r,r,r,r,r,r,r,0,1,2,3"
    total = assembly(builder, kind, text, constraints, [*a_words, *b_words, *sums], False)
    for place in range(4):
        builder.store(builder.extract_value(total, place), word_pointer(builder, d, place))


def _execute_mma(dtype: DType) -> Callable[[Meaning], None]:
    return lambda meaning: _multiply(meaning, 64 // dtype.bits, np.int32 if dtype == DType.I8 else np.float32)


def _multiply(meaning: Meaning, run: int, kind: type[np.generic]) -> None:
    values = meaning.values
    lane, part = np.arange(32), np.arange(run)
    rows = lane[:, None, None] * values["a_lane"] + np.arange(2)[:, None] * values.get("a_half", 0) + part
    a = meaning.arrays["a"][meaning.starts["a"] + rows].astype(kind)  # lane, half, element
    b = meaning.arrays["b"][meaning.starts["b"] + lane[:, None] * values["b_lane"] + part].astype(kind)
    left = a.reshape(8, 4, 2, run).transpose(2, 0, 1, 3).reshape(16, 4 * run)  # half and group are the row
    product = left @ b.reshape(8, 4 * run).T
    place = lane[:, None, None] * values["d_lane"] + np.arange(2)[:, None] * 2 + np.arange(2)
    sums = product.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 2, 2)
    meaning.arrays["d"][meaning.starts["d"] + place] += sums


_MMA = tuple(Instruction(mma_name(kind), _emit_mma(kind), _execute_mma(kind)) for kind in MMA_KINDS)


# ---- wgmma ---------------------------------------------------------------------------------------------------

WGMMA_COLUMNS = (32, 64, 96, 128, 192, 256)
_ROW_BYTES = 128
_K_STEPS = 4
_DESCRIPTOR = 1 << 62 | (8 * _ROW_BYTES >> 4) << 32 | 1 << 16  # swizzled by 128 bytes; 8 rows are 1024 bytes


#: Types that are multiplied, with those that their sums have.
WGMMA_SUMS: Mapping[DType, DType] = {DType.I8: DType.I32, DType.F16: DType.F32}


def wgmma_name(columns: int, kind: DType = DType.I8) -> str:
    """Name the product of 64 rows and some columns, 128 bytes deep."""
    return f"wgmma_m64n{columns}k{8 * _ROW_BYTES // kind.bits}_{kind}"


def _descriptor(builder: ll.IRBuilder, pointer: Value) -> Value:
    address = builder.and_(builder.ptrtoint(pointer, I32), I32(0x3FFFF))
    return builder.or_(builder.zext(builder.lshr(address, I32(4)), I64), I64(_DESCRIPTOR))


def _emit_wgmma(columns: int, dtype: DType) -> Callable[[ll.IRBuilder, Operands], None]:
    count = columns // 2
    shape, tail = {
        DType.I8: (f"wgmma.mma_async.sync.aligned.m64n{columns}k32.s32.s8.s8", "on"),
        DType.F16: (f"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.f16.f16", "on, 1, 1, 0, 0"),
    }[dtype]
    registers = "{" + ",".join(f"${n}" for n in range(count)) + "}"
    first = f"{shape} {registers}, ${count}, ${count + 1}, {tail};"
    again = f"add.s64 da, da, 2; add.s64 db, db, 2; {shape} {registers}, da, db, {tail};"
    text = (
        f"{{ .reg .b64 da, db; .reg .pred on; setp.eq.b32 on, 0, 0; mov.b64 da, ${count}; mov.b64 db, ${count + 1}; "
        f"wgmma.fence.sync.aligned; {first} {again * (_K_STEPS - 1)} wgmma.commit_group.sync.aligned; }}"
    )

    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        inputs = [_descriptor(builder, operands.pointers[role]) for role in "ab"]
        _on_registers(builder, text, operands.pointers["d"], count, inputs)

    return emit


def _on_registers(builder: ll.IRBuilder, text: str, place: Value, count: int, inputs: list[Value]) -> None:
    """Append assembly that changes `count` registers in place."""
    old = [word(builder, place, n) for n in range(count)]
    kind = ll.FunctionType(ll.LiteralStructType([I32] * count), [*(v.type for v in inputs), *[I32] * count])
    tied = ",".join(map(str, range(count)))
    constraints = ",".join(["=r"] * count + ["l"] * len(inputs)) + f",{tied},~{{memory}}"
    new = assembly(builder, kind, text, constraints, [*inputs, *old])
    for n in range(count):
        builder.store(builder.extract_value(new, n), word_pointer(builder, place, n))


def _execute_wgmma(columns: int, dtype: DType) -> Callable[[Meaning], None]:
    kind = np.int32 if dtype == DType.I8 else np.float32
    width = 8 * _ROW_BYTES // dtype.bits

    def execute(meaning: Meaning) -> None:
        depth = np.arange(width)
        a = meaning.arrays["a"][meaning.starts["a"] + np.arange(64)[:, None] * width + depth].astype(kind)
        b = meaning.arrays["b"][meaning.starts["b"] + np.arange(columns)[:, None] * width + depth].astype(kind)
        # rows are warp, half, group; columns are block, pair, low
        sums = (a @ b.T).reshape(4, 2, 8, columns // 8, 4, 2).transpose(0, 2, 4, 3, 1, 5).reshape(128, -1)
        place = np.arange(128)[:, None] * meaning.values["d_lane"] + np.arange(columns // 2)
        meaning.arrays["d"][meaning.starts["d"] + place] += sums

    return execute


def _emit_wgmma_wait(builder: ll.IRBuilder, operands: Operands) -> None:
    count = operands.number("count")
    if "d" in operands.pointers:  # the sums are read next
        _on_registers(
            builder, f"wgmma.wait_group.sync.aligned {count};", operands.pointers["d"], operands.number("registers"), []
        )
    else:
        _assembly(f"wgmma.wait_group.sync.aligned {count};")(builder, operands)


# ---- the copy engine -----------------------------------------------------------------------------------------

TENSOR_LOAD = "tensor_load"
_WAIT = (
    "{ .reg .pred done; again: mbarrier.try_wait.parity.shared::cta.b64 done, [$0], $1; @done bra end; "
    "bra again; end: }"
)


def _volatile(builder: ll.IRBuilder, text: str, constraints: str, inputs: list[Value]) -> None:
    kind = ll.FunctionType(ll.VoidType(), [value.type for value in inputs])
    assembly(builder, kind, text, f"{constraints},~{{memory}}", inputs)


def _address(builder: ll.IRBuilder, pointer: Value) -> Value:
    return builder.ptrtoint(pointer, I32)


def _emit_tensor_load(builder: ll.IRBuilder, operands: Operands) -> None:
    text = "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [$0], [$1, {$2, $3}], [$4];"
    target, signal = (_address(builder, operands.pointers[role]) for role in ("to", "signal"))
    size = operands.number("size")
    column = operands.index("column")
    place = [builder.mul(column, I32(size)) if size > 1 else column, operands.index("row")]
    _volatile(builder, text, "r,l,r,r,r", [target, operands.pointers["source.map"], *place, signal])


def _execute_tensor_load(meaning: Meaning) -> None:
    values = meaning.values
    columns = values.get("column", 0) + np.arange(_ROW_BYTES // values["size"])
    rows = values.get("row", 0) + np.arange(values["rows"])
    holds = (rows < values["extent"])[:, None] & (columns < values["width"])
    place = np.where(holds, rows[:, None] * values["pitch"] + columns, 0)
    box = np.where(holds, meaning.arrays["source"][place], 0)
    start = meaning.starts["to"]
    meaning.arrays["to"][start : start + box.size] = box.reshape(-1)


def _emit_signal(text: str) -> Callable[[ll.IRBuilder, Operands], None]:
    def emit(builder: ll.IRBuilder, operands: Operands) -> None:
        line = text.replace("#", str(operands.values.get("count", "")))
        _volatile(builder, line, "r", [_address(builder, operands.pointers["signal"])])

    return emit


def _emit_signal_wait(builder: ll.IRBuilder, operands: Operands) -> None:
    _volatile(builder, _WAIT, "r,r", [_address(builder, operands.pointers["signal"]), operands.index("parity")])


_ASYNC = (
    Instruction("wgmma_wait", _emit_wgmma_wait),
    Instruction("async_fence", _assembly("fence.proxy.async.shared::cta;")),
    Instruction(
        "signal_init", _emit_signal("mbarrier.init.shared::cta.b64 [$0], 1; fence.mbarrier_init.release.cluster;")
    ),
    Instruction("signal_expect", _emit_signal("mbarrier.arrive.expect_tx.shared::cta.b64 _, [$0], #;")),
    Instruction("signal_wait", _emit_signal_wait),
    Instruction(TENSOR_LOAD, _emit_tensor_load, _execute_tensor_load),
    *(
        Instruction(wgmma_name(columns, kind), _emit_wgmma(columns, kind), _execute_wgmma(columns, kind))
        for columns in WGMMA_COLUMNS
        for kind in WGMMA_SUMS
    ),
)

INSTRUCTIONS: Mapping[str, Instruction] = {
    instruction.name: instruction for instruction in (*_ORDER, *_MMA, *_ASYNC, *WARP_INSTRUCTIONS)
}
