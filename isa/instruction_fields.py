"""The fields of each instruction, behind those that all have; their widths follow from the configuration."""

from __future__ import annotations

from collections.abc import Sequence

from tilewright.isa.config import Config
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.parameter_record import SHIFT
from tilewright.isa.row_ops import OFFSET_BITS, ROW_OPS, SCALE_BITS
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.isa.vector_ops import VectorOp

OP_BITS = 4


def _flag(name: str, doc: str, bits: int = 1) -> Field:
    return Field(name, bits, FieldKind.FLAG, doc)


def _fence() -> Field:
    return _flag("fence", "start only when all earlier compute instructions have written their results")


def _bits(depth: int) -> int:
    return (depth - 1).bit_length()


def _extent(config: Config, name: str, doc: str) -> Field:
    return Field(name, config.extent_bits, FieldKind.EXTENT, doc)


def _loop_extents(config: Config) -> tuple[Field, ...]:
    outer = tuple(_extent(config, f"extent_{n}", "iterations of an output loop") for n in OUT_LOOPS)
    inner = tuple(_extent(config, f"extent_{n}", "iterations of a reduction loop") for n in RED_LOOPS)
    return outer + inner


def _operand(prefix: str, bits: int, space: str, names: Sequence[str], doc: str) -> tuple[Field, ...]:
    base = Field(f"{prefix}_base", bits, FieldKind.ADDRESS, f"{doc}: first entry", space=space)
    return (
        base,
        *(Field(f"{prefix}_{n}", bits, FieldKind.STRIDE, f"{doc}: stride of loop {n}", space=space) for n in names),
    )


def _epilogue_fields(config: Config, *, has_second: bool = True) -> tuple[Field, ...]:
    """Return the epilogue's fields; those for a second operand are empty where there cannot be one."""
    has_residual = int(config.epilogue.residual and has_second)
    tables = config.epilogue.tables
    has_zeros = int((config.epilogue.residual or config.vector.multiply) and has_second)
    scale = config.epilogue.multiplier_bits * has_residual

    def data(name: str, bits: int, doc: str, signed: bool = False) -> Field:
        return Field(name, bits, FieldKind.DATA, doc, signed=signed)

    return (
        _flag("to_acc", "destination is acc (raw sums) instead of act"),
        _flag("accumulate", "add acc[b] to the sum", int(has_second)),
        _flag("bias_enable", "add the parameter entry's bias to the sum"),
        _flag("residual", "add act[b] with its own scale after requantization", has_residual),
        _flag("table_enable", "map the result through a lookup table", int(tables > 0)),
        data("table", _bits(tables) if tables else 0, "which lookup table"),
        data("zero_out", 8, "zero point after requantization", signed=True),
        data("clamp_low", 8, "smallest result", signed=True),
        data("clamp_high", 8, "largest result", signed=True),
        data("zero_a", 8 * has_zeros, "zero point of the first operand of residual and multiply", signed=True),
        data("zero_b", 8 * has_zeros, "zero point of operand b", signed=True),
        data("residual_multiplier_a", scale, "scale of the requantized sum"),
        data("residual_multiplier_b", scale, "scale of operand b"),
        data("residual_shift", SHIFT.bits * has_residual, "right shift of the residual sum"),
        data("residual_zero_out", 8 * has_residual, "zero point after the residual", signed=True),
    )


def _compute_fields(config: Config, specific: Sequence[Field], a_bits: int) -> tuple[Field, ...]:
    act, acc, prm = _bits(config.act_depth), _bits(config.acc_depth), _bits(config.prm_depth)
    either = max(act, acc)
    return (
        _fence(),
        *_loop_extents(config),
        *_operand("a", a_bits, "act", OUT_LOOPS + RED_LOOPS, "operand a"),
        *specific,
        *_operand("b", either, "act", OUT_LOOPS, "operand b (residual or second factor in act, addend in acc)"),
        *_operand("p", prm, "prm", OUT_LOOPS, "epilogue parameters"),
        *_operand("d", either, "act", OUT_LOOPS, "destination (act or acc)"),
        *_epilogue_fields(config),
    )


def gemm_fields(config: Config) -> tuple[Field, ...]:
    """GEMM's."""
    weights = _operand("w", _bits(config.wgt_depth), "wgt", OUT_LOOPS + RED_LOOPS, "operand w")
    return _compute_fields(config, weights, _bits(config.act_depth))


def vector_fields(config: Config, ops: Sequence[VectorOp]) -> tuple[Field, ...]:
    """VECTOR's, with the codes of its operations."""
    names = {op.name: op.code for op in ops}
    specific = (
        Field("op", OP_BITS, FieldKind.CHOICE, "vector operation", choices=names),
        _flag("from_acc", "operand a is in acc instead of act"),
    )
    return _compute_fields(config, specific, max(_bits(config.act_depth), _bits(config.acc_depth)))


def _dram_base(config: Config, entry_bytes: int) -> Field:
    align = min(entry_bytes, config.bus_bytes)
    return Field("dram_base", config.bus.address_bits, FieldKind.DRAM_ADDRESS, "first byte in DRAM", align=align)


