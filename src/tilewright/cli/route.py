"""`tilewright route`: place and route by an open flow."""

from __future__ import annotations

import click

from tilewright.cli import completion
from tilewright.cli.group import Exit, TilewrightCommand
from tilewright.cli.options import config_options, json_option, quiet_option, read_config
from tilewright.cli.terminal import Terminal, check_writable, write_bytes


@click.command(
    "route",
    cls=TilewrightCommand,
    short_help="Place and route by an open flow: clock and critical path.",
    examples=(
        "tilewright route --config tiny --target lfe5u-85f",
        "tilewright route --config ulx3s-85f --seed 3 --bitstream design.bit --json route.json",
    ),
)
@config_options("8x8")
@click.option(
    "--target",
    metavar="DEVICE",
    default="lfe5u-85f",
    show_default=True,
    help="Device of a family with an open flow.",
    shell_complete=completion.routable_devices,
)
@click.option("--seed", default=1, show_default=True, help="Where placement begins.")
@click.option("--speed", type=int, help="Speed grade of an ECP5: 6, the default, 7 or 8.")
@click.option("--clock", "target_mhz", type=click.FloatRange(1), default=100, show_default=True, help="MHz to aim at.")
@click.option("--bitstream", metavar="FILE", help="Write the bitstream there.", shell_complete=completion.files)
@json_option
@quiet_option
def command(
    config_name: str, changes: tuple[str, ...], target: str, seed: int, speed: int | None, target_mhz: float,
    bitstream: str | None, json_file: str | None, quiet: bool,
) -> int:  # fmt: skip
    """Place and route the accelerator with nextpnr and say how fast it is, and where its critical path lies.

    Its ports are shifted in and out by four pins, so that timing is the accelerator's own. For ECP5 and Gowin all tools
    are Python packages; for Cyclone V and 7-series nextpnr-mistral and openXC7 are used where they are on the PATH.
    Exit code 1 says that the design is slower than --clock.
    """
    for path in (json_file, bitstream):
        check_writable(path)
    terminal = Terminal(quiet, json_file)
    from tilewright.fpga.boards import BOARDS
    from tilewright.fpga.devices import find_device
    from tilewright.fpga.estimate import check_fit
    from tilewright.fpga.route import flow_of, place_and_route
    from tilewright.isa.config import PRESETS
    from tilewright.isa.instructions import instruction_set
    from tilewright.sim.rtl.cache import Cache, user_cache

    config, device = read_config(config_name, changes), find_device(target)
    flow_of(device, speed)
    check_fit(config, device, [*PRESETS.values(), *(board.config for board in BOARDS.values())])
    with terminal.step("placing and routing"):
        routed = place_and_route(
            instruction_set(config), device, Cache(user_cache() / "fpga"), seed=seed, speed=speed, target_mhz=target_mhz
        )
    if bitstream is not None:
        write_bytes(bitstream, routed.bitstream.read_bytes())
    terminal.write_json({"config": config.name, "config_hash": config.hash, "device": target, **routed.as_data()})
    terminal.show(f"{config.name} on {target}: {routed.stage} by {routed.tool} {routed.version}, seed {routed.seed}")
    if routed.note:
        terminal.show(routed.note)
    terminal.show(f"{routed.fmax_mhz:.1f} MHz; the critical path, by module:")
    terminal.show(*(f"  {delay:5.2f} ns {name or '-'}" for name, delay in routed.delay_by_module.items()))
    terminal.show(", ".join(f"{used:,} of {available:,} {kind}" for kind, (used, available) in routed.used.items()))
    return Exit.OK if routed.fmax_mhz >= target_mhz else Exit.FAILED
