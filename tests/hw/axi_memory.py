"""An AXI memory for Amaranth's simulator, stepped once a cycle; checks the rules of bursts."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tilewright.hw.axi import PAGE_BYTES
from tilewright.isa.config import Config


@dataclass
class Chance:
    """Seeded back-pressure: `happens()` is true with probability `1 - stall`."""

    rng: random.Random
    stall: float = 0.0

    def happens(self) -> bool:
        return self.rng.random() >= self.stall


def check_burst(config: Config, address: int, beats: int) -> None:
    """Assert what the port promises of every burst."""
    assert 1 <= beats <= config.bus.burst_beats
    assert address % config.bus_bytes == 0
    assert address // PAGE_BYTES == (address + beats * config.bus_bytes - 1) // PAGE_BYTES


@dataclass
class ReadMemory:
    """Serves the read channels of `axi` from `dram`, bursts in order, after `latency` cycles."""

    config: Config
    axi: object
    dram: NDArray[np.uint8]
    chance: Chance
    latency: int = 5
    error_at: int | None = None  # an address that answers with an error
    beats: deque = field(default_factory=deque)
    bursts: list = field(default_factory=list)
    cycle: int = 0
    beat_cycles: list = field(default_factory=list)

    def drive(self, ctx) -> None:
        """Set this cycle's inputs; `valid` stays once it is high."""
        axi = self.axi
        ctx.set(axi.arready, self.chance.happens())
        held = bool(ctx.get(axi.rvalid)) and self.beats and self.beats[0][-1]
        ready = bool(self.beats) and self.beats[0][0] <= self.cycle and (held or self.chance.happens())
        ctx.set(axi.rvalid, ready)
        if ready:
            _, address, rid, last, _ = self.beats[0]
            self.beats[0] = (*self.beats[0][:-1], True)
            value = int.from_bytes(self.dram[address : address + self.config.bus_bytes].tobytes(), "little")
            ctx.set(axi.rdata, value)
            ctx.set(axi.rid, rid)
            ctx.set(axi.rlast, last)
            ctx.set(axi.rresp, 2 if self.error_at == address else 0)

    def observe(self, ctx) -> None:
        """Take note of this cycle's transfers."""
        axi = self.axi
        if ctx.get(axi.rvalid) and ctx.get(axi.rready):
            self.beats.popleft()
            self.beat_cycles.append(self.cycle)
        if ctx.get(axi.arvalid) and ctx.get(axi.arready):
            address, beats = ctx.get(axi.araddr), ctx.get(axi.arlen) + 1
            check_burst(self.config, address, beats)
            self.bursts.append((address, beats))
            for i in range(beats):
                at = address + i * self.config.bus_bytes
                self.beats.append((self.cycle + self.latency, at, ctx.get(axi.arid), i == beats - 1, False))
            assert sum(b[3] for b in self.beats) <= self.config.bus.reads_in_flight
        self.cycle += 1


@dataclass
class WriteMemory:
    """Serves the write channels of `axi` into `dram`; responses come `latency` cycles after the last beat."""

    config: Config
    axi: object
    dram: NDArray[np.uint8]
    chance: Chance
    latency: int = 5
    error_at: int | None = None
    addresses: deque = field(default_factory=deque)
    data: deque = field(default_factory=deque)
    responses: deque = field(default_factory=deque)
    bursts: list = field(default_factory=list)
    cycle: int = 0
    beat_cycles: list = field(default_factory=list)
    burst_cycles: list = field(default_factory=list)

    def drive(self, ctx) -> None:
        axi = self.axi
        ctx.set(axi.awready, self.chance.happens())
        ctx.set(axi.wready, self.chance.happens())
        ready = bool(self.responses) and self.responses[0][0] <= self.cycle
        ctx.set(axi.bvalid, ready)
        if ready:
            ctx.set(axi.bresp, 2 if self.responses[0][1] else 0)

    def observe(self, ctx) -> None:
        axi = self.axi
        if ctx.get(axi.bvalid) and ctx.get(axi.bready):
            self.responses.popleft()
        if ctx.get(axi.awvalid) and ctx.get(axi.awready):
            address, beats = ctx.get(axi.awaddr), ctx.get(axi.awlen) + 1
            check_burst(self.config, address, beats)
            self.bursts.append((address, beats))
            self.burst_cycles.append(self.cycle)
            self.addresses.append((address, beats))
        if ctx.get(axi.wvalid) and ctx.get(axi.wready):
            self.data.append((ctx.get(axi.wdata), ctx.get(axi.wstrb), ctx.get(axi.wlast)))
            self.beat_cycles.append(self.cycle)
        while self.addresses and len(self.data) >= self.addresses[0][1]:
            self._write(*self.addresses.popleft())
        assert len(self.addresses) + len(self.responses) <= self.config.bus.writes_in_flight
        self.cycle += 1

    def _write(self, address: int, beats: int) -> None:
        width = self.config.bus_bytes
        for i in range(beats):
            value, strobe, last = self.data.popleft()
            assert last == (i == beats - 1)
            for byte in range(width):
                if strobe >> byte & 1:
                    self.dram[address + i * width + byte] = value >> 8 * byte & 0xFF
        self.responses.append((self.cycle + self.latency, self.error_at == address))
