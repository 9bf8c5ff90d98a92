"""`tilewright compile --target cpu`: from a model to an object file with a C header."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tilewright.isa.errors import ConfigError, InputError

if TYPE_CHECKING:
    from tilewright.cli.terminal import Terminal

_TARGET = "cpu"


def is_cpu(target: str) -> bool:
    """Tell `cpu` and `cpu:PROCESSOR` from `accelerator`.

    Raises
    ------
    ConfigError
        When it is none of them.
    """
    if target.partition(":")[0] not in (_TARGET, "accelerator") or target.startswith("accelerator:"):
        raise ConfigError(f"a target is accelerator, cpu or cpu:PROCESSOR, not `{target}`")
    return target != "accelerator"


def compile_for_processor(model: str, target: str, level: str | None, folder: str, terminal: Terminal) -> None:
    """Write object, header, example and Makefile to a folder, and say what to do with them."""
    from tilewright import api
    from tilewright.cpu_library import compile_library

    if api.is_program_file(model):
        raise InputError(f"`{model}` is a program for an accelerator: the CPU target compiles models")
    if os.path.exists(folder) and not os.path.isdir(folder):
        raise InputError(f"`{folder}` is no folder")
    with terminal.step("compiling"):
        library = compile_library(model, target.partition(":")[2], level=level)
    library.save(folder)
    found = library.object
    data = {
        "model": library.graph.name, "triple": found.processor.triple, "level": found.processor.level.name,
        "name": found.name, "files": sorted(library.files), "memory_bytes": found.memory_bytes,
        "constant_bytes": found.constant_bytes, "object_bytes": len(found.code), "seconds": dict(terminal.seconds),
    }  # fmt: skip
    terminal.write_json(data)
    sizes = f"{len(found.code) / 1e6:,.2f} MB, and {found.memory_bytes / 1e6:,.2f} MB of memory to run"
    terminal.show(
        f"{folder}: {', '.join(library.files)}; {found.processor.triple}, level {found.processor.level.name}, {sizes}",
        f"make -C {folder}",
    )
