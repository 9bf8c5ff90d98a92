"""The harness of the token counters: no token is lost, none is made."""

from __future__ import annotations

from unittest.mock import patch

from amaranth.hdl import Module, Signal

from tests.formal.prover import Harness
from tilewright.hw import tokens as hardware
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import Engine

CONFIG = PRESETS["tiny"].with_values(queue={"token_bits": 2})

#: Instead of `timing.DMA_IN_FLIGHT`: the proof is the same, its numbers are smaller.
IN_FLIGHT = 2


class FewTokens(hardware.TokenCounters):
    """The part, made for `IN_FLIGHT`."""

    def elaborate(self, platform):
        with patch.object(hardware, "DMA_IN_FLIGHT", IN_FLIGHT):
            return super().elaborate(platform)


class Tokens(Harness):
    """Engines start what is granted and complete what they have started, at most `IN_FLIGHT` at once.

    Counters are compared with wider ones, which cannot run over. `broken`: engines start without being granted.
    """

    def __init__(self, *, broken: bool = False) -> None:
        super().__init__(broken=broken)
        self.ports = {
            engine: {
                "wait_mask": self.free(2, f"{engine}_wait"),
                "wait_request": self.free(1, f"{engine}_request"),
                "signal_mask": self.free(2, f"{engine}_signal"),
                "signal_valid": self.free(1, f"{engine}_finish"),
            }
            for engine in Engine
        }

    def build(self, m: Module) -> None:
        m.submodules.tokens = tokens = FewTokens(CONFIG)
        limit = (1 << CONFIG.queue.token_bits) - 1 + IN_FLIGHT
        starts = {}
        for engine, inputs in self.ports.items():
            port = getattr(tokens, engine)
            m.d.comb += [getattr(port, name).eq(value) for name, value in inputs.items()]
            in_flight = Signal(range(IN_FLIGHT + 2), name=f"{engine}_in_flight")
            starts[engine] = port.wait_request & (1 if self.broken else port.wait_grant)
            m.d.sync += in_flight.eq(in_flight + starts[engine] - port.signal_valid)
            self.assume(~port.wait_request | (in_flight != IN_FLIGHT), ~port.signal_valid | (in_flight != 0))
            for bit, taker in enumerate(engine.others):
                self._follow(m, tokens, engine, bit, taker, limit, in_flight)

    def _follow(
        self, m: Module, tokens: hardware.TokenCounters, giver: Engine, bit: int, taker: Engine, limit: int, in_flight
    ):
        """Count the tokens of a pair in a number that is wide enough for everything."""
        given, taken = getattr(tokens, giver), getattr(tokens, taker)
        count = Signal(range(-2, 4 * limit), name=f"{giver}_to_{taker}_true")
        gives = given.signal_valid & given.signal_mask[bit]
        asks = taken.wait_request & taken.wait_mask[taker.others.index(giver)]
        takes = asks & (1 if self.broken else taken.wait_grant)
        m.d.sync += count.eq(count + gives - takes)
        # what is granted is there; and there is never more than the counter of the part can hold
        self.promise(~takes | (count > 0), count >= 0, count <= limit, count + in_flight <= limit)
