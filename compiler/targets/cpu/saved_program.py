"""Compiled networks as bytes, so that one that was compiled before needs no compiling.

A length, a header in JSON, then the arrays. Reading it cannot do anything but give a program or fail: nothing in it
names code of Python's, as a pickle would, and every place in it is checked. What it holds of machine code is as much to
be trusted as the folder that it is read from, as all compiled code is; the checksum against damage is the cache's.

Networks that need the host between segments are not saved: their operators' attributes may be anything.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.types import Value
from tilewright.compiler.targets.cpu.native_segment import LaunchInfo, NativeSegment, aligned
from tilewright.compiler.targets.cpu.program import Segment, Terminal
from tilewright.compiler.targets.segmented import SegmentedProgram

_LENGTH = struct.Struct("<Q")

#: What runs natively, as machine code already or not yet.
NativeProgram = SegmentedProgram[Segment | NativeSegment]


def program_bytes(program: NativeProgram) -> bytes | None:
    """Return a program as bytes, or None when it is none that can be saved."""
    graph, segments = program.graph, program.steps
    if any(not isinstance(step, NativeSegment) for step in segments) or graph.constants.keys() & set(graph.outputs):
        return None
    parts: list[bytes] = []
    header = {
        "name": graph.name,
        "inputs": [_value_to(graph.values[name]) for name in graph.inputs],
        "outputs": [_value_to(graph.values[name]) for name in graph.outputs],
        "segments": [_segment_to(step, parts) for step in segments if isinstance(step, NativeSegment)],
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    return b"".join((_LENGTH.pack(len(text)), text, *parts))


def program_of(data: bytes) -> NativeProgram | None:
    """Return the program that `program_bytes` wrote, its graph without nodes; None when the bytes are none."""
    try:
        (length,) = _LENGTH.unpack_from(data)
        header = json.loads(data[_LENGTH.size : _LENGTH.size + length])
        arrays = np.frombuffer(data, np.uint8)[_LENGTH.size + length :]
        steps = []
        for fields in header["segments"]:
            segment, arrays = _segment_from(fields, arrays)
            steps.append(segment)
        inputs, outputs = ({v.name: v for v in map(_value_from, header[key])} for key in ("inputs", "outputs"))
        graph = Graph(header["name"], {**inputs, **outputs}, (), {}, tuple(inputs), tuple(outputs), {})
        return None if arrays.size else SegmentedProgram(graph, tuple(steps))
    except (struct.error, KeyError, TypeError, ValueError, AttributeError):
        return None


def _segment_to(segment: NativeSegment, parts: list[bytes]) -> dict[str, Any]:
    parts += [segment.code, segment.constants.tobytes()]
    return {
        "code_bytes": len(segment.code),
        "constant_bytes": segment.constants.size,
        "memory_bytes": segment.memory_bytes,
        "fills": segment.fills,
        "terminals": [[key, t.value, t.dtype, t.shape] for key, t in segment.terminals.items()],
        "launches": segment.launches,
        "threads": segment.threads,
    }


def _segment_from(fields: dict[str, Any], arrays: NDArray[np.uint8]) -> tuple[NativeSegment, NDArray[np.uint8]]:
    """Read a segment, and give the arrays of those that follow."""
    code, size = fields["code_bytes"], fields["constant_bytes"]
    if not 0 < code <= code + size <= arrays.size:
        raise ValueError("the arrays are shorter than the header says")
    constants = aligned(size)
    constants[:] = arrays[code : code + size]
    fills = tuple((int(offset), int(count), int(byte)) for offset, count, byte in fields["fills"])
    terminals = {key: Terminal(value, dtype, tuple(shape)) for key, value, dtype, shape in fields["terminals"]}
    launches = tuple(LaunchInfo(*launch) for launch in fields["launches"])
    memory, threads = int(fields["memory_bytes"]), int(fields["threads"])
    if any(not 0 <= offset <= offset + count <= memory for offset, count, _ in fills):
        raise ValueError("memory is filled where there is none")
    segment = NativeSegment(arrays[:code].tobytes(), constants, memory, fills, terminals, launches, threads)
    return segment, arrays[code + size :]


def _value_to(value: Value) -> list[Any]:
    return [value.name, value.dtype, value.shape]


def _value_from(fields: list[Any]) -> Value:
    name, dtype, shape = fields
    return Value(name, dtype, None if shape is None else tuple(shape))
