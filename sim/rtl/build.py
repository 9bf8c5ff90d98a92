"""From Verilog text to a shared library with our harness in it, cached by the hash of everything it is made from."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tilewright.sim.rtl import state
from tilewright.sim.rtl.cache import Cache, content_hash
from tilewright.sim.rtl.resting_clocks import with_resting_clocks
from tilewright.sim.rtl.toolchain import NATIVE, Toolchain, find_toolchain, run_tool

_HERE = Path(__file__).parent
_SOURCES = ("harness.cpp", "memory.hpp", "resting_clocks.py")
_PREFIX = "signed.hpp"  # included first everywhere; precompiled with the run-time library, as it is most of the work
_SHIMS = ("fst/lz4.h", "fst/zlib.h")
_LIBRARY = "model.so"

VERILATOR_FLAGS = (
    "--cc", "--prefix", "Vmodel", "-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-assert", "--no-timing",
    "--default-language", "1364-2005",  # in which `program` is a name
    "-Wno-fatal", "-Wno-lint", "-Wno-style", "--output-split", "15000", "--output-split-cfuncs", "1500",
)  # fmt: skip
_COMMON_FLAGS = ("-std=gnu++20", "-fPIC", "-fvisibility=hidden", "-pthread", "-w")
# The code is straight and runs once a cycle, so that fetching it is most of the work: smaller is faster.
_COMPILE_FLAGS = ("-Os", *NATIVE, "-fno-plt", "-fno-semantic-interposition", "-fwrapv")
_LINK_FLAGS = ("-shared", "-pthread", "-Wl,-Bsymbolic", "-Wl,--no-undefined")

#: Called with what is being done, how many steps of it are done, and how many there are.
Progress = Callable[[str, int, int], None]

#: Source, object file.
_Job = tuple[Path, Path]


def silent(step: str, done: int, total: int) -> None:
    """Show no progress."""


@dataclass(frozen=True)
class BuildOptions:
    """Variants of a model.

    Attributes
    ----------
    threads : int
        Threads that evaluate one model; 1 is fastest for small arrays.
    waves : bool
        Whether waveforms can be written; such a model is slower.
    coverage : bool
        Whether it counts executed lines and changes of every bit; such a model is much slower.
    """

    threads: int = 1
    waves: bool = False
    coverage: bool = False

    @property
    def verilator_flags(self) -> tuple[str, ...]:
        """Flags of Verilator beyond the common ones."""
        threads = ("--threads", str(self.threads)) if self.threads > 1 else ()
        coverage = ("--coverage-line", "--coverage-toggle") if self.coverage else ()
        return (*threads, *coverage, *(("--trace-fst", "--trace-structs") if self.waves else ()))

    @property
    def defines(self) -> tuple[str, ...]:
        """Macros that the harness and Verilator's run-time sources see."""
        waves = ("-DVM_TRACE=1", "-DVM_TRACE_FST=1", "-DTILEWRIGHT_WAVES") if self.waves else ("-DVM_TRACE=0",)
        coverage = f"-DVM_COVERAGE={int(self.coverage)}"
        return ("-DVL_IGNORE_UNKNOWN_ARCH", "-DVL_TIME_CONTEXT", coverage, *waves)

    @property
    def runtime_sources(self) -> tuple[str, ...]:
        """Verilator's run-time sources that the model links with."""
        waves = ("verilated_fst_c.cpp",) if self.waves else ()
        coverage = ("verilated_cov.cpp",) if self.coverage else ()
        return ("verilated.cpp", "verilated_threads.cpp", *coverage, *waves)


