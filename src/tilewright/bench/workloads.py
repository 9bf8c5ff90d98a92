"""What the accelerator is measured with, by the names of the issues: layers, sums of layers, and networks."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.targets.accelerator.networks import mobilenet_v2_graph, resnet18_graph
from tilewright.compiler.targets.accelerator.workloads import (
    CONV1,
    DEPTHWISE_LAYERS,
    GEMMS,
    RESNET18_CONVOLUTIONS,
    VTA_LAYERS,
    ConvolutionShape,
    MatrixShape,
    convolution_graph,
    matrix_graph,
)

if TYPE_CHECKING:
    from tilewright.compiler.graph.graph import Graph
    from tilewright.isa.config import Config

#: Gives a model: its graph or, of one that is not part of the project, its file.
Source = Callable[["Config", Path], "Graph | Path"]


@dataclass(frozen=True)
class Workload:
    """One case.

    Attributes
    ----------
    name : str
    source : Callable, optional
        Gives the model for a configuration, from the folder of models where it is one of those.
    config : str
        Used unless another is asked for.
    parts : tuple of (str, int)
        Of a sum: the names of its workloads, and how often each counts.
    missing : str
        Why it cannot be measured yet.
    """

    name: str
    source: Source | None = None
    config: str = "16x16"
    parts: tuple[tuple[str, int], ...] = ()
    missing: str = ""


def _rng(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def _layer(shape: ConvolutionShape | MatrixShape) -> Workload:
    def source(config: Config, models: Path) -> Graph:
        bits = config.epilogue.multiplier_bits
        if isinstance(shape, MatrixShape):
            return matrix_graph(shape, _rng(shape.name), bits)
        return convolution_graph(shape, _rng(shape.name), bits, config.gemm.batch)

    return Workload(shape.name, source)


def _network(name: str, make: Callable[[np.random.Generator], Graph]) -> Workload:
    return Workload(name, lambda config, models: make(_rng(name)))


def _file(name: str) -> Workload:
    return Workload(name, lambda config, models: models / f"{name}_int8.onnx", "8x8")


#: The shapes of those that are single layers.
_LAYERS: tuple[ConvolutionShape | MatrixShape, ...] = (*VTA_LAYERS, *GEMMS, CONV1, *DEPTHWISE_LAYERS)
_SUM = tuple((shape.name, count) for shape, count in RESNET18_CONVOLUTIONS)

#: All workloads by name, in the order in which they are measured.
WORKLOADS = {
    workload.name: workload
    for workload in (
        *map(_layer, _LAYERS),
        Workload("resnet18_convs", parts=_SUM),
        _network("resnet18", resnet18_graph),
        _network("mobilenet_v2", mobilenet_v2_graph),
        Workload("minilm_l3", missing="softmax, layer normalization and GELU are not on the device yet"),
        *map(_file, ("resnet8", "dscnn_kws", "autoencoder_ad")),
    )
}

#: The shapes of those that are single layers, by name.
SHAPES = {shape.name: shape for shape in _LAYERS}
