"""`tilewright isa`: the instruction set of a configuration, its assembler and its disassembler."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NoReturn

import click

from tilewright.cli import completion
from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import config_options, json_option, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable, read_bytes, read_text, write_bytes

if TYPE_CHECKING:
    from tilewright.isa.fields import Field
    from tilewright.isa.instructions import InstructionSet


@click.command(
    "isa",
    cls=TilewrightCommand,
    short_help="Show an instruction set; assemble and disassemble.",
    examples=(
        "tilewright isa --config 8x8",
        "tilewright isa --config my.toml --c-header -o tilewright_isa.h",
        "tilewright isa --assemble program.s -o program.bin",
        "tilewright isa --disassemble program.bin",
        "tilewright isa --json - | jq '.instructions[].name'",
    ),
)
@config_options("16x16")
@click.option("--markdown", "action", flag_value="markdown", help="Print the whole reference page, meanings included.")
@click.option("--c-header", "action", flag_value="c-header", help="Print the C header: registers, opcodes, encoders.")
@click.option(
    "--assemble", "text_file", metavar="FILE", help="Assemble a text; needs -o.", shell_complete=completion.files
)
@click.option(
    "--disassemble", "binary_file", metavar="FILE", help="Disassemble instructions.", shell_complete=completion.files
)
@click.option(
    "-o", "--output", metavar="FILE", help="Write there instead of to standard output.", shell_complete=completion.files
)
@json_option
@quiet_option
def command(
    config_name: str, changes: tuple[str, ...], action: str | None, text_file: str | None, binary_file: str | None,
    output: str | None, json_file: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Show the instruction set that a configuration has, or assemble and disassemble its programs."""
    if sum(choice is not None for choice in (action, text_file, binary_file)) > 1:
        _refuse("choose one of --markdown, --c-header, --assemble and --disassemble")
    if text_file is not None and output is None:
        _refuse("--assemble needs -o FILE")
    if action is not None and json_file is not None:
        _refuse(f"--{action} prints a text; --json goes without it")
    for path in (output, json_file):
        check_writable(path)
    from tilewright.isa.instructions import instruction_set

    isa, terminal = instruction_set(read_config(config_name, changes)), Terminal(quiet, json_file)
    if text_file is not None:
        _assemble(isa, text_file, str(output), terminal)
    elif binary_file is not None:
        text = _disassemble(isa, binary_file)
        terminal.write_json({**_names(isa), "program": text.splitlines()})
        if output is not None or json_file != "-":
            _write(text, output)
    elif action is not None:
        _write(_render(isa, action), output)
    else:
        terminal.write_json(_as_data(isa))
        _show(isa, terminal)


def _refuse(message: str) -> NoReturn:
    raise click.UsageError(message, click.get_current_context())


def _write(text: str, output: str | None) -> None:
    if output is None:
        click.echo(text, nl=False)
    else:
        write_bytes(output, text.encode())


def _render(isa: InstructionSet, action: str) -> str:
    from tilewright.isa import c_header, document

    return document.render(isa) if action == "markdown" else c_header.render(isa)


def _assemble(isa: InstructionSet, path: str, output: str, terminal: Terminal) -> None:
    from tilewright.isa.assembly import assemble
    from tilewright.isa.errors import ProgramError

    try:
        data = assemble(read_text(path), isa)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None
    write_bytes(output, data)
    count = len(data) // isa.instruction_bytes
    terminal.write_json({**_names(isa), "instructions": count, "bytes": len(data), "output": output})
    terminal.show(f"{count} instructions, {len(data)} bytes, in {output}")


def _disassemble(isa: InstructionSet, path: str) -> str:
    from tilewright.isa.assembly import disassemble
    from tilewright.isa.errors import ProgramError

    try:
        return disassemble(read_bytes(path), isa)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


def _names(isa: InstructionSet) -> dict[str, Any]:
    return {"config": isa.config.name, "hash": isa.config.hash}


def _as_data(isa: InstructionSet) -> dict[str, Any]:
    instructions = [
        {
            "opcode": int(instruction.opcode), "name": instruction.name, "engine": str(instruction.engine),
            "bits": instruction.bits, "doc": instruction.doc, "fields": _fields(instruction.fields),
        }
        for instruction in isa.instructions
    ]  # fmt: skip
    operations = [{"code": op.code, "name": op.name, "doc": op.doc} for op in isa.vector_ops]
    sizes = {"instruction_bytes": isa.instruction_bytes}
    return {**_names(isa), **sizes, "instructions": instructions, "vector_operations": operations}


def _fields(fields: Sequence[Field]) -> list[dict[str, Any]]:
    """Give fields with their places; the first begins at bit 0."""
    firsts = accumulate((field.bits for field in fields), initial=0)
    return [
        {"name": field.name, "first_bit": first, "bits": field.bits, "kind": str(field.kind), "doc": field.doc}
        for field, first in zip(fields, firsts, strict=False)
    ]


def _show(isa: InstructionSet, terminal: Terminal) -> None:
    from rich.table import Table

    title = f"{isa.config.name}, hash {isa.config.hash}: instructions of {isa.instruction_bytes} bytes"
    table = Table("opcode", "instruction", "engine", "bits", "meaning", title=title, title_justify="left")
    for instruction in isa.instructions:
        table.add_row(
            str(int(instruction.opcode)),
            instruction.name,
            str(instruction.engine),
            str(instruction.bits),
            instruction.doc,
        )
    operations = Table("op", "vector operation", "meaning")
    for op in isa.vector_ops:
        operations.add_row(str(op.code), op.name, op.doc)
    terminal.show(table, operations, "The fields and the exact meanings: `tilewright isa --markdown`.")
