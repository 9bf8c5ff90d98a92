"""What `tilewright run` writes besides its table: a timeline, an HTML report, energies from a table of one's own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tilewright.cli import completion
from tilewright.cli.terminal import Terminal, check_writable, write_bytes, write_text

if TYPE_CHECKING:
    from tilewright.api import Compiled, Run
    from tilewright.sim.energy import EnergyTable

Command = TypeVar("Command", bound=Callable[..., Any])

_file = functools.partial(click.option, shell_complete=completion.files)


@dataclass(frozen=True)
class Views:
    """What was asked for.

    Attributes
    ----------
    timeline, report : str or None
        Files to write.
    compare : tuple of str
        Runs to compare with in the report.
    energy : str or None
        Table of energies.
    clock_mhz : float
        Turns cycles into time.
    """

    timeline: str | None = None
    report: str | None = None
    compare: tuple[str, ...] = ()
    energy: str | None = None
    clock_mhz: float = 1000.0

    def check(self, on: str) -> None:
        """Refuse what cannot be, before anything takes long."""
        context = click.get_current_context()
        for path in (self.timeline, self.report):
            check_writable(path)
        if self.timeline is not None and on in ("functional", "board"):
            raise click.UsageError("--timeline needs a simulator that counts cycles, such as --on fast", context)
        if self.compare and self.report is None:
            raise click.UsageError("--compare needs --report", context)
        self.energy_table()
        self._others()

    def energy_table(self) -> EnergyTable:
        """Read the table of energies, or give the one that ships with Tilewright."""
        from tilewright.sim.energy import EnergyTable

        return EnergyTable.default() if self.energy is None else EnergyTable.load(self.energy)

    def _others(self) -> list[dict[str, Any]]:
        from tilewright.html_report import read_comparison

        return [read_comparison(path) for path in self.compare]

    def write(
        self, compiled: Compiled, result: Run, data: dict[str, Any], bytes_per_cycle: float, terminal: Terminal
    ) -> None:
        """Write the files that were asked for; `data` is from `run_data`."""
        if self.timeline is not None:
            from tilewright.sim.trace.perfetto import timeline

            with terminal.step("timeline"):
                write_bytes(self.timeline, timeline(compiled.program, result.launches, self.clock_mhz))
        if self.report is not None:
            from tilewright.html_report import html_report

            with terminal.step("report"):
                text = html_report(compiled, result, data, bytes_per_cycle, self.clock_mhz, self._others())
                write_text(self.report, text)


def view_options(command: Command) -> Command:
    """Add `--timeline`, `--report`, `--compare`, `--energy` and `--clock`; the command gets them as `views`."""

    @functools.wraps(command)
    def with_views(
        *args: Any, timeline: str | None, report: str | None, compare: tuple[str, ...], energy: str | None,
        clock_mhz: float, **others: Any,
    ) -> Any:  # fmt: skip
        return command(*args, views=Views(timeline, report, compare, energy, clock_mhz), **others)

    options = (
        _file("--timeline", metavar="F.perfetto-trace", help="Write a timeline for ui.perfetto.dev."),
        _file("--report", metavar="F.html", help="Write a report as one HTML file."),
        _file("--compare", metavar="F.json", multiple=True, help="Another run's --json, for the report."),
        _file("--energy", metavar="TABLE.toml", help="Energies by operation, instead of published ones."),
        click.option(
            "--clock", "clock_mhz", type=click.FloatRange(0, 100_000, min_open=True), metavar="MHZ", default=1000.0,
            show_default=True, help="Turns cycles into time.",
        ),
    )  # fmt: skip
    decorated: Any = with_views
    for option in reversed(options):
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]  # what click makes of a command
