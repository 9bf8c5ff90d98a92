"""Whether a program that was read from a file holds together: its types, its places in DRAM, who makes what is read."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Iterable, Mapping
from typing import Any, Union, get_args, get_origin, get_type_hints

import numpy as np

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.types import Value
from tilewright.compiler.program import HostStep, Launch, LayerReport, Program, Transfer
from tilewright.compiler.targets.accelerator.layout import TensorLayout, image_layout, matrix_layout, stack_layout
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.instructions import instruction_set

_CHECKED = (Value, Node, HostStep, Launch, Transfer, TensorLayout, LayerReport)


def check_program(program: Program) -> None:
    """Refuse a program that could not run.

    Raises
    ------
    ProgramError
        Naming the part that does not fit the others.
    """
    for part in (*program.inputs, *program.outputs, *program.steps, *program.layers):
        check_types(part)
    for value in (*program.inputs, *program.outputs):
        is_known = value.dtype == "other" or np.dtype(value.dtype).name == value.dtype  # or it raises TypeError
        _require(is_known and min(value.shape or (0,)) >= 0, f"{shortened(value.name)} is {shortened(str(value))}")
    _require(isinstance(program.name, str), "its name is no text")
    _require(_conforms(dict(program.opsets), Mapping[str, int]), "its opsets are no numbers")
    _check_image(program)
    known = {value.name: value.shape for value in program.inputs}
    known |= {name: array.shape for name, array in program.constants.items()}
    for step in program.steps:
        if isinstance(step, Launch):
            _check_launch(program, step, known)
            known |= {transfer.value: transfer.layout.shape for transfer in step.downloads}
        else:
            _check_names(filter(None, step.node.inputs), known)
            _require(any(step.node.outputs), f"node {shortened(step.node.op)} makes nothing")
            known |= dict.fromkeys(step.node.outputs)
    _check_names((value.name for value in program.outputs), known)


def check_types(part: object) -> None:
    """Refuse a part whose fields, or whose parts' fields, have other types than are declared."""
    assert dataclasses.is_dataclass(part) and not isinstance(part, type)
    hints = get_type_hints(type(part))
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        _require(
            _conforms(value, hints[field.name]), f"`{field.name}` of a {type(part).__name__} is {shortened(value)}"
        )


def _conforms(value: Any, hint: Any) -> bool:
    """Say whether a value has an annotated type; of parts of a program, whether all their fields have."""
    kind, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if kind in (Union, types.UnionType):
        return any(_conforms(value, one) for one in arguments)
    if kind is tuple:
        if not isinstance(value, tuple):
            return False
        hints = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        return len(hints) == len(value) and all(map(_conforms, value, hints))
    if kind is not None and issubclass(kind, Mapping):
        keys = arguments[0]
        return isinstance(value, Mapping) and all(
            _conforms(k, keys) and _conforms(v, arguments[1]) for k, v in value.items()
        )
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if not isinstance(value, hint):
        return False
    if isinstance(value, _CHECKED):
        check_types(value)
    return True


def _check_image(program: Program) -> None:
    """The tensors come first, then constants and instructions to the end."""
    image, layers = program.image, program.instruction_layers
    _require(image.dtype == np.uint8 and image.ndim == 1, "its image is no bytes")
    places = (program.image_offset, program.dram_bytes)
    _require(_conforms(places, tuple[int, int]) and places[0] >= 0, f"its places in DRAM are {shortened(places)}")
    _require(places[0] + image.size == places[1], f"{image.size} bytes at {places[0]} do not end at {places[1]}")
    room = 1 << program.config.bus.address_bits
    _require(places[1] <= room, f"it needs {places[1]} bytes of DRAM, more than the {room} that can be addressed")
    _require(layers.dtype.kind == "i" and layers.ndim == 1, "its instructions' layers are no numbers")
    count = len(program.layers)
    _require(bool(np.all((layers >= 0) & (layers < count))), f"an instruction is for a layer that is none of {count}")
    _require(len(program.instruction_labels) == len(layers), "there are not as many labels as instructions")
    _require(_conforms(program.instruction_labels, tuple[str, ...]), "a label is no text")


def _check_launch(program: Program, launch: Launch, known: Mapping[str, Any]) -> None:
    instruction_bytes = instruction_set(program.config).instruction_bytes
    where = f"{launch.count} instructions at byte {launch.offset}"
    end = launch.offset + launch.count * instruction_bytes
    _require(launch.count > 0 and program.image_offset <= launch.offset and end <= program.dram_bytes, where)
    last = launch.first_instruction + launch.count
    _require(launch.first_instruction >= 0 and last <= len(program.instruction_layers), where)
    _check_names((transfer.value for transfer in launch.uploads), known)
    for transfer in (*launch.uploads, *launch.downloads):
        _check_layout(transfer.layout, program.config)
        end = transfer.offset + transfer.layout.size_bytes(program.config)
        lies_inside = transfer.offset >= 0 and end <= program.image_offset
        _require(lies_inside, f"{shortened(transfer.value)} lies at bytes {transfer.offset} to {end}")
    for transfer in launch.uploads:
        shape = known[transfer.value]
        alike = shape is None or transfer.layout.fold is not None or shape == transfer.layout.shape
        _require(alike, f"{shortened(transfer.value)} has shape {shape}, and {transfer.layout.shape} in DRAM")


def _check_layout(layout: TensorLayout, config: Config) -> None:
    """Refuse a layout that is none of those that a tensor of this shape can have."""
    shape = layout.shape
    _require(len(shape) >= 2 and min(shape) > 0, f"a tensor in DRAM has shape {shape}")
    bare = dataclasses.replace(layout, fold=None)
    if layout.is_matrix:
        made = [matrix_layout(shape, config), stack_layout(shape, config)]
    else:
        made = [image_layout(shape, config)] if len(shape) > 2 else []
    _require(bare in made, f"a tensor of shape {shape} lies otherwise in DRAM")


def _check_names(names: Iterable[str], known: Mapping[str, Any]) -> None:
    for name in names:
        _require(name in known, f"nothing makes {shortened(name)} before it is read")


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ProgramError(what)


def shortened(value: object) -> str:
    """Write a value as a message can have it: on one line, and not long."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
