"""Models as C objects: built by a C compiler, run here and, in slow tests, as other processors run them."""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import ModelProto

from tests.compiler.quantized_models import ModelBuilder
from tests.compiler.targets.gpu.small_networks import NETWORKS
from tilewright.arrays import count_far
from tilewright.bench.cpu_models import encoder as float_encoder
from tilewright.cli import cli
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.reference import evaluate
from tilewright.compiler.targets.accelerator.networks import NetworkBuilder
from tilewright.compiler.targets.accelerator.transformers import TransformerShape, transformer_graph
from tilewright.compiler.targets.cpu.c_interface import identifiers
from tilewright.compiler.targets.cpu.levels import host_levels
from tilewright.compiler.targets.cpu.processors import FAMILIES, Processor
from tilewright.cpu import FAR, is_float_model, random_inputs
from tilewright.cpu_library import CpuLibrary, compile_library
from tilewright.isa.errors import ConfigError, ModelError

MODEL = Path(str(files("tilewright") / "data" / "default_resnet8_int8.onnx"))

needs_cc = pytest.mark.skipif(not shutil.which("cc") or not shutil.which("make"), reason="no C compiler, or no make")


def _call(*command: str | Path, **options: object) -> None:
    result = subprocess.run([str(part) for part in command], capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    assert not result.stderr, f"{command[0]} warns: {result.stderr}"


def _check(library: CpuLibrary, folder: Path, command: list[str], rng: np.random.Generator) -> None:
    """Let an example run on random inputs, and compare what it writes with the reference."""
    inputs = random_inputs(library.graph, rng)
    for name, array in inputs.items():
        (folder / f"{name}.in").write_bytes(array.tobytes())
    ends = [folder / f"{name}.in" for name in library.graph.inputs]
    outs = [folder / f"{name}.out" for name in library.graph.outputs]
    _call(*command, *ends, *outs, cwd=folder)
    for (name, array), path in zip(evaluate(library.graph, inputs).items(), outs, strict=True):
        found = np.frombuffer(path.read_bytes(), array.dtype).reshape(array.shape)
        if is_float_model(library.graph):
            assert count_far(array, found, FAR) == 0
        else:
            np.testing.assert_array_equal(found, array, name)
        assert np.unique(array).size > 1, "every value is the same: the test shows nothing"


# ---- here ----------------------------------------------------------------------------------------------------


@needs_cc
def test_command_gives_an_example_that_runs(tmp_path: Path, rng: np.random.Generator) -> None:
    arguments = ["compile", str(MODEL), "-o", str(tmp_path / "new"), "--target", "cpu", "--json", "-"]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    name = data["name"]
    assert data["files"] == sorted(["Makefile", "example.c", f"{name}.h", f"{name}.o"])
    assert name == "default_resnet8_int8" and data["constant_bytes"] > 70_000
    _call("make", "-C", tmp_path / "new", "CFLAGS=-std=c11 -Wall -Wextra -Werror -pedantic")
    _check(compile_library(MODEL), tmp_path / "new", [str(tmp_path / "new" / "example")], rng)


def _guarded(size: int) -> tuple[mmap.mmap, int]:
    """Give an address behind which, after so many bytes, nothing may be touched."""
    page = mmap.PAGESIZE
    whole = -(-size // page) * page
    area = mmap.mmap(-1, whole + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(area))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mprotect(ctypes.c_void_p(start + whole), ctypes.c_size_t(page), 0) == 0, os.strerror(ctypes.get_errno())
    return area, start + whole - size


@needs_cc
def test_float_model_agrees_with_onnx(tmp_path: Path, rng: np.random.Generator) -> None:
    library = compile_library(_floats(rng))
    assert library.object.name == "floats"
    library.save(tmp_path)
    _call("make", "-C", tmp_path)
    _check(library, tmp_path, [str(tmp_path / "example")], rng)


@needs_cc
@pytest.mark.skipif(sys.platform != "linux", reason="guards memory as Linux does")
@pytest.mark.parametrize("level", [None, *(level.name for level in host_levels())])
def test_nothing_behind_an_array_is_touched(level: str | None, tmp_path: Path, rng: np.random.Generator) -> None:
    """Arrays end where memory does, and calls that follow each other give what each one should."""
    for name in ("image_7x7", "depthwise", "average"):
        library = compile_library(NETWORKS[name](rng), level=level, name=name)
        library.save(tmp_path)
        _call("make", "-C", tmp_path, f"lib{name}.so")
        code = ctypes.CDLL(str(tmp_path / f"lib{name}.so"))
        _kept, place = _guarded(library.object.memory_bytes)
        getattr(code, f"{name}_prepare")(ctypes.c_void_p(place))
        for _ in range(2):
            inputs = random_inputs(library.graph, rng)
            expected = evaluate(library.graph, inputs)
            arrays = [(array, *_guarded(array.nbytes)) for array in (*inputs.values(), *expected.values())]
            for array, _, start in arrays[: len(inputs)]:
                ctypes.memmove(start, array.tobytes(), array.nbytes)
            getattr(code, f"{name}_run")(ctypes.c_void_p(place), *(ctypes.c_void_p(start) for _, _, start in arrays))
            for array, _, start in arrays[len(inputs) :]:
                found = np.frombuffer(ctypes.string_at(start, array.nbytes), array.dtype).reshape(array.shape)
                np.testing.assert_array_equal(found, array)
                assert np.unique(array).size > 1, "every value is the same: the test shows nothing"


@pytest.mark.parametrize("family", FAMILIES)
def test_objects_of_all_processors_export_two_functions(family: str, rng: np.random.Generator) -> None:
    library = compile_library(NETWORKS["depthwise"](rng), family, name="net")
    magic = b"\0asm" if family == "wasm32" else b"\x7fELF"
    assert library.object.code.startswith(magic)
    assert b"net_run" in library.object.code and b"net_prepare" in library.object.code
    assert f"for {FAMILIES[family].triple}, level portable" in library.files["net.h"].decode()


# ---- elsewhere -----------------------------------------------------------------------------------------------


def _resnet8(rng: np.random.Generator) -> Path:
    return MODEL


def _floats(rng: np.random.Generator) -> ModelProto:
    return float_encoder("floats", 1, 64, 2, 96, 20)


def _separable(rng: np.random.Generator) -> Graph:
    net = NetworkBuilder("separable", (1, 8, 20, 17), rng)
    y = net.convolution(net.convolution("x", 24, 3, 2), 24, 3, groups=24)
    z = net.convolution(net.convolution(y, 40, 1), 24, 1, residual=y)
    return net.graph(net.matrix(net.global_average(net.max_pool(z, 3, 2)), 20))


def _encoder(rng: np.random.Generator) -> Graph:
    return transformer_graph(TransformerShape("encoder", 16, 48, 3, 80, 1), rng, 16)


_MODELS: dict[str, Callable[[np.random.Generator], object]] = {
    "resnet8": _resnet8, "separable": _separable, "encoder": _encoder, "floats": _floats,
}  # fmt: skip
_ELSEWHERE = [(family, level) for family in ("aarch64", "riscv64") for level in FAMILIES[family].levels]


@pytest.mark.slow
@pytest.mark.parametrize("name", _MODELS)
@pytest.mark.parametrize(("family", "level"), _ELSEWHERE)
def test_emulated_processors_equal_the_reference(
    family: str, level: str, name: str, tmp_path: Path, rng: np.random.Generator
) -> None:
    emulator, compiler = f"qemu-{family}", f"{family}-linux-gnu-gcc"
    missing = [tool for tool in (emulator, compiler, "make") if not shutil.which(tool)]
    if missing:
        pytest.skip(f"no {', '.join(missing)}")
    library = compile_library(_MODELS[name](rng), family, level=level, name=name)
    library.save(tmp_path)
    _call("make", "-C", tmp_path, "LDFLAGS=-static")
    _check(library, tmp_path, [emulator, "-cpu", "max" if family == "aarch64" else "rv64", "./example"], rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", _MODELS)
def test_web_assembly_equals_the_reference(name: str, tmp_path: Path, rng: np.random.Generator) -> None:
    pytest.importorskip("wasmtime")
    if not shutil.which("wasm-ld") or not shutil.which("make"):
        pytest.skip("no wasm-ld, or no make")
    library = compile_library(_MODELS[name](rng), "wasm32", name=name)
    library.save(tmp_path)
    _call("make", "-C", tmp_path)
    _check(library, tmp_path, [sys.executable, "example.py"], rng)


# ---- names and mistakes --------------------------------------------------------------------------------------


def test_names_become_identifiers() -> None:
    assert identifiers(["x", "X", "input:0", "1", "int", "memory", "a/b", "a.b", "größe"]) == [
        "x", "X_2", "input_0", "m1", "int_", "memory_2", "a_b", "a_b_2", "gr__e",
    ]  # fmt: skip


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a processor is one of x86_64, .*, or a triple of theirs, not `sparc`"):
        Processor.of("sparc")
    with pytest.raises(ConfigError, match="`riscv64` has the levels portable, not `avx2`"):
        Processor.of("riscv64", "avx2")
    for arguments, message in (
        (["--target", "gpu"], "a target is accelerator, cpu or cpu:PROCESSOR, not `gpu`"),
        (["--target", "cpu", "--config", "16x16"], "--config, --set and --host-fallback are for accelerators"),
        (["--level", "avx2"], "--level is for `--target cpu`"),
    ):
        result = CliRunner().invoke(cli, ["compile", str(MODEL), "-o", str(tmp_path / "y"), *arguments])
        assert result.exit_code != 0 and message in result.output, result.output


def test_operators_without_kernel_are_refused() -> None:
    builder = ModelBuilder(np.random.default_rng(0))
    x = builder.dequantize(builder.activation((2, 3)))
    with pytest.raises(ModelError, match=r"cannot be compiled ahead of time: onnx\S* `.*` has no kernel for CPUs"):
        compile_library(builder.model([builder.node("Sin", [x])]))
