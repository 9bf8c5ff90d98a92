"""Models as object files with a C header, for this computer's processor or another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tilewright
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.targets.cpu.aot import ObjectFile, compile_object
from tilewright.compiler.targets.cpu.c_interface import identifier, interface_files
from tilewright.compiler.targets.cpu.processors import Processor
from tilewright.compiler.targets.cpu.schedules import by_table
from tilewright.cpu import lower_model, operators_of
from tilewright.cpu_schedules import TuningCache
from tilewright.isa.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto


@dataclass(frozen=True, eq=False)
class CpuLibrary:
    """A model's object file, and what goes with it.

    Attributes
    ----------
    object : ObjectFile
    graph : Graph
        The operators whose results it has.
    files : dict of str to bytes
        The object, a C header, an example and a Makefile, by name.
    """

    object: ObjectFile
    graph: Graph
    files: Mapping[str, bytes]

    def save(self, folder: str | Path) -> None:
        """Write all files to a folder, which is made where it is missing.

        Raises
        ------
        InputError
            When they cannot be written.
        """
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            for name, data in self.files.items():
                (Path(folder) / name).write_bytes(data)
        except OSError as error:
            raise InputError(f"cannot write to `{folder}`: {error.strerror or error}") from None


def compile_library(
    model: str | Path | ModelProto | Graph, processor: str = "", *, level: str | None = None, name: str | None = None,
    dims: Mapping[str, int] | None = None,
) -> CpuLibrary:  # fmt: skip
    """Compile a model to an object file.

    Parameters
    ----------
    model : path, ModelProto or Graph
    processor : str
        `x86_64`, `aarch64`, `riscv64`, `wasm32` or a triple of theirs; empty for this computer's.
    level : str, optional
        Instructions to use; by default those that all such processors have, or, for this computer's, the best.
    name : str, optional
        What functions and files are called; by default as the model's file.
    dims : mapping, optional
        Extents of named dynamic dimensions.

    Raises
    ------
    ModelError
        When the model cannot be read or is invalid, or an operator has no kernel for CPUs.
    ConfigError
        When there is no such processor or level.
    """
    chosen = Processor.of(processor, level)
    graph = operators_of(model, dims)
    own = Path(model).stem if isinstance(model, (str, Path)) else graph.name
    measured = {} if processor else TuningCache.default().read(chosen.level.name).chosen
    lowered = lower_model(graph, chosen.level, by_table(measured))
    found = compile_object(lowered, chosen, identifier(name or own))
    texts = interface_files(found, tilewright.__version__)
    files = {f"{found.name}.o": found.code, **{key: text.encode() for key, text in texts.items()}}
    return CpuLibrary(found, graph, files)
