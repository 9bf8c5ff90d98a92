"""Assembler and disassembler, both read off the instruction table.

One instruction a line: mnemonic, then `operand=value` for what is not zero; `;` starts a comment. `wait` and
`signal` take engine names joined by `+`, choices their name, everything else an integer in Python's notation. A
line `.config HASH` binds the text to a configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilewright.isa.errors import ProgramError
from tilewright.isa.fields import Field, FieldKind
from tilewright.isa.instructions import Instruction, InstructionSet

_WRAPPING = (FieldKind.STRIDE, FieldKind.DRAM_STRIDE)


def disassemble(data: bytes, isa: InstructionSet) -> str:
    """Return the text of a program; `assemble` gives the same bytes back.

    Raises
    ------
    ProgramError
        For a size that is not whole instructions, or an illegal opcode.
    """
    lines = [f".config {isa.config.hash} ; {isa.config.name}"]
    lines += [format_instruction(instruction, values) for instruction, values in decode_program(data, isa)]
    return "\n".join(lines) + "\n"


def decode_program(data: bytes, isa: InstructionSet) -> Iterator[tuple[Instruction, dict[str, int]]]:
    """Yield instruction and operands of every instruction of a program."""
    size = isa.instruction_bytes
    if len(data) % size:
        raise ProgramError(f"a program must be a multiple of {size} bytes, not {len(data)}")
    for start in range(0, len(data), size):
        try:
            yield isa.decode(data[start : start + size])
        except ProgramError as error:
            raise ProgramError(f"instruction {start // size}: {error}") from None


def format_instruction(instruction: Instruction, values: Mapping[str, int]) -> str:
    """Return one instruction as a line of assembly."""
    shown = [
        f"{f.name}={_format_value(instruction, f, values[f.name])}"
        for f in instruction.operands.values()
        if values.get(f.name)
    ]
    if "op" in instruction.operands and not values.get("op"):
        shown.insert(0, f"op={_format_value(instruction, instruction.operands['op'], 0)}")
    return " ".join([instruction.name, *shown])


def _format_value(instruction: Instruction, f: Field, value: int) -> str:
    if f.kind is FieldKind.SYNC:
        return "+".join(engine for i, engine in enumerate(instruction.engine.others) if value >> i & 1)
    if f.choices is not None:
        return next((name for name, code in f.choices.items() if code == value), str(value))
    if f.kind in _WRAPPING and value >= 1 << (f.bits - 1) and f.bits > 1:
        return str(value - (1 << f.bits))
    return hex(value) if f.kind in (FieldKind.ADDRESS, FieldKind.DRAM_ADDRESS) else str(value)


def assemble(text: str, isa: InstructionSet) -> bytes:
    """Return the bytes of a program.

    Raises
    ------
    ProgramError
        Naming the line, the subject and the value.
    """
    program = bytearray()
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.split(";")[0].split()
        if not words:
            continue
        try:
            program += _assemble_line(words, isa)
        except ProgramError as error:
            raise ProgramError(f"line {number}: {error}") from None
    return bytes(program)


def _assemble_line(words: list[str], isa: InstructionSet) -> bytes:
    mnemonic, *operands = words
    if mnemonic == ".config":
        _check_config(operands, isa)
        return b""
    if mnemonic not in isa.by_name:
        raise ProgramError(f"unknown instruction `{mnemonic}`; known: {', '.join(isa.by_name)}")
    return isa.encode(mnemonic, _parse_operands(isa.by_name[mnemonic], operands))


def _check_config(operands: list[str], isa: InstructionSet) -> None:
    if len(operands) != 1 or operands[0] != isa.config.hash:
        raise ProgramError(
            f"the text is for configuration {' '.join(operands) or '(none)'}, not {isa.config.hash} ({isa.config.name})"
        )


def _parse_operands(instruction: Instruction, words: list[str]) -> dict[str, int]:
    values: dict[str, int] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise ProgramError(f"{instruction.name}: an operand is written name=value, not `{word}`")
        if name not in instruction.operands:
            raise ProgramError(f"{instruction.name} has no operand `{name}`; it has {', '.join(instruction.operands)}")
        if name in values:
            raise ProgramError(f"{instruction.name}.{name} is given twice")
        values[name] = _parse_value(instruction, instruction.operands[name], text)
    return values


def _parse_value(instruction: Instruction, f: Field, text: str) -> int:
    if f.kind is FieldKind.SYNC:
        return _parse_engines(instruction, f, text)
    if f.choices is not None and text in f.choices:
        return f.choices[text]
    try:
        return int(text, 0)
    except ValueError:
        kind = f"one of {', '.join(f.choices)}" if f.choices is not None else "an integer"
        raise ProgramError(f"{instruction.name}.{f.name} must be {kind}, not `{text}`") from None


def _parse_engines(instruction: Instruction, f: Field, text: str) -> int:
    names = [str(engine) for engine in instruction.engine.others]
    mask = 0
    for name in text.split("+"):
        if name not in names:
            raise ProgramError(f"{instruction.name}.{f.name} must be of {', '.join(names)} joined by +, not `{text}`")
        mask |= 1 << names.index(name)
    return mask
