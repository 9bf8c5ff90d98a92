"""Models that were compiled before come back as they were, and only they."""

from __future__ import annotations

import multiprocessing
import os
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.compiler.quantized_models import ModelBuilder
from tilewright import cpu, cpu_cache
from tilewright.compiler.targets.cpu.saved_program import program_bytes, program_of
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.cpu import CpuModel, compile_for_cpu, random_inputs
from tilewright.isa.errors import ModelError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Give the file of a small model."""
    builder = ModelBuilder(np.random.default_rng(5))
    x, w = builder.activation((1, 3, 9, 8)), builder.weight((20, 3, 3, 3), 0)
    result = builder.quantize(builder.node("Conv", [builder.dequantize(x), builder.dequantize(w)]))
    onnx.save(builder.model([result.name]), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty cache, and its folder of models."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "tilewright" / "models"


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Count how often a model is compiled."""
    found: list[str] = []
    lower = cpu.lower

    def counted(*arguments: object) -> object:
        found.append("compiled")
        return lower(*arguments)

    monkeypatch.setattr(cpu, "lower", counted)
    return found


def _entry(folder: Path) -> Path:
    (path,) = folder.glob("*.o")
    return path


def _check(model: CpuModel, rng: np.random.Generator) -> None:
    inputs = random_inputs(model.graph, rng)
    outputs = model.run(inputs).outputs
    assert not any(model.count_differences(inputs, outputs).values())
    assert all(np.unique(array).size > 1 for array in outputs.values()), "every value is the same"


def test_model_comes_back_as_it_was(path: Path, folder: Path, compiled: list[str], rng: np.random.Generator) -> None:
    models = [compile_for_cpu(path), compile_for_cpu(str(path)), compile_for_cpu(onnx.load(path))]
    assert len(compiled) <= 2, "the same file was compiled again"
    first, again, _ = models
    assert not again.program.graph.nodes, "the second one was not read from the cache"
    assert (again.layers, again.memory_bytes, again.name, again.title) == (
        first.layers, first.memory_bytes, first.name, first.title,
    )  # fmt: skip
    assert (again.inputs, again.outputs) == (first.inputs, first.outputs)
    for model in models:
        _check(model, rng)


def test_what_is_asked_for_decides(path: Path, folder: Path, compiled: list[str], rng: np.random.Generator) -> None:
    for threads, level in ((1, None), (2, None), (1, "portable")):
        for _ in range(2):
            model = compile_for_cpu(path, threads=threads, level=level)
            _check(model, rng)
            model.machine.close()
    assert len(compiled) == len(list(folder.glob("*.o"))) == 3


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty", "other"])
def test_damaged_entry_is_made_again(
    damage: str, path: Path, folder: Path, compiled: list[str], rng: np.random.Generator
) -> None:
    compile_for_cpu(path)
    entry = _entry(folder)
    good = entry.read_bytes()
    place = int(rng.integers(len(good)))
    entry.write_bytes(
        {
            "truncated": good[:place],
            "changed": good[:place] + bytes([good[place] ^ 1]) + good[place + 1 :],
            "empty": b"",
            "other": b"x" * 1000,
        }[damage]
    )
    _check(compile_for_cpu(path), rng)
    assert len(compiled) == 2 and entry.read_bytes() == good


def test_sound_blob_that_is_no_program_is_made_again(path: Path, folder: Path, compiled: list[str]) -> None:
    """The checksum is right, what it protects is not: every prefix, and a header that promises too much."""
    model = compile_for_cpu(path)
    data = program_bytes(model.program)
    assert data is not None and program_of(data) is not None
    for size in (0, 3, 8, 100, len(data) // 2, len(data) - 1):
        assert program_of(data[:size]) is None
    assert program_of(data + b"\0") is None
    assert program_of(data.replace(b'"constant_bytes":', b'"constant_bytes":9')) is None
    ObjectCache(folder).write(_entry(folder).stem, data[:100])
    compile_for_cpu(path)
    assert len(compiled) == 2


def _compile_and_check(path: Path, number: int) -> int:
    model = compile_for_cpu(path)
    inputs = random_inputs(model.graph, np.random.default_rng(number))
    return sum(model.count_differences(inputs, model(inputs)).values())


def test_processes_share_a_cache(path: Path, folder: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(partial(_compile_and_check, path), range(4), chunksize=1) == [0] * 4
    _entry(folder)
    assert not list(folder.glob(".*")), "something is left over"


def test_changed_file_is_another_model(path: Path, folder: Path, compiled: list[str], rng: np.random.Generator) -> None:
    compile_for_cpu(path)
    known = compile_for_cpu(path)
    model = onnx.load(path)
    model.doc_string = "changed"
    onnx.save(model, path)
    _check(compile_for_cpu(path), rng)
    assert len(compiled) == 2
    with pytest.raises(ModelError, match=r"`.*model.onnx` changed while it was used"):
        known.reference({})


def test_model_with_data_elsewhere_is_not_kept(path: Path, folder: Path) -> None:
    onnx.save(onnx.load(path), path, save_as_external_data=True, location="weights", size_threshold=100)
    compile_for_cpu(path)
    assert not list(folder.glob("*.o"))


def test_other_versions_do_not_share(
    path: Path, folder: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    compile_for_cpu(path)
    monkeypatch.setattr(cpu_cache.tilewright, "__version__", "another")
    compile_for_cpu(path)
    assert len(compiled) == len(list(folder.glob("*.o"))) == 2


def test_cache_keeps_what_was_used_last(tmp_path: Path) -> None:
    cache = ObjectCache(tmp_path, limit_bytes=250)
    for number, key in enumerate("abc"):
        cache.write(key, bytes(60))
        os.utime(tmp_path / f"{key}.o", (number, number))
    assert [path.stem for path in sorted(tmp_path.glob("*.o"))] == ["b", "c"]
    assert cache.read("b") == bytes(60)
    cache.write("d", bytes(60))
    assert [path.stem for path in sorted(tmp_path.glob("*.o"))] == ["b", "d"]
