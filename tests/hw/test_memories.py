"""The scratchpads: what is written through their load-side ports is read back, and ports share as they say."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from itertools import product

import numpy as np
import pytest
from amaranth.lib import wiring
from amaranth.sim import Simulator

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.hw.accumulator_scratchpad import AccumulatorScratchpad
from tilewright.hw.lookup_table import LookupTables
from tilewright.hw.parameter_memory import ParameterMemory
from tilewright.hw.scratchpad import ActScratchpad
from tilewright.hw.timing import LOOKUP_CYCLES, MEMORY_READ_CYCLES, act_read_cycles
from tilewright.hw.weight_scratchpad import WeightScratchpad
from tilewright.isa.config import Config

NARROW_BUS = COMPUTE_CONFIGS["32_to_4"].with_values(gemm={"block_in": 64}, memory={"wgt_kib": 16, "act_kib": 8})
WIDE_BUS = COMPUTE_CONFIGS["tiny"].with_values(bus={"data_bits": 512})
CONFIGS = {**COMPUTE_CONFIGS, "narrow_bus": NARROW_BUS, "wide_bus": WIDE_BUS}
WITH_TABLES = {name: config for name, config in CONFIGS.items() if config.epilogue.tables}
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


def simulate(component: wiring.Component, drive: Callable[..., Awaitable[None]]) -> None:
    simulator = Simulator(component)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()


def little_endian(values: np.ndarray) -> int:
    return int.from_bytes(np.ascontiguousarray(values).tobytes(), "little")


async def write_entry(ctx, port, entry: int, values: np.ndarray) -> None:
    """Write an entry chunk by chunk, as the load engine does."""
    chunk_bytes = len(port.data) // 8
    ctx.set(port.valid, 1)
    ctx.set(port.entry, entry)
    for chunk in range(len(values) // chunk_bytes):
        ctx.set(port.chunk, chunk)
        ctx.set(port.data, little_endian(values[chunk * chunk_bytes : (chunk + 1) * chunk_bytes]))
        await ctx.tick()
    ctx.set(port.valid, 0)


async def read_at(ctx, port, address: int, turn: int = 0) -> None:
    """Present an address for one cycle and wait for the data."""
    ctx.set(port.addr, address)
    if "turn" in port.signature.members:
        ctx.set(port.turn, turn)
    ctx.set(port.en, 1)
    await ctx.tick()
    ctx.set(port.en, 0)
    for _ in range(MEMORY_READ_CYCLES - 1):
        await ctx.tick()


@each_config
def test_weights(config: Config, rng: np.random.Generator) -> None:
    entries = sorted({0, 1, config.wgt_depth - 1})
    written = {e: rng.integers(0, 256, config.wgt_entry_bytes, np.uint8) for e in entries}
    dut = WeightScratchpad(config)

    async def drive(ctx):
        for entry, values in written.items():
            await write_entry(ctx, dut.write, entry, values)
        for entry, values in written.items():
            await read_at(ctx, dut.read, entry)
            for row, channel in zip(dut.read.rows, values.reshape(config.gemm.block_out, -1), strict=True):
                assert ctx.get(row.as_value()) == little_endian(channel)

    simulate(dut, drive)


@each_config
def test_parameters(config: Config, rng: np.random.Generator) -> None:
    entries = sorted({0, 1, config.prm_depth - 1})
    written = {e: rng.integers(0, 256, config.prm_entry_bytes, np.uint8) for e in entries}
    dut = ParameterMemory(config)

    async def drive(ctx):
        for entry, values in written.items():
            await write_entry(ctx, dut.write, entry, values)
        for entry, turn in product(written, range(config.epilogue.interval)):
            all_words = written[entry].view("<u4").astype(np.int64).reshape(config.epilogue.interval, -1, 2)
            words = all_words[turn]
            mask = (1 << config.gemm.acc_bits) - 1
            await read_at(ctx, dut.bias, entry, turn)
            assert [ctx.get(bias) & mask for bias in dut.bias.channels] == (words[:, 0] & mask).tolist()
            await ctx.tick()
            assert [ctx.get(bias) & mask for bias in dut.bias.channels] == [0] * len(words), "nothing was read"
            await read_at(ctx, dut.scale, entry, turn)
            for channel, scale in enumerate(words[:, 1]):
                read = ctx.get(dut.scale.channels[channel])
                assert read.multiplier == scale & ((1 << config.epilogue.multiplier_bits) - 1)
                assert read.shift == scale >> 24 & 63

    simulate(dut, drive)


@each_config
def test_accumulators(config: Config, rng: np.random.Generator) -> None:
    """Two reads and a write in one cycle do not disturb each other; addends are read and sums written in turns."""
    top = 1 << (config.gemm.acc_bits - 1)
    values = rng.integers(-top, top, (3, config.acc_lanes))
    turns = range(config.epilogue.interval)
    channels = np.arange(config.acc_lanes).reshape(config.gemm.batch, len(turns), -1)
    lanes = [channels[:, turn].ravel() for turn in turns]  # batch rows, then channels
    dut = AccumulatorScratchpad(config)

    def addends(ctx) -> list[int]:
        return [ctx.get(lane) for lane in dut.addend.lanes]

    async def drive(ctx):
        for entry, turn in product(range(3), turns):
            ctx.set(dut.write.en, 1)
            ctx.set(dut.write.addr, entry)
            ctx.set(dut.write.turn, turn)
            for lane, value in zip(dut.write.lanes, values[entry, lanes[turn]], strict=True):
                ctx.set(lane, int(value))
            for port, address in ((dut.operand, 0), (dut.addend, 1)):
                ctx.set(port.en, entry == 2 and turn == turns[-1])
                ctx.set(port.addr, address)
            ctx.set(dut.addend.turn, turn)
            await ctx.tick()
        ctx.set(dut.write.en, 0)
        ctx.set(dut.operand.en, 0)
        for later, turn in enumerate([*turns, *turns]):  # a turn a cycle, and the one before arrives
            ctx.set(dut.addend.en, 1)
            ctx.set(dut.addend.addr, 2)
            ctx.set(dut.addend.turn, turn)
            await ctx.tick()
            entry, arrives = (1, turns[-1]) if later == 0 else (2, (later - 1) % len(turns))
            assert addends(ctx) == values[entry, lanes[arrives]].tolist()
            assert [ctx.get(lane) for lane in dut.operand.lanes] == values[0].tolist()
        ctx.set(dut.addend.en, 0)
        await ctx.tick()
        assert addends(ctx) == values[2, lanes[-1]].tolist()
        await ctx.tick()
        assert addends(ctx) == [0] * config.turn_lanes, "nothing was read"

    simulate(dut, drive)


@pytest.mark.parametrize("config", WITH_TABLES.values(), ids=WITH_TABLES)
def test_tables(config: Config, rng: np.random.Generator) -> None:
    tables = rng.integers(-128, 128, (config.epilogue.tables, 256)).astype(np.int8)
    stimuli = rng.integers(-128, 128, (40, config.turn_lanes))
    stimuli[:2, 0] = (-128, 127)
    chosen = rng.integers(0, config.epilogue.tables, 40)
    use = rng.random(40) < 0.7
    dut = LookupTables(config)
    expected = np.where(use[:, None], tables[chosen[:, None], stimuli + 128], stimuli)

    async def drive(ctx):
        for entry, values in enumerate(tables):
            await write_entry(ctx, dut.write, entry, values)
        for cycle in range(len(stimuli) + LOOKUP_CYCLES):
            if cycle >= LOOKUP_CYCLES:
                assert [ctx.get(lane) for lane in dut.results] == expected[cycle - LOOKUP_CYCLES].tolist()
            ctx.set(dut.en, cycle < len(stimuli))
            if cycle < len(stimuli):
                ctx.set(dut.use, int(use[cycle]))
                ctx.set(dut.table, int(chosen[cycle]))
                for lane, value in zip(dut.values, stimuli[cycle], strict=True):
                    ctx.set(lane, int(value))
            await ctx.tick()

    simulate(dut, drive)


class ActModel:
    """Rows and atoms as integers, and the reads under way."""

    def __init__(self, config: Config):
        self.config = config
        self.atoms = [0] * config.act_depth

    def write(self, row: int, enables: int, data: int) -> None:
        bits = 8 * self.config.atom_bytes
        for i in range(self.config.ratio):
            if enables >> i & 1:
                self.atoms[row * self.config.ratio + i] = data >> i * bits & ((1 << bits) - 1)

    def read(self, address: int, wide: int) -> int:
        ratio, bits = self.config.ratio, 8 * self.config.atom_bytes
        if not wide:
            return self.atoms[address]
        first = address - address % ratio
        return sum(self.atoms[first + i] << i * bits for i in range(ratio))


def check_due(ctx, due: dict, cycle: int, signals: dict, atom_bits: int) -> None:
    """Compare what should arrive in this cycle; a narrow access promises its first atom alone."""
    for name, wide, expected in due.pop(cycle, ()):
        seen = ctx.get(signals[name].as_value())
        assert (seen if wide else seen & ((1 << atom_bits) - 1)) == expected, (cycle, name)


@each_config
def test_activations_under_random_traffic(config: Config, python_random: random.Random) -> None:
    """All five users at once: compute goes first, loads and stores get what is left, everybody sees the same memory.

    A load waits only for a result of its own half of the rows.
    """
    r = python_random
    dut = ActScratchpad(config)
    model = ActModel(config)
    atom_bits = 8 * config.atom_bytes
    latency = act_read_cycles(config)
    signals = {"a": dut.a.data, "b": dut.b.data, "store": dut.store.response, "a_early": dut.a.early}
    counts = dict.fromkeys(("load", "load_refused", "load_beside_result", "store", "store_refused"), 0)
    rows = min(config.act_rows, 8)

    async def drive(ctx):
        due: dict[int, list] = {}
        answers: set[int] = set()
        for cycle in range(300):
            check_due(ctx, due, cycle, signals, atom_bits)
            asked = {name: (r.random() < 0.6, r.randrange(rows * config.ratio), r.random() < 0.5) for name in "ab"}
            for name, (en, address, wide) in asked.items():
                port = getattr(dut, name)
                for signal, value in ((port.en, en), (port.addr, address), (port.wide, wide)):
                    ctx.set(signal, int(value))
            store, store_row = r.random() < 0.7, r.randrange(rows)
            ctx.set(dut.store.request.valid, store)
            ctx.set(dut.store.request.payload, store_row)
            write, row = r.random() < 0.5, r.randrange(rows)
            enables, data = r.randrange(1, 1 << config.ratio), r.getrandbits(8 * config.row_bytes)
            loads = [
                (r.random() < 0.7, 2 * r.randrange(rows // 2) + half, r.getrandbits(8 * config.row_bytes))
                for half in range(2)
            ]
            read_rows = {a // config.ratio for en, a, _ in asked.values() if en} | ({store_row} if store else set())
            write = write and row not in read_rows
            ctx.set(dut.d.valid, write)
            ctx.set(dut.d.halves, write << row % 2)
            ctx.set(dut.d.row, row)
            ctx.set(dut.d.en, enables)
            ctx.set(dut.d.data.as_value(), data)
            loaded = []
            for half, (load, load_row, load_data) in enumerate(loads):
                load = load and load_row not in read_rows
                port, clashes = dut.load[half], write and row % 2 == half
                ctx.set(port.valid, load)
                ctx.set(port.payload.row, load_row)
                ctx.set(port.payload.data.as_value(), load_data)
                assert ctx.get(port.ready) == (not clashes)
                counts["load_refused" if clashes else "load_beside_result" if write else "load"] += load
                if load and not clashes:
                    loaded.append((load_row, load_data))
            assert ctx.get(dut.store.request.ready) == (not asked["b"][0])
            assert ctx.get(dut.store.response_valid) == (cycle in answers)
            arriving = due.setdefault(cycle + latency, [])
            arriving += [(n, w, model.read(a, w)) for n, (en, a, w) in asked.items() if en]
            if asked["a"][0]:
                due.setdefault(cycle + latency - 1, []).append(("a_early", asked["a"][2], arriving[0][2]))
            if store and not asked["b"][0]:
                arriving.append(("store", True, model.read(store_row * config.ratio, True)))
                answers.add(cycle + latency)
            counts["store" if not asked["b"][0] else "store_refused"] += store
            if write:
                model.write(row, enables, data)
            for load_row, load_data in loaded:
                model.write(load_row, (1 << config.ratio) - 1, load_data)
            await ctx.tick()

    simulate(dut, drive)
    assert all(counts.values()), counts
