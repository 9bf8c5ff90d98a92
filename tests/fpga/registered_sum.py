"""A component that is placed and routed in seconds."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class RegisteredSum(wiring.Component):
    """A registered sum of two bytes."""

    def __init__(self) -> None:
        super().__init__({"a": In(8), "b": In(8), "total": Out(9)})

    def elaborate(self, platform):
        m = Module()
        m.d.sync += self.total.eq(self.a + self.b)
        return m
