"""Reads ONNX models."""

from tilewright.compiler.frontend.onnx_import import import_onnx

__all__ = ["import_onnx"]
