"""The top level under cocotb, with cocotbext-axi's memory and master; started by `test_accelerator.py`."""

from __future__ import annotations

import itertools
import random

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge
from cocotbext.axi import AxiBus, AxiLiteBus, AxiLiteMaster, AxiRam, AxiSlave, MemoryRegion

from tests.hw.configs import CONFIGS
from tests.hw.programs import DRAM_BYTES, PROGRAM, Program, deadlock, tiled_layer
from tilewright.hw.timing import DONE_CYCLES, FETCH_ADDRESS_CYCLES
from tilewright.isa import registers
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.isa.registers import Error

BASE = 0x2_3000
MEMORY_BYTES = BASE + DRAM_BYTES
OFFSETS = {r.name: r.offset for r in registers.REGISTERS}
RESET = 2


class FaultyRegion(MemoryRegion):
    """Memory that refuses accesses to chosen addresses."""

    bad: range = range(0)

    async def _read(self, address, length, **kwargs):
        if address in self.bad:
            raise ValueError("refused")
        return await super()._read(address, length, **kwargs)

    async def _write(self, address, data, **kwargs):
        if address in self.bad:
            raise ValueError("refused")
        await super()._write(address, data, **kwargs)


class Bench:
    """The device, its memory and its driver."""

    def __init__(self, dut, stall: float, region: FaultyRegion | None = None):
        self.dut = dut
        self.rng = random.Random(int(cocotb.plusargs["seed"]))
        self.isa: InstructionSet = instruction_set(CONFIGS[cocotb.plusargs["config"]])
        cocotb.start_soon(Clock(dut.clk, 10, "ns").start())
        bus = AxiBus.from_prefix(dut, "m_axi_")
        if region is None:
            self.memory = AxiRam(bus, dut.clk, dut.rst, size=1 << (MEMORY_BYTES - 1).bit_length())
        else:
            self.memory = AxiSlave(bus, dut.clk, dut.rst, target=region)
        self.region = region
        self.master = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "s_axi_"), dut.clk, dut.rst)
        if stall:
            self._stall(stall)

        for name in ("ar", "aw", "w"):
            cocotb.start_soon(self._check_stable(name))

    async def _check_stable(self, name: str) -> None:
        """Assert that a channel keeps what it offers until it is taken."""
        channel = [s for s in dir(self.dut) if s.startswith(f"m_axi__{name}") and not s.endswith("ready")]
        signals = [getattr(self.dut, s) for s in channel]
        valid, ready = (getattr(self.dut, f"m_axi__{name}{end}") for end in ("valid", "ready"))
        offered = None
        while True:
            await RisingEdge(self.dut.clk)
            now = [int(s.value) for s in signals]
            assert offered in (None, now), f"{name} changed before it was taken"
            held = int(valid.value) and not int(ready.value) and not int(self.dut.rst.value)
            offered = now if held else None

    def _stall(self, stall: float) -> None:
        """Hold every channel back at random."""
        for part in (self.memory.read_if, self.memory.write_if, self.master.read_if, self.master.write_if):
            for name in ("ar_channel", "r_channel", "aw_channel", "w_channel", "b_channel"):
                channel = getattr(part, name, None)
                if channel is not None:
                    channel.set_pause_generator(self.rng.random() < stall for _ in itertools.count())

    async def reset(self) -> None:
        self.dut.rst.value = 1
        await ClockCycles(self.dut.clk, 3)
        self.dut.rst.value = 0
        await RisingEdge(self.dut.clk)

    async def put(self, program: Program) -> None:
        data = program.image.tobytes()
        if self.region is None:
            self.memory.write(BASE, data)
        else:
            await self.region.write(BASE, data)

    async def dram(self) -> np.ndarray:
        if self.region is None:
            data = self.memory.read(BASE, DRAM_BYTES)
        else:
            data = await self.region.read(BASE, DRAM_BYTES)
        return np.frombuffer(bytes(data), np.uint8)

    async def write(self, name: str, value: int) -> None:
        await self.master.write_dword(OFFSETS[name], value)

    async def read(self, name: str) -> int:
        return await self.master.read_dword(OFFSETS[name])

    async def counter(self, name: str) -> int:
        return await self.read(f"{name}_LOW") | await self.read(f"{name}_HIGH") << 32

    async def start(self, count: int) -> None:
        for name, value in (("BASE_LOW", BASE), ("BASE_HIGH", 0), ("PROGRAM", PROGRAM), ("COUNT", count)):
            await self.write(name, value)
        await self.write("CONTROL", 1)

    async def finish(self, polls: int = 2000) -> tuple[bool, Error]:
        """Wait until idle; return whether done, and the error."""
        for _ in range(polls):
            status = await self.read("STATUS")
            if not status & 1:
                return bool(status & 2), Error(status >> 8)
        raise AssertionError("the accelerator hangs")

    async def run(self, program: Program) -> None:
        """Run a program and compare DRAM with the reference."""
        await self.put(program)
        await self.start(len(program.steps))
        assert await self.finish() == (True, Error.NONE)
        np.testing.assert_array_equal(await self.dram(), program.expected())

    def layer(self, tiles: int = 5) -> Program:
        return tiled_layer(self.isa, np.random.default_rng(self.rng.getrandbits(32)), tiles)


