"""Fetch and dispatch: the program arrives in order, each instruction in its engine's queue."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import connect
from amaranth.sim import Simulator

from tests.hw.axi_memory import Chance, ReadMemory
from tilewright.hw.dispatch import Dispatch
from tilewright.hw.fetch import Fetch
from tilewright.hw.read_port import ReadPort
from tilewright.hw.timing import FETCH_CYCLES
from tilewright.isa.config import Config
from tilewright.isa.instructions import OPCODE_BITS, Engine, InstructionSet, instruction_set
from tilewright.isa.sections import Bus, Gemm, Memory, Queue

BASE = 0x1000


def config_of(data_bits: int) -> Config:
    return Config(
        gemm=Gemm(block_in=4, block_out=4),
        memory=Memory(act_kib=4, wgt_kib=4, acc_kib=2, prm_entries=16),
        bus=Bus(data_bits=data_bits, reads_in_flight=4),
        queue=Queue(load=2, compute=4, store=2),
    )


def random_words(isa: InstructionSet, rng, count: int) -> list[int]:
    bits = 8 * isa.instruction_bytes - OPCODE_BITS
    return [rng.getrandbits(bits) << OPCODE_BITS | int(rng.choice(isa.instructions).opcode) for _ in range(count)]


def fetch_program(isa: InstructionSet, words: list[int], offset: int, rng, stall: float, latency: int, takes: float):
    """Return what each queue gave as (cycle, word), the memory, and how often an illegal instruction was seen."""
    config = isa.config
    m = Module()
    m.submodules.fetch = fetch = Fetch(isa)
    m.submodules.dispatch = dispatch = Dispatch(isa)
    m.submodules.port = port = ReadPort(config)
    connect(m, fetch.burst, port.fetch)
    connect(m, port.fetch_beat, fetch.beat)
    connect(m, fetch.instruction, dispatch.instruction)
    program = b"".join(w.to_bytes(isa.instruction_bytes, "little") for w in words)
    dram = np.frombuffer(bytes(BASE + offset) + program + bytes(64), np.uint8)
    memory = ReadMemory(config, port.axi, dram, Chance(rng, stall), latency)
    given: dict[Engine, list[tuple[int, int]]] = {e: [] for e in Engine}
    illegal = 0

    async def bench(ctx):
        nonlocal illegal
        ctx.set(port.base, BASE)
        for signal, value in ((fetch.program_offset, offset), (fetch.count, len(words)), (fetch.begin, 1)):
            ctx.set(signal, value)
        await ctx.tick()
        ctx.set(fetch.begin, 0)
        for cycle in range(5000):
            memory.drive(ctx)
            for engine in Engine:
                queue = getattr(dispatch, engine)
                ctx.set(queue.ready, rng.random() < takes)
                if ctx.get(queue.valid) and ctx.get(queue.ready):
                    given[engine].append((cycle, ctx.get(queue.payload)))
            illegal += ctx.get(dispatch.illegal)
            memory.observe(ctx)
            await ctx.tick()
            if ctx.get(fetch.done) and ctx.get(dispatch.empty):
                return

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return given, memory, illegal


@pytest.mark.parametrize("data_bits", [64, 128, 512])
@pytest.mark.parametrize("takes", [0.1, 1.0])
def test_each_engine_gets_its_instructions_in_order(data_bits, takes, python_random):
    isa = instruction_set(config_of(data_bits))
    words = random_words(isa, python_random, 60)
    offset = 0x1000 - 5 * 64  # crosses a page
    given, _, illegal = fetch_program(isa, words, offset, python_random, 0.3, 7, takes)
    assert illegal == 0
    for engine in Engine:
        instructions = {int(i.opcode) for i in isa.of_engine(engine)}
        width = max(i.bits for i in isa.of_engine(engine))
        expected = [w & ((1 << width) - 1) for w in words if w & 0x3F in instructions]
        assert [word for _, word in given[engine]] == expected


def test_instructions_come_at_the_rate_of_the_bus(python_random):
    isa = instruction_set(config_of(128))
    words = [int(isa.by_name["GEMM"].opcode)] * 64
    given, memory, _ = fetch_program(isa, words, 0, python_random, 0, 20, 1.0)
    cycles = [cycle for cycle, _ in given[Engine.COMPUTE]]
    per_instruction = isa.instruction_bytes // isa.config.bus_bytes
    assert set(np.diff(cycles)) == {per_instruction}
    assert len(memory.beat_cycles) == 64 * per_instruction
    assert cycles[0] == memory.beat_cycles[per_instruction - 1] + FETCH_CYCLES


@pytest.mark.parametrize("opcode", [0, 5, 63])
def test_an_unknown_opcode_is_reported_and_stays(opcode, python_random):
    isa = instruction_set(config_of(128))
    words = [*random_words(isa, python_random, 3), opcode, *random_words(isa, python_random, 3)]
    given, _, illegal = fetch_program(isa, words, 0, python_random, 0, 3, 1.0)
    assert illegal > 1000
    assert sum(map(len, given.values())) == 3
