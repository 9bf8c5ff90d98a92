"""Runtimes that the CPU target is measured beside, each as its manual says for one model at a time on few threads."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tilewright.bench.cpu_models import BF16, FLOAT
from tilewright.isa.errors import ConfigError

Action = Callable[[Mapping[str, NDArray[Any]]], object]

#: What each form of a model makes a runtime compute with.
PRECISIONS = {
    "u8": "uint8 activations, int8 weights per channel",
    "s8": "int8 activations around zero, int8 weights per channel",
    "full": "int8 throughout",
    FLOAT: "fp32",
    BF16: "bf16",
}


#: What follows where only the products of a model are quantized.
PRODUCTS_ONLY = ", of products; the rest in the runtime's floats (OpenVINO's default may be bf16)"


def precision(form: str, products_only: bool) -> str:
    """Say what a form of a model is computed with; of some, only the products are quantized unless it is `full`."""
    return PRECISIONS[form] + (PRODUCTS_ONLY if products_only and form != "full" else "")


def onnxruntime_session(path: Path, form: str, threads: int) -> Action:
    """Return what runs a model in onnxruntime."""
    runtime: Any = importlib.import_module("onnxruntime")
    if form == BF16:
        raise ConfigError("it has no products of bfloat16 on this processor")
    runtime.set_default_logger_severity(4)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda inputs: session.run(None, inputs)


def openvino_request(path: Path, form: str, threads: int) -> Action:
    """Return what runs a model in OpenVINO; a float model in the precision asked for, whatever its default is."""
    openvino: Any = importlib.import_module("openvino")
    options = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if form in (FLOAT, BF16):
        options["INFERENCE_PRECISION_HINT"] = form
    request = openvino.Core().compile_model(str(path), "CPU", options).create_infer_request()
    return lambda inputs: request.infer(inputs, share_inputs=True, share_outputs=True)


_MAKERS: dict[str, Callable[[Path, str, int], Action]] = {
    "onnxruntime": onnxruntime_session,
    "openvino": openvino_request,
}


def version(name: str) -> str:
    """Name a runtime with its version; just the name where it is not installed."""
    try:
        return f"{name} {importlib.import_module(name).__version__}"
    except ImportError:
        return name


def peer_actions(forms: Mapping[str, Path], threads: int) -> dict[tuple[str, str], Action | str]:
    """Return what runs each form of a model in each runtime, or why it does not."""
    found: dict[tuple[str, str], Action | str] = {}
    for name, make in _MAKERS.items():
        for form, path in forms.items():
            try:
                found[name, form] = make(path, form, threads)
            except ImportError:
                found[name, form] = f"{name} is not installed: pip install tilewright[bench]"
            except Exception as error:  # a runtime may refuse a model in its own way
                found[name, form] = f"{name} refuses the model: {str(error).splitlines()[0][:200]}"
    return found
