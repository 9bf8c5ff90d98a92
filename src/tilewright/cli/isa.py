"""`tilewright isa`: the instruction set of a configuration, its assembler and its disassembler."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import click

from tilewright.cli.group import TilewrightCommand
from tilewright.cli.options import config_options, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable, read_bytes, read_text, write_bytes

if TYPE_CHECKING:
    from tilewright.isa.instructions import InstructionSet


@click.command(
    "isa",
    cls=TilewrightCommand,
    examples=(
        "tilewright isa --config 8x8",
        "tilewright isa --config my.toml --c-header -o tilewright_isa.h",
        "tilewright isa --assemble program.s -o program.bin",
        "tilewright isa --disassemble program.bin",
    ),
)
@config_options("16x16")
@click.option("--markdown", "action", flag_value="markdown", help="Print the whole reference page, meanings included.")
@click.option("--c-header", "action", flag_value="c-header", help="Print the C header: registers, opcodes, encoders.")
@click.option("--assemble", "text_file", metavar="FILE", help="Assemble a text; needs -o.")
@click.option("--disassemble", "binary_file", metavar="FILE", help="Disassemble instructions.")
@click.option("-o", "--output", metavar="FILE", help="Write there instead of to standard output.")
@quiet_option
def command(
    config_name: str, changes: tuple[str, ...], action: str | None, text_file: str | None, binary_file: str | None,
    output: str | None, quiet: bool,
) -> None:  # fmt: skip
    """Show the instruction set that a configuration has."""
    if sum(choice is not None for choice in (action, text_file, binary_file)) > 1:
        _refuse("choose one of --markdown, --c-header, --assemble and --disassemble")
    if text_file is not None and output is None:
        _refuse("--assemble needs -o FILE")
    check_writable(output)
    from tilewright.isa.instructions import instruction_set

    isa = instruction_set(read_config(config_name, changes))
    if text_file is not None:
        _assemble(isa, text_file, str(output), Terminal(quiet))
    elif binary_file is not None:
        _write(_disassemble(isa, binary_file), output)
    elif action is not None:
        _write(_render(isa, action), output)
    else:
        _show(isa, Terminal(quiet))


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
    terminal.show(f"{len(data) // isa.instruction_bytes} instructions, {len(data)} bytes, in {output}")


def _disassemble(isa: InstructionSet, path: str) -> str:
    from tilewright.isa.assembly import disassemble
    from tilewright.isa.errors import ProgramError

    try:
        return disassemble(read_bytes(path), isa)
    except ProgramError as error:
        raise ProgramError(f"{path}: {error}") from None


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
