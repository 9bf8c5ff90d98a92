"""Models of other frameworks as ONNX models, by the frameworks' own exporters; each is an optional extra."""

from __future__ import annotations

import importlib
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tilewright.isa.errors import InputError, ModelError, ToolchainError

if TYPE_CHECKING:
    from onnx import ModelProto


def from_torch(module: Any, example: Any, *, input_names: Sequence[str] | None = None, opset: int = 18) -> ModelProto:
    """Export a PyTorch module, in evaluation mode, by torch's own exporter.

    Parameters
    ----------
    module : torch.nn.Module
        Left in the mode in which it was.
    example : tensor or tuple of tensors
        Inputs, whose shapes the model then has.
    input_names : sequence of str, optional
        Names of the inputs; by default those of `forward`'s parameters.
    opset : int
        ONNX operator set to write.

    Returns
    -------
    ModelProto
        For `compile`, or `quantize`.

    Raises
    ------
    ToolchainError
        When torch or onnxscript, which its exporter needs, is not installed.
    ModelError
        When torch cannot export the module, with its reason.

    Examples
    --------
    >>> import tilewright, torch
    >>> model = tilewright.from_torch(torch.nn.Linear(8, 4), torch.zeros(1, 8), input_names=["x"])
    >>> [value.name for value in model.graph.input]
    ['x']
    """
    torch = _imported("torch", "from_torch", "torch")
    _imported("onnxscript", "from_torch", "torch")
    arguments = tuple(example) if isinstance(example, (tuple, list)) else (example,)
    was_training = module.training
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                module,
                arguments,
                dynamo=True,
                verbose=False,
                opset_version=opset,
                input_names=None if input_names is None else list(input_names),
            )
    except Exception as error:  # the exporter raises many kinds
        raise ModelError(f"{type(module).__name__}: torch cannot export the module: {_line(error)}") from error
    finally:
        module.train(was_training)
    model: ModelProto = program.model_proto
    return model


def from_tflite(path: str | Path) -> ModelProto:
    """Convert a TensorFlow Lite file, quantized or float, by tf2onnx.

    Parameters
    ----------
    path : path

    Returns
    -------
    ModelProto
        For `compile`, or `quantize`.

    Raises
    ------
    ToolchainError
        When tf2onnx or tensorflow, which it needs, is not installed.
    InputError
        When there is no such file.
    ModelError
        When tf2onnx cannot convert it, with its reason.

    Examples
    --------
    >>> import tilewright
    >>> program = tilewright.compile(tilewright.from_tflite("model.tflite"))  # doctest: +SKIP
    >>> tilewright.from_tflite("nowhere.tflite")
    Traceback (most recent call last):
    tilewright.isa.errors.InputError: nowhere.tflite: no such model file
    """
    if not os.path.isfile(path):
        raise InputError(f"{path}: no such model file")
    _imported("tensorflow", "from_tflite", "tflite")
    convert = _imported("tf2onnx.convert", "from_tflite", "tflite")
    try:
        model, _ = convert.from_tflite(str(path), opset=17)
    except Exception as error:  # the converter raises many kinds
        raise ModelError(f"{Path(path).name}: tf2onnx cannot convert the model: {_line(error)}") from error
    converted: ModelProto = model
    return converted


def _imported(module: str, function: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        message = f"{function} needs {package}, which is not installed: pip install 'tilewright[{extra}]'"
        raise ToolchainError(message) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300] or type(error).__name__
