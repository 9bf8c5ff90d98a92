"""Runs a compiled program on a simulator, host steps included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Protocol

import numpy as np

from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.program import HostStep, Launch, Program, Transfer
from tilewright.compiler.reference import evaluate_node
from tilewright.compiler.targets.accelerator.layout import pack, unpack
from tilewright.isa.errors import ProgramError
from tilewright.sim.api import LaunchResult, Simulator


class Host(Protocol):
    """What computes the steps between launches."""

    def compute(self, program: Program, steps: Sequence[HostStep], values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute steps that follow each other, and return at least what is read after them.

        Parameters
        ----------
        program : Program
            That the steps are of.
        steps : sequence of HostStep
            All up to the next launch, in order.
        values : mapping of str to array
            What is known before them.
        """
        ...


class ReferenceHost:
    """The integer reference, and onnx.reference."""

    def compute(self, program: Program, steps: Sequence[HostStep], values: Mapping[str, Array]) -> dict[str, Array]:
        """Compute steps that follow each other; see `Host`."""
        context = Graph(program.name, {}, (), {}, (), (), program.opsets)
        known = dict(values)
        for step in steps:
            known.update(_evaluated(context, step.node, known))
        return {name: known[name] for step in steps for name in step.node.outputs if name}


def _evaluated(context: Graph, node: Node, values: Mapping[str, Array]) -> dict[str, Array]:
    try:
        return evaluate_node(context, node, values)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:  # a file's, maybe
        raise ProgramError(f"host step {node.name!r} ({node.op!r}) cannot be computed: {error!r}") from error


@dataclass(frozen=True)
class RunResult:
    """What a run gives.

    Attributes
    ----------
    outputs : mapping of str to array
    launches : tuple of LaunchResult
        One for each launch of the program, in order.
    """

    outputs: Mapping[str, Array]
    launches: tuple[LaunchResult, ...]


def run(program: Program, inputs: Mapping[str, Array], simulator: Simulator, host: Host | None = None) -> RunResult:
    """Run a program, by default with the reference as the host.

    Raises
    ------
    ProgramError
        When the program is for another configuration than the simulator's, naming both hashes.
    InputError
        When an input is missing, unknown, or of another shape or type than the model's.
    DeviceError
        When the device stops with an error.
    """
    program.check_config(simulator.isa.config)
    program.check_inputs(inputs)
    values: dict[str, Array] = {**program.constants, **{value.name: _given(value, inputs) for value in program.inputs}}
    memory = program.dram()
    launches: list[LaunchResult] = []
    host = host or ReferenceHost()
    for is_host, steps in groupby(program.steps, lambda step: isinstance(step, HostStep)):
        if is_host:
            values.update(host.compute(program, [step for step in steps if isinstance(step, HostStep)], values))
        else:
            launches += [
                _launch(program, step, values, memory, simulator) for step in steps if isinstance(step, Launch)
            ]
    return RunResult({value.name: values[value.name] for value in program.outputs}, tuple(launches))


def _given(value: Value, inputs: Mapping[str, Array]) -> Array:
    """Give an input; what is no tensor (a sequence, an absent optional) stays as it is."""
    return inputs[value.name] if value.dtype == "other" else np.asarray(inputs[value.name])


def _fitting(array: Array, transfer: Transfer) -> Array:
    """Give what the host made, if it is what the device reads."""
    layout = transfer.layout
    is_alike = array.ndim == len(layout.shape) if layout.fold is not None else array.shape == layout.shape
    if array.dtype != np.int8 or not is_alike:
        raise ProgramError(f"{transfer.value!r} is {array.dtype}{list(array.shape)}, not int8{list(layout.shape)}")
    return array


def _launch(
    program: Program, step: Launch, values: dict[str, Array], memory: Array, simulator: Simulator
) -> LaunchResult:
    config = program.config
    for transfer in step.uploads:
        data = pack(_fitting(values[transfer.value], transfer), transfer.layout, config)
        memory[transfer.offset : transfer.offset + data.size] = data
    result = simulator.launch(memory, step.offset, step.count)
    for transfer in step.downloads:
        end = transfer.offset + transfer.layout.size_bytes(config)
        values[transfer.value] = unpack(memory[transfer.offset : end], transfer.layout, config)
    return result
