"""Makes simulators by name, and the memory that they simulate."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import DramTiming, Simulator

#: A launch that takes longer has gone wrong.
_MAX_CYCLES = {"fast": 1_000_000_000_000, "rtl": 1_000_000_000}

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def simulator(
    on: str,
    config: Config | str = "16x16",
    *,
    dram: DramTiming | None = None,
    waves: str | Path | None = None,
    wave_cycles: tuple[int, int] | None = None,
    max_cycles: int | None = None,
    progress: Progress = _silent,
) -> Simulator:
    """Make a simulator, which several runs can share.

    Parameters
    ----------
    on : str
        `functional`, `fast`, `rtl` or `board`.
    config : Config or str
        Configuration, or the name of a preset or file.
    dram : DramTiming, optional
        The memory's timing; `functional` knows no time.
    waves : path, optional
        Waveforms, for `rtl`.
    wave_cycles : tuple of int, optional
        First cycle of waveforms and the one behind the last; by default all.
    max_cycles : int, optional
        After which a launch on `fast` or `rtl` is an error that says what is stuck.
    progress : callable, optional
        Told about the steps of compiling the RTL.

    Returns
    -------
    Simulator
        For `Compiled.run(..., on=...)`.

    Raises
    ------
    ConfigError
        When there is no simulator of this name.
    ToolchainError
        When the RTL or the cycle model cannot be compiled here.
    DeviceError
        When there is no board, or it is of another configuration.

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model, default_samples
    >>> program = tilewright.compile(default_model(), config="8x8")
    >>> machine = tilewright.simulator("functional", "8x8")
    >>> images, _ = default_samples(2)
    >>> [program.run(image, on=machine).outputs["logits"].shape for image in images]
    [(1, 10), (1, 10)]
    """
    limit = max_cycles or _MAX_CYCLES.get(on, 0)
    isa = instruction_set(config if isinstance(config, Config) else Config.load(config))
    if on == "functional":
        from tilewright.sim.functional import FunctionalSimulator

        return FunctionalSimulator(isa)
    if on == "fast":
        from tilewright.sim.fast import FastSimulator

        return FastSimulator(isa, dram, max_cycles=limit)
    if on == "rtl":
        from tilewright.sim.rtl.model import RtlSimulator

        return RtlSimulator(isa, dram, waves, limit, trace_cycles=wave_cycles, progress=progress)
    if on == "board":
        return _board(isa)
    raise ConfigError(f"a simulator is `functional`, `fast`, `rtl` or `board`, not `{on}`")


def _board(isa: InstructionSet) -> Simulator:
    from tilewright.fpga import driver
    from tilewright.sim.board import BoardSimulator

    return BoardSimulator(isa, driver.open_board(isa.config))


def dram_timing(latency: int | None = None, bandwidth: int | None = None, outstanding: int | None = None) -> DramTiming:
    """Give the memory's timing with some values chosen; None means the default."""
    chosen = {"latency_cycles": latency, "bytes_per_cycle": bandwidth, "outstanding": outstanding}
    return DramTiming(**{name: value for name, value in chosen.items() if value is not None})
