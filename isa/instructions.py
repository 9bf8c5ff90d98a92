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
from tilewright.isa.instruction_fields import (
    box_fields,
    depthwise_fields,
    gemm_fields,
    load_act_fields,
    plain_fields,
    row_fields,
    vector_fields,
)
from tilewright.isa.ir import Buffer, Function, Stmt, Var
from tilewright.isa.row_ops import ROW_OPS, RowOp
from tilewright.isa.row_semantics import row
from tilewright.isa.vector_ops import VECTOR_OPS, VectorOp

OPCODE_BITS = 6


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


def _instruction(
    opcode: Opcode,
    engine: Engine,
    fields: tuple[Field, ...],
    doc: str,
    meaning: Callable[[Mapping[str, Buffer]], Stmt],
    *,
    exclusive: tuple[tuple[str, ...], ...] = (),
    constraints: tuple[Constraint, ...] = (),
) -> Instruction:
    return Instruction(opcode, engine, (*_header(engine), *fields), doc, meaning, exclusive, constraints)


def _depthwise(config: Config) -> Instruction:
    most = config.depthwise.columns

    def fits(values: Mapping[str, Any]) -> Any:
        before_last = values["extent_out2"] - 1
        return before_last + (before_last & -values["double_x"]) + values["extent_red2"] <= most

    return _instruction(
        Opcode.DEPTHWISE,
        Engine.COMPUTE,
        depthwise_fields(config),
        "convolve every channel with its own kernel, then the epilogue",
        lambda mem: semantics.depthwise(config, mem),
        constraints=(Constraint(f"an input row must be at most {most} pixels long (`depthwise.columns`)", fits),),
    )


def _row(config: Config) -> Instruction:
    first_mapping = min(op.code for op in ROW_OPS if not op.reduce)  # reductions have the lower numbers

    def goes_to_acc(values: Mapping[str, Any]) -> Any:
        return (values["op"] >= first_mapping) | (values["to_acc"] > values["bias_enable"])

    def has_one_step(values: Mapping[str, Any]) -> Any:
        extents = values["extent_red0"] | values["extent_red1"] | values["extent_red2"]
        return (values["op"] < first_mapping) | (extents <= 1)

    return _instruction(
        Opcode.ROW,
        Engine.COMPUTE,
        row_fields(config),
        "reduce rows, or compute from each row's own result, then the epilogue",
        lambda mem: row(config, mem, ROW_OPS),
        constraints=(
            Constraint("the result of a reduction must go to acc, without a bias", goes_to_acc),
            Constraint("an operation that is no reduction must have reduction extents of 1", has_one_step),
        ),
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
        fields = plain_fields(config, space, depth, semantics.memories(config)[space].shape[1])
        return _instruction(opcode, Engine.LOAD, fields, doc, lambda mem: semantics.load_plain(config, mem, space))

    tables = plain(Opcode.LOAD_TBL, "tbl", config.epilogue.tables, "load lookup tables")
    table = (
        _instruction(
            Opcode.LOAD_ACT, Engine.LOAD, load_act_fields(config),
            "load a strided, padded box of rows into the activation scratchpad",
            lambda mem: semantics.load_act(config, mem),
        ),
        plain(Opcode.LOAD_WGT, "wgt", config.wgt_depth, "load weights"),
        plain(Opcode.LOAD_PRM, "prm", config.prm_depth, "load epilogue parameters"),
        *((tables,) if config.epilogue.tables else ()),
        _instruction(
            Opcode.GEMM, Engine.COMPUTE, gemm_fields(config), "multiply and accumulate, then the epilogue",
            lambda mem: semantics.gemm(config, mem),
        ),
        _instruction(
            Opcode.VECTOR, Engine.COMPUTE, vector_fields(config, ops), "reduce elementwise, then the epilogue",
            lambda mem: semantics.vector(config, mem, ops), exclusive=(("from_acc", "accumulate"),),
        ),
        *((_depthwise(config),) if config.depthwise.enabled else ()),
        *((_row(config),) if config.vector.rows else ()),
        _instruction(
            Opcode.STORE_ACT, Engine.STORE, box_fields(config),
            "store a strided box of rows from the activation scratchpad",
            lambda mem: semantics.store_act(config, mem),
        ),
    )  # fmt: skip
    return InstructionSet(config, ops, ROW_OPS if config.vector.rows else (), table)
