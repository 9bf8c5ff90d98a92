"""What the shell completes beside options and choices: names of ours, and files of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import click
from click.shell_completion import CompletionItem

#: What click's `shell_complete` takes.
Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def files(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows its files."""
    return [CompletionItem(incomplete, type="file")]


def folders(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Leave it to the shell, which knows its folders."""
    return [CompletionItem(incomplete, type="dir")]


def configs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give presets, boards and files."""
    from tilewright.isa.config import PRESETS

    presets = {name: f"preset, {c.gemm.block_in}x{c.gemm.block_out}" for name, c in PRESETS.items()}
    return [*files(context, parameter, incomplete), *_starting(presets | _board_titles(), incomplete)]


def changes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give fields of a configuration and, behind `=`, values of the field."""
    from tilewright.isa.config import Config

    fields = {path: (limits, value) for path, limits, value in Config().describe_fields()}
    path, equals, _ = incomplete.partition("=")
    if not equals:
        return _starting({f"{name}=": limits.doc for name, (limits, _) in fields.items()}, incomplete)
    if path not in fields:
        return []
    limits, value = fields[path]
    allowed = ["true", "false"] if isinstance(value, bool) else _allowed(limits.low, limits.high, limits.power_of_two)
    return _starting({f"{path}={choice}": "" for choice in allowed}, incomplete)


def _allowed(low: int, high: int, is_power_of_two: bool) -> list[str]:
    """Give the values that a field may have, or the ends of a long range."""
    if is_power_of_two:
        return [str(1 << bit) for bit in range(high.bit_length()) if 1 << bit >= low]
    return [str(value) for value in (range(low, high + 1) if high - low < 16 else (low, high))]


def devices(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the devices that `synth` knows."""
    from tilewright.fpga.devices import DEVICES

    return _starting({name: device.part for name, device in DEVICES.items()}, incomplete)


def routable_devices(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the devices that `route` places and routes for."""
    from tilewright.fpga.devices import DEVICES
    from tilewright.fpga.route import FLOWS

    routable = {name: device.part for name, device in DEVICES.items() if device.family.name in FLOWS}
    return _starting(routable, incomplete)


def boards(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the boards."""
    return _starting(_board_titles(), incomplete)


def _board_titles() -> dict[str, str]:
    from tilewright.fpga.boards import BOARDS

    return {name: board.title for name, board in BOARDS.items()}


def targets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give what `compile` compiles for."""
    from tilewright.compiler.targets.cpu.processors import FAMILIES

    processors = {f"cpu:{family}": found.triple for family, found in FAMILIES.items()}
    return _starting({"accelerator": "", "cpu": "this computer", **processors}, incomplete)


def levels(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the levels of the processor in `--target`, or of all."""
    from tilewright.compiler.targets.cpu.processors import FAMILIES

    asked = str(context.params.get("target") or "").partition(":")[2].partition("-")[0]
    families = [FAMILIES[asked]] if asked in FAMILIES else FAMILIES.values()
    return _starting(dict.fromkeys((name for family in families for name in family.levels), ""), incomplete)


def host_levels(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the levels that this processor has."""
    from tilewright.compiler.targets.cpu.levels import host_levels as levels_here

    return _starting([level.name for level in levels_here()], incomplete)


def budgets(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give times that a search may take."""
    return _starting(("30s", "60s", "5m", "1h"), incomplete)


def metrics(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give what points of a sweep are measured by."""
    from tilewright.sweep.metrics import METRICS

    return _starting({name: metric.doc for name, metric in METRICS.items()}, incomplete)


def cases(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Give the cases of the suite that stands before, or of all."""
    from tilewright.bench.suites import SUITES

    before = [context.params.get("suite"), *context.args]  # click leaves it in `args` where an option lacks its value
    chosen = [suite for name, suite in SUITES.items() if name in before] or SUITES.values()
    return _starting([case for suite in chosen for case in suite.cases], incomplete)


def _starting(names: Mapping[str, str] | Iterable[str], incomplete: str) -> list[CompletionItem]:
    described = names if isinstance(names, Mapping) else dict.fromkeys(names, "")
    return [CompletionItem(name, help=text or None) for name, text in described.items() if name.startswith(incomplete)]