async def bench_of(dut, stall: float = 0.0, region: FaultyRegion | None = None) -> Bench:
    bench = Bench(dut, stall, region)
    await bench.reset()
    return bench


@cocotb.test()
async def registers_say_who_it_is(dut):
    bench = await bench_of(dut, stall=0.3)
    assert await bench.read("ID") == registers.MAGIC
    config_hash = await bench.read("HASH_HIGH") << 32 | await bench.read("HASH_LOW")
    assert f"{config_hash:016x}" == bench.isa.config.hash
    assert await bench.read("STATUS") == 0


@cocotb.test()
async def layers_equal_the_reference(dut):
    bench = await bench_of(dut)
    await bench.run(bench.layer())
    await bench.run(bench.layer(tiles=8))


@cocotb.test()
@cocotb.parametrize(stall=[0.3, 0.7])
async def layers_equal_the_reference_under_back_pressure(dut, stall):
    bench = await bench_of(dut, stall)
    await bench.run(bench.layer())
    await bench.run(bench.layer(tiles=3))


@cocotb.test()
async def counters_count_what_was_done(dut):
    bench = await bench_of(dut, stall=0.2)
    seen = dict.fromkeys(("ar", "r", "aw", "w", "cycles"), 0)

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            seen["cycles"] += 1
            for name in ("ar", "r", "aw", "w"):
                valid, ready = getattr(dut, f"m_axi__{name}valid"), getattr(dut, f"m_axi__{name}ready")
                seen[name] += int(valid.value) & int(ready.value)

    cocotb.start_soon(watch())
    program = bench.layer(tiles=3)
    await bench.run(program)
    gemms = [values for name, values in program.steps if name == "GEMM"]
    steps = sum(v["extent_out0"] * v["extent_out1"] * v["extent_red0"] for v in gemms)
    assert await bench.counter("GEMM_STEPS") == steps == await bench.counter("COMPUTE_BUSY")
    for name, channel in (("READ_BURSTS", "ar"), ("READ_BEATS", "r"), ("WRITE_BURSTS", "aw"), ("WRITE_BEATS", "w")):
        assert await bench.counter(name) == seen[channel]
    assert steps < await bench.counter("CYCLES") < seen["cycles"]
    assert await bench.counter("COMPUTE_WAIT") > 0 and await bench.counter("STORE_WAIT") > 0
    await bench.start(0)
    assert await bench.finish() == (True, Error.NONE)
    assert await bench.counter("READ_BEATS") == 0


@cocotb.test()
async def starts_and_finishes_are_traced(dut):
    bench = await bench_of(dut)
    names = [f"{engine}_{event}" for engine in ("load", "compute", "store") for event in ("start", "finish")]
    seen = dict.fromkeys(names, 0)

    async def watch():
        while True:
            await RisingEdge(dut.clk)
            for name in names:
                seen[name] += int(getattr(dut, f"trace__{name}").value)

    first, last = [], []

    async def watch_ends():
        for cycle in itertools.count():
            await RisingEdge(dut.clk)
            if int(dut.m_axi__arvalid.value) and not first:
                first.append(cycle)
            if int(dut.trace__store_finish.value):
                last.append(cycle)

    cocotb.start_soon(watch())
    cocotb.start_soon(watch_ends())
    program = bench.layer(tiles=4)
    await bench.run(program)
    around = FETCH_ADDRESS_CYCLES + 1 + DONE_CYCLES
    assert await bench.counter("CYCLES") == last[-1] - first[0] + around
    for engine in ("load", "compute", "store"):
        count = sum(bench.isa.by_name[name].engine == engine for name, _ in program.steps)
        assert seen[f"{engine}_start"] == seen[f"{engine}_finish"] == count


