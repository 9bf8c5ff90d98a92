"""Models on a GPU.

Quantized models are compiled by the same passes as for the accelerator, with the same results bit for bit; models in
floating point are computed in fp16, with sums in fp32, or in fp32 throughout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from tilewright.arrays import count_differences, count_far
from tilewright.compiler.graph.graph import Graph, Node
from tilewright.compiler.targets.gpu.device import GpuDevice
from tilewright.compiler.targets.gpu.float_operators import lower_floats
from tilewright.compiler.targets.gpu.lower import lower
from tilewright.compiler.targets.gpu.program import GpuProgram, Launch, Segment
from tilewright.compiler.targets.gpu.schedules import Chooser, by_table, measured
from tilewright.compiler.targets.kernels.float_graph import is_float_graph, simplified
from tilewright.compiler.tir.object_cache import ObjectCache
from tilewright.isa.errors import ConfigError
from tilewright.isa.ir import DType
from tilewright.report import LayerInfo
from tilewright.segmented_model import SegmentedModel, SegmentedReport, SegmentedRun

if TYPE_CHECKING:
    from onnx import ModelProto

Arrays = Mapping[str, NDArray[Any]]

#: What models in floating point are computed in.
PRECISIONS = {"fp16": DType.F16, "fp32": DType.F32}

#: Part of a value, or of the root of the mean square, that results may be off by.
FAR = {"fp16": 0.02, "fp32": 1e-4}
_REPLAYS = 20
_SAMPLES = 9


@dataclass(frozen=True, eq=False)
class GpuModel(SegmentedModel[Segment]):
    """A model compiled for a GPU; the kernels become machine code when it is run first.

    Attributes
    ----------
    program : GpuProgram
    original : Graph
        What the results are compared with: the integer operators, or the model's own in floating point.
    precision : str
        What it is computed in, a name of `PRECISIONS`; empty for integers.
    """

    program: GpuProgram
    original: Graph
    precision: str = ""

    @property
    def source(self) -> Graph:
        """The operators whose results it must have."""
        return self.original

    @property
    def title(self) -> str:
        """Model and target."""
        return f"{self.name} for a GPU"

    def segment_layers(self, segment: Segment) -> list[LayerInfo]:
        """Give a segment's launches in order."""
        return [_launch_info(launch) for launch in segment.launches]

    def segment_bytes(self, segment: Segment) -> int:
        """Give the size of a segment's static memory plan."""
        return segment.plan.size

    @property
    def is_float(self) -> bool:
        """Whether results are in floating point, and compared within its accuracy."""
        return bool(self.precision)

    def why_host(self, node: Node) -> str:
        """Say why the host computes a node."""
        if self.is_float:
            return node.reason or f"no {self.precision} kernel of {node.op.rpartition('.')[2]}"
        return super().why_host(node)

    @cached_property
    def _device(self) -> GpuDevice:
        return open_device()

    def run(self, inputs: Arrays, device: GpuDevice | None = None, *, is_timed: bool = False) -> SegmentedRun:
        """Run on the GPU.

        Parameters
        ----------
        inputs : mapping of str to array
            By name, of the model's shapes and types.
        device : GpuDevice, optional
            What several models share; by default one that the model keeps.
        is_timed : bool
            Replay the graphs some times more, to time them.

        Raises
        ------
        InputError
            When the inputs are not what the model asks for.
        ToolchainError
            When there is no GPU, no driver, or no `cuda-bindings`.
        DeviceError
            When the driver reports an error.
        """
        self.check_inputs(inputs)
        machine = device or self._device
        outputs = self.program.run(inputs, machine)
        milliseconds = time_graphs(self.program, machine) if is_timed else None
        untimed = (None,) * len(self.layers)
        report = SegmentedReport(self.name, machine.gpu.name, self.layers, untimed, milliseconds, self.memory_bytes)
        return SegmentedRun(outputs, report)

    def count_differences(self, inputs: Arrays, outputs: Arrays) -> dict[str, int]:
        """Count, for each output, the values that are not the reference's.

        Integers are to be the same; values of fp16 are wrong that are off by 2 % of themselves, or of the root of the
        mean square where that is more; of fp32, by a ten-thousandth.
        """
        expected = self.reference(inputs)
        if not self.is_float:
            return count_differences(expected, outputs)
        far = FAR[self.precision]
        return {name: count_far(array, outputs[name], far) for name, array in expected.items()}


