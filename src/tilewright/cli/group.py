"""The command group: loads commands when they are asked for, and turns errors into one line and an exit code."""

from __future__ import annotations

import difflib
import importlib
import re
import sys
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any, NoReturn

import click

from tilewright.isa.errors import DeviceError, TilewrightError, ToolchainError


class Exit(IntEnum):
    """What the exit codes mean."""

    OK = 0
    FAILED = 1  # a check or a run failed
    USAGE = 2  # wrong usage or bad input
    TOOLCHAIN = 3  # a tool is missing
    INTERRUPTED = 130


class TilewrightCommand(click.Command):
    """A command whose help ends in examples.

    Parameters
    ----------
    examples : sequence of str
        Command lines.
    """

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each."""
        with formatter.section("Examples"):
            for line in self._examples:
                formatter.write("".join(f"  {part}\n" for part in _broken(line, formatter.width - 4)))


class TilewrightGroup(click.Group):
    """A group whose commands lie in modules, each as an attribute `command`.

    Parameters
    ----------
    modules : mapping of str to str
        Module of each command, in the order in which help lists them.
    """

    def __init__(self, name: str, *, modules: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(
            name, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}, **kwargs
        )
        self._modules = dict(modules)
        version = click.Option(
            ["--version"],
            is_flag=True,
            expose_value=False,
            is_eager=True,
            callback=_print_version,
            help="Show the version.",
        )
        self.params.append(version)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands."""
        return list(self._modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load a command."""
        if cmd_name not in self._modules:
            return None
        command: click.Command = importlib.import_module(self._modules[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; for a name that is none, offer the nearest."""
        near = difflib.get_close_matches(args[0], self._modules, n=1)
        if near and args[0] not in self._modules:
            raise click.UsageError(f"no such command '{args[0]}': did you mean `{near[0]}`?", ctx)
        return super().resolve_command(ctx, args)

    def main(  # type: ignore[override]  # the overloads say what `standalone_mode` returns
        self, args: Sequence[str] | None = None, *, standalone_mode: bool = True, **kwargs: Any
    ) -> Any:
        """Run, and exit with one of `Exit`; a user's mistake is one line on stderr, never a traceback."""
        if not standalone_mode:
            return super().main(args, standalone_mode=False, **kwargs)
        try:
            code = super().main(args, standalone_mode=False, **kwargs)
        except click.exceptions.NoArgsIsHelpError as error:
            click.echo(error.format_message())
            sys.exit(Exit.USAGE)
        except click.UsageError as error:
            _fail(f"{_lower(error.format_message())}{_hint(error)}", Exit.USAGE)
        except click.ClickException as error:
            _fail(error.format_message(), Exit.USAGE)
        except TilewrightError as error:
            _fail(str(error), exit_code(error))
        except (click.Abort, KeyboardInterrupt):
            _fail("interrupted", Exit.INTERRUPTED)
        except BrokenPipeError:  # the reader of a pipe went away
            sys.stderr.close()
            sys.exit(Exit.FAILED)
        except MemoryError:
            _fail("out of memory", Exit.FAILED)
        sys.exit(code if isinstance(code, int) else Exit.OK)


def _broken(line: str, width: int) -> list[str]:
    """Break a command line where the shell lets one be broken: before an option or a pipe, behind a backslash."""
    lines = [""]
    for part in re.split(r" (?=--|\| )", line):
        longer = f"{lines[-1]} {part}" if lines[-1] else part
        if len(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(f"    {part}")
    return [*(f"{line} \\" for line in lines[:-1]), lines[-1]]


def exit_code(error: TilewrightError) -> Exit:
    """Give the exit code of an error."""
    if isinstance(error, ToolchainError):
        return Exit.TOOLCHAIN
    return Exit.FAILED if isinstance(error, DeviceError) else Exit.USAGE


def _fail(message: str, code: Exit) -> NoReturn:
    click.echo("error: " + " ".join(message.split()), err=True)
    sys.exit(code)


def _lower(message: str) -> str:
    return (message[:1].lower() + message[1:]).rstrip(".")


def _hint(error: click.UsageError) -> str:
    return f" (see `{error.ctx.command_path} --help`)" if error.ctx else ""


def _print_version(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if not value or ctx.resilient_parsing:
        return
    import tilewright

    click.echo(f"tilewright {tilewright.__version__}")
    ctx.exit()
