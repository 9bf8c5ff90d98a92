"""What a user can get wrong: each mistake ends in one line that names it, exit code 2, and no traceback."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

import tilewright
from tilewright.bench.convolutions import convolution_model
from tilewright.cli import cli
from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape
from tilewright.isa.errors import (
    CapacityError,
    ConfigError,
    InputError,
    ModelError,
    ProgramError,
    TilewrightError,
    ToolchainError,
)

SMALL = ConvolutionShape("small", 6, 4, 8, 3, 1, 1)
LARGE = ConvolutionShape("large", 20, 64, 16, 5, 2, 1)


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(a) for a in arguments], prog_name="tilewright")


def assert_refused(result: Result, *words: str, code: int = 2) -> None:
    """One line on stderr with all the words, and the exit code of a user's mistake."""
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with a small model, its program for `tiny`, and damaged copies."""
    folder = tmp_path_factory.mktemp("bad")
    model = convolution_model(SMALL).SerializeToString()
    (folder / "small.onnx").write_bytes(model)
    (folder / "half.onnx").write_bytes(model[: len(model) // 2])
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "text.onnx").write_text("This is a text about accelerators, and no model at all.\n")
    (folder / "noise.onnx").write_bytes(random.Random(1).randbytes(4000))
    tilewright.compile(convolution_model(SMALL), config="tiny").save(folder / "small.twp")
    return folder


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("gemm.block_in=12", ("`gemm.block_in`", "a power of two in 4..64", "not 12")),
        ("gemm.block_in=1024", ("`gemm.block_in`", "4..64", "1024")),
        ("bus.data_bits=true", ("`bus.data_bits`", "True")),
        ("vector.multiply=3", ("`vector.multiply`", "true or false", "3")),
        ("gemm.rows=2", ("unknown key `gemm.rows`", "block_in")),
        ("core.rows=2", ("unknown section `core`", "gemm")),
        ("memory.wgt_kib=1", ("`memory.wgt_kib`", "at least 4 entries")),
        ("gemm.block_in", ("SECTION.FIELD=VALUE", "`gemm.block_in`")),
        ("gemm.block_in=many", ("`gemm.block_in`", "`many`")),
    ],
)
def test_impossible_configuration(change: str, words: tuple[str, ...]) -> None:
    base = "32x32" if "wgt_kib" in change else "16x16"
    assert_refused(invoke("config", base, "--set", change), *words)


@pytest.mark.parametrize(
    "command", [("run", "small.onnx"), ("compile", "small.onnx", "-o", "x.twp"), ("demo",), ("isa",)]
)
def test_unknown_preset(command: tuple[str, ...], folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert_refused(invoke(*command, "--config", "17x17"), "`17x17`", "8x8, 16x16", "readable file")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[gemm\n", ("not valid TOML",)),
        ("[gemm]\nblock_in = 'eight'\n", ("`gemm.block_in`", "'eight'")),
        ("[gem]\nblock_in = 8\n", ("unknown key `gem`",)),
        ("gemm = 3\n", ("`gemm`", "3")),
    ],
)
def test_broken_configuration_file(text: str, words: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text(text)
    assert_refused(invoke("config", path), *words)


@pytest.mark.parametrize("name", ["half.onnx", "empty.onnx", "text.onnx", "noise.onnx"])
@pytest.mark.parametrize("command", ["run", "compile"])
def test_file_that_is_no_model(command: str, name: str, folder: Path, tmp_path: Path) -> None:
    extra = ("-o", tmp_path / "x.twp") if command == "compile" else ()
    assert_refused(invoke(command, folder / name, *extra), name, "not an ONNX model, or truncated")
    assert not (tmp_path / "x.twp").exists()


def test_model_that_does_not_exist(folder: Path) -> None:
    assert_refused(invoke("run", folder / "nowhere.onnx"), "nowhere.onnx", "no such")
    assert_refused(invoke("run", folder), folder.name)


def softmax_model(domain: str = "", op: str = "Softmax") -> onnx.ModelProto:
    """Give the small convolution with one more operator behind it, in float."""
    model = convolution_model(SMALL)
    graph = model.graph
    graph.node.append(helper.make_node("DequantizeLinear", ["y", "scale_out", "zero"], ["f"], "y_dequantize"))
    graph.node.append(helper.make_node(op, ["f"], ["z"], "last", domain=domain))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 8, 6, 6]))
    if domain:
        model.opset_import.append(helper.make_opsetid(domain, 1))
    return model


def test_unsupported_operator_runs_on_the_host_and_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "softmax.onnx"
    path.write_bytes(softmax_model().SerializeToString())
    result = invoke("run", path, "--config", "tiny", "--check", "--json", "-")
    assert result.exit_code == 0, result.output
    layers = {layer["kind"]: layer for layer in json.loads(result.stdout)["layers"]}
    assert layers["onnx.Softmax"]["place"] == "host" and layers["onnx.Softmax"]["note"]
    assert layers["qconv2d"]["place"] == "device"
    assert "Softmax" in result.stderr and "0 values differ" in result.stderr


def test_unknown_operator_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "foreign.onnx"
    path.write_bytes(softmax_model("org.example", "Frobnicate").SerializeToString())
    assert_refused(invoke("run", path, "--config", "tiny"), "Frobnicate")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"image": np.zeros((1, 4, 6, 6), np.int8)}, ("'image'", "'x'")),
        ({"x": np.zeros((1, 4, 6, 7), np.int8)}, ("'x'", "(1, 4, 6, 6)", "(1, 4, 6, 7)")),
        ({"x": np.zeros((4, 6, 6), np.int8)}, ("'x'", "(1, 4, 6, 6)", "(4, 6, 6)")),
        ({"x": np.zeros((1, 4, 6, 6), np.float64)}, ("'x'", "int8", "float64")),
        ({"x": np.zeros((1, 4, 6, 6), np.uint8)}, ("'x'", "int8", "uint8")),
        ({"x": np.zeros((1, 4, 6, 6), np.int8), "y": np.zeros(1)}, ("'y'", "'x'")),
        ({}, ("holds no arrays",)),
    ],
)
@pytest.mark.parametrize("model", ["small.onnx", "small.twp"])
def test_wrong_input(
    model: str, arrays: dict[str, np.ndarray], words: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    path = tmp_path / "inputs.npz"
    np.savez(path, **arrays)
    config = ("--config", "tiny") if model.endswith("onnx") else ()
    assert_refused(invoke("run", folder / model, *config, "--input", path), *words)


def test_input_that_is_no_npz(folder: Path, tmp_path: Path) -> None:
    text, single, objects, cut = (tmp_path / name for name in ("t.npz", "s.npy", "o.npz", "c.npz"))
    text.write_text("x = 1")
    np.save(single, np.zeros(3))
    np.savez(objects, x=np.array([{}], dtype=object))
    np.savez(cut, x=np.zeros(1000))
    cut.write_bytes(cut.read_bytes()[:500])
    run = ("run", folder / "small.onnx", "--config", "tiny", "--input")
    assert_refused(invoke(*run, tmp_path / "nowhere.npz"), "nowhere.npz", "No such file")
    assert_refused(invoke(*run, text), "t.npz", "not an NPZ file")
    assert_refused(invoke(*run, single), "s.npy", "NPZ file of named arrays")
    assert_refused(invoke(*run, objects), "o.npz")
    assert_refused(invoke(*run, cut), "c.npz")


def test_program_of_another_configuration(folder: Path) -> None:
    tiny, other = tilewright.Config.load("tiny"), tilewright.Config.load("8x8")
    result = invoke("run", folder / "small.twp", "--config", "8x8")
    assert_refused(result, "small.twp", tiny.hash, other.hash)


def test_program_on_a_simulator_of_another_configuration(folder: Path) -> None:
    program = tilewright.load_program(folder / "small.twp")
    other = tilewright.simulator("functional", "8x8")
    with pytest.raises(TilewrightError) as caught:
        program.run({"x": np.zeros((1, 4, 6, 6), np.int8)}, on=other)
    assert program.config.hash in str(caught.value)
    assert tilewright.Config.load("8x8").hash in str(caught.value)


def flip(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]


@pytest.mark.parametrize("part", range(16))
def test_corrupted_program_file(part: int, folder: Path, tmp_path: Path, python_random: random.Random) -> None:
    """A changed byte in any sixteenth of the file, and in its first bytes, is noticed."""
    data = (folder / "small.twp").read_bytes()
    low, high = part * len(data) // 16, (part + 1) * len(data) // 16
    path = tmp_path / "damaged.twp"
    for place in (low, high - 1, *(python_random.randrange(low, high) for _ in range(6))):
        path.write_bytes(flip(data, place))
        assert_refused(invoke("run", path), "damaged.twp")


@pytest.mark.parametrize("damage", ["cut", "short", "longer", "twice"])
def test_truncated_program_file(damage: str, folder: Path, tmp_path: Path) -> None:
    data = (folder / "small.twp").read_bytes()
    changed: dict[str, Callable[[], bytes]] = {
        "cut": lambda: data[: len(data) // 2],
        "short": lambda: data[:-1],
        "longer": lambda: data + b"\0",
        "twice": lambda: data + data,
    }
    path = tmp_path / "damaged.twp"
    path.write_bytes(changed[damage]())
    assert_refused(invoke("run", path), "damaged.twp")


def test_scratchpad_too_small_is_named_or_worked_around(tmp_path: Path) -> None:
    """A line of the image must fit; where it does not, layer, memory and size are named, or the host does it."""
    x = helper.make_tensor_value_info("x", TensorProto.INT8, [1, 8, 40, 40])
    y = helper.make_tensor_value_info("y", TensorProto.INT8, [1, 8, 42, 42])
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [], [0.5]),
        helper.make_tensor("zero", TensorProto.INT8, [], [3]),
        helper.make_tensor("pads", TensorProto.INT64, [8], [0, 0, 1, 1, 0, 0, 1, 1]),
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "scale", "zero"], ["f"], "in"),
        helper.make_node("Pad", ["f", "pads"], ["g"], "border"),
        helper.make_node("QuantizeLinear", ["g", "scale", "zero"], ["y"], "out"),
    ]
    graph = helper.make_graph(nodes, "padded", [x], [y], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "padded.onnx"
    path.write_bytes(model.SerializeToString())
    run = ("run", path, "--config", "8x8", "--set", "memory.act_kib=1", "--check")
    assert_refused(invoke(*run), "border", "`memory.act_kib`", "1024")
    allowed = invoke(*run, "--host-fallback")
    assert allowed.exit_code == 0, allowed.output
    assert "memory.act_kib" in " ".join(allowed.stdout.split())
    assert "0 values differ" in allowed.stdout
    assert invoke("run", path, "--config", "8x8", "--check").exit_code == 0


def test_convolution_is_cut_to_the_smallest_scratchpads(tmp_path: Path) -> None:
    changes = ("--set", "memory.act_kib=1", "--set", "memory.wgt_kib=1", "--set", "memory.acc_kib=1")
    path = tmp_path / "large.onnx"
    path.write_bytes(convolution_model(LARGE).SerializeToString())
    result = invoke("run", path, "--config", "8x8", *changes, "--check")
    assert result.exit_code == 0, result.output
    assert "0 values differ" in result.stdout


def test_unwritable_output(folder: Path, tmp_path: Path) -> None:
    model = ("--config", "tiny")
    nowhere = tmp_path / "nowhere" / "file"
    assert_refused(invoke("compile", folder / "small.onnx", *model, "-o", nowhere), "cannot write", "nowhere")
    assert_refused(invoke("compile", folder / "small.onnx", *model, "-o", tmp_path), "cannot write", "folder")
    assert_refused(invoke("run", folder / "small.onnx", *model, "--output", nowhere), "cannot write", "nowhere")
    assert_refused(invoke("run", folder / "small.onnx", *model, "--json", nowhere), "cannot write", "nowhere")
    assert_refused(invoke("config", "8x8", "--json", nowhere), "cannot write", "nowhere")
    assert_refused(invoke("isa", "--markdown", "-o", nowhere), "cannot write", "nowhere")


def test_damaged_assembly(tmp_path: Path) -> None:
    text, binary = tmp_path / "p.s", tmp_path / "p.bin"
    text.write_text("GEMM a_base=1\nLOAD_WGT nonsense=3\n")
    assert_refused(invoke("isa", "--assemble", text, "-o", binary), "p.s", "line 2", "`nonsense`")
    assert not binary.exists()
    binary.write_bytes(bytes(64))
    assert_refused(invoke("isa", "--disassemble", binary), "p.bin", "illegal opcode 0")
    binary.write_bytes(bytes(63))
    assert_refused(invoke("isa", "--disassemble", binary), "p.bin", "not 63")
    assert_refused(invoke("isa", "--disassemble", tmp_path / "nowhere"), "cannot read", "nowhere")


def test_missing_compiler_is_exit_code_3(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    result = invoke("run", folder / "small.twp", "--on", "rtl")
    assert_refused(result, "no C++ compiler", "no-such-compiler", code=3)


def test_waves_need_rtl(folder: Path) -> None:
    assert_refused(invoke("run", folder / "small.twp", "--waves", "x.fst"), "--waves needs --on rtl")
    assert_refused(invoke("run", folder / "small.twp", "--wave-cycles", "3:4"), "--wave-cycles needs --waves")


@pytest.mark.parametrize(
    ("window", "words"), [("5", "FIRST:END, not `5`"), ("a:b", "not `a:b`"), ("7:7", "7:7 holds no cycle")]
)
def test_windows_of_waves(folder: Path, window: str, words: str) -> None:
    waves = ("--on", "rtl", "--waves", folder / "x.fst")
    assert_refused(invoke("run", folder / "small.twp", *waves, "--wave-cycles", window), "--wave-cycles", words)


def test_too_many_cycles_name_what_is_stuck(folder: Path) -> None:
    limit = ("--max-cycles", "30")
    assert_refused(invoke("run", folder / "small.twp", *limit), "--max-cycles needs --on fast or rtl")
    result = invoke("run", folder / "small.twp", "--on", "fast", *limit)
    assert_refused(result, "not ended after 30 cycles: load has finished 0 of", code=1)


def test_there_is_no_board(folder: Path) -> None:
    assert_refused(invoke("run", folder / "small.twp", "--on", "board"), "no accelerator on this machine", code=1)


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tilewright.isa.config.Config.load", interrupt)
    result = invoke("config", "8x8")
    assert result.exit_code == 130
    assert result.stderr.strip().endswith("error: interrupted")


@pytest.mark.parametrize(
    "kind", [ConfigError, ProgramError, ModelError, InputError, CapacityError, ToolchainError], ids=lambda k: k.__name__
)
def test_python_users_catch_one_class(kind: type[Exception]) -> None:
    assert issubclass(kind, tilewright.TilewrightError)


def test_python_interface_refuses_by_name(folder: Path) -> None:
    with pytest.raises(ConfigError, match="`functional`, `fast`, `rtl` or `board`, not `dish`"):
        tilewright.simulator("dish", "tiny")
    with pytest.raises(ConfigError, match="neither a preset"):
        tilewright.compile(folder / "small.onnx", config="17x17")
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        tilewright.nonsense  # noqa: B018
