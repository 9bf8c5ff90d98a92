"""A model compiled for an accelerator, and what a run of it gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tilewright.arrays import count_differences
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Value
from tilewright.compiler.program import Program
from tilewright.execution import execute, placed_layers
from tilewright.isa.config import Config
from tilewright.isa.errors import InputError
from tilewright.report import LayerInfo, Report
from tilewright.sim.api import DramTiming, LaunchResult, Simulator
from tilewright.simulators import simulator

if TYPE_CHECKING:
    from tilewright.native_host import NativeHost

Arrays = Mapping[str, NDArray[Any]]

#: What can compute the operators between the accelerator's.
HOSTS = ("cpu", "reference")


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

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model, default_samples
    >>> images, _ = default_samples(1)
    >>> result = tilewright.compile(default_model(), config="8x8").run(images[0])
    >>> {name: array.shape for name, array in result.outputs.items()}
    {'logits': (1, 10)}
    >>> result.report.simulator, len(result.launches)
    ('functional', 1)
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

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model, default_samples
    >>> program = tilewright.compile(default_model(), config="8x8")
    >>> program.name, program.config.name, list(program.inputs), list(program.outputs)
    ('resnet8_digits', '8x8', ['image'], ['logits'])
    >>> images, _ = default_samples(1)
    >>> program.count_differences(images[0], program.run(images[0]).outputs)
    {'logits': 0}
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

    @cached_property
    def _native_host(self) -> NativeHost:
        from tilewright.native_host import NativeHost

        return NativeHost()

    def run(
        self, inputs: Arrays, on: str | Simulator = "functional", *, dram: DramTiming | None = None, host: str = "cpu"
    ) -> Run:
        """Run on a simulator.

        Parameters
        ----------
        inputs : mapping of str to array
            By name, of the model's shapes and types.
        on : str or Simulator
            `functional`, `fast`, `rtl`, `board`, or what `simulator` made.
        dram : DramTiming, optional
            The memory's timing, when `on` is a name.
        host : str
            What computes the operators between the accelerator's: `cpu`, the CPU target where it pays, or `reference`,
            with whose outputs `count_differences` finds none.

        Raises
        ------
        InputError
            When the inputs are not what the model asks for, or `host` is no such name.
        ProgramError
            When the simulator has another configuration.
        DeviceError
            When the device stops with an error.
        """
        if host not in HOSTS:
            raise InputError(f"host must be one of {', '.join(HOSTS)}, not `{host}`")
        machine = simulator(on, self.config, dram=dram) if isinstance(on, str) else on
        return Run(*execute(self.program, inputs, machine, self._native_host if host == "cpu" else None))

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
        """Count, for each output, the values that are not exactly the integer reference's.

        The CPU target's fp32 may differ in last places from the reference's: run with `host="reference"` to compare.
        """
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
