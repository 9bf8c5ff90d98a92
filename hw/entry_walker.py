"""Walks the scratchpad side of a box: one item for each entry, padding included."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.boxes import EntryBoxLayout, Space, entry_bits, slot_bits, space_bits
from tilewright.hw.padded_index import PaddedIndex, PaddedRangeLayout
from tilewright.isa.config import Config


class ItemLayout(data.StructLayout):
    """An entry to be moved or filled.

    Members are `space`, `entry` (its address), `slot` (its place in the beat), `inside` (it is moved; otherwise
    padding), `run_end` (the last that is moved of its run), `last` (of the instruction), `empty` (nothing is to be
    done but to finish), `pad_value` and `signal` of the instruction.
    """

    def __init__(self, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "space": space_bits(spaces),
                "entry": entry_bits(spaces),
                "slot": slot_bits(spaces),
                "inside": 1,
                "run_end": 1,
                "last": 1,
                "empty": 1,
                "pad_value": signed(8),
                "signal": unsigned(2),
            }
        )


class PreparedLayout(data.StructLayout):
    """A box with what follows from it: ranges of columns and rows, which outer extents are 1, whether it is empty."""

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "box": EntryBoxLayout(config, spaces),
                "columns": PaddedRangeLayout(config.extent_bits),
                "rows": PaddedRangeLayout(config.extent_bits),
                "single": 2,
                "empty": 1,
            }
        )


class EntryWalker(wiring.Component):
    """One item a cycle, without a gap between runs or boxes; the first item comes two cycles after its box is taken.

    Parameters
    ----------
    config : Config
    spaces : tuple of Space

    Members
    -------
    box : In(stream of EntryBoxLayout)
    item : Out(stream of ItemLayout)
        An empty box gives one empty item.
    """

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "box": In(stream.Signature(EntryBoxLayout(config, spaces))),
                "item": Out(stream.Signature(ItemLayout(spaces))),
            }
        )
        self._config = config
        self._spaces = spaces

    def elaborate(self, platform):
        m = Module()
        layout = PreparedLayout(self._config, self._spaces)
        following, work = Signal(layout), Signal(layout)
        following_valid, active = Signal(), Signal()
        m.submodules.column = column = PaddedIndex(self._config.extent_bits)
        m.submodules.row = row = PaddedIndex(self._config.extent_bits)
        left = [Signal(self._config.extent_bits, name=f"left{i}") for i in (1, 2)]
        at_end = [Signal(name=f"at_end{i}") for i in (1, 2)]
        is_last, go, begin = Signal(), Signal(), Signal()

        m.d.comb += [
            is_last.eq(work.empty | (column.is_last & row.is_last & Cat(at_end).all())),
            go.eq(Mux(active, self.item.ready, following_valid)),
            begin.eq(following_valid & (~active | is_last)),
            self.box.ready.eq(~following_valid | ~active | (is_last & self.item.ready)),
            column.first.eq(following.columns),
            row.first.eq(following.rows),
            column.step.eq(1),
            row.step.eq(column.is_last),
        ]
        m.d.comb += [port.eq(go) for port in (column.en, row.en)]
        m.d.comb += [port.eq(begin) for port in (column.begin, row.begin)]
        with m.If(self.box.ready):
            m.d.sync += following_valid.eq(self.box.valid)
            self._prepare(m, following)
        # `go` comes last of all: it only enables registers, so that what they take is decided meanwhile.
        with m.If(go):
            with m.If(begin):
                m.d.sync += [active.eq(1), work.eq(following)]
                m.d.sync += [left[i].eq(following.box.extents[i + 1]) for i in range(2)]
                m.d.sync += Cat(at_end).eq(following.single)
            with m.Else():
                m.d.sync += active.eq(~is_last)
                self._step_outer(m, work, left, at_end, column.is_last & row.is_last)
        self._walk_entries(m, following, work, go, begin, column, row, at_end)
        self._walk_slots(m, following, work, go, begin, column, row, at_end)
        self._drive_item(m, work, active, column, row, is_last)
        return m

    def _prepare(self, m, following):
        """Register the box beside the sums over it that walking needs."""
        box = self.box.payload
        columns = box.pad_left + box.run + box.pad_right
        rows = box.pad_top + box.extents[0] + box.pad_bottom
        outer_empty = (box.extents[1] == 0) | (box.extents[2] == 0)
        m.d.sync += [
            following.box.eq(box),
            following.single.eq(Cat(box.extents[1] == 1, box.extents[2] == 1)),
            following.empty.eq((columns == 0) | (rows == 0) | outer_empty),
        ]
        for target, low, count, total in (
            (following.columns, box.pad_left, box.run, columns),
            (following.rows, box.pad_top, box.extents[0], rows),
        ):
            m.d.sync += [
                target.low.eq(low),
                target.high.eq(low + count),
                target.size.eq(total),
                target.first_inside.eq((low == 0) & (count != 0)),
                target.first_is_end.eq((low == 0) & (count == 1)),
                target.first_is_last.eq(total == 1),
            ]

    def _step_outer(self, m, work, left, at_end, ended):
        with m.If(ended):
            m.d.sync += [
                left[0].eq(Mux(at_end[0], work.box.extents[1], left[0] - 1)),
                at_end[0].eq(Mux(at_end[0], work.single[0], left[0] == 2)),
            ]
            with m.If(at_end[0]):
                m.d.sync += [left[1].eq(left[1] - 1), at_end[1].eq(left[1] == 2)]

    def _walk_entries(self, m, following, work, go, begin, column, row, at_end):
        """Follow the entry's address; beside it where the current iterations of the loops began."""
        bits = entry_bits(self._spaces)
        entry, start0, start1, start2 = (Signal(bits, name=f"entry_{n}") for n in ("now", "0", "1", "2"))
        m.d.comb += self.item.payload.entry.eq(entry)
        with m.If(go):
            with m.If(begin):
                m.d.sync += [s.eq(following.box.base) for s in (entry, start0, start1, start2)]
            with m.Else():
                with m.If(~column.is_last):
                    m.d.sync += entry.eq(entry + 1)
                with m.Elif(~row.is_last):
                    m.d.sync += [s.eq(start0 + work.box.strides[0]) for s in (entry, start0)]
                with m.Elif(~at_end[0]):
                    m.d.sync += [s.eq(start1 + work.box.strides[1]) for s in (entry, start0, start1)]
                with m.Else():
                    m.d.sync += [s.eq(start2 + work.box.strides[2]) for s in (entry, start0, start1, start2)]

    def _walk_slots(self, m, following, work, go, begin, column, row, at_end):
        """Follow the place in the beat, likewise; padding takes none, neither in columns nor in rows."""
        bits = slot_bits(self._spaces)
        slot, start0, start1, start2 = (Signal(bits, name=f"slot_{n}") for n in ("now", "0", "1", "2"))
        strides = work.box.slot_strides
        following_row = start0 + Mux(row.inside, strides[0], 0)
        m.d.comb += self.item.payload.slot.eq(slot)
        with m.If(go):
            with m.If(begin):
                m.d.sync += [s.eq(following.box.slot) for s in (slot, start0, start1, start2)]
            with m.Else():
                with m.If(~column.is_last):
                    m.d.sync += slot.eq(slot + column.inside)
                with m.Elif(~row.is_last):
                    m.d.sync += [s.eq(following_row) for s in (slot, start0)]
                with m.Elif(~at_end[0]):
                    m.d.sync += [s.eq(start1 + strides[1]) for s in (slot, start0, start1)]
                with m.Else():
                    m.d.sync += [s.eq(start2 + strides[2]) for s in (slot, start0, start1, start2)]

    def _drive_item(self, m, work, active, column, row, is_last):
        item = self.item.payload
        m.d.comb += [
            self.item.valid.eq(active),
            item.space.eq(work.box.space),
            item.inside.eq(column.inside & row.inside & ~work.empty),
            item.run_end.eq(column.is_end),
            item.last.eq(is_last),
            item.empty.eq(work.empty),
            item.pad_value.eq(work.box.pad_value),
            item.signal.eq(work.box.signal),
        ]
