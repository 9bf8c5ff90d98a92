"""Command lines that hypothesis draws from what the commands declare: a result, or one line and an exit code."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tilewright
from tests.system.mutated_inputs import SECONDS, alarm
from tests.system.test_bad_input import SMALL
from tests.system.test_every_command import walk
from tilewright.bench.convolutions import convolution_model
from tilewright.cli import cli

FEW, MANY = 150, 10_000
SETTINGS = settings(
    max_examples=FEW, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None
)
#: Commands that are done in a moment with the small model; the others measure, train, place or look at the machine.
QUICK = ("config", "isa", "run", "compile", "debug", "diff", "replay", "sweep best", "sweep show", "sweep compare",
         "sweep report", "quantize", "synth")  # fmt: skip
COMMANDS = {" ".join(path): command for path, command in walk() if " ".join(path) in QUICK}
#: What would simulate RTL, look for a board or a GPU, or synthesize.
SLOW_VALUES = ("rtl", "board", "gpu", "cpu")

FILES = ("small.onnx", "small.twp", "inputs.npz", "half.onnx", "empty", "nowhere", "folder", ".", "")
TEXTS = st.one_of(
    st.sampled_from(FILES),
    st.sampled_from(["tiny", "8x8", "17x17", "x", "é", "a b", "-", "x" * 300, "\udcff", "\n", "*"]),
)
CHANGES = st.sampled_from(
    ["gemm.block_in=8", "gemm.block_in=12", "gemm.block_in=", "=", "gemm=3", "bus.data_bits=true", "gemm.block_in=1e9",
     "memory.act_kib=1", "vector.rows=true", "a.b.c=1", "queue.load=99999999999999999999"]
)  # fmt: skip
NUMBERS = st.one_of(st.integers(-2, 40), st.sampled_from([1 << 31, 1 << 64, -(1 << 63)])).map(str)


def value_of(parameter: click.Parameter) -> st.SearchStrategy[str]:
    """Draw a value: of the declared kind three times out of four."""
    kind = parameter.type
    if isinstance(kind, click.Choice):
        own = st.sampled_from([str(c) for c in kind.choices if str(c) not in SLOW_VALUES] or ["x"])
    elif isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        own = NUMBERS
    elif parameter.name == "changes":
        own = CHANGES
    elif parameter.name == "config_name":
        own = st.sampled_from(["tiny", "4x4", "8x8"])
    elif parameter.name in ("model", "input_file"):
        own = st.sampled_from(FILES[:2] if parameter.name == "model" else FILES[2:4])
    else:
        own = TEXTS
    return st.one_of(own, own, own, TEXTS)


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Give a command with some of its options, most of its arguments, now and then a word that it does not know."""
    name = draw(st.sampled_from(list(COMMANDS)))
    words = [*name.split(), *(["--estimate"] if name == "synth" else [])]
    for parameter in COMMANDS[name].params:
        if isinstance(parameter, click.Argument):
            words += [draw(value_of(parameter))] if draw(st.integers(0, 9)) else []
        elif draw(st.integers(0, 9)) < (9 if parameter.required else 1):
            words.append(draw(st.sampled_from(parameter.opts)))
            if not getattr(parameter, "is_flag", False):
                words.append(draw(value_of(parameter)))
    if draw(st.integers(0, 9)) == 0:
        words.insert(
            draw(st.integers(0, len(words))), draw(st.sampled_from(["--nothing", "-x", "--", "extra", "--help"]))
        )
    is_quick = name != "diff" or ("--left" in words and "--right" in words)  # else it simulates RTL
    return words if is_quick else ["diff", "--help"]


def check_command(words: list[str]) -> int:
    """Invoke; return the exit code."""
    with alarm(SECONDS):
        result = CliRunner().invoke(cli, words, prog_name="tilewright", input="")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise AssertionError(f"{words}: {result.exception!r}") from result.exception
    assert result.exit_code in range(4), (words, result.exit_code)
    assert "Traceback" not in result.output, words
    if result.exit_code >= 2:
        assert result.stderr.startswith("error: ") or "\nerror: " in result.stderr, (words, result.stderr)
        assert result.stderr.strip().splitlines()[-1].startswith("error: "), (words, result.stderr)
    elif result.exit_code == 0 and "--help" not in words and any(pair == ("--json", "-") for pair in pairwise(words)):
        json.loads(result.stdout)
    return result.exit_code


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a model, its program, inputs, and what is none of them."""
    folder = tmp_path_factory.mktemp("lines")
    model = convolution_model(SMALL).SerializeToString()
    (folder / "small.onnx").write_bytes(model)
    (folder / "half.onnx").write_bytes(model[: len(model) // 2])
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    np.savez(folder / "inputs.npz", x=np.ones((1, 4, 6, 6), np.int8))
    tilewright.compile(convolution_model(SMALL), config="tiny").save(folder / "small.twp")
    return folder


@pytest.fixture
def there(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder where the files are links, which commands may replace."""
    for path in good.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@SETTINGS
@given(command_lines())
def test_a_few_command_lines(there: Path, words: list[str]) -> None:
    check_command(words)


@pytest.mark.slow
@settings(SETTINGS, max_examples=MANY)
@given(command_lines())
def test_many_command_lines(there: Path, words: list[str]) -> None:
    check_command(words)
