"""The instruction set's reference page, generated from the tables."""

from __future__ import annotations

from collections.abc import Iterator

from tilewright.isa import semantics
from tilewright.isa.config import Config
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.instructions import Engine, Instruction, InstructionSet
from tilewright.isa.ir import Allocate, Block, Call, For, If, Stmt, Store
from tilewright.isa.ir_text import expression_text
from tilewright.isa.order import RESULT_STEPS
from tilewright.isa.registers import REGISTERS, Error
from tilewright.isa.row_ops import EXP_BASE, EXP_STEP, LOG_BASE, LOG_STEP

_INTRODUCTION = """\
# The instruction set

This page is generated from the instruction table by `tools/regenerate.py`; it shows the configuration
`{name}` (hash `{hash}`). Field widths follow from the configuration; the structure does not change.

A program is a sequence of instructions of {size} bytes each, little endian, in DRAM at a multiple of 64
bytes. The fields of an instruction follow one another from bit 0 without gaps; the bits above the last field
are ignored. Fields of 0 bits do not exist in this configuration and read as 0. Strides are two's complement
modulo their width: only the sum of base and strides, modulo the memory's depth, matters.

Fetch hands each instruction to the queue of its engine ({engines}). Every engine works its queue in order.
For every ordered pair of engines there is a token counter, zero when a program starts. An instruction with
`wait` bits starts after taking one token from each engine named; when it is complete it gives one token to
each engine that its `signal` bits name. A compute instruction with `fence` also waits until all earlier
compute instructions have written their results. Without token or fence, no order between instructions of
different engines, or between the results of one and the reads of a later compute instruction, may be assumed, but
one: a compute step reads what was completed at least {result_steps} compute steps before it. (The steps of a compute
instruction are the iterations of its loops, of DEPTHWISE its results at least; the last iteration of the reduction
loops completes a result.)

In the meanings below, operators bind as in Python. All arithmetic on fields and addresses is 64 bits wide and
wraps (`1 << 63` is negative); `i8(..)`, `i32(..)`, `i64(..)` convert (narrowing keeps the low bits, widening is by
the sign of the source, `u8` unsigned); `i32` arithmetic wraps, too; `//` and `%` round down; `>>` is arithmetic;
`select(c, a, b)` is `a` where `c` holds, else `b`, and the other one is not looked at. Within one instruction reads
never see the instruction's own writes: an instruction that reads an entry that it also writes is not allowed, but
one that adds to sums in place: `accumulate` with `to_acc`, `b` and `d` with the same base and strides, each result with
an entry of its own.
"""


def render(isa: InstructionSet) -> str:
    """Return the page as Markdown."""
    config = isa.config
    introduction = _INTRODUCTION.format(
        result_steps=RESULT_STEPS,
        name=config.name,
        hash=config.hash,
        size=isa.instruction_bytes,
        engines=", ".join(f"`{e}`" for e in Engine),
    )
    parts = [introduction, *_configuration(config), *_memories(config)]
    for instruction in isa.instructions:
        parts += _instruction(isa, instruction)
    parts += [*_vector_ops(isa), *(_row_ops(isa) if isa.row_ops else ()), *_registers()]
    return "\n".join(parts) + "\n"


def _table(heads: tuple[str, ...], rows: Iterator[tuple[object, ...]] | list[tuple[object, ...]]) -> list[str]:
    lines = [_row(heads), _row(("---",) * len(heads))]
    return [*lines, *map(_row, rows), ""]


def _row(cells: tuple[object, ...]) -> str:
    return "| " + " | ".join(str(c).replace("|", "\\|") for c in cells) + " |"


def _configuration(config: Config) -> list[str]:
    rows: list[tuple[object, ...]] = [
        (
            f"`{path}`",
            limits.doc,
            limits.describe() if not isinstance(value, bool) else "true or false",
            str(value).lower(),
        )
        for path, limits, value in config.describe_fields()
    ]
    return ["## Configuration", "", *_table(("field", "meaning", "range", f"`{config.name}`"), rows)]


def _memories(config: Config) -> list[str]:
    docs = {
        "act": f"activations, `[atom][batch row * {config.atom} + channel]`; {config.ratio} atom(s) make a row of "
        f"{config.lanes} channels, the unit of LOAD_ACT and STORE_ACT",
        "wgt": "weights, `[entry][output channel * block_in + input channel]`",
        "acc": "sums, `[entry][batch row * block_out + output channel]`",
        "prm": "epilogue parameters, 8 bytes a channel: bias (4 bytes, little endian), multiplier (3), shift (1)"
        + ("; the shift's highest bit makes the sum negative before a bias is added" if config.vector.rows else ""),
        "tbl": "lookup tables, indexed by value + 128",
    }
    buffers = semantics.memories(config)
    rows: list[tuple[object, ...]] = [
        (f"`{s}`", buffers[s].dtype, list(buffers[s].shape), doc) for s, doc in docs.items()
    ]
    rows.append(("`dram`", "u8", "[...]", "external memory; addresses are relative to the register BASE"))
    return ["## Memories", "", *_table(("memory", "type", "shape", "content"), rows)]


