"""Inputs made from good ones by mutation: what may happen is a result, or an error that names what is wrong."""

from __future__ import annotations

import random
import re
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from click.testing import CliRunner
from onnx import TensorProto

import tilewright
from tilewright.cli import cli
from tilewright.compiler.program import Program
from tilewright.isa.assembly import assemble, disassemble
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import TilewrightError
from tilewright.isa.instructions import instruction_set
from tilewright.sim.program_trace import ProgramTrace
from tilewright.sweep.space import Space

SECONDS = 60  # a case that takes longer hangs

_NUMBERS = (
    "0",
    "-1",
    "1",
    "3",
    "1e400",
    "nan",
    "1_000",
    "99999999999999999999",
    "0x7fffffff",
    "2.5",
    "true",
    "''",
    "[]",
    "{}",
)
_ISA = instruction_set(PRESETS["tiny"])


class Hangs(BaseException):
    """A case took too long; no handler of errors swallows this."""


@contextmanager
def memory_limit(more_bytes: int) -> Iterator[None]:
    """Refuse the process more memory than so much beside what it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hangs(f"still at it after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, double, move or overwrite some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        at, size = rng.randrange(len(changed) + 1), rng.choice((1, 1, 2, 4, 30))
        match rng.randrange(5):
            case 0 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + size]
            case 2:
                changed[at:at] = rng.randbytes(size)
            case 3:
                changed[at:at] = changed[at : at + size]
            case _:
                changed[at : at + size] = bytes([rng.choice((0, 1, 0x7F, 0x80, 0xFF))]) * size
    return bytes(changed)


def mutated_text(text: str, rng: random.Random) -> str:
    """Change words, numbers and lines; now and then bytes."""
    if rng.random() < 0.3:
        return mutated_bytes(text.encode(), rng).decode(errors="replace")
    for _ in range(rng.choice((1, 1, 2, 5))):
        pieces = re.split(r"(\w+)", text)
        lines = text.split("\n")
        match rng.randrange(5):
            case 0:
                places = [i for i, piece in enumerate(pieces) if piece.isdigit()] or [0]
                pieces[rng.choice(places)] = rng.choice(_NUMBERS)
                text = "".join(pieces)
            case 1:
                pieces[rng.randrange(len(pieces))] = rng.choice(pieces)
                text = "".join(pieces)
            case 2:
                del lines[rng.randrange(len(lines))]
                text = "\n".join(lines)
            case 3:
                lines.insert(rng.randrange(len(lines) + 1), rng.choice(lines or [""]))
                text = "\n".join(lines)
            case _:
                pieces[rng.randrange(len(pieces))] = ""
                text = "".join(pieces)
    return text


def mutated_model(model: onnx.ModelProto, rng: random.Random) -> onnx.ModelProto:
    """Change nodes, names, types, shapes and attributes of a model."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    names = sorted({n for node in graph.node for n in (*node.input, *node.output)} | {"", "nowhere"})
    for _ in range(rng.choice((1, 1, 2, 4))):
        node = rng.choice(graph.node) if graph.node else onnx.NodeProto()
        match rng.randrange(9):
            case 0 if graph.node:
                del graph.node[rng.randrange(len(graph.node))]
            case 1 if node.input:
                node.input[rng.randrange(len(node.input))] = rng.choice(names)
            case 2 if node.output:
                node.output[rng.randrange(len(node.output))] = rng.choice(names)
            case 3 if graph.initializer:
                tensor = rng.choice(graph.initializer)
                tensor.data_type = rng.choice((0, TensorProto.FLOAT, TensorProto.INT8, TensorProto.INT64, 99))
            case 4 if graph.initializer:
                tensor = rng.choice(graph.initializer)
                tensor.dims[:] = [rng.choice((0, 1, 3, -1, 1 << 40)) for _ in range(rng.randrange(5))]
            case 5 if node.attribute:
                attribute = rng.choice(node.attribute)
                attribute.ints[:] = [rng.choice((-1, 0, 1, 2, 7, 1 << 33)) for _ in range(rng.randrange(6))]
            case 6:
                value = rng.choice([*graph.input, *graph.output])
                for dimension in value.type.tensor_type.shape.dim:
                    dimension.dim_value = rng.choice((0, 1, 5, -1, 1 << 33, dimension.dim_value))
            case 7:
                node.op_type = rng.choice(("Conv", "Relu", "Nothing", "Reshape", "QuantizeLinear", "If", ""))
            case _:
                changed.opset_import[0].version = rng.choice((0, 1, 7, 13, 21, 99))
    return changed


