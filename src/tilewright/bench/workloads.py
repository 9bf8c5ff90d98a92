"""What the accelerator is measured with, by the names of the issues: layers, sums of layers, and networks."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilewright.compiler.targets.accelerator.networks import mobilenet_v2_graph, resnet18_graph
from tilewright.compiler.targets.accelerator.transformers import (
    BERT_BASE_LAYER,
    MINILM_L3,
    VIT_TINY,
    TransformerShape,
    transformer_graph,
)
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
from tilewright.isa.config import Config

if TYPE_CHECKING:
    from tilewright.compiler.graph.graph import Graph

_USUAL = Config.load("16x16")

#: Gives a model: its graph or, of one that is not part of the project, its file.
Source = Callable[[Config, Path], "Graph | Path"]


@dataclass(frozen=True)
class Workload:
    """One case.

    Attributes
    ----------
    name : str
    source : Callable, optional
        Gives the model for a configuration, from the folder of models where it is one of those.
    config : Config
        Used unless another is asked for.
    is_scaled : bool
        Whether the memory is as much faster as the configuration's bus is wider than that of 16x16.
    parts : tuple of (str, int)
        Of a sum: the names of its workloads, and how often each counts.
    missing : str
        Why it cannot be measured yet.
    """

    name: str
    source: Source | None = None
    config: Config = _USUAL
    is_scaled: bool = False
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


def _transformer(shape: TransformerShape) -> Workload:
    def source(config: Config, models: Path) -> Graph:
        return transformer_graph(shape, _rng(shape.name), config.epilogue.multiplier_bits)

    return Workload(shape.name, source, _USUAL.with_values(vector={"rows": True}))


def _file(name: str) -> Workload:
    return Workload(name, lambda config, models: models / f"{name}_int8.onnx", Config.load("8x8"))


#: The shapes of those that are single layers.
_LAYERS: tuple[ConvolutionShape | MatrixShape, ...] = (*VTA_LAYERS, *GEMMS, CONV1, *DEPTHWISE_LAYERS)
_SUM = tuple((shape.name, count) for shape, count in RESNET18_CONVOLUTIONS)

#: Arrays of other shapes, each with a bus as wide as a row of weights.
_ARRAYS = (
    Config.load("8x8"),
    _USUAL.with_values("16x32", gemm={"block_out": 32}, bus={"data_bits": 256}),
    Config.load("32x32"),
)

#: All workloads by name, in the order in which they are measured.
WORKLOADS = {
    workload.name: workload
    for workload in (
        *map(_layer, _LAYERS),
        Workload("resnet18_convs", parts=_SUM),
        *(Workload(f"resnet18_convs_{config.name}", None, config, True, _SUM) for config in _ARRAYS),
        _network("resnet18", resnet18_graph),
        _network("mobilenet_v2", mobilenet_v2_graph),
        *map(_transformer, (MINILM_L3, BERT_BASE_LAYER, VIT_TINY)),
        *map(_file, ("resnet8", "dscnn_kws", "autoencoder_ad")),
    )
}

#: The shapes of those that are single layers, by name.
SHAPES = {shape.name: shape for shape in _LAYERS}
