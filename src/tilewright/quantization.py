"""Quantizes float models, and says how close the result stays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from tilewright.agreement import Agreement, agreement_of
from tilewright.arrays import Arrays
from tilewright.calibration import read_samples, samples_of
from tilewright.compiler.frontend.fixed_inputs import fix_inputs
from tilewright.compiler.frontend.model_file import read_model
from tilewright.compiler.graph.onnx_nodes import value_from_proto
from tilewright.compiler.graph.types import Value
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.quantize import QuantizeOptions, clean_up, quantize_model
from tilewright.compiler.reference import evaluate
from tilewright.isa.errors import InputError, ModelError

if TYPE_CHECKING:
    from onnx import ModelProto

#: Most samples that are kept back from calibrating, to compare outputs on.
HELD_BACK = 50

_MOST_CALIBRATION = 200


@dataclass(frozen=True)
class Quantized:
    """A quantized model and how close it stays to the float one.

    Attributes
    ----------
    model : ModelProto
    agreements : tuple of Agreement
        For each output, the agreement with the float model: after the clean-up, of the quantized model in
        onnxruntime, and of its integer reference, which is what every target computes.
    calibrated, compared : int
        Numbers of samples; none of those compared was calibrated with when there were two or more.

    Examples
    --------
    >>> import numpy, onnx.parser, tilewright
    >>> text = '''<ir_version: 8, opset_import: ["": 17]>
    ... product (float[1, 2] x) => (float[1, 2] y) <float[2, 2] w = {1.0, -2.0, 3.0, 4.0}> {y = MatMul (x, w)}'''
    >>> data = numpy.random.default_rng(1).normal(size=(10, 2)).astype("float32")
    >>> quantized = tilewright.quantize(onnx.parser.parse_model(text), {"x": data})
    >>> quantized.calibrated, quantized.compared
    (8, 2)
    >>> quantized.agreements[-1].stage
    'quantized, integer reference'
    """

    model: ModelProto
    agreements: tuple[Agreement, ...]
    calibrated: int
    compared: int

    def save(self, path: str | Path) -> None:
        """Write the model to a file."""
        try:
            onnx.save(self.model, path)
        except OSError as error:
            raise InputError(f"cannot write `{path}`: {error.strerror or error}") from None


def quantize(
    model: str | Path | ModelProto,
    calibrate: str | Path | Mapping[str, NDArray[Any]] | Sequence[Mapping[str, Any]],
    *,
    samples: int | None = None,
    held_back: int = HELD_BACK,
    activations: str = "int8",
    per_channel: bool = True,
    method: str = "auto",
    correct_biases: bool = False,
    labels: NDArray[Any] | None = None,
    dims: Mapping[str, int] | None = None,
    fixed: Mapping[str, NDArray[Any] | float] | None = None,
    progress: Callable[[str, int, int], None] = lambda what, done, total: None,
) -> Quantized:
    """Quantize a float model to int8, by onnxruntime's static quantizer.

    Parameters
    ----------
    model : path or ModelProto
    calibrate : path, mapping of arrays or sequence of mappings
        An NPZ file or arrays by the names of the inputs, the first axis counting samples; or a folder, or a
        sequence, with the inputs of each sample.
    samples : int, optional
        How many to calibrate with; at most 200 and four fifths of all unless asked for.
    held_back : int
        How many of the others to compare outputs on, at most.
    activations : str
        `int8` or `uint8`.
    per_channel : bool
        Give each output channel of weights its own scale.
    method : str
        `minmax`, `entropy`, `percentile`, `rows` or `auto`; see `QuantizeOptions`.
    correct_biases : bool
        Move biases until the mean output of each layer is the float model's.
    labels : integers [all samples], optional
        Right classes, by which accuracy is counted.
    dims : mapping, optional
        Extents of named dynamic dimensions.
    fixed : mapping, optional
        Inputs that become constants, such as an attention mask; a number fills an input.
    progress : callable, optional
        Told what is done.

    Returns
    -------
    Quantized

    Raises
    ------
    ModelError
        When the model is invalid, quantized already or not quantizable.
    InputError
        When the data does not fit the model.

    Examples
    --------
    >>> import numpy, onnx.parser, tilewright
    >>> text = '''<ir_version: 8, opset_import: ["": 17]>
    ... product (float[1, 2] x) => (float[1, 2] y) <float[2, 2] w = {1.0, -2.0, 3.0, 4.0}> {y = MatMul (x, w)}'''
    >>> data = numpy.random.default_rng(1).normal(size=(40, 2)).astype("float32")
    >>> quantized = tilewright.quantize(onnx.parser.parse_model(text), {"x": data})
    >>> all(entry.cosine > 0.999 for entry in quantized.agreements)
    True
    >>> program = tilewright.compile(quantized.model, config="tiny")
    >>> program.run({"x": data[:1]}).outputs["y"].shape
    (1, 2)
    """
    options = QuantizeOptions(activations, per_channel, method, correct_biases)
    source, name = read_model(model)
    if fixed:
        source = fix_inputs(source, fixed, dims)
    data = read_samples(calibrate) if isinstance(calibrate, (str, Path)) else calibrate
    every = samples_of(_inputs(source), data)
    if labels is not None and len(labels) != len(every):
        raise InputError(f"there are {len(labels)} labels for {len(every)} samples")
    fitted, kept = _split(len(every), samples, held_back)
    shapes = {key: array.shape for key, array in every[fitted[0]].items()}
    progress("cleaning up", 0, 4)
    cleaned = clean_up(source, dims=dims, shapes=shapes)
    progress("calibrating", 1, 4)
    quantized = quantize_model(cleaned, [every[index] for index in fitted], options)
    progress("comparing", 2, 4)
    compared = [every[index] for index in kept]
    expected = _run(source, compared, name)
    right = None if labels is None else np.asarray(labels)[kept]
    stages = {
        "float": expected,
        "float, cleaned up": _run(cleaned, compared, name),
        "quantized, onnxruntime": _run(quantized, compared, name),
        "quantized, integer reference": _integer(quantized, compared),
    }
    agreements = [
        agreement_of(stage, output, _stacked(expected, output), _stacked(results, output), compared[0], right)
        for stage, results in stages.items()
        for output in expected[0]
    ]
    return Quantized(quantized, tuple(agreements), len(fitted), len(kept))


def _inputs(model: ModelProto) -> list[Value]:
    """Describe the inputs; extents that are not fixed are 0."""
    constants = {tensor.name for tensor in model.graph.initializer}
    values = []
    for info in model.graph.input:
        if info.name in constants:
            continue
        dtype = value_from_proto(info.name, info.type).dtype
        tensor = info.type.tensor_type
        shape = tuple(dim.dim_value for dim in tensor.shape.dim) if tensor.HasField("shape") else None
        values.append(Value(info.name, dtype, shape))
    return values


def _split(total: int, samples: int | None, held_back: int) -> tuple[list[int], list[int]]:
    """Draw the samples to calibrate with and those to compare on; with a single sample they are the same."""
    if total == 0:
        raise InputError("the calibration data holds no samples")
    if samples is not None and samples > total:
        raise InputError(f"cannot calibrate with {samples} samples: there are {total}")
    wanted = samples or min(_MOST_CALIBRATION, max(1, total * 4 // 5))
    order = [int(index) for index in np.random.default_rng(0).permutation(total)]
    kept = order[wanted : wanted + held_back] or order[:held_back]
    return order[:wanted], kept


def _run(model: ModelProto, samples: Sequence[Arrays], name: str) -> list[Arrays]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        names = [output.name for output in session.get_outputs()]
        return [dict(zip(names, map(np.asarray, session.run(names, sample)), strict=True)) for sample in samples]
    except Exception as error:  # onnxruntime raises many kinds
        message = " ".join(str(error).split())[:300]
        raise ModelError(f"{name}: onnxruntime cannot run the model: {message}") from error


def _integer(model: ModelProto, samples: Sequence[Arrays]) -> list[Arrays]:
    graph = load_integer_graph(model)
    return [evaluate(graph, sample) for sample in samples]


def _stacked(results: Sequence[Arrays], output: str) -> NDArray[Any]:
    return np.stack([result[output] for result in results])
