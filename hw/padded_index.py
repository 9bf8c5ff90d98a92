"""Counts through a range with padding before and after it."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out


class PaddedRangeLayout(data.StructLayout):
    """Indices 0 to `size - 1`, of which `low` to `high - 1` are inside.

    Members are `low`, `high`, `size` (not 0), and of index 0: `first_inside`, `first_is_end` (the last one inside) and
    `first_is_last`.
    """

    def __init__(self, extent_bits: int):
        bits = extent_bits + 2
        numbers = dict.fromkeys(("low", "high", "size"), bits)
        super().__init__({**numbers, "first_inside": 1, "first_is_end": 1, "first_is_last": 1})


class PaddedIndex(wiring.Component):
    """Walks the range again and again; what is known of the current index stands in registers.

    Parameters
    ----------
    extent_bits : int

    Members
    -------
    first : In(PaddedRangeLayout)
    en : In(1)
        Do one of the following.
    begin : In(1)
        Take `first` as the range and start at index 0.
    step : In(1)
        Otherwise, go to the next index, from the last to the first.
    inside, is_end, is_last : Out(1)
        Whether the index is inside, the last one inside, the last of all.
    """

    def __init__(self, extent_bits: int):
        super().__init__(
            {
                "first": In(PaddedRangeLayout(extent_bits)),
                "en": In(1),
                "begin": In(1),
                "step": In(1),
                "inside": Out(1),
                "is_end": Out(1),
                "is_last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        work = Signal(self.first.shape())
        upcoming = Signal(len(work.size))  # the index after this one
        after = Signal(len(work.size))  # the one after that

        with m.If(self.en):
            with m.If(self.begin):
                m.d.sync += work.eq(self.first)
            with m.If(self.begin | (self.step & self.is_last)):
                m.d.sync += [
                    upcoming.eq(1),
                    after.eq(2),
                    self.inside.eq(Mux(self.begin, self.first.first_inside, work.first_inside)),
                    self.is_end.eq(Mux(self.begin, self.first.first_is_end, work.first_is_end)),
                    self.is_last.eq(Mux(self.begin, self.first.first_is_last, work.first_is_last)),
                ]
            with m.Elif(self.step):
                m.d.sync += [
                    upcoming.eq(after),
                    after.eq(after + 1),
                    self.inside.eq((upcoming >= work.low) & (upcoming < work.high)),
                    self.is_end.eq(after == work.high),
                    self.is_last.eq(after == work.size),
                ]
        return m
