"""Program files whose header hypothesis changes, with a checksum that is right: a result, or one error."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilewright
from tests.system.mutated_inputs import SECONDS, alarm, memory_limit
from tests.system.test_bad_input import softmax_model
from tilewright.compiler.program_file import _LENGTH, _PREFIX, FORMAT_VERSION, MAGIC
from tilewright.isa.errors import ProgramError, TilewrightError

FEW, MANY = 150, 10_000
SETTINGS = settings(
    max_examples=FEW, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
MORE_BYTES = 2 << 30

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 9), st.sampled_from([64, 4096, 1 << 31, 1 << 40, 1 << 63, -(1 << 31)]),
    st.sampled_from([0.5, 1e300, float("nan")]),
    st.sampled_from(["", "x", "int8", "float32", "object", "y", "onnx.Relu", "qconv2d", "[gemm]\n", "é"]),
    st.just([]), st.just({}), st.lists(st.integers(-1, 5), max_size=4), st.just({"array": {}}),
)  # fmt: skip


@cache
def good(folder: Path) -> bytes:
    path = folder / "good.twp"
    tilewright.compile(softmax_model(), config="tiny").save(path)
    return path.read_bytes()


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """List every place of nested lists and tables, the outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(place for key, item in inner for place in places(item, (*path, key)))]


def opened(program: bytes) -> tuple[Any, bytes]:
    """Take the header and the arrays out of a program file."""
    body = program[_PREFIX.size :]
    (length,) = _LENGTH.unpack_from(body)
    return json.loads(body[_LENGTH.size : _LENGTH.size + length]), body[_LENGTH.size + length :]


def signed(length: int, header: bytes, arrays: bytes) -> bytes:
    """Make a program file with a checksum that is right, whatever it holds."""
    body = _LENGTH.pack(length) + header + arrays
    return _PREFIX.pack(MAGIC, FORMAT_VERSION, hashlib.sha256(body).digest()) + body


def edited(data: st.DataObject, program: bytes) -> bytes:
    """Change one to three values of the header, or its text; sign what comes out."""
    header, arrays = opened(program)
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(places(header) or [("x",)]))
        holder = header
        for key in path[:-1]:
            holder = holder[key]
        match data.draw(st.integers(0, 3)):
            case 0:
                del holder[path[-1]]
            case 1:
                place = data.draw(st.sampled_from(places(header)))
                other = header
                for key in place:
                    other = other[key]
                holder[path[-1]] = json.loads(json.dumps(other))
            case _:
                holder[path[-1]] = data.draw(VALUES)
    text = json.dumps(header).encode()
    if data.draw(st.integers(0, 9)) == 0:
        text = text[: data.draw(st.integers(0, len(text)))]
    claimed = data.draw(st.one_of(st.just(len(text)), st.just(len(text)), st.sampled_from([0, 1, 1 << 40])))
    return signed(claimed, text, arrays)


def check_program(program: bytes, path: Path) -> str:
    """Read and run; return how far it came."""
    path.write_bytes(program)
    try:
        with alarm(SECONDS), memory_limit(MORE_BYTES):
            loaded = tilewright.load_program(path)
            inputs = {
                name: np.ones(value.shape, value.dtype) if value.shape is not None else np.ones(3, np.int8)
                for name, value in loaded.inputs.items()
            }
            loaded.run(inputs)
    except TilewrightError as error:
        assert str(error) and "\n" not in str(error).strip(), str(error)
        return "refused"
    return "ran"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("programs")


def test_a_long_hash_is_told_on_one_line(folder: Path) -> None:
    header, arrays = opened(good(folder))
    text = json.dumps({**header, "config_hash": header["config"]}).encode()
    path = folder / "long.twp"
    path.write_bytes(signed(len(text), text, arrays))
    with pytest.raises(ProgramError, match=r"is for configuration 'name = .*\.\.\.; with this version") as told:
        tilewright.load_program(path)
    assert "\n" not in str(told.value)


@SETTINGS
@given(st.data())
def test_a_few_edited_programs(folder: Path, data: st.DataObject) -> None:
    check_program(edited(data, good(folder)), folder / "edited.twp")


@pytest.mark.slow
@settings(SETTINGS, max_examples=MANY)
@given(st.data())
def test_many_edited_programs(folder: Path, data: st.DataObject) -> None:
    check_program(edited(data, good(folder)), folder / "edited.twp")
