"""What configurations take of FPGAs, and how fast they are where an open flow places and routes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tilewright.bench.record import Record, array_of
from tilewright.bench.suites import Context

if TYPE_CHECKING:
    from rich.table import Table

    from tilewright.isa.config import Config

SUITE = "fpga"

#: A device for each family, and what it is shown with.
TARGETS = ("xc7z020", "xczu7ev", "5cseba6", "lfe5u-85f")
CONFIGS = ("4x4", "8x8", "16x16", "16x32", "32x32")
BOARDS = ("pynq-z1", "de10-nano", "ulx3s-85f")
ROUTED = ("4x4", "ulx3s-85f", "8x8")

CASES = (
    *(f"{config} on {target}" for config in CONFIGS for target in TARGETS),
    *(f"board {board}" for board in BOARDS),
    *(f"{config} routed on lfe5u-85f" for config in ROUTED),
)

_UNITS = {"lut": "LUT", "ff": "FF", "dsp": "DSP", "ram": "block RAM"}


def config_of(name: str) -> Config:
    """Return a configuration by its array, or a board's."""
    from tilewright.fpga.boards import BOARDS
    from tilewright.isa.config import PRESETS

    if name == "4x4":
        return PRESETS["tiny"]
    if name in BOARDS:
        return BOARDS[name].config
    if name == "16x32":
        memory = {"act_kib": 256, "wgt_kib": 256, "acc_kib": 64}
        return PRESETS["16x16"].with_values(name=name, gemm={"block_out": 32}, memory=memory, bus={"data_bits": 256})
    return PRESETS[name]


def measure(case: str, context: Context) -> Iterator[Record]:
    """Record the resources of a configuration, or its frequency on a device."""
    from tilewright.fpga.boards import find_board
    from tilewright.fpga.devices import find_device

    if case.startswith("board "):
        board = find_board(case.removeprefix("board "))
        yield from _resources(case, board.config, board.device.name)
        return
    name, _, rest = case.partition(" ")
    config, device = config_of(name), find_device(rest.rpartition(" ")[2])
    if rest.startswith("routed"):
        yield from _frequency(case, config, device.name)
    else:
        yield from _resources(case, config, device.name)


def _resources(case: str, config: Config, target: str) -> Iterator[Record]:
    from tilewright.fpga.devices import find_device
    from tilewright.fpga.report import synthesized
    from tilewright.fpga.synthesis import tool_version
    from tilewright.sim.rtl.cache import Cache, user_cache

    device = find_device(target)
    found = synthesized(config, device, Cache(user_cache() / "fpga"))
    on = f"yosys {tool_version()}, {found.stage}"
    for kind, unit in _UNITS.items():
        budget = getattr(device.budget, kind)
        value = round(getattr(found.total, kind), 1)
        bound = f"{100 * value / budget:.0f} % of {target}"
        yield Record(
            SUITE, case, array_of(config), kind, value, unit, "lower", bound=bound, config_hash=config.hash, on=on
        )


def _frequency(case: str, config: Config, target: str) -> Iterator[Record]:
    from tilewright.fpga.devices import find_device
    from tilewright.fpga.route import place_and_route
    from tilewright.isa.instructions import instruction_set
    from tilewright.sim.rtl.cache import Cache, user_cache

    found = place_and_route(instruction_set(config), find_device(target), Cache(user_cache() / "fpga"))
    slowest = max(found.delay_by_module.items(), key=lambda item: item[1])
    on = f"{found.tool} {found.version}, {found.stage}, seed {found.seed}"
    yield Record(
        SUITE, case, array_of(config), "fmax", round(found.fmax_mhz, 1), "MHz", "higher",
        bound=f"{slowest[1]:.1f} ns in {slowest[0]}", config_hash=config.hash, on=on,
    )  # fmt: skip


def table(records: list[Record]) -> Table:
    """Give a row to each case."""
    from rich.table import Table

    shown = Table("case", "array", "LUT", "FF", "DSP", "block RAM", "MHz", "tool, stage")
    cases: dict[str, dict[str, Record]] = {}
    for record in records:
        cases.setdefault(record.case, {})[record.metric] = record
    for case, found in cases.items():
        any_record = next(iter(found.values()))
        cells = [f"{found[kind].value:,g}" if kind in found else "" for kind in (*_UNITS, "fmax")]
        shown.add_row(case, any_record.config, *cells, any_record.on or "")
    return shown
