"""Tilewright: one accelerator configuration in, hardware, compiler and simulators out."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tilewright")
except PackageNotFoundError:  # used from a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
