"""ONNX's standard backend interface, so that what speaks it, onnx's own test suite included, can run on Tilewright.

    import tilewright.backend

    rep = tilewright.backend.prepare(model)           # compiled for the accelerator, run by its functional simulator
    y, = rep.run([x])

What the accelerator cannot compute runs on the host, by `onnx.reference`.
"""

from __future__ import annotations

from tilewright.backend.interface import DEVICES, TilewrightBackend, TilewrightRep

__all__ = [
    "DEVICES",
    "TilewrightBackend",
    "TilewrightRep",
    "is_compatible",
    "prepare",
    "run",
    "run_model",
    "run_node",
    "supports_device",
]

is_compatible = TilewrightBackend.is_compatible
prepare = TilewrightBackend.prepare
run = TilewrightBackend.run_model
run_model = TilewrightBackend.run_model
run_node = TilewrightBackend.run_node
supports_device = TilewrightBackend.supports_device
