"""Runs a compiled program on a simulator, host steps included."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.program import Launch, Program
from tilewright.compiler.reference import evaluate_node
from tilewright.compiler.targets.accelerator.layout import pack, unpack
from tilewright.sim.api import LaunchResult, Simulator


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


def run(program: Program, inputs: Mapping[str, Array], simulator: Simulator) -> RunResult:
    """Run a program.

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
    context = Graph(program.name, {}, (), {}, (), (), program.opsets)
    for step in program.steps:
        if isinstance(step, Launch):
            launches.append(_launch(program, step, values, memory, simulator))
        else:
            values.update(evaluate_node(context, step.node, values))
    return RunResult({value.name: values[value.name] for value in program.outputs}, tuple(launches))


def _given(value: Value, inputs: Mapping[str, Array]) -> Array:
    """Give an input; what is no tensor (a sequence, an absent optional) stays as it is."""
    return inputs[value.name] if value.dtype == "other" else np.asarray(inputs[value.name])


def _launch(
    program: Program, step: Launch, values: dict[str, Array], memory: Array, simulator: Simulator
) -> LaunchResult:
    config = program.config
    for transfer in step.uploads:
        data = pack(values[transfer.value], transfer.layout, config)
        memory[transfer.offset : transfer.offset + data.size] = data
    result = simulator.launch(memory, step.offset, step.count)
    for transfer in step.downloads:
        end = transfer.offset + transfer.layout.size_bytes(config)
        values[transfer.value] = unpack(memory[transfer.offset : end], transfer.layout, config)
    return result