@cocotb.test()
async def an_interrupt_tells_the_end(dut):
    bench = await bench_of(dut)
    await bench.write("IRQ_ENABLE", 1)
    program = bench.layer(tiles=1)
    await bench.put(program)
    assert int(dut.irq.value) == 0
    await bench.start(len(program.steps))
    await RisingEdge(dut.irq)
    assert await bench.read("STATUS") == 2
    await bench.write("IRQ_PENDING", 1)
    assert int(dut.irq.value) == 0


@cocotb.test()
async def an_illegal_opcode_stops_and_the_next_start_works(dut):
    bench = await bench_of(dut, stall=0.3)
    program = bench.layer()
    await bench.put(program)
    size = bench.isa.instruction_bytes
    for place in (0, 4, len(program.steps) - 1):
        bench.memory.write(BASE + PROGRAM + place * size, bytes(size))
        await bench.start(len(program.steps))
        assert await bench.finish() == (False, Error.ILLEGAL_INSTRUCTION)
        assert await bench.read("IRQ_PENDING") == 1
    await bench.run(bench.layer())


@cocotb.test()
async def an_unknown_vector_operation_stops(dut):
    bench = await bench_of(dut)
    program = Program(bench.isa, np.zeros(DRAM_BYTES, np.uint8))
    program.add("VECTOR", op=0, **{f"extent_{kind}{i}": 1 for kind in ("out", "red") for i in range(3)})
    image = program.image
    word = int.from_bytes(image[PROGRAM : PROGRAM + bench.isa.instruction_bytes].tobytes(), "little")
    shift = 0
    for f in bench.isa.by_name["VECTOR"].fields:
        if f.name == "op":
            word |= 15 << shift
        shift += f.bits
    await bench.put(program)
    bench.memory.write(BASE + PROGRAM, word.to_bytes(bench.isa.instruction_bytes, "little"))
    await bench.start(1)
    assert await bench.finish() == (False, Error.ILLEGAL_INSTRUCTION)
    await bench.run(bench.layer())


@cocotb.test()
async def a_deadlock_is_found_and_the_next_start_works(dut):
    bench = await bench_of(dut, stall=0.3)
    program = deadlock(bench.isa)
    await bench.put(program)
    await bench.start(len(program.steps))
    assert await bench.finish() == (False, Error.DEADLOCK)
    await bench.run(bench.layer())


@cocotb.test()
async def a_reset_abandons_everything(dut):
    bench = await bench_of(dut, stall=0.3)
    program = bench.layer()
    for delay in (1, 2, 3, 5, 8, 20, 60, 110, 190, 300):
        await bench.put(program)
        await bench.start(len(program.steps))
        await ClockCycles(dut.clk, delay)
        await bench.write("CONTROL", RESET)
        done, error = await bench.finish()
        assert error == Error.NONE and not done
    await bench.run(bench.layer())


@cocotb.test()
async def a_start_while_busy_is_an_error(dut):
    bench = await bench_of(dut)
    program = bench.layer(tiles=8)
    await bench.put(program)
    await bench.start(len(program.steps))
    await bench.write("CONTROL", 1)
    assert await bench.finish() == (False, Error.BUSY)
    await bench.run(bench.layer())


async def check_refused(dut, tile_name: str, wanted: Error) -> None:
    """Refuse the addresses of one instruction's transfer, then none."""
    region = FaultyRegion(1 << (MEMORY_BYTES - 1).bit_length())
    bench = await bench_of(dut, stall=0.3, region=region)
    program = bench.layer()
    places = [values["dram_base"] for name, values in program.steps if name == tile_name]
    region.bad = range(0)
    await bench.put(program)
    first = BASE + places[len(places) // 2]
    region.bad = range(first, first + 4)
    await bench.start(len(program.steps))
    assert await bench.finish() == (False, wanted)
    region.bad = range(0)
    await bench.run(bench.layer())


@cocotb.test()
async def a_refused_read_stops_and_the_next_start_works(dut):
    await check_refused(dut, "LOAD_WGT", Error.READ_RESPONSE)


@cocotb.test()
async def a_refused_write_stops_and_the_next_start_works(dut):
    await check_refused(dut, "STORE_ACT", Error.WRITE_RESPONSE)
