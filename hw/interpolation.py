"""Constant tables with straight lines between their entries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Array, Const, Module, Value

from tilewright.isa.ir import Table
from tilewright.isa.row_ops import LOG_FRACTION

#: Makes a register of a value: its name, the value, and the stage that it belongs to.
Registered = Callable[[str, Value, int], Value]


@dataclass(frozen=True)
class Line:
    """A broken line: a table of its corners, one of the distances between them.

    Attributes
    ----------
    base, step : Table
        Of equal, power-of-two lengths; distances are not negative.
    falls : bool
        Whether distances are subtracted.
    """

    base: Table
    step: Table
    falls: bool

    def elaborate(self, m: Module, name: str, fraction: Value, stage: int, registered: Registered) -> Value:
        """Return the line's value at a fraction of `LOG_FRACTION` bits, without the third register.

        Parameters
        ----------
        m : Module
        name : str
            Registers' prefix.
        fraction : Value
        stage : int
            Of the register behind the lookup.
        registered : Callable
        """
        rest_bits = LOG_FRACTION - (len(self.base.values).bit_length() - 1)
        segment = fraction[rest_bits:LOG_FRACTION]
        base = registered(f"{name}_base", _entry(self.base, segment), stage)
        step = registered(f"{name}_step", _entry(self.step, segment), stage)
        rest = registered(f"{name}_rest", fraction[:rest_bits], stage)
        start = registered(f"{name}_start", base, stage + 1)
        product = registered(f"{name}_product", step * rest, stage + 1)
        distance = (product + (1 << (rest_bits - 1))) >> rest_bits
        return (start - distance)[: len(start)] if self.falls else start + distance


def _entry(table: Table, index: Value) -> Value:
    bits = max(table.values).bit_length()
    return Value.cast(Array(Const(value, bits) for value in table.values)[index])
