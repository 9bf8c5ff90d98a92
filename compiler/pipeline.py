"""The whole way from a model to a program."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from onnx import ModelProto

from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.program import Program
from tilewright.compiler.targets.accelerator.lower import Options, lower
from tilewright.isa.config import Config


def compile_model(model: str | Path | ModelProto | Graph, config: Config, options: Options | None = None) -> Program:
    """Compile a model for an accelerator.

    Parameters
    ----------
    model
        A path of an ONNX file, a loaded ONNX model, or an integer graph.
    config
        The accelerator.
    options
        How to compile; None is the default.

    Raises
    ------
    ModelError
        When the model cannot be read.
    CapacityError
        When a layer does not fit the accelerator's memories.
    """
    with _collecting_later():
        if isinstance(model, Graph):
            graph = model
        else:
            graph = load_integer_graph(model, multiplier_bits=config.epilogue.multiplier_bits)
        return lower(graph, config, options or Options())


@contextmanager
def _collecting_later() -> Iterator[None]:
    """Put off looking for dead cycles of objects: a compilation makes many objects and hardly any cycles."""
    is_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if is_enabled:
            gc.enable()
