"""The Python interface: load a model, compile it for a configuration, run it on a simulator."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import count_differences
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Value
from tilewright.compiler.program import Program
from tilewright.execution import execute, placed_layers
from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError, DeviceError, InputError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.report import LayerInfo, Report
from tilewright.sim.api import DramTiming, LaunchResult, Simulator

if TYPE_CHECKING:
    from onnx import ModelProto

    from tilewright.cpu import CpuModel
    from tilewright.gpu import GpuModel

Arrays = Mapping[str, NDArray[Any]]

#: A launch that takes longer has gone wrong.
_MAX_CYCLES = {"fast": 1_000_000_000_000, "rtl": 1_000_000_000}

#: How names of program files end.
PROGRAM_SUFFIX = ".twp"

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]


def _silent(what: str, done: int, total: int) -> None:
    """Show no progress."""


def load(source: str | Path | ModelProto, *, dims: Mapping[str, int] | None = None) -> Graph:
    """Read an ONNX model as a graph, without changing what it computes.

    Parameters
    ----------
    source : path or ModelProto
    dims : mapping, optional
        Extents of named dynamic dimensions.

    Raises
    ------
    ModelError
        When it cannot be read or is invalid.
    """
    from tilewright.compiler.frontend.onnx_import import import_onnx

    return import_onnx(source, dims=dims)


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["accelerator"] = "accelerator",
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
) -> Compiled: ...


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["cpu"],
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
) -> CpuModel: ...


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["gpu"],
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
    precision: Literal["fp16", "fp32"] | None = None,
) -> GpuModel: ...


def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["accelerator", "cpu", "gpu"] = "accelerator",
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
    precision: Literal["fp16", "fp32"] | None = None,
) -> Compiled | CpuModel | GpuModel:
    """Compile a model for an accelerator, for this computer's processor, or for a GPU.

    Parameters
    ----------
    model : path, ModelProto or Graph
        An ONNX file, an ONNX model, or what `load` gave.
    config : Config or str
        Configuration, or the name of a preset or file; processors and GPUs have none.
    target : str
        `accelerator`, `cpu` or `gpu`.
    dims : mapping, optional
        Extents of named dynamic dimensions.
    host_fallback : bool
        Let the host compute a layer that does not fit the scratchpads, instead of refusing the model.
    precision : str, optional
        What a GPU computes models in floating point in: `fp16`, which is the default, or `fp32`.

    Raises
    ------
    ModelError
        When the model cannot be read, is invalid, or holds an operator that nothing here knows.
    ConfigError
        When there is no such configuration, target or precision.
    CapacityError
        When a layer does not fit the accelerator's memories.
    """
    if precision is not None and target != "gpu":
        raise ConfigError(f"a precision, here `{precision}`, is for a GPU: the target is `{target}`")
    if target == "cpu":
        from tilewright.cpu import compile_for_cpu

        return compile_for_cpu(model, dims=dims)
    if target == "gpu":
        from tilewright.gpu import compile_for_gpu

        return compile_for_gpu(model, dims=dims, precision=precision)
    if target != "accelerator":
        raise ConfigError(f"a target is `accelerator`, `cpu` or `gpu`, not `{target}`")
    from tilewright.compiler.passes.base import run_passes
    from tilewright.compiler.passes.pipeline import integer_passes
    from tilewright.compiler.pipeline import compile_model
    from tilewright.compiler.targets.accelerator.lower import Options

    chosen = _config(config)
    imported = model if isinstance(model, Graph) else load(model, dims=dims)
    graph = run_passes(imported, integer_passes(chosen.epilogue.multiplier_bits))
    return Compiled(compile_model(graph, chosen, Options(is_host_fallback=host_fallback)), graph)


def load_program(path: str | Path) -> Compiled:
    """Read a program file.

    Raises
    ------
    ProgramError
        When it is no program, damaged, or of another version.
    """
    return Compiled(Program.load(path))


def is_program_file(path: str | Path) -> bool:
    """Tell a program file from a model: by its first bytes or, when those are damaged, by its name."""
    from tilewright.compiler.program_file import MAGIC

    if Path(path).suffix == PROGRAM_SUFFIX:
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


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

    Raises
    ------
    ConfigError
        When there is no simulator of this name.
    ToolchainError
        When the RTL or the cycle model cannot be compiled here.
    DeviceError
        When there is no board, or it is of another configuration.
    """
    limit = max_cycles or _MAX_CYCLES.get(on, 0)
    isa = instruction_set(_config(config))
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
    from tilewright.sim.board import BoardSimulator

    opener = _board_opener()
    if opener is None:
        raise DeviceError("there is no driver for boards in this version: run on `functional`, `fast` or `rtl`")
    return BoardSimulator(isa, opener(isa.config))


