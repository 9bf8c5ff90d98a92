"""What instructions mean, as loop nests over the memories.

Every function returns a body over the buffers of `memories` and the instruction's fields as 64-bit variables of the
fields' names. Operands are affine: a base and a stride for each loop. Scratchpad addresses wrap modulo the depth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from tilewright.isa.config import Config
from tilewright.isa.ir import (
    Allocate,
    Binary,
    BinaryOp,
    Block,
    Buffer,
    Cast,
    Const,
    DType,
    Expr,
    If,
    Load,
    Lookup,
    Select,
    Stmt,
    Store,
    Var,
    loops,
    total,
)
from tilewright.isa.parameter_record import BIAS, MULTIPLIER, NEGATE, RECORD_BYTES, SHIFT, Part
from tilewright.isa.row_ops import rounding_shift
from tilewright.isa.vector_ops import VectorOp

OUT_LOOPS = ("out0", "out1", "out2")
RED_LOOPS = ("red0", "red1", "red2")

_REDUCE = {"add": BinaryOp.ADD, "max": BinaryOp.MAX, "min": BinaryOp.MIN}


def memories(config: Config, dram_bytes: int = 0) -> dict[str, Buffer]:
    """Return the architectural memories as buffers, by space.

    `act` is `[act_depth, batch * atom]` int8; `wgt` `[wgt_depth, block_out * block_in]` int8; `acc` `[acc_depth,
    batch * block_out]` int32; `prm` `[prm_depth, 8 * block_out]` bytes; `tbl` `[tables, 256]` int8; `dram`
    `[dram_bytes]` bytes.
    """
    return {
        "act": Buffer("act", DType.I8, (config.act_depth, config.atom_bytes), "act"),
        "wgt": Buffer("wgt", DType.I8, (config.wgt_depth, config.wgt_entry_bytes), "wgt"),
        "acc": Buffer("acc", DType.I32, (config.acc_depth, config.acc_lanes), "acc"),
        "prm": Buffer("prm", DType.U8, (config.prm_depth, config.prm_entry_bytes), "prm"),
        "tbl": Buffer("tbl", DType.I8, (max(1, config.epilogue.tables), 256), "tbl"),
        "dram": Buffer("dram", DType.U8, (dram_bytes,), "dram"),
    }


def field(name: str) -> Var:
    """Return the variable that stands for an instruction's field."""
    return Var(name, DType.I64)


def affine(operand: str, loop_names: Sequence[str]) -> Expr:
    """Return `base + sum of loop * stride` of an operand; fields `<operand>_base` and `<operand>_<loop>`."""
    return total([field(f"{operand}_base"), *(field(name) * field(f"{operand}_{name}") for name in loop_names)])


def wrapped(address: Expr, depth: int) -> Expr:
    """Wrap a scratchpad address."""
    return address & (depth - 1)


