"""What a command writes where: tables to people, JSON to files, progress to terminals only."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


@dataclass
class Terminal:
    """Where one command writes.

    Attributes
    ----------
    quiet : bool
        Write nothing but errors and the data that was asked for.
    json : str, optional
        Path for the command's data as JSON; `-` is standard output, and what people read then goes to stderr.
    seconds : dict of str to float
        Time taken by each finished step.
    """

    quiet: bool = False
    json: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    def console(self) -> Console:
        """Give the console for people."""
        from rich.console import Console

        to_error = self.json == "-"
        stream = sys.stderr if to_error else sys.stdout
        width = None if stream.isatty() else 120
        return Console(file=stream, width=width, highlight=False, soft_wrap=False)

    def show(self, *items: RenderableType) -> None:
        """Print lines (markup allowed) and tables for people."""
        if self.quiet:
            return
        console = self.console()
        for item in items:
            console.print(item, soft_wrap=isinstance(item, str))

    def write_json(self, data: Any) -> None:
        """Write the command's data where `--json` says, if it does."""
        if self.json is None:
            return
        text = json.dumps(data, indent=1) + "\n"
        if self.json == "-":
            sys.stdout.write(text)
        else:
            write_text(self.json, text)

    def keep_json(self, data: Any) -> None:
        """Write what there is so far into the file that `--json` names, so that nothing is lost if the rest fails."""
        if self.json != "-":
            self.write_json(data)

    @contextmanager
    def step(self, name: str) -> Iterator[Progress]:
        """Time a step; on a terminal show that it runs, with a bar when the callback is used."""
        start = time.perf_counter()
        try:
            with self._live(name) as progress:
                yield progress
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def _live(self, name: str) -> Iterator[Progress]:
        if self.quiet or not sys.stderr.isatty():
            yield lambda what, done, total: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bars

        columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(bar_width=24), TimeElapsedColumn())
        with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(name, total=None)

            def progress(what: str, done: int, total: int) -> None:
                bars.update(task, description=f"{name}: {what}", completed=done, total=total if total > 1 else None)

            yield progress


def write_text(path: str | Path, text: str) -> None:
    """Write a file, or raise InputError that names it and says why not."""
    write_bytes(path, text.encode())


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file, or raise InputError that names it and says why not."""
    try:
        Path(path).write_bytes(data)
    except OSError as error:
        raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None


def check_writable(path: str | Path | None) -> None:
    """Refuse an output path early, before the work whose result it is for."""
    if path is None or str(path) == "-":
        return
    target = Path(path)
    if os.path.isdir(target):  # which raises for no name
        raise InputError(f"cannot write `{path}`: it is a folder")
    if not os.path.isdir(target.parent):
        raise InputError(f"cannot write `{path}`: no folder `{target.parent}`")


def read_text(path: str | Path) -> str:
    """Read a file as UTF-8, or raise InputError that names it and says why not."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise InputError(f"cannot read `{path}`: it is not UTF-8 text") from None


def read_bytes(path: str | Path) -> bytes:
    """Read a file, or raise InputError that names it and says why not."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"cannot read `{path}`: {error.strerror or error}") from None