def _board_opener() -> Any:
    """Give what opens the board that holds a configuration; see `tilewright.sim.board.Driver`."""
    return getattr(importlib.import_module("tilewright.fpga.driver"), "open_board", None)


def _config(config: Config | str) -> Config:
    return config if isinstance(config, Config) else Config.load(config)


def dram_timing(latency: int | None = None, bandwidth: int | None = None, outstanding: int | None = None) -> DramTiming:
    """Give the memory's timing with some values chosen; None means the default."""
    chosen = {"latency_cycles": latency, "bytes_per_cycle": bandwidth, "outstanding": outstanding}
    return DramTiming(**{name: value for name, value in chosen.items() if value is not None})


@dataclass(frozen=True)
class Run:
    """What a run gave.

    Attributes
    ----------
    outputs : dict of str to array
        By the model's names.
    report : Report
    launches : tuple of LaunchResult
        Counters, and the times of all instructions where the simulator knows them, of each run of the device.
    """

    outputs: dict[str, NDArray[Any]]
    report: Report
    launches: tuple[LaunchResult, ...] = ()


@dataclass(frozen=True, eq=False)
class Compiled:
    """A model compiled for one configuration.

    Attributes
    ----------
    program : Program
    graph : Graph or None
        The integer operators that it computes, where the model is at hand: not for a program read from a file.
    """

    program: Program
    graph: Graph | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self.program.name

    @property
    def config(self) -> Config:
        """The accelerator that it is for."""
        return self.program.config

    @property
    def title(self) -> str:
        """Model and configuration."""
        return f"{self.name} for {self.config.name} ({self.config.hash})"

    @property
    def inputs(self) -> dict[str, Value]:
        """The model's inputs by name."""
        return {value.name: value for value in self.program.inputs}

    @property
    def outputs(self) -> dict[str, Value]:
        """The model's outputs by name."""
        return {value.name: value for value in self.program.outputs}

    @cached_property
    def layers(self) -> tuple[LayerInfo, ...]:
        """All layers in the order in which they run."""
        return tuple(info for _, info in placed_layers(self.program))

    def summary(self) -> str:
        """Say in a line what runs where."""
        device = [layer for layer in self.layers if layer.place == "device"]
        host = len(self.layers) - len(device)
        macs = sum(layer.macs for layer in device)
        size = f"{self.program.dram_bytes / 1e3:,.0f} kB of DRAM"
        return f"{len(device)} layers on the device ({macs:,} MACs), {host} on the host, {size}"

    def save(self, path: str | Path) -> None:
        """Write the program to a file; `load_program` reads it."""
        try:
            self.program.save(path)
        except OSError as error:
            raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None

    def run(self, inputs: Arrays, on: str | Simulator = "functional", *, dram: DramTiming | None = None) -> Run:
        """Run on a simulator.

        Parameters
        ----------
        inputs : mapping of str to array
            By name, of the model's shapes and types.
        on : str or Simulator
            `functional`, `fast`, `rtl`, `board`, or what `simulator` made.
        dram : DramTiming, optional
            The memory's timing, when `on` is a name.

        Raises
        ------
        InputError
            When the inputs are not what the model asks for.
        ProgramError
            When the simulator has another configuration.
        DeviceError
            When the device stops with an error.
        """
        machine = simulator(on, self.config, dram=dram) if isinstance(on, str) else on
        return Run(*execute(self.program, inputs, machine))

    def check_inputs(self, inputs: Arrays) -> None:
        """Raise InputError unless `inputs` are exactly what the model asks for."""
        self.program.check_inputs(inputs)

    def reference(self, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Compute the outputs by the integer reference.

        Raises
        ------
        InputError
            For a program from a file, which does not hold the model.
        """
        if self.graph is None:
            raise InputError(f"program `{self.name}` does not hold its model: compile the model to compare with it")
        from tilewright.compiler.reference import evaluate

        return evaluate(self.graph, dict(inputs))

    def count_differences(self, inputs: Arrays, outputs: Arrays) -> dict[str, int]:
        """Count, for each output, the values that are not exactly the integer reference's."""
        return count_differences(self.reference(inputs), outputs)

    def output_step(self, name: str) -> float:
        """Give the step between neighbouring values of an output: its scale, or 1 for integers and plain floats."""
        if self.graph is None:
            return 1.0
        return _output_step(self.graph, name)


def _output_step(graph: Graph, name: str) -> float:
    """Follow movement back to the dequantization that made a float output."""
    node = graph.producer(name)
    while node is not None and node.op in ("reshape", "transpose"):
        node = graph.producer(node.inputs[0])
    if node is None or node.op != "onnx.DequantizeLinear":
        return 1.0
    scale = graph.constant(node.inputs[1])
    return float(np.max(scale)) if scale is not None else 1.0
