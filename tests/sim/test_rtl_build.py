"""The cache of compiled models, the search for tools, and the text that is compiled."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from time import sleep

import pytest

from tilewright.isa.config import PRESETS
from tilewright.isa.errors import ToolchainError
from tilewright.isa.instructions import instruction_set
from tilewright.isa.vector_ops import VECTOR_OPS
from tilewright.sim.rtl import build
from tilewright.sim.rtl import design_text as design
from tilewright.sim.rtl.cache import Cache, content_hash, user_cache
from tilewright.sim.rtl.toolchain import find_compiler, find_toolchain, run_tool

KEY = content_hash(["something"])


class Maker:
    """Makes an entry and counts how often."""

    def __init__(self, seconds: float = 0) -> None:
        self.made = 0
        self._seconds = seconds

    def __call__(self, folder: Path) -> None:
        self.made += 1
        sleep(self._seconds)
        (folder / "model.so").write_bytes(b"0123456789" * 100)


def damage_truncate(entry: Path) -> None:
    (entry / "model.so").write_bytes((entry / "model.so").read_bytes()[:500])


def damage_flip(entry: Path) -> None:
    data = bytearray((entry / "model.so").read_bytes())
    data[77] ^= 1
    (entry / "model.so").write_bytes(data)


def damage_remove(entry: Path) -> None:
    (entry / "model.so").unlink()


def damage_manifest(entry: Path) -> None:
    (entry / "manifest.json").write_text("{")


def test_an_entry_is_made_once(tmp_path: Path) -> None:
    cache, make = Cache(tmp_path), Maker()
    assert cache.get(KEY, make) == cache.get(KEY, make) == tmp_path / KEY
    assert make.made == 1


@pytest.mark.parametrize("damage", [damage_truncate, damage_flip, damage_remove, damage_manifest])
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    cache, make = Cache(tmp_path), Maker()
    damage(cache.get(KEY, make))
    assert (cache.get(KEY, make) / "model.so").stat().st_size == 1000
    assert make.made == 2


def test_a_failed_entry_leaves_nothing(tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise ToolchainError("no luck")

    with pytest.raises(ToolchainError, match="no luck"):
        Cache(tmp_path).get(KEY, fail)
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


def test_two_at_once_make_it_once(tmp_path: Path) -> None:
    make = Maker(seconds=0.3)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: Cache(tmp_path).get(KEY, make), range(4)))
    assert make.made == 1


def test_the_cache_must_be_writable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ToolchainError, match=r"cannot write the cache of compiled models in .*file.*XDG_CACHE_HOME"):
        Cache(tmp_path / "file" / "rtl").get(KEY, Maker())


def test_the_user_chooses_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert user_cache() == tmp_path / "tilewright"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert user_cache() == tmp_path / "home" / ".cache" / "tilewright"


def test_hashes_see_the_borders_of_parts() -> None:
    assert content_hash(["ab", "c"]) != content_hash(["a", "bc"])


def test_a_missing_compiler_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ToolchainError, match=r"no C\+\+ compiler .*looked for g\+\+, clang\+\+, c\+\+.*install g"):
        find_toolchain()
    monkeypatch.setenv("CXX", "icpx")
    with pytest.raises(ToolchainError, match="looked for CXX=icpx"):
        find_compiler()


def test_a_failing_tool_is_quoted(tmp_path: Path) -> None:
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho note >&2; echo 'x.cpp:3: error: bad' >&2; exit 3\n")
    script.chmod(0o755)
    with pytest.raises(ToolchainError, match=r"^the tool failed with status 3: x\.cpp:3: error: bad$"):
        run_tool([script], "the tool")


@pytest.mark.verilator
@pytest.mark.parametrize("preset", ["tiny", "8x8"])
def test_the_design_needs_no_iteration(preset: str, tmp_path: Path) -> None:
    """Verilator evaluates what depends on itself, if only by words, until nothing changes; that costs time."""
    isa, tools = instruction_set(PRESETS[preset]), find_toolchain()
    source = tmp_path / "design.v"
    source.write_text(design.design_text(isa, "accelerator", Cache(tmp_path / "cache")))
    flags = (*build.VERILATOR_FLAGS, "-Werror-UNOPTFLAT", "--top-module", "accelerator", "--Mdir", tmp_path)
    run_tool([tools.verilator, *flags, source], "Verilator", folder=tmp_path, root=tools.verilator_root)


def test_generated_text_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(design, "_generate", lambda isa, top: asked.append(isa.config.name) or "module m; endmodule")
    tiny, small = PRESETS["tiny"], PRESETS["8x8"]
    for config in (tiny, tiny, small):
        assert design.design_text(instruction_set(config), "m", Cache(tmp_path)) == "module m; endmodule"
    assert asked == ["tiny", "8x8"]
    own = replace(VECTOR_OPS[0], name="own")
    for _ in range(2):
        design.design_text(instruction_set(tiny, (own,)), "m", Cache(tmp_path))
    assert asked == ["tiny", "8x8", "tiny", "tiny"], "operations that are not in the table are not cached"
