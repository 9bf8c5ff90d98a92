"""Quantizes float models: cleans them up, then leaves the rest to onnxruntime's static quantizer."""

from __future__ import annotations

import io
import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import ModelProto, version_converter
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from tilewright.compiler.correct_biases import correct_biases
from tilewright.compiler.frontend.model_file import read_model
from tilewright.compiler.frontend.onnx_import import import_onnx
from tilewright.compiler.graph.editor import GraphEditor
from tilewright.compiler.graph.graph import Graph
from tilewright.compiler.graph.onnx_model import to_model
from tilewright.compiler.graph.types import Array, Shape
from tilewright.compiler.passes.base import Pass, run_passes
from tilewright.compiler.passes.batchnorm_to_conv import BatchNormToConv
from tilewright.compiler.passes.bound_masks import BoundMasks
from tilewright.compiler.passes.fold_batchnorm import FoldBatchNorm
from tilewright.compiler.passes.fold_constants import FoldConstants
from tilewright.compiler.passes.fold_product_scale import FoldProductScale
from tilewright.compiler.passes.fuse_gelu import FuseGelu
from tilewright.compiler.passes.fuse_layer_norm import FuseLayerNorm
from tilewright.compiler.passes.join_bias import JoinBias
from tilewright.compiler.passes.quantizable import (
    activation_values,
    is_transformer,
    quantized_types,
    symmetric_values,
    unquantized_nodes,
)
from tilewright.compiler.passes.quantization import DEQUANTIZE, QUANTIZE, real_constant
from tilewright.compiler.passes.remove_identities import RemoveIdentities
from tilewright.compiler.passes.simplify_constants import SimplifyConstants
from tilewright.compiler.passes.split_projections import SplitProjections
from tilewright.compiler.row_ranges import row_ranges
from tilewright.isa.errors import ModelError

_OLDEST_OPSET = 13  # per-channel DequantizeLinear
_FUSING_OPSET = 20  # LayerNormalization and Gelu
_MOST_CORRECTING = 40  # samples; each is run once for every layer
_ACTIVATIONS = {"int8": QuantType.QInt8, "uint8": QuantType.QUInt8}
_METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}

#: What `QuantizeOptions.activations` and `QuantizeOptions.method` may be.
ACTIVATIONS, METHODS = tuple(_ACTIVATIONS), ("auto", "rows", *_METHODS)


@dataclass(frozen=True)
class QuantizeOptions:
    """How to quantize.

    Attributes
    ----------
    activations : str
        `int8` or `uint8`; weights are int8.
    is_per_channel : bool
        A scale for each output channel of weights, instead of one for all.
    method : str
        How ranges of activations are found: `minmax`, `entropy`, `percentile`, or `rows`, which keeps each row's error
        small beside the row; `auto` is `rows` for models that normalize rows or multiply activations, else `minmax`.
    corrects_biases : bool
        Move biases until the mean output of each layer is the float model's; see `correct_biases`.
    """

    activations: str = "int8"
    is_per_channel: bool = True
    method: str = "auto"
    corrects_biases: bool = False

    def __post_init__(self) -> None:
        for field, value, known in (
            ("activations", self.activations, ACTIVATIONS),
            ("method", self.method, METHODS),
        ):
            if value not in known:
                raise ModelError(f"{field} must be one of {', '.join(known)}, not {value!r}")


@dataclass(frozen=True)
class FoldDequantized:
    """Compute what dequantizes constants: weights that are stored as integers in a model that computes in float.

    Before: `%w = onnx.DequantizeLinear(const, const)`. After: `const %w`.
    """

    name: str = "fold-dequantized"

    def apply(self, graph: Graph) -> Graph:
        """Give the graph without DequantizeLinear of constants."""
        editor = GraphEditor(graph)
        for node in graph.nodes:
            array = real_constant(graph, node.output) if node.op == DEQUANTIZE else None
            if array is not None:
                editor.remove(node)
                dtype = graph.dtype(node.output)
                editor.redirect(node.output, editor.constant(node.output, array.astype(dtype)))
        return editor.finish()


def clean_up_passes() -> tuple[Pass, ...]:
    """Passes that prepare a float model for the quantizer; the model computes the same afterwards."""
    return (
        FoldConstants(),
        FoldDequantized(),
        RemoveIdentities(),
        FuseLayerNorm(),
        FuseGelu(),
        SimplifyConstants(),
        BoundMasks(),
        JoinBias(),
        SplitProjections(),
        FoldProductScale(),
        FoldBatchNorm(),
        BatchNormToConv(),
        FoldConstants(),
    )


