"""Shift registers that carry control alongside a pipeline."""

from __future__ import annotations

from amaranth.hdl import Elaboratable, Module, Signal, Value, ValueCastable


class ControlPipe(Elaboratable):
    """Values that enter at some cycle and are asked for at later ones; registers are made as they are asked for.

    A submodule of its own, so that asking inside a condition does not put the registers under that condition.
    """

    def __init__(self):
        self._taps: dict[str, dict[int, Value]] = {}
        self._resettable: set[str] = set()
        self._moves: list[tuple[Signal, Value]] = []

    def add(self, name: str, value: Value | ValueCastable, cycle: int = 0, *, resettable: bool = False) -> None:
        """Enter `value` under `name`, valid at `cycle`; flags that mean something by themselves are `resettable`."""
        self._taps[name] = {cycle: Value.cast(value)}
        if resettable:
            self._resettable.add(name)

    def at(self, name: str, cycle: int) -> Value:
        """Return the value as it is at `cycle`."""
        taps = self._taps[name]
        for c in range(max(taps) + 1, cycle + 1):
            taps[c] = Signal(taps[c - 1].shape(), name=f"{name}_{c}", reset_less=name not in self._resettable)
            self._moves.append((taps[c], taps[c - 1]))
        return taps[cycle]

    def elaborate(self, platform):
        m = Module()
        m.d.sync += [register.eq(value) for register, value in self._moves]
        return m
