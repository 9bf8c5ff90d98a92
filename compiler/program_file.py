r"""The program file: a magic, a version, a checksum, a JSON header, then raw arrays.

Bytes 0..15: `TILEWRIGHT-PROG\\n`; 16..19: format version; 20..51: SHA-256 of everything from byte 52 on; 52..59: length
of the header; then the header (UTF-8 JSON), then the arrays, each at the offset that the header says. Little endian.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError, Message
from onnx import GraphProto, SparseTensorProto, TypeProto

from tilewright.compiler.graph.graph import Node
from tilewright.compiler.graph.types import Array, Value
from tilewright.compiler.program import HostStep, Launch, LayerReport, Program, Transfer
from tilewright.compiler.program_check import check_program, shortened
from tilewright.compiler.qops import Epilogue, Residual
from tilewright.compiler.targets.accelerator.layout import Fold, TensorLayout
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError, TilewrightError

MAGIC = b"TILEWRIGHT-PROG\n"
FORMAT_VERSION = 1
_PREFIX = struct.Struct("<16sI32s")
_LENGTH = struct.Struct("<Q")
#: What building a program from a header of another shape raises.
_UNFIT = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, DecodeError)
_PROTOS: dict[str, type[Message]] = {kind.__name__: kind for kind in (GraphProto, TypeProto, SparseTensorProto)}


class _Arrays:
    """Collects arrays behind the header."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.size = 0

    def add(self, array: Array) -> dict[str, Any]:
        """Add an array and return its description; strings go into the description itself."""
        if array.dtype.kind == "O":
            return {"strings": array.reshape(-1).tolist(), "shape": list(array.shape)}
        data = np.ascontiguousarray(array).tobytes()
        described = {"dtype": array.dtype.name, "shape": list(array.shape), "offset": self.size, "bytes": len(data)}
        self.parts.append(data)
        self.size += len(data)
        return described


def write_program(program: Program, path: Path) -> None:
    """Write a program to a file."""
    arrays = _Arrays()
    header = {
        "name": program.name,
        "config": program.config.to_toml(),
        "config_hash": program.config.hash,
        "toolchain": dict(program.toolchain),
        "inputs": [_value_to(v) for v in program.inputs],
        "outputs": [_value_to(v) for v in program.outputs],
        "constants": {name: arrays.add(array) for name, array in program.constants.items()},
        "opsets": dict(program.opsets),
        "steps": [_step_to(step, arrays) for step in program.steps],
        "image_offset": program.image_offset,
        "image": arrays.add(program.image),
        "dram_bytes": program.dram_bytes,
        "layers": [dataclasses.asdict(layer) for layer in program.layers],
        "instruction_layers": arrays.add(program.instruction_layers),
        "labels": list(dict.fromkeys(program.instruction_labels)),
        "instruction_labels": arrays.add(_label_indices(program.instruction_labels)),
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    body = b"".join((_LENGTH.pack(len(text)), text, *arrays.parts))
    path.write_bytes(_PREFIX.pack(MAGIC, FORMAT_VERSION, hashlib.sha256(body).digest()) + body)


def read_program(path: Path) -> Program:
    """Read a program from a file; ProgramError says what is wrong with it."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ProgramError(f"program file `{path}` cannot be read: {error.strerror}") from None
    text, arrays = _checked(path, data)
    try:
        header = json.loads(text)
        program, claimed = _program_from(header, arrays), str(header["config_hash"])
        check_program(program)
    except TilewrightError as error:
        raise ProgramError(f"program file `{path}` does not fit this version of Tilewright: {error}") from None
    except _UNFIT as error:
        raise ProgramError(f"program file `{path}` does not fit this version of Tilewright: {error!r}") from None
    if program.config.hash != claimed:
        raise ProgramError(
            f"program file `{path}` is for configuration {shortened(claimed)}; with this version of Tilewright "
            f"the same settings have hash {program.config.hash}"
        )
    return program


def _checked(path: Path, data: bytes) -> tuple[bytes, bytes]:
    """Split a file into the header's text and arrays after checking magic, version and checksum."""
    if data[: len(MAGIC)] != MAGIC:
        raise ProgramError(f"`{path}` is not a Tilewright program")
    if len(data) < _PREFIX.size + _LENGTH.size:
        raise ProgramError(f"program file `{path}` is truncated: {len(data)} bytes")
    _, version, digest = _PREFIX.unpack_from(data)
    if version != FORMAT_VERSION:
        raise ProgramError(f"program file `{path}` has format version {version}, not {FORMAT_VERSION}")
    body = data[_PREFIX.size :]
    if hashlib.sha256(body).digest() != digest:
        raise ProgramError(f"program file `{path}` is damaged or truncated: its checksum does not match")
    (length,) = _LENGTH.unpack_from(body)
    end = _LENGTH.size + length
    return body[_LENGTH.size : end], body[end:]


def _program_from(header: dict[str, Any], arrays: bytes) -> Program:
    def array(described: dict[str, Any]) -> Array:
        if "strings" in described:
            return np.array(described["strings"], np.object_).reshape(described["shape"])
        piece = arrays[described["offset"] : described["offset"] + described["bytes"]]
        return np.frombuffer(piece, described["dtype"]).reshape(described["shape"])

    labels = header["labels"]
    return Program(
        name=header["name"],
        config=Config.from_toml(header["config"]),
        toolchain=header["toolchain"],
        inputs=tuple(map(_value_from, header["inputs"])),
        outputs=tuple(map(_value_from, header["outputs"])),
        constants={name: array(described) for name, described in header["constants"].items()},
        opsets=header["opsets"],
        steps=tuple(_step_from(step, array) for step in header["steps"]),
        image_offset=header["image_offset"],
        image=array(header["image"]),
        dram_bytes=header["dram_bytes"],
        layers=tuple(LayerReport(**{**layer, "origin": tuple(layer["origin"])}) for layer in header["layers"]),
        instruction_layers=array(header["instruction_layers"]),
        instruction_labels=tuple(labels[i] for i in array(header["instruction_labels"])),
    )


def _label_indices(labels: tuple[str, ...]) -> Array:
    numbers = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    return np.array([numbers[label] for label in labels], np.int32)


def _value_to(value: Value) -> list[Any]:
    return [value.name, value.dtype, None if value.shape is None else list(value.shape)]


def _value_from(fields: list[Any]) -> Value:
    name, dtype, shape = fields
    return Value(name, dtype, None if shape is None else tuple(shape))


def _transfer_to(transfer: Transfer) -> dict[str, Any]:
    return dataclasses.asdict(transfer)


def _transfer_from(fields: dict[str, Any]) -> Transfer:
    layout = {**fields["layout"], "shape": tuple(fields["layout"]["shape"])}
    if layout["fold"]:
        fold: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in layout["fold"].items()}
        layout["fold"] = Fold(**fold)
    return Transfer(fields["value"], fields["offset"], TensorLayout(**layout))


