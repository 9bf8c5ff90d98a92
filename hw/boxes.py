"""What the DMA engines make of their instructions: where the data lie in DRAM, and where in the scratchpads."""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Signal, signed, unsigned
from amaranth.lib import data

from tilewright.hw.layouts import extract_field
from tilewright.hw.signatures import address_bits
from tilewright.isa.config import Config
from tilewright.isa.instructions import Instruction, Opcode

_PADDING = ("pad_left", "pad_right", "pad_top", "pad_bottom", "pad_value")


@dataclass(frozen=True)
class Space:
    """A memory that DMA moves entries of.

    Attributes
    ----------
    opcode : Opcode
        The instruction that moves them.
    depth : int
        Entries.
    entry_bytes, bus_bytes : int
    """

    opcode: Opcode
    depth: int
    entry_bytes: int
    bus_bytes: int

    @property
    def is_narrow(self) -> bool:
        """Whether a beat holds several entries."""
        return self.entry_bytes < self.bus_bytes

    @property
    def chunk_bits(self) -> int:
        """Bits of an entry that are in one beat."""
        return 8 * min(self.entry_bytes, self.bus_bytes)

    @property
    def chunks(self) -> int:
        """Beats in an entry, 1 for a narrow one."""
        return max(1, self.entry_bytes // self.bus_bytes)

    @property
    def slots(self) -> int:
        """Entries in a beat, 1 for a wide one."""
        return max(1, self.bus_bytes // self.entry_bytes)


def act_space(config: Config, opcode: Opcode) -> Space:
    """Return the activation scratchpad, in rows."""
    return Space(opcode, config.act_rows, config.row_bytes, config.bus_bytes)


def load_spaces(config: Config) -> tuple[Space, ...]:
    """Return the memories that the load engine writes, `act` first."""

    def space(opcode: Opcode, depth: int, entry_bytes: int) -> Space:
        return Space(opcode, depth, entry_bytes, config.bus_bytes)

    tables = space(Opcode.LOAD_TBL, config.epilogue.tables, 256)
    return (
        act_space(config, Opcode.LOAD_ACT),
        space(Opcode.LOAD_WGT, config.wgt_depth, config.wgt_entry_bytes),
        space(Opcode.LOAD_PRM, config.prm_depth, config.prm_entry_bytes),
        *((tables,) if config.epilogue.tables else ()),
    )


def space_bits(spaces: tuple[Space, ...]) -> int:
    """Return the width of a member `space`, the index of a memory in `spaces`."""
    return address_bits(len(spaces))


def entry_bits(spaces: tuple[Space, ...]) -> int:
    """Return the width that holds the address of an entry of any of the memories."""
    return max(address_bits(s.depth) for s in spaces)


def slot_bits(spaces: tuple[Space, ...]) -> int:
    """Return the width that holds the place of an entry in its beat; 0 without narrow entries."""
    return max(address_bits(s.slots) for s in spaces)


class DramBoxLayout(data.StructLayout):
    """Rows of contiguous bytes in DRAM: `space`, `base`, `run` (entries), `extents`, `strides`, `empty`."""

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        super().__init__(
            {
                "space": space_bits(spaces),
                "base": config.bus.address_bits,
                "run": config.extent_bits,
                "extents": data.ArrayLayout(config.extent_bits, 3),
                "strides": data.ArrayLayout(config.bus.address_bits, 3),
                "empty": 1,
            }
        )


class EntryBoxLayout(data.StructLayout):
    """Entries of a scratchpad, and where in its beat each run begins.

    Members are `space`, `base`, `run`, `extents`, `strides`, `pad_left`, `pad_right`, `pad_top`, `pad_bottom`,
    `pad_value`, `slot` and `slot_strides` (in entries, modulo the entries of a beat) and `signal`.
    """

    def __init__(self, config: Config, spaces: tuple[Space, ...]):
        entry, extent, slot = entry_bits(spaces), config.extent_bits, slot_bits(spaces)
        super().__init__(
            {
                "space": space_bits(spaces),
                "base": entry,
                "run": extent,
                "extents": data.ArrayLayout(extent, 3),
                "strides": data.ArrayLayout(entry, 3),
                "pad_left": extent,
                "pad_right": extent,
                "pad_top": extent,
                "pad_bottom": extent,
                "pad_value": signed(8),
                "slot": slot,
                "slot_strides": data.ArrayLayout(slot, 3),
                "signal": unsigned(2),
            }
        )


def decode_boxes(m, word, config: Config, instructions: tuple[Instruction, ...], spaces: tuple[Space, ...]):
    """Decode a DMA instruction's word.

    Parameters
    ----------
    m : Module
    word : Value
        The instruction, opcode lowest.
    config : Config
    instructions : tuple of Instruction
        The engine's.
    spaces : tuple of Space
        One for each of them.

    Returns
    -------
    (View of DramBoxLayout, View of EntryBoxLayout)
    """
    fields, dram = (Signal(DramBoxLayout(config, spaces), name=n) for n in ("dram_fields", "dram_box"))
    entry = Signal(EntryBoxLayout(config, spaces), name="entry_box")
    by_opcode = {i.opcode: i for i in instructions}
    opcode = extract_field(word, instructions[0], "opcode")
    with m.Switch(opcode):
        for index, space in enumerate(spaces):
            with m.Case(int(space.opcode)):
                _decode(m, fields, entry, word, by_opcode[space.opcode], space, index)
    # Not of the fields chosen: the comparisons need not wait for the choice.
    empty = ((opcode == int(s.opcode)) & _is_empty(word, by_opcode[s.opcode]) for s in spaces)
    m.d.comb += [dram.eq(fields), dram.empty.eq(Cat(empty).any())]
    return dram, entry


def _is_empty(word, instruction: Instruction):
    """Tell whether an instruction moves nothing."""
    extents = ("extent_run", *(f"extent{i}" for i in range(3)))
    has = {f.name for f in instruction.fields}
    return Cat(extract_field(word, instruction, name) == 0 for name in extents if name in has).any()


def _decode(m, dram, entry, word, instruction: Instruction, space: Space, index: int) -> None:
    names = {f.name for f in instruction.fields}

    def field(name: str, absent: int = 0):
        return extract_field(word, instruction, name) if name in names else Const(absent)

    def slot(name: str):
        low = space.entry_bytes.bit_length() - 1
        value = Cat(field(name), Const(0, space.bus_bytes.bit_length()))
        return value[low : low + address_bits(space.slots)]

    m.d.comb += [
        dram.space.eq(index),
        entry.space.eq(index),
        dram.base.eq(field("dram_base")),
        entry.base.eq(field("base")),
        dram.run.eq(field("extent_run")),
        entry.run.eq(field("extent_run")),
        entry.slot.eq(slot("dram_base")),
        entry.signal.eq(field("signal")),
    ]
    m.d.comb += [entry[name].eq(field(name)) for name in _PADDING]
    for i in range(3):
        m.d.comb += [
            dram.extents[i].eq(field(f"extent{i}", 1)),
            entry.extents[i].eq(field(f"extent{i}", 1)),
            dram.strides[i].eq(field(f"dram_stride{i}")),
            entry.strides[i].eq(field(f"stride{i}")),
            entry.slot_strides[i].eq(slot(f"dram_stride{i}")),
        ]
