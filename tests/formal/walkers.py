"""Harnesses of address generators: every step's addresses are those of the loop nest, for extents up to two."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal

from tests.formal.prover import Harness
from tilewright.hw.boxes import EntryBoxLayout, load_spaces
from tilewright.hw.entry_walker import EntryWalker
from tilewright.hw.layouts import LOOPS, command_layout
from tilewright.hw.sequencer import OPERAND_LOOPS, Sequencer
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set

#: Small memories, so that addresses have few bits.
CONFIG = PRESETS["tiny"].with_values(
    gemm={"batch": 8}, memory={"act_kib": 1, "wgt_kib": 1, "acc_kib": 1, "prm_entries": 8},
    depthwise={"enabled": False}, epilogue={"tables": 0}, vector={"rows": False},
)  # fmt: skip


class Steps(Harness):
    """The sequencer's addresses are base and strides times the indices of six loops, which count as loops do.

    Indices are followed here with extents of one or two, so that an index is a bit. `broken`: a stride is another, or
    the end is never expected.

    Parameters
    ----------
    operand : str
        Whose addresses are looked at; without, it is the marks of steps.
    """

    def __init__(self, operand: str = "", *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        self.operand = operand
        self.isa = instruction_set(CONFIG)
        self.layout = command_layout(self.isa)
        self.load, self.halt = self.free(1, "load"), self.free(1, "halt")
        self.word = self.free(self.layout.size, "word")
        self.twice = self.free(len(LOOPS), "twice")  # which loops have two iterations

    def build(self, m: Module) -> None:
        m.submodules.part = part = Sequencer(self.isa)
        command, active = Signal(self.layout), Signal(self.layout)
        m.d.comb += [
            command.eq(self.word),
            command.empty.eq(0),
            command.single.eq(~self.twice),
            part.command.eq(command),
            part.load.eq(self.load & part.free),
            part.halt.eq(self.halt),
        ]
        for i, name in enumerate(LOOPS):
            m.d.comb += command[f"extent_{name}"].eq(Mux(self.twice[i], 2, 1))
        indices, twice, busy = Signal(len(LOOPS)), Signal(len(LOOPS)), Signal()
        at_end, halted = Signal(), Signal()
        m.d.sync += halted.eq(self.halt)
        m.d.comb += at_end.eq((indices | ~twice).all())
        with m.If(part.load):
            m.d.sync += [active.eq(command), twice.eq(self.twice), indices.eq(0), busy.eq(1)]
        with m.Elif(part.step.valid):
            self._count(m, indices, twice)
            with m.If(at_end):
                m.d.sync += busy.eq(0)
        step = part.step
        inner = (indices[3:] | ~twice[3:]).all()
        if self.operand:
            self._compare(m, self.operand, step, indices, active)
            return
        self.promise(
            step.valid == (busy & ~halted),
            ~step.valid | (step.end == (0 if self.broken else at_end)),
            ~step.valid | (step.last == inner),
            ~step.valid | (step.first == ~indices[3:].any()),
        )

    def _compare(self, m: Module, operand: str, step, indices: Signal, active) -> None:
        bits, names = len(step[operand]), OPERAND_LOOPS[operand]
        places = [Mux(indices[LOOPS.index(n)], active[f"{operand}_{n}"][:bits], 0) for n in names]
        if self.broken:
            places[0] = Mux(indices[0], active[f"{operand}_{names[1]}"][:bits], 0)
        expected = Signal(bits, name=f"expected_{operand}")
        m.d.comb += expected.eq(active[f"{operand}_base"] + sum(places))
        self.promise(~step.valid | (step[operand] == expected))

    def _count(self, m: Module, indices: Signal, twice: Signal) -> None:
        """Advance the innermost loop that is not at its end, and begin those inside it anew."""
        for i in range(len(LOOPS)):
            inside = (indices[i + 1 :] | ~twice[i + 1 :]).all() if i + 1 < len(LOOPS) else 1
            with m.If(inside):
                m.d.sync += indices[i].eq(~indices[i] & twice[i])


class Entries(Harness):
    """The DMA's entries are base and strides times indices, with padding around them, and the last is marked.

    Runs, rows and both outer loops have up to two iterations, each border one of padding at most. `broken`: padding
    is not expected.
    """

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        self.spaces = load_spaces(CONFIG)
        self.layout = EntryBoxLayout(CONFIG, self.spaces)
        self.word, self.valid, self.ready = (
            self.free(self.layout.size, "word"),
            self.free(1, "valid"),
            self.free(1, "ready"),
        )
        self.sizes = [self.free(1, name) for name in ("run", "rows", "outer1", "outer2")]
        self.pads = [self.free(1, name) for name in ("left", "right", "top", "bottom")]

    def build(self, m: Module) -> None:
        m.submodules.part = part = EntryWalker(CONFIG, self.spaces)
        box = Signal(self.layout)
        run, rows, outer1, outer2 = (1 + size for size in self.sizes)
        left, right, top, bottom = self.pads
        m.d.comb += [
            box.eq(self.word),
            box.run.eq(run),
            *(box.extents[i].eq(e) for i, e in enumerate((rows, outer1, outer2))),
        ]
        m.d.comb += [box.pad_left.eq(left), box.pad_right.eq(right), box.pad_top.eq(top), box.pad_bottom.eq(bottom)]
        m.d.comb += [part.box.payload.eq(box), part.box.valid.eq(self.valid), part.item.ready.eq(self.ready)]
        # one box at a time: what follows from several is their order, which `valid` without gaps has in its proof
        held, busy = Signal(self.layout), Signal()
        index = [Signal(3, name=f"index{i}") for i in range(4)]
        width, height = held.pad_left + held.run + held.pad_right, held.pad_top + held.extents[0] + held.pad_bottom
        sizes = (width[:3], height[:3], held.extents[1][:2], held.extents[2][:2])
        ends = [i == size - 1 for i, size in zip(index, sizes, strict=True)]
        self.assume(~busy | ~self.valid)
        taken = part.item.valid & self.ready
        with m.If(self.valid & part.box.ready):
            m.d.sync += [held.eq(box), busy.eq(1), *(i.eq(0) for i in index)]
        with m.Elif(taken):
            for place, i in enumerate(index):
                with m.If(Cat(ends[:place]).all() if place else 1):
                    m.d.sync += i.eq(Mux(ends[place], 0, i + 1))
            with m.If(Cat(ends).all()):
                m.d.sync += busy.eq(0)
        self._compare(m, part, held, busy, index, Cat(ends).all())

    def _compare(self, m: Module, part: EntryWalker, held, busy: Signal, index: list[Signal], is_last) -> None:
        item = part.item.payload
        expected = Signal(len(item.entry))
        strides = sum(times(i, stride) for i, stride in zip(index[1:], held.strides, strict=True))
        m.d.comb += expected.eq(held.base + index[0] + strides)
        column = (index[0] >= held.pad_left) & (index[0] < held.pad_left + held.run)
        row = (index[1] >= held.pad_top) & (index[1] < held.pad_top + held.extents[0])
        inside = 1 if self.broken else column & row
        self.promise(
            ~part.item.valid | busy,
            ~part.item.valid | (item.entry == expected),
            ~part.item.valid | (item.inside == inside),
            ~part.item.valid | (item.last == is_last),
            ~part.item.valid | (item.signal == held.signal),
        )


def times(number: Signal, value):
    """Multiply by a number of three bits."""
    return sum(Mux(number[i], value << i, 0) for i in range(3))
