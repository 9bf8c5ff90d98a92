"""Shift registers that carry control alongside a pipeline."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value, ValueCastable


class ControlPipe:
    """Values that enter at some cycle and are asked for at later ones; registers are made as they are asked for.

    Parameters
    ----------
    m : Module
        Where the registers go.
    prefix : str
        What their names begin with.
    """

    def __init__(self, m: Module, prefix: str = "pipe"):
        self._m = m
        self._prefix = prefix
        self._taps: dict[str, dict[int, Value]] = {}
        self._resettable: set[str] = set()

    def add(self, name: str, value: Value | ValueCastable, cycle: int = 0, *, resettable: bool = False) -> None:
        """Enter `value` under `name`, valid at `cycle`; flags that mean something by themselves are `resettable`."""
        self._taps[name] = {cycle: Value.cast(value)}
        if resettable:
            self._resettable.add(name)

    def at(self, name: str, cycle: int) -> Value:
        """Return the value as it is at `cycle`."""
        taps = self._taps[name]
        for c in range(max(taps) + 1, cycle + 1):
            register = Signal(
                taps[c - 1].shape(),
                name=f"{self._prefix}_{name}_{c}",
                reset_less=name not in self._resettable,
            )
            self._m.d.sync += register.eq(taps[c - 1])
            taps[c] = register
        return taps[cycle]
