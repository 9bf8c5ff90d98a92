"""The Python interface: load a model, compile it for a configuration, run it on a simulator."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, overload

from tilewright.compiled import Compiled, Run
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.program import Program
from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError
from tilewright.simulators import dram_timing, simulator

if TYPE_CHECKING:
    from onnx import ModelProto

    from tilewright.cpu import CpuModel
    from tilewright.gpu import GpuModel

__all__ = ["Compiled", "Run", "compile", "dram_timing", "is_program_file", "load", "load_program", "simulator"]

#: How names of program files end.
PROGRAM_SUFFIX = ".twp"


def load(source: str | Path | ModelProto, *, dims: Mapping[str, int] | None = None) -> Graph:
    """Read an ONNX model as a graph, without changing what it computes.

    Parameters
    ----------
    source : path or ModelProto
    dims : mapping, optional
        Extents of named dynamic dimensions.

    Returns
    -------
    Graph

    Raises
    ------
    ModelError
        When it cannot be read or is invalid.

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model
    >>> graph = tilewright.load(default_model())
    >>> graph.name, [graph.shape(name) for name in graph.inputs]
    ('resnet8_digits', [(1, 1, 32, 32)])
    """
    from tilewright.compiler.frontend.onnx_import import import_onnx

    return import_onnx(source, dims=dims)


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["accelerator"] = "accelerator",
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
) -> Compiled: ...


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["cpu"],
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
    precision: Literal["bf16", "fp32"] | None = None,
) -> CpuModel: ...


@overload
def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["gpu"],
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
    precision: Literal["fp16", "fp32"] | None = None,
) -> GpuModel: ...


def compile(
    model: str | Path | ModelProto | Graph,
    config: Config | str = "16x16",
    *,
    target: Literal["accelerator", "cpu", "gpu"] = "accelerator",
    dims: Mapping[str, int] | None = None,
    host_fallback: bool = False,
    precision: Literal["bf16", "fp16", "fp32"] | None = None,
) -> Compiled | CpuModel | GpuModel:
    """Compile a model for an accelerator, for this computer's processor, or for a GPU.

    Parameters
    ----------
    model : path, ModelProto or Graph
        An ONNX file, an ONNX model, or what `load` gave.
    config : Config or str
        Configuration, or the name of a preset or file; processors and GPUs have none.
    target : str
        `accelerator`, `cpu` or `gpu`.
    dims : mapping, optional
        Extents of named dynamic dimensions.
    host_fallback : bool
        Let the host compute a layer that does not fit the scratchpads, instead of refusing the model.
    precision : str, optional
        What models in floating point are computed in: on a GPU `fp16`, which is the default, or `fp32`; on a processor
        `fp32`, which is the default, or `bf16`.

    Returns
    -------
    Compiled, CpuModel or GpuModel
        By target; each has `run`, `inputs` and `reference`.

    Raises
    ------
    ModelError
        When the model cannot be read, is invalid, or holds an operator that nothing here knows.
    ConfigError
        When there is no such configuration, target or precision.
    CapacityError
        When a layer does not fit the accelerator's memories.

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model, default_samples
    >>> program = tilewright.compile(default_model(), config="8x8")
    >>> sum(layer.place == "device" for layer in program.layers), sum(layer.macs for layer in program.layers)
    (11, 12206720)
    >>> images, labels = default_samples(1)
    >>> result = program.run(images[0])
    >>> int(result.outputs["logits"].argmax()) == int(labels[0])
    True

    For this computer's processor:

    >>> native = tilewright.compile(default_model(), target="cpu")
    >>> bool((native.run(images[0]).outputs["logits"] == result.outputs["logits"]).all())
    True
    """
    if precision is not None and target == "accelerator":
        raise ConfigError(f"a precision, here `{precision}`, is for a GPU or a CPU: the target is `{target}`")
    if target == "cpu":
        from tilewright.cpu import compile_for_cpu

        return compile_for_cpu(model, dims=dims, precision=precision)
    if target == "gpu":
        from tilewright.gpu import compile_for_gpu

        return compile_for_gpu(model, dims=dims, precision=precision)
    if target != "accelerator":
        raise ConfigError(f"a target is `accelerator`, `cpu` or `gpu`, not `{target}`")
    from tilewright.compiler.passes.base import run_passes
    from tilewright.compiler.passes.pipeline import integer_passes
    from tilewright.compiler.pipeline import compile_model
    from tilewright.compiler.targets.accelerator.lower import Options

    chosen = config if isinstance(config, Config) else Config.load(config)
    imported = model if isinstance(model, Graph) else load(model, dims=dims)
    graph = run_passes(imported, integer_passes(chosen.epilogue.multiplier_bits))
    return Compiled(compile_model(graph, chosen, Options(is_host_fallback=host_fallback)), graph)


def load_program(path: str | Path) -> Compiled:
    """Read a program file.

    Parameters
    ----------
    path : path
        What `Compiled.save` or `tilewright compile` wrote.

    Returns
    -------
    Compiled
        Without the model, so that `reference` has nothing to compute.

    Raises
    ------
    ProgramError
        When it is no program, damaged, or of another version.

    Examples
    --------
    >>> import tempfile, tilewright
    >>> from tilewright.demo import default_model
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tilewright.compile(default_model(), config="8x8").save(f"{folder}/digits.twp")
    ...     program = tilewright.load_program(f"{folder}/digits.twp")
    >>> program.config == tilewright.Config.load("8x8"), program.graph
    (True, None)
    """
    return Compiled(Program.load(path))


def is_program_file(path: str | Path) -> bool:
    """Tell a program file from a model: by its first bytes or, when those are damaged, by its name."""
    from tilewright.compiler.program_file import MAGIC

    if Path(path).suffix == PROGRAM_SUFFIX:
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False