def _step_to(step: HostStep | Launch, arrays: _Arrays) -> dict[str, Any]:
    if isinstance(step, Launch):
        return {
            "launch": [step.offset, step.count, step.first_instruction],
            "uploads": [_transfer_to(t) for t in step.uploads],
            "downloads": [_transfer_to(t) for t in step.downloads],
        }
    node = step.node
    return {
        "host": node.op,
        "inputs": list(node.inputs),
        "outputs": list(node.outputs),
        "attributes": {name: _attribute_to(value, arrays) for name, value in node.attributes.items()},
        "origin": list(node.origin),
        "reason": step.reason,
    }


def _step_from(fields: dict[str, Any], array: Any) -> HostStep | Launch:
    if "launch" in fields:
        uploads = tuple(map(_transfer_from, fields["uploads"]))
        downloads = tuple(map(_transfer_from, fields["downloads"]))
        offset, count, first = fields["launch"]
        return Launch(offset, count, first, uploads, downloads)
    attributes = {name: _attribute_from(value, array) for name, value in fields["attributes"].items()}
    node = Node(
        fields["host"], tuple(fields["inputs"]), tuple(fields["outputs"]), attributes, tuple(fields["origin"]),
        fields["reason"],
    )  # fmt: skip
    return HostStep(node, fields["reason"])


def _attribute_to(value: Any, arrays: _Arrays) -> Any:
    match value:
        case np.ndarray():
            return {"array": arrays.add(value)}
        case tuple():
            return {"tuple": [_attribute_to(item, arrays) for item in value]}
        case Epilogue():
            parts = {f.name: _attribute_to(getattr(value, f.name), arrays) for f in dataclasses.fields(value)}
            return {"epilogue": parts}
        case Residual():
            return {"residual": dataclasses.asdict(value)}
        case GraphProto() | TypeProto() | SparseTensorProto():
            content = np.frombuffer(value.SerializeToString(), np.uint8)
            return {"proto": [type(value).__name__, arrays.add(content)]}
        case np.generic():
            return value.item()
        case None | bool() | int() | float() | str():
            return value
    raise ProgramError(f"an attribute of type {type(value).__name__} cannot be stored")


def _attribute_from(value: Any, array: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    match kind:
        case "array":
            return array(content)
        case "tuple":
            return tuple(_attribute_from(item, array) for item in content)
        case "epilogue":
            return Epilogue(**{name: _attribute_from(item, array) for name, item in content.items()})
        case "residual":
            return Residual(**content)
        case "proto":
            name, data = content
            return _PROTOS[name].FromString(array(data).tobytes())
    raise ProgramError(f"unknown kind of attribute {kind!r}")