def act_element(config: Config, act: Buffer, address: Expr, width: int, b: Expr, channel: Expr) -> Load:
    """Return element (`b`, `channel`) of an access `width` channels wide, aligned to its width."""
    atoms = width // config.atom
    aligned = address & -atoms if atoms > 1 else address
    atom = (
        wrapped(aligned + channel // config.atom, config.act_depth) if atoms > 1 else wrapped(aligned, config.act_depth)
    )
    lane = channel % config.atom if atoms > 1 else channel
    return Load(act, (atom, b * config.atom + lane))


def wrap_acc(config: Config, value: Expr) -> Expr:
    """Wrap a 32-bit value to `acc_bits`, sign-extended."""
    spare = 32 - config.gemm.acc_bits
    return (value << spare) >> spare if spare else value


def saturate(value: Expr, low: int, high: int) -> Expr:
    """Clamp to `[low, high]`."""
    return value.maximum(low).minimum(high)


def kept_multiplier(config: Config) -> Part:
    """Return the bits of a multiplier that a configuration keeps."""
    return replace(MULTIPLIER, bits=config.epilogue.multiplier_bits)


def parameter(load: Callable[[int], Load], part: Part) -> Expr:
    """Return a part of a parameter record, without its sign, 64 bits wide; `load` gives a byte of the record."""
    first, skipped = divmod(part.low, 8)
    value = total([load(first + i).cast(DType.I64) << 8 * i for i in range(-(-part.bits // 8))])
    return (value >> skipped if skipped else value) & part.mask


def _parameter(config: Config, mem: Mapping[str, Buffer], channel: Expr, part: Part) -> Expr:
    entry = wrapped(affine("p", OUT_LOOPS), config.prm_depth)
    return parameter(lambda byte: Load(mem["prm"], (entry, channel * RECORD_BYTES + byte)), part)


def _requantized(config: Config, mem: Mapping[str, Buffer], x: Expr, channel: Expr) -> Expr:
    """Steps 3 of the epilogue: fixed-point scale, zero point, saturation."""
    multiplier = _parameter(config, mem, channel, kept_multiplier(config))
    shift = _parameter(config, mem, channel, SHIFT)
    scaled = rounding_shift(x.cast(DType.I64) * multiplier, shift)
    return saturate(scaled + field("zero_out"), -128, 127)


def _residual(y: Expr, b: Expr) -> Expr:
    """Step 4: add a second operand with its own scale."""
    scaled = (y - field("zero_a")) * field("residual_multiplier_a") + (b - field("zero_b")) * field(
        "residual_multiplier_b"
    )
    shifted = rounding_shift(scaled, field("residual_shift")) + field("residual_zero_out")
    return Select(field("residual").differs(0), saturate(shifted, -128, 127), y)


def _epilogue(config: Config, mem: Mapping[str, Buffer], x: Buffer, has_second: bool) -> Stmt:
    """Return what leads from a reduced value in `x` to its destination, for one batch row and output channel."""
    b, channel = Var("lane_b"), Var("lane_c")
    lane = b * config.gemm.block_out + channel
    width = config.gemm.block_out
    bias = _parameter(config, mem, channel, BIAS).cast(DType.I32)
    addend = Load(mem["acc"], (wrapped(affine("b", OUT_LOOPS), config.acc_depth), lane))
    zero = Const(0, DType.I32)
    total_sum: Expr = Load(x, (lane,))
    if has_second:
        total_sum = total_sum + Select(field("accumulate").differs(0), addend, zero)
    if config.vector.rows:
        is_negated = _parameter(config, mem, channel, NEGATE).differs(0)
        signed_sum = Select(is_negated, zero - total_sum, total_sum)
        total_sum = Select(field("bias_enable").differs(0), signed_sum, total_sum)
    summed = wrap_acc(config, total_sum + Select(field("bias_enable").differs(0), bias, zero))
    y = _requantized(config, mem, Load(x, (lane,)), channel)
    if config.epilogue.residual and has_second:
        operand = act_element(config, mem["act"], affine("b", OUT_LOOPS), width, b, channel).cast(DType.I64)
        y = _residual(y, operand)
    y = y.maximum(field("clamp_low")).minimum(field("clamp_high"))
    if config.epilogue.tables:
        looked_up = Load(mem["tbl"], (field("table") & (config.epilogue.tables - 1), y + 128)).cast(DType.I64)
        y = Select(field("table_enable").differs(0), looked_up, y)
    target = act_element(config, mem["act"], affine("d", OUT_LOOPS), width, b, channel)
    to_acc = Store(mem["acc"], (wrapped(affine("d", OUT_LOOPS), config.acc_depth), lane), Load(x, (lane,)))
    to_act = Store(target.buffer, target.indices, y.cast(DType.I8))
    return Block((Store(x, (lane,), summed), If(field("to_acc").differs(0), to_acc, to_act)))


def compute(
    config: Config,
    mem: Mapping[str, Buffer],
    identity: Expr,
    step: Stmt,
    x: Buffer,
    reductions: Sequence[str] = RED_LOOPS,
    *,
    has_second: bool = True,
) -> Stmt:
    """Return output loops around (start at the identity, reduce, epilogue); nothing at all when any extent is zero.

    `has_second`: the epilogue may take operand `b`.
    """
    b, channel = Var("lane_b"), Var("lane_c")
    lane = b * config.gemm.block_out + channel
    lanes = [(b, config.gemm.batch), (channel, config.gemm.block_out)]
    body = Block(
        (
            loops(lanes, Store(x, (lane,), identity)),
            loops([(Var(name), field(f"extent_{name}")) for name in reductions], step),
            loops(lanes, _epilogue(config, mem, x, has_second)),
        )
    )
    return for_outputs(Allocate(x, body), reductions)


def for_outputs(body: Stmt, reductions: Sequence[str] = RED_LOOPS) -> Stmt:
    """Return the output loops around `body`; nothing at all when any extent, of reductions too, is zero."""
    nest = loops([(Var(name), field(f"extent_{name}")) for name in OUT_LOOPS], body)
    first, *others = (field(f"extent_{name}") for name in reductions)
    reduces: Expr = first
    for other in others:
        reduces = reduces.minimum(other)
    return If(Const(0, DType.I64) < reduces, nest)


def gemm(config: Config, mem: Mapping[str, Buffer]) -> Stmt:
    """Return the meaning of GEMM: dot products of `a` and `w` over the reduction, then the epilogue."""
    x = Buffer("x", DType.I32, (config.acc_lanes,))
    b, channel, k = Var("lane_b"), Var("lane_c"), Var("lane_k")
    lane = b * config.gemm.block_out + channel
    a = act_element(config, mem["act"], affine("a", OUT_LOOPS + RED_LOOPS), config.gemm.block_in, b, k)
    entry = wrapped(affine("w", OUT_LOOPS + RED_LOOPS), config.wgt_depth)
    w = Load(mem["wgt"], (entry, channel * config.gemm.block_in + k))
    product = a.cast(DType.I32) * w.cast(DType.I32)
    step = loops(
        [(b, config.gemm.batch), (channel, config.gemm.block_out), (k, config.gemm.block_in)],
        Store(x, (lane,), Load(x, (lane,)) + product),
    )
    return compute(config, mem, Const(0, DType.I32), step, x)


def depthwise(config: Config, mem: Mapping[str, Buffer]) -> Stmt:
    """Return the meaning of DEPTHWISE: every channel's window times its own weights, then the epilogue.

    A channel's `block_in` weights are a window of `window_rows` x `window_columns`, row-major; a smaller kernel stands
    in its last rows and columns, and the others do not count.
    """
    width = config.gemm.block_out
    x = Buffer("x", DType.I32, (config.acc_lanes,))
    b, channel = Var("lane_b"), Var("lane_c")
    out0, out1, out2, row, column = (Var(name) for name in (*OUT_LOOPS, *RED_LOOPS[1:]))
    lane = b * width + channel
    y = out1 * (field("double_y") + 1) + row
    z = out2 * (field("double_x") + 1) + column
    address = field("a_base") + out0 * field("a_out0") + y * field("a_row") + z * field("a_pixel")
    a = act_element(config, mem["act"], address, width, b, channel)
    window_row = row + config.window_rows - field("extent_red1")
    window_column = column + config.window_columns - field("extent_red2")
    element = channel * config.gemm.block_in + window_row * config.window_columns + window_column
    entry = wrapped(field("w_base") + out0 * field("w_out0"), config.wgt_depth)
    product = a.cast(DType.I32) * Load(mem["wgt"], (entry, element)).cast(DType.I32)
    step = loops(
        [(b, config.gemm.batch), (channel, width)],
        Store(x, (lane,), Load(x, (lane,)) + product),
    )
    return compute(config, mem, Const(0, DType.I32), step, x, RED_LOOPS[1:])


def _identity(config: Config, reduce: str) -> int:
    extreme = 1 << (config.gemm.acc_bits - 1)
    return {"add": 0, "max": -extreme, "min": extreme - 1}[reduce]


def substitute(expr: Expr, values: Mapping[str, Expr]) -> Expr:
    """Replace variables of a scalar expression (without loads) by expressions."""
    match expr:
        case Var(name):
            return values.get(name, expr)
        case Binary(op, left, right):
            return Binary(op, substitute(left, values), substitute(right, values))
        case Select(condition, if_true, if_false):
            return Select(substitute(condition, values), substitute(if_true, values), substitute(if_false, values))
        case Cast(dtype, value):
            return Cast(dtype, substitute(value, values))
        case Lookup(table, index):
            return Lookup(table, substitute(index, values))
        case _:
            return expr


def _vector_operation(config: Config, mem: Mapping[str, Buffer], op: VectorOp) -> Stmt:
    x = Buffer("x", DType.I32, (config.acc_lanes,))
    b, channel = Var("lane_b"), Var("lane_c")
    lane = b * config.gemm.block_out + channel
    width = config.gemm.block_out
    address = affine("a", OUT_LOOPS + RED_LOOPS)
    from_act = act_element(config, mem["act"], address, width, b, channel).cast(DType.I32)
    from_acc = Load(mem["acc"], (wrapped(address, config.acc_depth), lane))
    second = act_element(config, mem["act"], affine("b", OUT_LOOPS), width, b, channel).cast(DType.I32)
    operands = {
        "a": Select(field("from_acc").differs(0), from_acc, from_act),
        "b": second,
        "zero_a": field("zero_a").cast(DType.I32),
        "zero_b": field("zero_b").cast(DType.I32),
    }
    value = wrap_acc(config, substitute(op.combine, operands))
    reduced = wrap_acc(config, Binary(_REDUCE[op.reduce], Load(x, (lane,)), value))
    step = loops([(b, config.gemm.batch), (channel, width)], Store(x, (lane,), reduced))
    return compute(config, mem, Const(_identity(config, op.reduce), DType.I32), step, x)


def vector(config: Config, mem: Mapping[str, Buffer], ops: Sequence[VectorOp]) -> Stmt:
    """Return the meaning of VECTOR: by `op`, one of the vector operations; an unknown `op` is illegal."""
    body: Stmt = Block(())
    for op in ops:
        body = If(field("op").equals(op.code), _vector_operation(config, mem, op), body)
    return body


def _dram(mem: Mapping[str, Buffer], config: Config, address: Expr) -> Load:
    return Load(mem["dram"], (address & ((1 << config.bus.address_bits) - 1),))


def _dma_address(i2: Expr, i1: Expr, i0: Expr, run: Expr, entry_bytes: int) -> Expr:
    rows = i2 * field("dram_stride2") + i1 * field("dram_stride1") + i0 * field("dram_stride0")
    return field("dram_base") + rows + run * entry_bytes


def _pad_entry(i2: Expr, i1: Expr, i0: Expr, run: Expr) -> Expr:
    return field("base") + i2 * field("stride2") + i1 * field("stride1") + i0 * field("stride0") + run


def load_act(config: Config, mem: Mapping[str, Buffer]) -> Stmt:
    """Return the meaning of LOAD_ACT: a strided box of rows from DRAM, bordered with a constant."""
    i2, i1, i0, x, j, k = (Var(n) for n in ("i2", "i1", "i0", "run", "atom", "byte"))
    inside_rows = _between(i0, field("pad_top"), field("extent0"))
    inside_run = _between(x, field("pad_left"), field("extent_run"))
    source = _dma_address(i2, i1, i0 - field("pad_top"), x - field("pad_left"), config.row_bytes)
    target = (wrapped(_pad_entry(i2, i1, i0, x) * config.ratio + j, config.act_depth), k)
    copy = Store(mem["act"], target, _dram(mem, config, source + j * config.atom_bytes + k).cast(DType.I8))
    fill = Store(mem["act"], target, field("pad_value").cast(DType.I8))
    nest = [
        (i2, field("extent2")),
        (i1, field("extent1")),
        (i0, field("pad_top") + field("extent0") + field("pad_bottom")),
        (x, field("pad_left") + field("extent_run") + field("pad_right")),
    ]
    lanes = [(j, config.ratio), (k, config.atom_bytes)]
    return loops(nest, If(inside_rows, If(inside_run, loops(lanes, copy), loops(lanes, fill)), loops(lanes, fill)))


def _between(value: Expr, low: Expr, count: Expr) -> Expr:
    return (low <= value) & (value < low + count)


def load_plain(config: Config, mem: Mapping[str, Buffer], space: str) -> Stmt:
    """Return the meaning of LOAD_WGT, LOAD_PRM and LOAD_TBL: strided runs of whole entries from DRAM."""
    buffer = mem[space]
    depth, entry_bytes = buffer.shape
    i0, run, byte = Var("i0"), Var("run"), Var("byte")
    source = _dram(mem, config, field("dram_base") + i0 * field("dram_stride0") + run * entry_bytes + byte)
    entry = wrapped(field("base") + i0 * field("stride0") + run, depth)
    copy = Store(buffer, (entry, byte), source.cast(buffer.dtype))
    return loops([(i0, field("extent0")), (run, field("extent_run")), (byte, entry_bytes)], copy)


def store_act(config: Config, mem: Mapping[str, Buffer]) -> Stmt:
    """Return the meaning of STORE_ACT: a strided box of rows to DRAM."""
    i2, i1, i0, x, j, k = (Var(n) for n in ("i2", "i1", "i0", "run", "atom", "byte"))
    source = (wrapped(_pad_entry(i2, i1, i0, x) * config.ratio + j, config.act_depth), k)
    target = _dram(mem, config, _dma_address(i2, i1, i0, x, config.row_bytes) + j * config.atom_bytes + k)
    copy = Store(target.buffer, target.indices, Load(mem["act"], source).cast(DType.U8))
    nest = [
        (i2, field("extent2")),
        (i1, field("extent1")),
        (i0, field("extent0")),
        (x, field("extent_run")),
        (j, Const(config.ratio, DType.I64)),
        (k, Const(config.atom_bytes, DType.I64)),
    ]
    return loops(nest, copy)


__all__ = [
    "OUT_LOOPS",
    "RED_LOOPS",
    "act_element",
    "affine",
    "compute",
    "depthwise",
    "field",
    "for_outputs",
    "gemm",
    "load_act",
    "load_plain",
    "memories",
    "rounding_shift",
    "store_act",
    "vector",
    "wrapped",
]
