"""The instruction table: for a configuration, every instruction with its fields and its meaning."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from functools import cached_property
from typing import Any

from tilewright.isa import semantics
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.ir import Buffer, Function, Stmt, Var
from tilewright.isa.parameter_record import SHIFT
from tilewright.isa.row_ops import OFFSET_BITS, ROW_OPS, SCALE_BITS, RowOp
from tilewright.isa.row_semantics import row
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.isa.vector_ops import VECTOR_OPS, VectorOp

OPCODE_BITS = 6
OP_BITS = 4


class Engine(StrEnum):
    """The engines that work instruction queues, in the order of the `wait` and `signal` bits."""

    LOAD = "load"
    COMPUTE = "compute"
    STORE = "store"

    @property
    def others(self) -> tuple[Engine, ...]:
        """The other engines: bit i of `wait` and `signal` means the i-th of them."""
        return tuple(e for e in Engine if e is not self)


class Opcode(IntEnum):
    """Instruction numbers; 0 is illegal so that cleared memory is not a program."""

    LOAD_ACT = 1
    LOAD_WGT = 2
    LOAD_PRM = 3
    LOAD_TBL = 4
    GEMM = 8
    VECTOR = 9
    DEPTHWISE = 10
    ROW = 11
    STORE_ACT = 16


@dataclass(frozen=True)
class Constraint:
    """What the operands of an instruction must satisfy together.

    Attributes
    ----------
    doc : str
        In words, for errors and the reference page.
    holds : Callable
        Tells whether complete operands do: numbers, arrays with the operands of many instructions at once, or signals
        of the hardware's decoder, so that it is arithmetic, comparison and bitwise logic only.
    """

    doc: str
    holds: Callable[[Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Instruction:
    """One instruction of a configuration.

    Attributes
    ----------
    opcode : Opcode
    engine : Engine
        The engine whose queue it goes to.
    fields : tuple of Field
        From bit 0 upwards; the first is the opcode.
    doc : str
    meaning : Callable
        Builds the body of the meaning from the memories (see `semantics.memories`).
    exclusive : tuple of tuples of str
        Groups of flags of which at most one may be set.
    constraints : tuple of Constraint
    """

    opcode: Opcode
    engine: Engine
    fields: tuple[Field, ...]
    doc: str
    meaning: Callable[[Mapping[str, Buffer]], Stmt]
    exclusive: tuple[tuple[str, ...], ...] = ()
    constraints: tuple[Constraint, ...] = ()

    @property
    def name(self) -> str:
        """The mnemonic."""
        return self.opcode.name

    @property
    def bits(self) -> int:
        """Width of all fields together."""
        return sum(f.bits for f in self.fields)

    @cached_property
    def operands(self) -> Mapping[str, Field]:
        """Every field but the opcode, by name."""
        return {f.name: f for f in self.fields[1:]}

    def complete(self, values: Mapping[str, int]) -> dict[str, int]:
        """Return all operands, checked and wrapped, those left out being 0.

        Raises
        ------
        ProgramError
            For an unknown operand, a value that does not fit, flags that exclude each other, or a constraint that does
            not hold.
        """
        for name in values:
            if name not in self.operands:
                raise ProgramError(f"{self.name} has no operand `{name}`; it has {', '.join(self.operands)}")
        for group in self.exclusive:
            if sum(values.get(name, 0) != 0 for name in group) > 1:
                raise ProgramError(f"{self.name} cannot set {' and '.join(group)} together")
        complete = {name: f.check(self.name, values.get(name, 0)) for name, f in self.operands.items()}
        for constraint in self.constraints:
            if not constraint.holds(complete):
                raise ProgramError(f"{self.name}: {constraint.doc}")
        return complete

    def encode(self, values: Mapping[str, int]) -> int:
        """Return the instruction word of these operands; see `complete`."""
        word, shift = int(self.opcode), OPCODE_BITS
        for name, value in self.complete(values).items():
            f = self.operands[name]
            word |= f.pack(value) << shift
            shift += f.bits
        return word

    def decode(self, word: int) -> dict[str, int]:
        """Return the operands of an instruction word of this opcode."""
        values, word = {}, word >> OPCODE_BITS
        for f in self.fields[1:]:
            values[f.name] = f.unpack(word)
            word >>= f.bits
        return values

    def function(self, mem: Mapping[str, Buffer]) -> Function:
        """Return the meaning as a function of the operands (64-bit scalars) and the memories."""
        scalars = tuple(Var(name) for name in self.operands)
        return Function(self.name.lower(), scalars, tuple(mem.values()), self.meaning(mem))


@dataclass(frozen=True)
class InstructionSet:
    """All instructions of one configuration; `instruction_set` builds it.

    Attributes
    ----------
    config : Config
    vector_ops : tuple of VectorOp
        The operations that VECTOR knows in this configuration.
    row_ops : tuple of RowOp
        The operations that ROW knows; none without `vector.rows`.
    instructions : tuple of Instruction
    """

    config: Config
    vector_ops: tuple[VectorOp, ...]
    row_ops: tuple[RowOp, ...]
    instructions: tuple[Instruction, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Instruction]:
        """Instructions by mnemonic."""
        return {i.name: i for i in self.instructions}

    @cached_property
    def by_opcode(self) -> Mapping[int, Instruction]:
        """Instructions by number."""
        return {int(i.opcode): i for i in self.instructions}

    def of_engine(self, engine: Engine) -> tuple[Instruction, ...]:
        """Return the instructions of one engine, in table order."""
        return tuple(i for i in self.instructions if i.engine is engine)

    @property
    def instruction_bytes(self) -> int:
        """Size of every instruction in memory: the widest, rounded up to 16 bytes and to whole bus beats."""
        unit = max(16, self.config.bus_bytes)
        widest = max(i.bits for i in self.instructions)
        return -(-widest // (8 * unit)) * unit

    def encode(self, name: str, values: Mapping[str, int]) -> bytes:
        """Return the bytes of one instruction in memory (little endian)."""
        if name not in self.by_name:
            raise ProgramError(f"unknown instruction `{name}`; known: {', '.join(self.by_name)}")
        return self.by_name[name].encode(values).to_bytes(self.instruction_bytes, "little")

    def decode(self, data: bytes) -> tuple[Instruction, dict[str, int]]:
        """Return instruction and operands of `instruction_bytes` bytes.

        Raises
        ------
        ProgramError
            For an opcode that is not in the table.
        """
        word = int.from_bytes(data, "little")
        opcode = word & ((1 << OPCODE_BITS) - 1)
        if opcode not in self.by_opcode:
            raise ProgramError(f"illegal opcode {opcode}")
        instruction = self.by_opcode[opcode]
        return instruction, instruction.decode(word)


def _header(engine: Engine) -> tuple[Field, ...]:
    first, second = engine.others
    order = f"bit 0: {first}, bit 1: {second}"
    return (
        Field("opcode", OPCODE_BITS, FieldKind.OPCODE, "instruction number"),
        Field("wait", 2, FieldKind.SYNC, f"take a token from these engines before starting ({order})"),
        Field("signal", 2, FieldKind.SYNC, f"give a token to these engines when complete ({order})"),
    )


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
        *_header(Engine.COMPUTE),
        _fence(),
        *_loop_extents(config),
        *_operand("a", a_bits, "act", OUT_LOOPS + RED_LOOPS, "operand a"),
        *specific,
        *_operand("b", either, "act", OUT_LOOPS, "operand b (residual or second factor in act, addend in acc)"),
        *_operand("p", prm, "prm", OUT_LOOPS, "epilogue parameters"),
        *_operand("d", either, "act", OUT_LOOPS, "destination (act or acc)"),
        *_epilogue_fields(config),
    )


def _gemm_fields(config: Config) -> tuple[Field, ...]:
    weights = _operand("w", _bits(config.wgt_depth), "wgt", OUT_LOOPS + RED_LOOPS, "operand w")
    return _compute_fields(config, weights, _bits(config.act_depth))


def _vector_fields(config: Config, ops: Sequence[VectorOp]) -> tuple[Field, ...]:
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


def _depthwise_fields(config: Config) -> tuple[Field, ...]:
    act, acc, prm, wgt = (_bits(d) for d in (config.act_depth, config.acc_depth, config.prm_depth, config.wgt_depth))
    outputs = ("channel blocks", "output rows", "output columns")
    a = _operand("a", act, "act", ("out0", "row", "pixel"), "operand a")
    return (
        *_header(Engine.COMPUTE),
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


def _depthwise(config: Config) -> Instruction:
    most = config.depthwise.columns

    def fits(values: Mapping[str, Any]) -> Any:
        before_last = values["extent_out2"] - 1
        return before_last + (before_last & -values["double_x"]) + values["extent_red2"] <= most

    return Instruction(
        Opcode.DEPTHWISE,
        Engine.COMPUTE,
        _depthwise_fields(config),
        "convolve every channel with its own kernel, then the epilogue",
        lambda mem: semantics.depthwise(config, mem),
        constraints=(Constraint(f"an input row must be at most {most} pixels long (`depthwise.columns`)", fits),),
    )


def _row_fields(config: Config) -> tuple[Field, ...]:
    act, acc, prm = _bits(config.act_depth), _bits(config.acc_depth), _bits(config.prm_depth)
    names = {op.name: op.code for op in ROW_OPS}
    return (
        *_header(Engine.COMPUTE),
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


def _row(config: Config) -> Instruction:
    first_mapping = min(op.code for op in ROW_OPS if not op.reduce)  # reductions have the lower numbers

    def goes_to_acc(values: Mapping[str, Any]) -> Any:
        return (values["op"] >= first_mapping) | (values["to_acc"] > values["bias_enable"])

    def has_one_step(values: Mapping[str, Any]) -> Any:
        extents = values["extent_red0"] | values["extent_red1"] | values["extent_red2"]
        return (values["op"] < first_mapping) | (extents <= 1)

    return Instruction(
        Opcode.ROW,
        Engine.COMPUTE,
        _row_fields(config),
        "reduce rows, or compute from each row's own result, then the epilogue",
        lambda mem: row(config, mem, ROW_OPS),
        constraints=(
            Constraint("the result of a reduction must go to acc, without a bias", goes_to_acc),
            Constraint("an operation that is no reduction must have reduction extents of 1", has_one_step),
        ),
    )


def _box_fields(config: Config, engine: Engine) -> tuple[Field, ...]:
    rows = _bits(config.act_rows)
    return (
        *_header(engine),
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


def _load_act_fields(config: Config) -> tuple[Field, ...]:
    return (
        *_box_fields(config, Engine.LOAD),
        _extent(config, "pad_left", "rows of pad_value before each run"),
        _extent(config, "pad_right", "rows of pad_value after each run"),
        _extent(config, "pad_top", "padded iterations before loop 0"),
        _extent(config, "pad_bottom", "padded iterations after loop 0"),
        Field("pad_value", 8, FieldKind.DATA, "value of padding", signed=True),
    )


def _plain_fields(config: Config, space: str, depth: int, entry_bytes: int) -> tuple[Field, ...]:
    return (
        *_header(Engine.LOAD),
        _dram_base(config, entry_bytes),
        Field("base", _bits(depth), FieldKind.ADDRESS, f"first entry in {space}", space=space),
        _extent(config, "extent_run", "contiguous entries"),
        _extent(config, "extent0", "iterations of loop 0"),
        _dram_stride(config, 0, entry_bytes),
        Field("stride0", _bits(depth), FieldKind.STRIDE, "entries between iterations of loop 0", space=space),
    )


def instruction_set(config: Config, vector_ops: Sequence[VectorOp] = VECTOR_OPS) -> InstructionSet:
    """Return the instruction set of a configuration.

    Parameters
    ----------
    config : Config
    vector_ops : sequence of VectorOp
        The vector operations offered; those that the configuration lacks the hardware for are left out.
    """
    ops = tuple(op for op in vector_ops if config.vector.multiply or not op.needs_multiply)

    def plain(opcode: Opcode, space: str, depth: int, doc: str) -> Instruction:
        fields = _plain_fields(config, space, depth, semantics.memories(config)[space].shape[1])
        return Instruction(opcode, Engine.LOAD, fields, doc, lambda mem: semantics.load_plain(config, mem, space))

    tables = plain(Opcode.LOAD_TBL, "tbl", config.epilogue.tables, "load lookup tables")
    table = (
        Instruction(
            Opcode.LOAD_ACT, Engine.LOAD, _load_act_fields(config),
            "load a strided, padded box of rows into the activation scratchpad",
            lambda mem: semantics.load_act(config, mem),
        ),
        plain(Opcode.LOAD_WGT, "wgt", config.wgt_depth, "load weights"),
        plain(Opcode.LOAD_PRM, "prm", config.prm_depth, "load epilogue parameters"),
        *((tables,) if config.epilogue.tables else ()),
        Instruction(
            Opcode.GEMM, Engine.COMPUTE, _gemm_fields(config), "multiply and accumulate, then the epilogue",
            lambda mem: semantics.gemm(config, mem),
        ),
        Instruction(
            Opcode.VECTOR, Engine.COMPUTE, _vector_fields(config, ops), "reduce elementwise, then the epilogue",
            lambda mem: semantics.vector(config, mem, ops), exclusive=(("from_acc", "accumulate"),),
        ),
        *((_depthwise(config),) if config.depthwise.enabled else ()),
        *((_row(config),) if config.vector.rows else ()),
        Instruction(
            Opcode.STORE_ACT, Engine.STORE, _box_fields(config, Engine.STORE),
            "store a strided box of rows from the activation scratchpad",
            lambda mem: semantics.store_act(config, mem),
        ),
    )  # fmt: skip
    return InstructionSet(config, ops, ROW_OPS if config.vector.rows else (), table)