def _launch_info(launch: Launch) -> LayerInfo:
    (x, y), threads = launch.kernel.grid, launch.kernel.threads
    return LayerInfo(launch.layer, launch.op, "gpu", launch.macs, f"{x * y} blocks of {threads} threads")


def compile_for_gpu(
    model: str | Path | ModelProto | Graph, *, dims: Mapping[str, int] | None = None, precision: str | None = None
) -> GpuModel:
    """Compile a model for a GPU; none is needed for it.

    Parameters
    ----------
    model : path, ModelProto or Graph
    dims : mapping, optional
        Extents of named dynamic dimensions.
    precision : str, optional
        What a model in floating point is computed in: `fp16`, which is the default, or `fp32`.

    Raises
    ------
    ModelError
        When the model cannot be read, is invalid, or holds an operator that nothing here knows.
    ConfigError
        When there is no such precision, or one is asked for of a quantized model.
    """
    return lowering_of(model, dims=dims, precision=precision)(chooser())


def lowering_of(
    model: str | Path | ModelProto | Graph, *, dims: Mapping[str, int] | None = None, precision: str | None = None
) -> Callable[[Chooser], GpuModel]:
    """Give what compiles a model, its operators chosen already, with the schedules that it is told."""
    from tilewright.api import load
    from tilewright.compiler.passes.base import run_passes
    from tilewright.compiler.passes.pipeline import integer_passes

    if precision not in (None, *PRECISIONS):
        raise ConfigError(f"a precision is {' or '.join(PRECISIONS)}, not `{precision}`")
    imported = model if isinstance(model, Graph) else load(model, dims=dims)
    if is_float_graph(imported):
        floats, chosen = simplified(imported), precision or "fp16"
        return lambda choose: GpuModel(lower_floats(floats, choose, PRECISIONS[chosen]), imported, chosen)
    if precision is not None:
        raise ConfigError(f"`{imported.name}` is quantized: a precision, here {precision}, is for models in floats")
    graph = run_passes(imported, integer_passes())
    return lambda choose: GpuModel(lower(graph, choose), graph)


def chooser() -> Chooser:
    """Give what chooses schedules for the GPU here, or for any where there is none."""
    return by_table(measured(), has_wgmma=_has_wgmma())


def _has_wgmma() -> bool:
    """Whether the GPU here is of the generation whose instructions the fastest kernels use."""
    from tilewright.compiler.targets.gpu.driver import Gpu
    from tilewright.isa.errors import TilewrightError

    try:
        return Gpu.open().capability[0] == 9
    except TilewrightError:
        return False


def open_device() -> GpuDevice:
    """Find the GPU; what is compiled for it is kept in the user's cache directory.

    Raises
    ------
    ToolchainError
        When there is none.
    """
    return GpuDevice(ObjectCache.default())


def time_graphs(program: GpuProgram, device: GpuDevice, samples: int = _SAMPLES, replays: int = _REPLAYS) -> float:
    """Time a program's CUDA graphs: milliseconds of one replay, the median of some samples."""
    total = 0.0
    for segment in program.segments:
        loaded = device.load(segment)
        times = [
            device.gpu.milliseconds(loaded.stream, lambda loaded=loaded: device.replay(loaded), replays)  # type: ignore[misc]
            for _ in range(samples + 1)
        ]
        total += sorted(times[1:])[samples // 2]
    return total
