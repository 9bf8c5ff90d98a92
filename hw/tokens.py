"""Dependency tokens between the engines."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from tilewright.hw.signatures import TokenSignature
from tilewright.hw.timing import DMA_IN_FLIGHT
from tilewright.isa.config import Config
from tilewright.isa.instructions import Engine


class TokenCounters(wiring.Component):
    """One counter for each ordered pair of engines; a token given in one cycle can be taken in the next.

    No token is lost: while any counter of tokens that an engine gives holds `2**queue.token_bits - 1` or more, its
    next instruction waits. The counters are wide enough for the tokens of those that have started by then.
    A program cannot deadlock by this if, taken in stream order, every counter of an engine's tokens is below that
    limit before each of its instructions.

    Parameters
    ----------
    config : Config

    Members
    -------
    load, compute, store : In(TokenSignature)
    waiting : Out(1)
        An engine asks and is not granted.
    """

    def __init__(self, config: Config):
        super().__init__({**{str(e): In(TokenSignature()) for e in Engine}, "waiting": Out(1)})
        self._config = config

    def elaborate(self, platform):
        m = Module()
        full = (1 << self._config.queue.token_bits) - 1
        pairs = [(giver, taker) for giver in Engine for taker in giver.others]
        counters = {p: Signal(range(full + DMA_IN_FLIGHT + 1), name=f"{p[0]}_to_{p[1]}") for p in pairs}
        # What grants depend on stands in registers: whether a counter is not 0, and whether it is at least `full`.
        holds = {p: Signal(name=f"holds_{p[0]}_to_{p[1]}") for p in pairs}
        filled = {p: Signal(name=f"filled_{p[0]}_to_{p[1]}") for p in pairs}
        refused = []
        for engine in Engine:
            port = getattr(self, engine)
            missing = [port.wait_mask[i] & ~holds[giver, engine] for i, giver in enumerate(engine.others)]
            overflowing = [filled[engine, taker] for taker in engine.others]
            m.d.comb += port.wait_grant.eq(~Cat(*missing, *overflowing).any())
            refused.append(port.wait_request & ~port.wait_grant)
        m.d.comb += self.waiting.eq(Cat(refused).any())

        for (giver, taker), counter in counters.items():
            pair = giver, taker
            given, taken = getattr(self, giver), getattr(self, taker)
            gives = given.signal_valid & given.signal_mask[giver.others.index(taker)]
            takes = taken.wait_request & taken.wait_grant & taken.wait_mask[taker.others.index(giver)]
            with m.If(takes ^ gives):  # `takes` comes late: it only enables the registers
                m.d.sync += [
                    counter.eq(counter + Mux(gives, 1, -1)),
                    holds[pair].eq(gives | (counter != 1)),
                    filled[pair].eq(Mux(gives, filled[pair] | (counter == full - 1), filled[pair] & (counter != full))),
                ]
        return m
