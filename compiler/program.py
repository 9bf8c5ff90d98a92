"""A compiled model: what the host does, what the device does, and the memory image that the device works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.inputs import check_inputs
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.targets.accelerator.layout import TensorLayout
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError


@dataclass(frozen=True)
class Transfer:
    """A tensor that goes to or from DRAM around a launch.

    Attributes
    ----------
    value : str
    offset : int
        First byte in DRAM.
    layout : TensorLayout
    """

    value: str
    offset: int
    layout: TensorLayout


@dataclass(frozen=True, eq=False)
class HostStep:
    """A node that the host computes, and why."""

    node: Node
    reason: str


@dataclass(frozen=True)
class Launch:
    """A run of the device.

    Attributes
    ----------
    offset : int
        Byte in DRAM where the instructions lie.
    count : int
        Number of instructions.
    first_instruction : int
        Number of the first of them in the whole program.
    uploads, downloads : tuple of Transfer
        What is packed into DRAM before, and unpacked after.
    """

    offset: int
    count: int
    first_instruction: int
    uploads: tuple[Transfer, ...]
    downloads: tuple[Transfer, ...]


@dataclass(frozen=True)
class LayerReport:
    """What is known of a device layer at compile time.

    Attributes
    ----------
    name, op : str
    origin : tuple of str
        ONNX nodes that it stands for.
    macs : int
        Multiply-accumulates of the operator itself.
    ideal_cycles : int
        With every multiplier busy or, of a depthwise convolution, a pixel a cycle.
    predicted_cycles : int
        The tile search's estimate; 0 where there was none.
    needed_bytes : int
        Operands and result once, as they lie in DRAM.
    moved_bytes : int
        What its loads and stores move.
    tiling : str
    instructions : int
    """

    name: str
    op: str
    origin: tuple[str, ...]
    macs: int
    ideal_cycles: int
    predicted_cycles: int
    needed_bytes: int
    moved_bytes: int
    tiling: str
    instructions: int


@dataclass(frozen=True, eq=False)
class Program:
    """A model compiled for one configuration; `tilewright.sim.runner.run` executes it.

    Attributes
    ----------
    name : str
    config : Config
        The accelerator it is for.
    toolchain : mapping of str to str
        Versions of what compiled it.
    inputs, outputs : tuple of Value
    constants : mapping of str to array
        What host steps read.
    opsets : mapping of str to int
        ONNX operator set versions of host steps.
    steps : tuple of HostStep or Launch
    image_offset : int
        Where `image` lies in DRAM; before it lie the tensors.
    image : array of uint8
        Constants and instructions.
    dram_bytes : int
        Size of DRAM that a run needs.
    layers : tuple of LayerReport
    instruction_layers : array of int32
        For each instruction of the program, the index of its layer.
    instruction_labels : tuple of str
        For each instruction, what it is for.
    """

    name: str
    config: Config
    toolchain: Mapping[str, str]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    constants: Mapping[str, Array]
    opsets: Mapping[str, int]
    steps: tuple[HostStep | Launch, ...]
    image_offset: int
    image: NDArray[np.uint8]
    dram_bytes: int
    layers: tuple[LayerReport, ...]
    instruction_layers: NDArray[np.int32]
    instruction_labels: tuple[str, ...]

    @property
    def config_hash(self) -> str:
        """The hash of the accelerator it is for."""
        return self.config.hash

    @property
    def launches(self) -> tuple[Launch, ...]:
        """The runs of the device."""
        return tuple(step for step in self.steps if isinstance(step, Launch))

    @property
    def host_steps(self) -> tuple[HostStep, ...]:
        """What the host computes."""
        return tuple(step for step in self.steps if isinstance(step, HostStep))

    def dram(self) -> NDArray[np.uint8]:
        """Return a fresh memory that holds constants and instructions."""
        memory = np.zeros(self.dram_bytes, np.uint8)
        memory[self.image_offset : self.image_offset + self.image.size] = self.image
        return memory

    def check_config(self, config: Config) -> None:
        """Raise ProgramError unless `config` is the accelerator that this program is for."""
        if config.hash != self.config_hash:
            raise ProgramError(
                f"program {self.name!r} is for configuration {self.config_hash} ({self.config.name}), "
                f"not for {config.hash} ({config.name})"
            )

    def check_inputs(self, inputs: Mapping[str, Array]) -> None:
        """Raise InputError unless `inputs` are exactly what the model asks for."""
        check_inputs(self.inputs, inputs)

    def save(self, path: str | Path) -> None:
        """Write the program to a file."""
        from tilewright.compiler.program_file import write_program

        write_program(self, Path(path))

    @classmethod
    def load(cls, path: str | Path, config: Config | None = None) -> Program:
        """Read a program from a file.

        Parameters
        ----------
        path
        config
            The accelerator that it must be for; None takes any.

        Raises
        ------
        ProgramError
            When the file is no program, damaged, truncated, of another format version or for another configuration.
        """
        from tilewright.compiler.program_file import read_program

        program = read_program(Path(path))
        if config is not None:
            program.check_config(config)
        return program
