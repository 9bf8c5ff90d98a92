"""Errors that a user can cause; each message names the subject, the constraint and the value."""

from __future__ import annotations


class TilewrightError(Exception):
    """Base of every error that is reported to the user as one line, without a traceback.

    Examples
    --------
    >>> import tilewright
    >>> try:
    ...     tilewright.compile("nowhere.onnx")
    ... except tilewright.TilewrightError as error:
    ...     print(error)
    nowhere.onnx: no such model file
    """


class ConfigError(TilewrightError):
    """An accelerator configuration is impossible."""


class ProgramError(TilewrightError):
    """A program, an instruction or an assembly text is invalid for its configuration."""


class ModelError(TilewrightError):
    """A model cannot be read or holds something invalid."""


class InputError(TilewrightError):
    """The inputs given to a run do not match the model."""


class CapacityError(TilewrightError):
    """Something does not fit into a memory of the accelerator."""


class ToolchainError(TilewrightError):
    """A tool that is needed (C++ compiler, Verilator, Yosys) is missing or failed."""


class DeviceError(TilewrightError):
    """A run on a device or simulator ended in an error status."""


def shown(value: object) -> str:
    """Write a value into a message; Python writes no number of thousands of digits."""
    try:
        return repr(value)
    except ValueError:
        return f"a number of {value.bit_length()} bits" if isinstance(value, int) else "what holds too long a number"