Case = Callable[[random.Random], None]


def cases(folder: Path, model: onnx.ModelProto, space: str) -> dict[str, Case]:
    """Return, by kind, what makes one mutated input and uses it; an error that is not ours comes out."""
    program_file = folder / "good.twp"
    tilewright.compile(model, config="tiny").save(program_file)
    program, trace_text = program_file.read_bytes(), _trace().to_text()
    instructions = b"".join(_ISA.encode(name, values) for name, values in _trace().instructions)
    assembly = disassemble(instructions, _ISA)
    target = folder / "mutated"

    def written(data: bytes) -> Path:
        target.write_bytes(data)
        return target

    return {
        "config": lambda rng: _use(Config.from_toml, mutated_text(PRESETS["8x8"].to_toml(), rng)),
        "space": lambda rng: _use(Space.from_toml, mutated_text(space, rng)),
        "trace": lambda rng: _use(ProgramTrace.from_text, mutated_text(trace_text, rng)),
        "assembly": lambda rng: _use(lambda text: assemble(text, _ISA), mutated_text(assembly, rng)),
        "instructions": lambda rng: _use(lambda data: disassemble(data, _ISA), mutated_bytes(instructions, rng)),
        "program": lambda rng: _use(Program.load, written(mutated_bytes(program, rng))),
        "onnx_bytes": lambda rng: _compile(written(mutated_bytes(model.SerializeToString(), rng))),
        "onnx_model": lambda rng: _compile(written(mutated_model(model, rng).SerializeToString())),
        "arguments": lambda rng: _invoke(_arguments(rng, folder)),
    }


def _trace() -> ProgramTrace:
    ones = {f"extent_{loop}": 1 for loop in ("out0", "out1", "out2", "red0", "red1", "red2")}
    program = (
        ("LOAD_PRM", {"extent0": 1, "extent_run": 2, "signal": 1}),
        ("GEMM", {**ones, "wait": 1, "bias_enable": 1, "clamp_high": 5, "signal": 2}),
        ("STORE_ACT", {"wait": 2, "extent_run": 1, "extent0": 1, "extent1": 1, "extent2": 1}),
    )
    return ProgramTrace(_ISA.config, program, 1, 4096)


def _use(function: Callable[..., object], argument: object) -> None:
    try:
        function(argument)
    except TilewrightError as error:
        assert str(error).strip()


def _compile(path: Path) -> None:
    _use(lambda source: tilewright.compile(source, config="tiny"), path)


_COMMANDS = ("config", "isa", "run", "compile", "replay", "sweep", "debug", "quantize", "nothing")
_WORDS = (
    *_COMMANDS, "--config", "--set", "--json", "-o", "--on", "functional", "fast", "--check", "--seed", "-1", "0",
    "99999999999999999999", "tiny", "8x8", "nowhere", "", "gemm.block_in=8", "gemm.block_in=", "=", "gemm=3", "--input",
    "--markdown", "--assemble", "--disassemble", "--toml", "--quiet", "--help", "--latency", "--bandwidth",
    "--outstanding", "é", "--", "-", "*", "--max-cycles", "x" * 300,
)  # fmt: skip


def _arguments(rng: random.Random, folder: Path) -> list[str]:
    """Return arguments that start no long work: no model but the small one, nothing on RTL."""
    files = [str(folder / name) for name in ("good.twp", "mutated", "missing")] + [str(folder)]
    return [rng.choice(_COMMANDS), *(rng.choice((*_WORDS, *files)) for _ in range(rng.randrange(6)))]


def _invoke(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments, prog_name="tilewright")
    ended_well = result.exception is None or isinstance(result.exception, SystemExit)
    if not ended_well and result.exception is not None:
        raise AssertionError(f"{arguments}: {result.exception!r}") from result.exception
    assert result.exit_code in range(4), f"{arguments}: exit code {result.exit_code}"
    assert "Traceback" not in result.output
