"""The memory of the epilogue's per-channel parameters."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Shape, ShapeLike, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.memory_bank import MemoryBank
from tilewright.hw.signatures import address_bits, prm_write_signature
from tilewright.hw.turns import turn_bits
from tilewright.isa.config import Config
from tilewright.isa.parameter_record import BIAS, MULTIPLIER, NEGATE, RECORD_BYTES, SHIFT

RECORD_BITS = 8 * RECORD_BYTES


class ParameterRecord(data.FlexibleLayout):
    """A channel's parameters as they lie in memory."""

    def __init__(self):
        parts = {"bias": BIAS, "multiplier": MULTIPLIER, "shift": SHIFT, "negates": NEGATE}
        super().__init__(RECORD_BITS, {name: data.Field(unsigned(p.bits), p.low) for name, p in parts.items()})


class ScaleLayout(data.StructLayout):
    """A channel's fixed-point scale as the hardware keeps it: `multiplier` and `shift`."""

    def __init__(self, config: Config):
        super().__init__({"multiplier": unsigned(config.epilogue.multiplier_bits), "shift": unsigned(SHIFT.bits)})


def bias_shape(config: Config) -> ShapeLike:
    """Return what is kept of a channel's bias: it, and with row operations whether sums are subtracted from it."""
    bias = signed(config.gemm.acc_bits)
    return data.StructLayout({"value": bias, "negates": 1}) if config.vector.rows else bias


class ParameterReadSignature(wiring.Signature):
    """A read port; the `channels` of a turn follow `timing.MEMORY_READ_CYCLES` after the address."""

    def __init__(self, config: Config, shape):
        channels = In(shape).array(config.turn_channels)
        address = {"addr": Out(address_bits(config.prm_depth)), "turn": Out(turn_bits(config)), "en": Out(1)}
        super().__init__({**address, "channels": channels})


class ParameterMemory(wiring.Component):
    """Biases and scales of `block_out` channels an entry; apart, as the epilogue reads them in different cycles.

    A bank holds one channel of each turn, the turns one after another.

    Parameters
    ----------
    config : Config

    Members
    -------
    bias : In(ParameterReadSignature)
        `bias_shape` each, `acc_bits` wide (sums wrap); 0 where none is read.
    scale : In(ParameterReadSignature)
        `ScaleLayout` each.
    write : In(EntryWriteSignature)
    """

    def __init__(self, config: Config):
        self._write = prm_write_signature(config)
        self._scale = ScaleLayout(config)
        super().__init__(
            {
                "bias": In(ParameterReadSignature(config, bias_shape(config))),
                "scale": In(ParameterReadSignature(config, self._scale)),
                "write": In(self._write),
            }
        )
        self._bias_bits = config.gemm.acc_bits
        depth, channels = config.prm_depth * config.epilogue.interval, range(config.turn_channels)
        bias_bits = Shape.cast(bias_shape(config)).width
        self.bias_banks = [MemoryBank(bias_bits, depth, clearing_ports=1) for _ in channels]
        self.scale_banks = [MemoryBank(self._scale.size, depth) for _ in channels]

    def elaborate(self, platform):
        m = Module()
        per_chunk = self._write.chunk_bits // RECORD_BITS
        chunk_bits = address_bits(max(1, len(self.bias_banks) // per_chunk))
        chunk, turn = self.write.chunk[:chunk_bits], self.write.chunk[chunk_bits:]
        for channel, (bias, scale) in enumerate(zip(self.bias_banks, self.scale_banks, strict=True)):
            m.submodules[f"bias{channel}"] = bias
            m.submodules[f"scale{channel}"] = scale
            own_chunk, place = divmod(channel, per_chunk)
            record = data.View(ParameterRecord(), self.write.data.word_select(place, RECORD_BITS))
            kept = data.View(self._scale, scale.write.data)
            m.d.comb += [
                bias.write.data.eq(Cat(record.bias[: self._bias_bits], record.negates)),
                kept.multiplier.eq(record.multiplier),
                kept.shift.eq(record.shift),
            ]
            for bank, port in ((bias, self.bias), (scale, self.scale)):
                m.d.comb += [
                    bank.write.addr.eq(Cat(self.write.entry, turn)),
                    bank.write.en.eq(self.write.valid & (chunk == own_chunk)),
                    bank.read[0].addr.eq(Cat(port.addr, port.turn)),
                    bank.read[0].en.eq(port.en),
                    port.channels[channel].eq(bank.read[0].data),
                ]
        return m