def _dram_stride(config: Config, loop: int, entry_bytes: int) -> Field:
    doc = f"bytes between iterations of loop {loop}"
    align = min(entry_bytes, config.bus_bytes)
    return Field(f"dram_stride{loop}", config.bus.address_bits, FieldKind.DRAM_STRIDE, doc, align=align)


def _kernel_extent(name: str, most: int, doc: str) -> Field:
    return Field(name, most.bit_length(), FieldKind.EXTENT, f"{doc}, at most {most}", maximum=most)


def depthwise_fields(config: Config) -> tuple[Field, ...]:
    """DEPTHWISE's."""
    act, acc, prm, wgt = (_bits(d) for d in (config.act_depth, config.acc_depth, config.prm_depth, config.wgt_depth))
    outputs = ("channel blocks", "output rows", "output columns")
    a = _operand("a", act, "act", ("out0", "row", "pixel"), "operand a")
    return (
        _fence(),
        *(_extent(config, f"extent_{n}", doc) for n, doc in zip(OUT_LOOPS, outputs, strict=True)),
        _kernel_extent("extent_red1", config.window_rows, "kernel rows"),
        _kernel_extent("extent_red2", config.window_columns, "kernel columns"),
        _flag("double_y", "two input rows an output row instead of one"),
        _flag("double_x", "two input columns an output column instead of one"),
        *a,
        *_operand("w", wgt, "wgt", ("out0",), "operand w"),
        *_operand("b", max(act, acc), "act", OUT_LOOPS, "operand b (residual in act, addend in acc)"),
        *_operand("p", prm, "prm", OUT_LOOPS, "epilogue parameters"),
        *_operand("d", max(act, acc), "act", OUT_LOOPS, "destination (act or acc)"),
        *_epilogue_fields(config),
    )


def row_fields(config: Config) -> tuple[Field, ...]:
    """ROW's."""
    act, acc, prm = _bits(config.act_depth), _bits(config.acc_depth), _bits(config.prm_depth)
    names = {op.name: op.code for op in ROW_OPS}
    return (
        _fence(),
        *_loop_extents(config),
        *_operand("a", max(act, acc), "act", OUT_LOOPS + RED_LOOPS, "operand a"),
        Field("op", OP_BITS, FieldKind.CHOICE, "row operation", choices=names),
        Field("tail", _bits(config.gemm.block_out), FieldKind.DATA, "channels in a reduction's last step; 0: all"),
        Field("scale", SCALE_BITS, FieldKind.DATA, "factor or logarithm, by the operation"),
        Field("offset", OFFSET_BITS, FieldKind.DATA, "addend or shift, by the operation"),
        *_operand("b", max(act, acc), "acc", OUT_LOOPS, "operand b, an entry for each batch row, in acc"),
        *_operand("p", prm, "prm", OUT_LOOPS, "epilogue parameters"),
        *_operand("d", max(act, acc), "act", OUT_LOOPS, "destination (act or acc)"),
        *_epilogue_fields(config, has_second=False),
    )


def box_fields(config: Config) -> tuple[Field, ...]:
    """Those of a strided box of rows between DRAM and the activation scratchpad."""
    rows = _bits(config.act_rows)
    return (
        _dram_base(config, config.row_bytes),
        Field("base", rows, FieldKind.ADDRESS, "first row in act", space="act_row"),
        _extent(config, "extent_run", "contiguous rows"),
        *(_extent(config, f"extent{i}", f"iterations of loop {i}") for i in range(3)),
        *(_dram_stride(config, i, config.row_bytes) for i in range(3)),
        *(
            Field(f"stride{i}", rows, FieldKind.STRIDE, f"rows between iterations of loop {i}", space="act_row")
            for i in range(3)
        ),
    )


def load_act_fields(config: Config) -> tuple[Field, ...]:
    """LOAD_ACT's: a box with padding around it."""
    return (
        *box_fields(config),
        _extent(config, "pad_left", "rows of pad_value before each run"),
        _extent(config, "pad_right", "rows of pad_value after each run"),
        _extent(config, "pad_top", "padded iterations before loop 0"),
        _extent(config, "pad_bottom", "padded iterations after loop 0"),
        Field("pad_value", 8, FieldKind.DATA, "value of padding", signed=True),
    )


def plain_fields(config: Config, space: str, depth: int, entry_bytes: int) -> tuple[Field, ...]:
    """Those of loads of whole entries of a scratchpad without padding."""
    return (
        _dram_base(config, entry_bytes),
        Field("base", _bits(depth), FieldKind.ADDRESS, f"first entry in {space}", space=space),
        _extent(config, "extent_run", "contiguous entries"),
        _extent(config, "extent0", "iterations of loop 0"),
        _dram_stride(config, 0, entry_bytes),
        Field("stride0", _bits(depth), FieldKind.STRIDE, "entries between iterations of loop 0", space=space),
    )
