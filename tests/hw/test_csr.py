"""The registers over AXI4-Lite, against their table."""

from __future__ import annotations

import pytest
from amaranth.hdl import ResetInserter, Signal
from amaranth.sim import Simulator

from tilewright.hw.csr import ControlRegisters
from tilewright.isa import registers
from tilewright.isa.config import ISA_VERSION, PRESETS
from tilewright.isa.registers import Access

OFFSETS = {r.name: r.offset for r in registers.REGISTERS}
CONFIG = PRESETS["tiny"]


async def write(ctx, dut, name: str, value: int, strobe: int = 0xF) -> None:
    axi = dut.s_axi
    for signal, driven in ((axi.awaddr, OFFSETS[name]), (axi.wdata, value), (axi.wstrb, strobe), (axi.awvalid, 1)):
        ctx.set(signal, driven)
    await ctx.tick()  # data later than the address
    ctx.set(axi.wvalid, 1)
    while not (ctx.get(axi.awready) and ctx.get(axi.wready)):
        await ctx.tick()
    await ctx.tick()
    ctx.set(axi.awvalid, 0)
    ctx.set(axi.wvalid, 0)
    assert ctx.get(axi.bvalid) and ctx.get(axi.bresp) == 0
    ctx.set(axi.bready, 1)
    await ctx.tick()
    ctx.set(axi.bready, 0)


async def read(ctx, dut, offset: int) -> int:
    axi = dut.s_axi
    ctx.set(axi.araddr, offset)
    ctx.set(axi.arvalid, 1)
    while not ctx.get(axi.arready):
        await ctx.tick()
    await ctx.tick()
    ctx.set(axi.arvalid, 0)
    while not ctx.get(axi.rvalid):
        await ctx.tick()
    value = ctx.get(axi.rdata)
    await ctx.tick()  # held until taken
    assert ctx.get(axi.rvalid) and ctx.get(axi.rdata) == value
    ctx.set(axi.rready, 1)
    await ctx.tick()
    ctx.set(axi.rready, 0)
    return value


def simulate(bench) -> None:
    dut = ControlRegisters(CONFIG)
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)

    async def process(ctx):
        await bench(ctx, dut)

    simulator.add_testbench(process)
    simulator.run()


def test_identity():
    async def bench(ctx, dut):
        assert await read(ctx, dut, OFFSETS["ID"]) == registers.MAGIC
        assert await read(ctx, dut, OFFSETS["VERSION"]) == ISA_VERSION
        low, high = await read(ctx, dut, OFFSETS["HASH_LOW"]), await read(ctx, dut, OFFSETS["HASH_HIGH"])
        assert f"{high << 32 | low:016x}" == CONFIG.hash
        assert await read(ctx, dut, 0x3FC) == 0

    simulate(bench)


def test_stored_registers_keep_what_is_written(python_random):
    names = [r.name for r in registers.REGISTERS if r.access is Access.READ_WRITE]

    async def bench(ctx, dut):
        values = {name: python_random.getrandbits(32) for name in names}
        for name, value in values.items():
            await write(ctx, dut, name, value)
        for name, value in values.items():
            assert await read(ctx, dut, OFFSETS[name]) == value
        assert ctx.get(dut.base) == (values["BASE_HIGH"] << 32 | values["BASE_LOW"]) & 0xFFFFF000
        assert ctx.get(dut.program_offset) == values["PROGRAM"] and ctx.get(dut.count) == values["COUNT"]
        await write(ctx, dut, "COUNT", 0x11223344)
        await write(ctx, dut, "COUNT", 0xAABBCCDD, strobe=0b0110)
        assert ctx.get(dut.count) == 0x11BBCC44

    simulate(bench)


@pytest.mark.parametrize(("value", "pulses"), [(0, (0, 0)), (1, (1, 0)), (2, (0, 1)), (3, (0, 1))])
def test_commands_last_one_cycle(value, pulses):
    async def bench(ctx, dut):
        seen = [0, 0]

        async def watch():
            for _ in range(4):
                seen[0] += ctx.get(dut.start)
                seen[1] += ctx.get(dut.reset)
                await ctx.tick()

        axi = dut.s_axi
        ctx.set(axi.awaddr, OFFSETS["CONTROL"])
        for signal, driven in ((axi.wdata, value), (axi.wstrb, 1), (axi.awvalid, 1), (axi.wvalid, 1), (axi.bready, 1)):
            ctx.set(signal, driven)
        await ctx.tick()
        ctx.set(axi.awvalid, 0)
        ctx.set(axi.wvalid, 0)
        await watch()
        assert tuple(seen) == pulses

    simulate(bench)


def test_status_and_interrupt():
    async def bench(ctx, dut):
        ctx.set(dut.busy, 1)
        ctx.set(dut.error, 3)
        assert await read(ctx, dut, OFFSETS["STATUS"]) == 0x301
        ctx.set(dut.busy, 0)
        ctx.set(dut.finished, 1)
        assert await read(ctx, dut, OFFSETS["STATUS"]) == 0x302
        ctx.set(dut.stopped, 1)
        await ctx.tick()
        ctx.set(dut.stopped, 0)
        assert await read(ctx, dut, OFFSETS["IRQ_PENDING"]) == 1
        assert not ctx.get(dut.irq)
        await write(ctx, dut, "IRQ_ENABLE", 1)
        assert ctx.get(dut.irq)
        await write(ctx, dut, "IRQ_PENDING", 0)
        assert ctx.get(dut.irq)
        await write(ctx, dut, "IRQ_PENDING", 1)
        assert not ctx.get(dut.irq)
        assert await read(ctx, dut, OFFSETS["IRQ_PENDING"]) == 0

    simulate(bench)


def test_counters_count_their_own_event(python_random):
    async def bench(ctx, dut):
        counts = {name: 0 for name, _ in registers.COUNTERS}
        for _ in range(60):
            for i, name in enumerate(counts):
                happens = python_random.random() < (i + 1) / 16
                counts[name] += happens
                ctx.set(getattr(dut.events, name), happens)
            await ctx.tick()
        for name in counts:
            ctx.set(getattr(dut.events, name), 0)
        for name, count in counts.items():
            assert await read(ctx, dut, OFFSETS[f"{name.upper()}_LOW"]) == count
            assert await read(ctx, dut, OFFSETS[f"{name.upper()}_HIGH"]) == 0
        ctx.set(dut.clear_counters, 1)
        await ctx.tick()
        ctx.set(dut.clear_counters, 0)
        assert await read(ctx, dut, OFFSETS["CYCLES_LOW"]) == 0

    simulate(bench)


def test_responses_that_wait_are_gone_after_a_reset():
    dut, reset = ControlRegisters(CONFIG), Signal()
    simulator = Simulator(ResetInserter(reset)(dut))
    simulator.add_clock(1e-6)

    async def bench(ctx):
        axi = dut.s_axi
        for signal in (axi.awvalid, axi.wvalid, axi.arvalid):
            ctx.set(signal, 1)
        await ctx.tick().repeat(2)
        for signal in (axi.awvalid, axi.wvalid, axi.arvalid):
            ctx.set(signal, 0)
        await ctx.tick()
        assert ctx.get(axi.bvalid) and ctx.get(axi.rvalid)
        ctx.set(reset, 1)
        await ctx.tick()
        ctx.set(reset, 0)
        assert not ctx.get(axi.bvalid) and not ctx.get(axi.rvalid)
        await ctx.tick().repeat(3)
        assert not ctx.get(axi.bvalid) and not ctx.get(axi.rvalid)

    simulator.add_testbench(bench)
    simulator.run()
