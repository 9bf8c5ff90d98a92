"""Signatures between the compute side and the rest: scratchpad ports, load-side writes, tokens.

Directions are those of the initiator (who reads, writes or asks); memories have them flipped.
"""

from __future__ import annotations

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from tilewright.isa.config import Config

#: The rows of the activation scratchpad, even and odd ones, are two halves, which are written independently.
ACT_HALVES = 2


def address_bits(depth: int) -> int:
    """Return the width of an address into `depth` entries; 0 for a single one."""
    return max(0, depth - 1).bit_length()


def row_layout(config: Config) -> data.ArrayLayout:
    """Return a row of activations: `ratio` atoms of `batch * atom` bytes each, lowest channels first."""
    return data.ArrayLayout(8 * config.atom_bytes, config.ratio)


class ActReadSignature(wiring.Signature):
    """A read port of the activation scratchpad; data follow `timing.act_read_cycles` after the address.

    Members
    -------
    addr : Out(act address)
        In atoms.
    en : Out(1)
    wide : Out(1)
        Read the whole row that holds `addr`; otherwise the one atom, which then is `data[0]`.
    data : In(row)
    early : In(row)
        The same, a cycle before; means nothing where nothing was read.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "addr": Out(address_bits(config.act_depth)),
                "en": Out(1),
                "wide": Out(1),
                "data": In(row_layout(config)),
                "early": In(row_layout(config)),
            }
        )


class ActWriteSignature(wiring.Signature):
    """The write port of the epilogue; written in the cycle of `valid`, readable from the next cycle on.

    Members
    -------
    valid : Out(1)
    halves : Out(ACT_HALVES)
        The same, for each half: in that of `row`.
    row : Out(row address)
    en : Out(ratio)
        Which atoms of the row are written.
    data : Out(row)
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "valid": Out(1),
                "halves": Out(ACT_HALVES),
                "row": Out(address_bits(config.act_rows)),
                "en": Out(config.ratio),
                "data": Out(row_layout(config)),
            }
        )


class ActLoadPayload(data.StructLayout):
    """A row that the load engine writes: members `row` (row address) and `data`."""

    def __init__(self, config: Config):
        super().__init__({"row": address_bits(config.act_rows), "data": row_layout(config)})


def act_load_signature(config: Config) -> stream.Signature:
    """Return the stream of rows of one half from the load engine; `ready` is low while compute writes to that half."""
    return stream.Signature(ActLoadPayload(config))


class ActStoreSignature(wiring.Signature):
    """The store engine's reads; served in cycles in which compute does not use read port 1.

    Members
    -------
    request : Out(stream of row addresses)
    response : In(row)
    response_valid : In(1)
        `timing.act_read_cycles` after the request was accepted, in order; cannot be held back.
    """

    def __init__(self, config: Config):
        super().__init__(
            {
                "request": Out(stream.Signature(address_bits(config.act_rows))),
                "response": In(row_layout(config)),
                "response_valid": In(1),
            }
        )


class EntryWriteSignature(wiring.Signature):
    """The load engine's writes to `wgt`, `prm` or `tbl`; always accepted, readable from the next cycle on.

    Parameters
    ----------
    depth : int
        Entries of the memory.
    entry_bytes : int
    config : Config

    Members
    -------
    valid : Out(1)
    entry : Out(address)
    chunk : Out(range(chunks))
        Which part of the entry, the lowest bytes first; of no width where an entry is not wider than the bus.
    data : Out(chunk_bits)

    Attributes
    ----------
    chunk_bits : int
        The bus width, or the whole entry where that is narrower.
    chunks : int
        Chunks in an entry.
    """

    def __init__(self, depth: int, entry_bytes: int, config: Config):
        self.chunk_bits = min(config.bus.data_bits, 8 * entry_bytes)
        self.chunks = 8 * entry_bytes // self.chunk_bits
        super().__init__(
            {
                "valid": Out(1),
                "entry": Out(address_bits(depth)),
                "chunk": Out(range(self.chunks)),
                "data": Out(self.chunk_bits),
            }
        )


def wgt_write_signature(config: Config) -> EntryWriteSignature:
    """Return the load-side write port of the weight scratchpad."""
    return EntryWriteSignature(config.wgt_depth, config.wgt_entry_bytes, config)


def prm_write_signature(config: Config) -> EntryWriteSignature:
    """Return the load-side write port of the parameter memory."""
    return EntryWriteSignature(config.prm_depth, config.prm_entry_bytes, config)


def tbl_write_signature(config: Config) -> EntryWriteSignature:
    """Return the load-side write port of the lookup tables; only for configurations that have tables."""
    return EntryWriteSignature(config.epilogue.tables, 256, config)


class TokenSignature(wiring.Signature):
    """An engine's side of the dependency tokens.

    Members
    -------
    wait_mask : Out(2)
        Which other engines' tokens the next instruction needs.
    wait_request : Out(1)
        It wants to start now.
    wait_grant : In(1)
        All of them are there; combinational. With a request, they are taken and the instruction starts.
    signal_mask : Out(2)
        Which other engines get a token from the instruction that completes.
    signal_valid : Out(1)
        High for one cycle at each completion, whatever the mask; always accepted.
    """

    def __init__(self):
        super().__init__(
            {
                "wait_mask": Out(2),
                "wait_request": Out(1),
                "wait_grant": In(1),
                "signal_mask": Out(2),
                "signal_valid": Out(1),
            }
        )