def _instruction(isa: InstructionSet, instruction: Instruction) -> list[str]:
    lines = [
        f"## {instruction.name}",
        "",
        f"{instruction.doc.capitalize()}. Engine: `{instruction.engine}`. {instruction.bits} bits.",
        "",
    ]
    lines += _table(("bits", "field", "width", "meaning"), _field_rows(instruction))
    if instruction.exclusive:
        lines += [f"`{'` and `'.join(group)}` exclude each other." for group in instruction.exclusive] + [""]
    lines += [f"{constraint.doc[0].upper()}{constraint.doc[1:]}." for constraint in instruction.constraints]
    lines += [""] if instruction.constraints else []
    body = instruction.meaning(semantics.memories(isa.config))
    return [*lines, "```", *_statement(body, 0), "```", ""]


def _field_rows(instruction: Instruction) -> Iterator[tuple[object, ...]]:
    offset = 0
    for f in instruction.fields:
        place = f"{offset + f.bits - 1}:{offset}" if f.bits else "-"
        yield place, f"`{f.name}`", f.bits, _field_doc(instruction, f)
        offset += f.bits


def _field_doc(instruction: Instruction, f: Field) -> str:
    if f.kind is FieldKind.OPCODE:
        return f"{f.doc}: {int(instruction.opcode)}"
    signed = "; signed" if f.signed else ""
    aligned = f"; a multiple of {f.align}" if f.align > 1 else ""
    return f"{f.doc}{signed}{aligned}"


def _statement(stmt: Stmt, depth: int) -> list[str]:
    pad = "  " * depth
    match stmt:
        case Block(body):
            return [line for s in body for line in _statement(s, depth)]
        case For(var, extent, body):
            return [f"{pad}for {var.name} in range({expression_text(extent)}):", *_statement(body, depth + 1)]
        case If(condition, then, otherwise):
            lines = [f"{pad}if {expression_text(condition)}:", *_statement(then, depth + 1)]
            if otherwise is not None:
                lines += [f"{pad}else:", *(_statement(otherwise, depth + 1) or [f"{pad}  illegal instruction"])]
            return lines
        case Allocate(buffer, body):
            return [
                f"{pad}{buffer.name} = {buffer.dtype}[{', '.join(map(str, buffer.shape))}]",
                *_statement(body, depth),
            ]
        case Store(buffer, indices, value):
            place = ", ".join(map(expression_text, indices))
            return [f"{pad}{buffer.name}[{place}] = {expression_text(value)}"]
        case Call(name, operands):
            return [f"{pad}{name}({', '.join(f'{n}={expression_text(v)}' for n, v in operands)})"]
        case _:
            raise TypeError(f"not a statement: {stmt!r}")


def _vector_ops(isa: InstructionSet) -> list[str]:
    rows: list[tuple[object, ...]] = [
        (op.code, f"`{op.name}`", f"`{expression_text(op.combine)}`", op.reduce, op.doc) for op in isa.vector_ops
    ]
    return [
        "## Vector operations",
        "",
        *_table(("`op`", "name", "a step contributes", "steps combine by", "meaning"), rows),
    ]


def _row_ops(isa: InstructionSet) -> list[str]:
    rows: list[tuple[object, ...]] = [
        (op.code, f"`{op.name}`", op.reduce or "-", "yes" if op.uses_b else "no", op.doc) for op in isa.row_ops
    ]
    tables = [f"`{t.name}`: {', '.join(map(str, t.values))}" for t in (EXP_BASE, EXP_STEP, LOG_BASE, LOG_STEP)]
    return [
        "## Row operations",
        "",
        *_table(("`op`", "name", "channels and steps combine by", "reads b", "meaning"), rows),
        "Powers and logarithms of two are interpolated in these tables:",
        "",
        *(f"- {text}" for text in tables),
        "",
    ]


def _registers() -> list[str]:
    rows: list[tuple[object, ...]] = []
    for r in REGISTERS:
        rows.append((f"0x{r.offset:03X}", f"`{r.name}`", r.access, r.doc))
        rows += [("", f"bits {f.shift + f.bits - 1}:{f.shift} `{f.name}`", "", f.doc) for f in r.fields]
    errors: list[tuple[object, ...]] = [(int(e), f"`{e.name}`") for e in Error]
    return [
        *("## Registers", "", "32 bits each, over AXI4-Lite.", ""),
        *_table(("offset", "register", "access", "meaning"), rows),
        *("Values of `STATUS.error`:", ""),
        *_table(("value", "error"), errors),
    ]
