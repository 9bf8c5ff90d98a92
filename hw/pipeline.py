"""Shift registers that carry control alongside a pipeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from amaranth.hdl import Cat, Elaboratable, Module, Signal, Value, ValueCastable


@dataclass
class _Carried:
    """A value that a pipe carries.

    Attributes
    ----------
    entry : int
        The cycle it enters at.
    value : Value
    is_resettable : bool
    taps : dict of int to Signal
        The value in later cycles, the last of which is where it is asked for last.
    """

    entry: int
    value: Value
    is_resettable: bool
    taps: dict[int, Signal] = field(default_factory=dict)

    @property
    def end(self) -> int:
        return max(self.taps, default=self.entry)


class ControlPipe(Elaboratable):
    """Values that enter at some cycle and are asked for at later ones; registers are made as they are asked for.

    A submodule of its own, so that asking inside a condition does not put the registers under that condition. What
    is carried into a cycle stands in one register there, or two: simulators move few wide words faster than many.
    """

    def __init__(self):
        self._carried: dict[str, _Carried] = {}

    def add(self, name: str, value: Value | ValueCastable, cycle: int = 0, *, resettable: bool = False) -> None:
        """Enter `value` under `name`, valid at `cycle`; flags that mean something by themselves are `resettable`."""
        self._carried[name] = _Carried(cycle, Value.cast(value), resettable)

    def at(self, name: str, cycle: int) -> Value:
        """Return the value as it is at `cycle`."""
        carried = self._carried[name]
        for c in range(carried.end + 1, cycle + 1):
            carried.taps[c] = Signal(carried.value.shape(), name=f"{name}_{c}")
        return carried.taps[cycle] if cycle > carried.entry else carried.value

    def elaborate(self, platform):
        m = Module()
        for is_resettable in (False, True):
            chosen = [c for c in self._carried.values() if c.is_resettable == is_resettable and c.taps]
            # What goes furthest comes first, so that what goes on from a register is its lower part.
            chosen.sort(key=lambda c: -c.end)
            for cycle in range(1 + min(c.entry for c in chosen), 1 + max(c.end for c in chosen)) if chosen else ():
                self._elaborate_stage(m, cycle, [c for c in chosen if c.entry < cycle <= c.end], is_resettable)
        return m

    def _elaborate_stage(self, m: Module, cycle: int, present: Iterable[_Carried], is_resettable: bool) -> None:
        before = Cat(c.value if cycle == c.entry + 1 else c.taps[cycle - 1] for c in present)
        kind = "flags" if is_resettable else "stage"
        register = Signal(len(before), name=f"{kind}_{cycle}", reset_less=not is_resettable)
        m.d.sync += register.eq(before)
        m.d.comb += Cat(c.taps[cycle] for c in present).eq(register)