def clean_up(
    source: str | Path | ModelProto,
    *,
    dims: Mapping[str, int] | None = None,
    shapes: Mapping[str, Shape] | None = None,
) -> ModelProto:
    """Bring a float model to the form that the quantizer works best on; shapes become fixed.

    Parameters
    ----------
    source, dims, shapes
        As for `import_onnx`.

    Raises
    ------
    ModelError
        When the model is invalid, is quantized already, or holds nothing to quantize.
    """
    model, name = read_model(source)
    graph = import_onnx(_with_recent_opset(model, name), dims=dims, shapes=shapes)
    quantized = next((node for node in graph.nodes if node.op == QUANTIZE), None)
    if quantized is not None:
        where = quantized.name
        raise ModelError(f"{name}: the model is quantized already (node {where!r})")
    if not any(value.dtype == "float32" for value in graph.values.values()):
        raise ModelError(f"{name}: nothing to quantize: the model holds no float32 values")
    return to_model(run_passes(graph, clean_up_passes()))


def quantize_model(
    cleaned: ModelProto, samples: Iterable[Mapping[str, Array]], options: QuantizeOptions = QuantizeOptions()
) -> ModelProto:
    """Quantize a model that `clean_up` has given.

    Parameters
    ----------
    cleaned
        Never changed.
    samples
        Inputs by name, from which the ranges of activations are taken.
    options
        How to quantize.

    Raises
    ------
    ModelError
        When onnxruntime cannot run or quantize the model, with its reason.
    """
    fitted = list(samples)
    with tempfile.TemporaryDirectory() as folder, _quiet_quantizer():
        source, target = Path(folder) / "float.onnx", Path(folder) / "quantized.onnx"
        marked = onnx.shape_inference.infer_shapes(cleaned)
        onnx.helper.set_model_props(marked, {"onnx.quant.pre_process": "tilewright"})
        onnx.save(marked, source)  # handed over in memory, the quantizer damages it
        try:
            quantize_static(
                source,
                target,
                _Samples(fitted),
                quant_format=QuantFormat.QDQ,
                per_channel=options.is_per_channel,
                activation_type=_ACTIVATIONS[options.activations],
                weight_type=QuantType.QInt8,
                calibrate_method=_METHODS.get(options.method, CalibrationMethod.MinMax),
                op_types_to_quantize=quantized_types(),
                nodes_to_exclude=unquantized_nodes(marked),
                extra_options={
                    "TensorQuantOverrides": _overrides(marked, fitted, options),
                    "QDQOpTypePerChannelSupportToAxis": {"LayerNormalization": 0},
                },
            )
        except Exception as error:  # onnxruntime and its quantizer raise many kinds
            raise ModelError(f"{cleaned.graph.name}: onnxruntime cannot quantize the model: {_line(error)}") from error
        quantized = onnx.load(target)
        return correct_biases(quantized, cleaned, fitted[:_MOST_CORRECTING]) if options.corrects_biases else quantized


def _overrides(
    model: ModelProto, samples: Sequence[Mapping[str, Array]], options: QuantizeOptions
) -> dict[str, list[dict[str, Any]]]:
    """What the quantizer is told of single values."""
    symmetric = symmetric_values(model)
    told: dict[str, dict[str, Any]] = {name: {"symmetric": True} for name in symmetric}
    if options.method == "rows" or (options.method == "auto" and is_transformer(model)):
        for name, (low, high) in row_ranges(model, samples, activation_values(model), symmetric).items():
            told[name] = told.get(name, {}) | {"rmin": np.float32(low), "rmax": np.float32(high)}
    return {name: [values] for name, values in told.items()}


class _Samples(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    def __init__(self, samples: Iterable[Mapping[str, Array]]) -> None:
        self._left = iter(samples)

    def get_next(self) -> dict[str, Any] | None:
        sample = next(self._left, None)
        return None if sample is None else dict(sample)


def _with_recent_opset(model: ModelProto, name: str) -> ModelProto:
    """Convert models of an old opset, and those with functions that newer ones have operators for, where ONNX can."""
    version = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    kinds = {node.op_type for node in model.graph.node}
    is_spelled_out = bool(kinds & {"Erf", "Tanh"}) or kinds >= {"Sqrt", "ReduceMean"}
    if version < _FUSING_OPSET and is_spelled_out:
        try:
            return version_converter.convert_version(model, _FUSING_OPSET)
        except Exception:  # RuntimeError, and others from the C++ side: what is spelled out stays so
            logging.getLogger(__name__).info("%s cannot be converted to opset %d", name, _FUSING_OPSET)
    if version >= _OLDEST_OPSET:
        return model
    try:
        return version_converter.convert_version(model, _OLDEST_OPSET)
    except Exception as error:  # as above
        message = f"{name}: opset {version} cannot be converted to {_OLDEST_OPSET}, which quantized models need"
        raise ModelError(f"{message}: {_line(error)}") from error


@contextmanager
def _quiet_quantizer() -> Iterator[None]:
    """Keep the quantizer's advice (to the root logger) and progress (to standard output) to itself."""
    root = logging.getLogger()
    old = root.level
    root.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        root.setLevel(old)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