def build(verilog: str, top: str, options: BuildOptions, cache: Cache, progress: Progress = silent) -> Path:
    """Return the shared library of a model, compiling it when the cache has none.

    Parameters
    ----------
    verilog : str
        The design, with the ports that machine.md states.
    top : str
        Name of the top module.
    options : BuildOptions
    cache : Cache
    progress : Callable, optional
        See `Progress`; not called when the cache has the model.

    Raises
    ------
    ToolchainError
        If a tool is missing or fails, or the cache cannot be written.
    """
    tools = find_toolchain()
    sources = [(_HERE / name).read_text() for name in _SOURCES]
    key = content_hash((verilog, top, repr(options), state.CONFIGURATION, *_identity(tools, options), *sources))

    def make_runtime(folder: Path) -> None:
        _compile_runtime(tools, options, folder, progress)

    def make(folder: Path) -> None:
        with ThreadPoolExecutor(max_workers=1) as pool:  # while Verilator runs
            runtime = pool.submit(cache.get, f"runtime-{content_hash(_identity(tools, options))}", make_runtime)
            _compile_model(tools, options, verilog, top, runtime, folder, progress)

    return cache.get(key, make) / _LIBRARY


def _identity(tools: Toolchain, options: BuildOptions) -> list[str]:
    verilator = (VERILATOR_FLAGS, options.verilator_flags)
    flags = (_COMMON_FLAGS, _COMPILE_FLAGS, _LINK_FLAGS)
    compiler = (*flags, options.defines, options.runtime_sources)
    return [
        tools.identity,
        repr(verilator),
        repr(compiler),
        *((_HERE / name).read_text() for name in (*_SHIMS, _PREFIX)),
    ]


def _compile_runtime(tools: Toolchain, options: BuildOptions, folder: Path, progress: Progress) -> None:
    jobs: list[_Job] = [(_HERE / _PREFIX, folder / f"{_PREFIX}.gch")]
    jobs += [(tools.include / name, folder / Path(name).with_suffix(".o")) for name in options.runtime_sources]
    _compile_all(tools, options, jobs, (), "compiling Verilator's run-time library", progress)


def _compile_model(
    tools: Toolchain,
    options: BuildOptions,
    verilog: str,
    top: str,
    runtime: Future[Path],
    folder: Path,
    progress: Progress,
) -> None:
    work = folder / "work"
    work.mkdir()
    source = work / "design.v"
    text, clocks = with_resting_clocks(verilog, top)
    source.write_text(text)
    (work / "clocks.hpp").write_text(f"#define RESTING_CLOCKS(use) {' '.join(f'use({name})' for name in clocks)}\n")
    readable = work / "state.vlt"
    readable.write_text(state.CONFIGURATION)
    progress("translating Verilog to C++", 0, 1)
    flags = (*VERILATOR_FLAGS, *options.verilator_flags, "--top-module", top, "--Mdir", str(work))
    run_tool([tools.verilator, *flags, source, readable], "Verilator", folder=work, root=tools.verilator_root)
    generated = sorted(work.glob("Vmodel*.cpp"), key=lambda path: -path.stat().st_size)
    jobs: list[_Job] = [(_HERE / "harness.cpp", work / "harness.o")]
    jobs += [(path, path.with_suffix(".o")) for path in generated]
    flags = (f"-I{runtime.result()}", f"-I{work}", "-include", _PREFIX)
    _compile_all(tools, options, jobs, flags, "compiling the model", progress)
    progress("linking the model", 0, 1)
    objects = [target for _, target in jobs] + sorted(runtime.result().glob("*.o"))
    run_tool([tools.compiler, *_LINK_FLAGS, "-o", folder / _LIBRARY, *objects], "linking the model")
    for path in work.iterdir():
        path.unlink()
    work.rmdir()


def _compile_all(
    tools: Toolchain,
    options: BuildOptions,
    jobs: Sequence[_Job],
    extra: tuple[str, ...],
    what: str,
    progress: Progress,
) -> None:
    folders = (tools.include, tools.include / "vltstd", _HERE, _HERE / "fst")
    includes = tuple(f"-I{folder}" for folder in folders)

    def compile_one(job: _Job) -> None:
        source, target = job
        flags = (*_COMMON_FLAGS, *_COMPILE_FLAGS, *options.defines, *extra, *includes)
        run_tool([tools.compiler, *flags, "-c", "-o", target, source], f"compiling {source.name}")

    progress(what, 0, len(jobs))
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        for done, _ in enumerate(pool.map(compile_one, jobs), start=1):
            progress(what, done, len(jobs))
