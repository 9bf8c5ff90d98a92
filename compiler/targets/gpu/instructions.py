"""The GPU's instructions that kernels call: what they compute, for the interpreter, and the PTX that they are.

An operand is a number or, as `role@buffer`, a place in a buffer. What tensorization needs of them is in `intrinsics`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir as ll
from numpy.typing import NDArray

from tilewright.compiler.tir.llvm_scalars import I32, I64, Value
from tilewright.isa.ir import DType

Array = NDArray[Any]


def assembly(
    builder: ll.IRBuilder, kind: Any, text: str, constraints: str, inputs: list[Value], has_effect: bool = True
) -> Value:
    """Append assembly that the threads of a warp run together: no copy of it may end up in one branch of a test."""
    found = builder.asm(kind, text, constraints, inputs, has_effect)
    found.attributes.add("convergent")
    return found


@dataclass(frozen=True)
class Operands:
    """What a call gives to the machine: numbers, and addresses by role."""

    values: Mapping[str, Value | int]
    pointers: Mapping[str, Value]

    def number(self, role: str) -> int:
        """Give a number that is known when the kernel is compiled."""
        value = self.values.get(role, 0)
        assert isinstance(value, int), f"operand `{role}` is not constant"
        return value

    def index(self, role: str) -> Value:
        """Give a number as a value."""
        value = self.values.get(role, 0)
        return I32(value) if isinstance(value, int) else value


@dataclass(frozen=True)
class Meaning:
    """What a call gives to the interpreter: numbers, and the flat buffers with places in them, by role."""

    values: Mapping[str, int]
    arrays: Mapping[str, Array]
    starts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Instruction:
    """An instruction.

    Attributes
    ----------
    name : str
    emit : Callable
        Appends it to a block.
    execute : Callable
        Does it for the whole warp or block; nothing for what only orders.
    """

    name: str
    emit: Callable[[ll.IRBuilder, Operands], None]
    execute: Callable[[Meaning], None] = lambda meaning: None


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

MMA_S8 = "mma_m16n8k32_s8"


def _emit_mma(builder: ll.IRBuilder, operands: Operands) -> None:
    d, a, b = (operands.pointers[role] for role in "dab")
    half = operands.number("a_half") // 4
    a_words = [_word(builder, a, place) for place in (0, half, 1, half + 1)]
    b_words = [_word(builder, b, place) for place in (0, 1)]
    sums = [_word(builder, d, place) for place in range(4)]
    result = ll.LiteralStructType([I32] * 4)
    kind = ll.FunctionType(result, [I32] * 10)
    text = "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$0,$1,$2,$3};"
    constraints = "=r,=r,=r,=r,r,r,r,r,r,r,0,1,2,3"
    total = assembly(builder, kind, text, constraints, [*a_words, *b_words, *sums], False)
    for place in range(4):
        builder.store(builder.extract_value(total, place), _word_pointer(builder, d, place))


def _word_pointer(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    if not place:
        return pointer
    moved = builder.gep(pointer, [I32(place)], inbounds=True, source_etype=I32)
    moved.type = ll.PointerType(addrspace=pointer.type.addrspace)
    return moved


def _word(builder: ll.IRBuilder, pointer: Value, place: int) -> Value:
    return builder.load(_word_pointer(builder, pointer, place), typ=I32, align=4)


def _execute_mma(meaning: Meaning) -> None:
    values = meaning.values
    lane, part = np.arange(32), np.arange(8)
    rows = lane[:, None, None] * values["a_lane"] + np.arange(2)[:, None] * values.get("a_half", 0) + part
    a = meaning.arrays["a"][meaning.starts["a"] + rows].astype(np.int32)  # lane, half, byte
    b = meaning.arrays["b"][meaning.starts["b"] + lane[:, None] * values["b_lane"] + part].astype(np.int32)
    left = a.reshape(8, 4, 2, 8).transpose(2, 0, 1, 3).reshape(16, 32)  # half and group are the row
    product = left @ b.reshape(8, 32).T
    place = lane[:, None, None] * values["d_lane"] + np.arange(2)[:, None] * 2 + np.arange(2)
    sums = product.reshape(2, 8, 4, 2).transpose(1, 2, 0, 3).reshape(32, 2, 2)
    meaning.arrays["d"][meaning.starts["d"] + place] += sums


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
    old = [_word(builder, place, n) for n in range(count)]
    kind = ll.FunctionType(ll.LiteralStructType([I32] * count), [*(v.type for v in inputs), *[I32] * count])
    tied = ",".join(map(str, range(count)))
    constraints = ",".join(["=r"] * count + ["l"] * len(inputs)) + f",{tied},~{{memory}}"
    new = assembly(builder, kind, text, constraints, [*inputs, *old])
    for n in range(count):
        builder.store(builder.extract_value(new, n), _word_pointer(builder, place, n))


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
    instruction.name: instruction for instruction in (*_ORDER, Instruction(MMA_S8, _emit_mma, _execute_mma), *_ASYNC)
}
