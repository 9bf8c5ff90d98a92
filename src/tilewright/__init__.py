"""Tilewright: one accelerator configuration in, hardware, compiler and simulators out.

    import tilewright

    program = tilewright.compile("model.onnx", config="16x16")
    result = program.run({"x": image}, on="rtl")
    result.outputs, result.report.cycles

Names are imported when they are used, so that importing the package stays cheap.
"""

from __future__ import annotations

import importlib
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tilewright.api import Compiled, Run, compile, load, load_program, simulator
    from tilewright.frontends import from_tflite, from_torch
    from tilewright.isa.config import Config
    from tilewright.isa.errors import TilewrightError
    from tilewright.quantization import Quantized, quantize
    from tilewright.report import Report
    from tilewright.sim.api import DramTiming

try:
    __version__ = version("tilewright")
except PackageNotFoundError:  # used from a source tree that was never installed
    __version__ = "0+unknown"

_HOMES = {
    "Compiled": "tilewright.api",
    "Config": "tilewright.isa.config",
    "DramTiming": "tilewright.sim.api",
    "Quantized": "tilewright.quantization",
    "Report": "tilewright.report",
    "Run": "tilewright.api",
    "TilewrightError": "tilewright.isa.errors",
    "compile": "tilewright.api",
    "from_tflite": "tilewright.frontends",
    "from_torch": "tilewright.frontends",
    "load": "tilewright.api",
    "load_program": "tilewright.api",
    "quantize": "tilewright.quantization",
    "simulator": "tilewright.api",
}

__all__ = [
    "Compiled",
    "Config",
    "DramTiming",
    "Quantized",
    "Report",
    "Run",
    "TilewrightError",
    "__version__",
    "compile",
    "from_tflite",
    "from_torch",
    "load",
    "load_program",
    "quantize",
    "simulator",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'tilewright' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
