"""The harness and the memory model of the RTL simulator, exactly, on a stand-in for the accelerator."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Timer

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.sim.standin import TOP, standin
from tilewright.isa.config import PRESETS
from tilewright.isa.errors import DeviceError, ProgramError, ToolchainError
from tilewright.isa.instructions import InstructionSet, instruction_set
from tilewright.sim.api import DramTiming
from tilewright.sim.rtl import RtlSimulator, Stalls

pytestmark = pytest.mark.verilator

ISA = instruction_set(PRESETS["tiny"])
SOURCE, TARGET, SIZE = 1024, 4096, 8192
BEAT = ISA.config.bus_bytes
FETCH_BEATS = ISA.instruction_bytes // BEAT


def simulator(isa: InstructionSet = ISA, **options: object) -> RtlSimulator:
    return RtlSimulator(isa, verilog=standin(isa), top=TOP, check_programs=False, **options)  # type: ignore[arg-type]


def run_length(beats: int, isa: InstructionSet = ISA) -> int:
    return beats * isa.config.bus_bytes // isa.config.row_bytes


def copy_program(beats: int, isa: InstructionSet = ISA, source: int = SOURCE, target: int = TARGET) -> bytes:
    rows = run_length(beats, isa)
    load = isa.encode("LOAD_ACT", {"dram_base": source, "extent_run": rows})
    return load + isa.encode("STORE_ACT", {"dram_base": target, "extent_run": rows})


def memory(program: bytes, rng: np.random.Generator, size: int = SIZE) -> NDArray[np.uint8]:
    dram = rng.integers(0, 256, size, np.uint8)
    dram[: len(program)] = np.frombuffer(program, np.uint8)
    return dram


@pytest.mark.parametrize(
    ("timing", "interval"),
    [
        (DramTiming(latency_cycles=20), 1),
        (DramTiming(latency_cycles=1), 1),
        (DramTiming(latency_cycles=100, bytes_per_cycle=4), 2),
        (DramTiming(latency_cycles=7, bytes_per_cycle=3, outstanding=1), 3),
    ],
)
@pytest.mark.parametrize("beats", [1, 16])
def test_cycles_follow_the_formula(timing: DramTiming, interval: int, beats: int, rng: np.random.Generator) -> None:
    """Every burst's first beat comes `latency` after its address, the others follow, a response ends a write."""
    dram = memory(copy_program(beats), rng)
    before = dram.copy()
    result = simulator(dram=timing).launch(dram, 0, 2)
    fetch = timing.latency_cycles + (FETCH_BEATS - 1) * interval  # from address to last beat
    move = timing.latency_cycles + (beats - 1) * interval
    load_start = fetch + 1
    load_end = load_start + 1 + move
    store_start = load_end + 1 + fetch + 1
    store_end = store_start + 2 + move  # data follow the address by one cycle
    assert result.trace is not None
    assert result.trace.start.tolist() == [load_start, store_start]
    assert result.trace.end.tolist() == [load_end, store_end]
    assert result.cycles == store_end + 1
    size = beats * BEAT
    assert np.array_equal(dram[TARGET : TARGET + size], before[SOURCE : SOURCE + size])
    dram[TARGET : TARGET + size] = before[TARGET : TARGET + size]
    assert np.array_equal(dram, before), "something else was written"


def test_same_cycles_twice_and_in_another_instance(rng: np.random.Generator) -> None:
    one, other = simulator(), simulator()
    program = copy_program(9)
    results = [s.launch(memory(program, rng), 0, 2) for s in (one, one, other)]
    for first, second in pairwise(results):
        assert first.cycles == second.cycles
        assert first.counters == second.counters
        assert first.trace is not None and second.trace is not None
        assert np.array_equal(first.trace.start, second.trace.start)


def test_stalls_are_seeded_and_cost_cycles(rng: np.random.Generator) -> None:
    dram = memory(copy_program(16), rng)
    calm = simulator().launch(dram.copy(), 0, 2).cycles
    stalled = {}
    for seed in (1, 2):
        runs = [simulator(stalls=Stalls(0.4, seed)).launch(dram, 0, 2).cycles for _ in range(2)]
        assert runs[0] == runs[1]
        stalled[seed] = runs[0]
        assert np.array_equal(dram[TARGET : TARGET + 128], dram[SOURCE : SOURCE + 128])
    assert calm is not None and all(c is not None and c > calm + 10 for c in stalled.values())
    assert stalled[1] != stalled[2]
    with pytest.raises(ProgramError, match=r"stalls must be in \[0, 1\), not 1"):
        Stalls(1.0)


def test_two_instances_and_two_models_at_once(rng: np.random.Generator) -> None:
    wide = instruction_set(PRESETS["16x16"])
    simulators = [simulator(), simulator(), simulator(wide)]
    seeds = rng.integers(0, 2**31, 3)

    def work(which: int) -> bool:
        isa, own = simulators[which].isa, np.random.default_rng(seeds[which])
        for _ in range(20):
            dram = memory(copy_program(16, isa), own)
            simulators[which].launch(dram, 0, 2)
            size = 16 * isa.config.bus_bytes
            if not np.array_equal(dram[TARGET : TARGET + size], dram[SOURCE : SOURCE + size]):
                return False
        return True

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(work, range(3))) == [True, True, True]


def test_reading_behind_the_memory_names_the_address(rng: np.random.Generator) -> None:
    dram = memory(copy_program(4, source=SIZE + 64), rng)
    with pytest.raises(DeviceError, match=r"read response: 0x2040 lies behind the end.*works on LOAD_ACT #0"):
        simulator().launch(dram, 0, 2)


def test_writing_behind_the_memory_names_the_address(rng: np.random.Generator) -> None:
    dram = memory(copy_program(4, target=SIZE), rng)
    with pytest.raises(DeviceError, match=r"write response: 0x2000 lies behind the end.*STORE_ACT #1"):
        simulator().launch(dram, 0, 2)


def test_a_beat_across_the_end_is_cut(rng: np.random.Generator) -> None:
    """Bytes of the last beat that lie behind the memory read as zero and are not written."""
    size = SIZE - 4
    dram = memory(copy_program(1, source=SIZE - 8), rng, size)
    simulator().launch(dram, 0, 2)
    assert dram[TARGET : TARGET + 8].tolist() == [*dram[SIZE - 8 :], 0, 0, 0, 0]
    guarded = np.concatenate([memory(copy_program(1, target=SIZE - 8), rng, size), np.full(8, 77, np.uint8)])
    simulator().launch(guarded[:size], 0, 2)
    assert np.array_equal(guarded[SIZE - 8 : size], guarded[SOURCE : SOURCE + 4])
    assert (guarded[size:] == 77).all()


def test_breaking_the_bus_protocol_is_noticed(rng: np.random.Generator) -> None:
    dram = memory(copy_program(4, source=4096 - 8), rng)
    with pytest.raises(DeviceError, match=r"broke the bus protocol in cycle \d+: read address, address 0xff8"):
        simulator().launch(dram, 0, 2)


def test_time_out_names_what_is_stuck(rng: np.random.Generator) -> None:
    program = copy_program(1)[: ISA.instruction_bytes] + ISA.encode("GEMM", {"signal": 2}) + copy_program(1)
    message = (
        r"not ended after 5000 cycles: load has finished 1 of 2 instructions; LOAD_ACT #2 has not started; "
        r"compute has finished 0 of 1 instructions and works on GEMM #1; "
        r"store has finished 0 of 1 instructions; STORE_ACT #3 has not started"
    )
    stuck = simulator(max_cycles=5000)
    with pytest.raises(DeviceError, match=message):
        stuck.launch(memory(program, rng), 0, 4)
    assert stuck.launch(memory(copy_program(1), rng), 0, 2).cycles, "the simulator is usable afterwards"


def test_time_out_names_missing_tokens(rng: np.random.Generator) -> None:
    program = ISA.encode("GEMM", {}) + ISA.encode("STORE_ACT", {"wait": 2}) + ISA.encode("LOAD_ACT", {"wait": 3})
    message = r"LOAD_ACT #2 waits for a token from compute and store; .*STORE_ACT #1 waits for a token from compute$"
    with pytest.raises(DeviceError, match=message):
        simulator(max_cycles=1000).launch(memory(program, rng), 0, 3)


@pytest.fixture
def heeds_control_c() -> Iterator[None]:
    """Python's own handler, which is missing where the tests run in the background with the signal ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("heeds_control_c")
def test_control_c_ends_a_run(rng: np.random.Generator) -> None:
    stuck = simulator()
    timer = Timer(0.5, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        stuck.launch(memory(ISA.encode("GEMM", {}), rng), 0, 1)
    timer.join()
    assert stuck.launch(memory(copy_program(1), rng), 0, 2).cycles, "the simulator is usable afterwards"


def test_threads_change_nothing(rng: np.random.Generator) -> None:
    dram = memory(copy_program(5), rng)
    results = [simulator(threads=threads).launch(dram.copy(), 0, 2) for threads in (1, 2)]
    assert results[0].counters == results[1].counters


def test_illegal_instruction_is_named(rng: np.random.Generator) -> None:
    program = copy_program(1) + bytes(ISA.instruction_bytes)
    with pytest.raises(DeviceError, match=r"illegal instruction: opcode 0 #2"):
        simulator().launch(memory(program, rng), 0, 3)


def test_a_model_of_another_configuration_is_refused(rng: np.random.Generator) -> None:
    other = instruction_set(PRESETS["tiny"].with_values(epilogue={"tables": 1}))
    foreign = RtlSimulator(other, verilog=standin(ISA), top=TOP)
    expected = f"built for configuration {ISA.config.hash}, the program is for {other.config.hash}"
    with pytest.raises(DeviceError, match=expected):
        foreign.launch(memory(copy_program(1), rng), 0, 2)


@pytest.mark.parametrize(
    ("offset", "count", "message"),
    [
        (SIZE - 64, 2, "2 instructions at byte 8128 do not lie inside the memory of 8192 bytes"),
        (32, 1, "offset must be a multiple of 64, not 32"),
    ],
)
def test_a_program_must_lie_in_the_memory(offset: int, count: int, message: str) -> None:
    with pytest.raises(ProgramError, match=message):
        simulator().launch(np.zeros(SIZE, np.uint8), offset, count)


def test_the_memory_must_be_a_writeable_array_of_bytes() -> None:
    with pytest.raises(ProgramError, match="contiguous, one-dimensional array of uint8"):
        simulator().launch(np.zeros(2 * SIZE, np.uint8)[::2], 0, 0)
    memory = np.zeros(SIZE, np.uint8)
    memory.flags.writeable = False
    with pytest.raises(ProgramError, match="the memory must be writeable"):
        simulator().launch(memory, 0, 0)


def unpack_lz4(data: bytes) -> bytes:
    """Decode an LZ4 block, plainly."""
    out, at = bytearray(), 0

    def length(code: int) -> int:
        nonlocal at
        while code >= 15:
            at += 1
            code += data[at - 1]
            if data[at - 1] != 255:
                break
        return code

    while at < len(data):
        token, at = data[at], at + 1
        count = length(token >> 4)
        out += data[at : at + count]
        at += count
        if at < len(data):
            back, at = int.from_bytes(data[at : at + 2], "little"), at + 2
            for _ in range(length(token & 15) + 4):
                out.append(out[-back])
    return bytes(out)


def blocks(path: Path) -> dict[int, bytes]:
    """Return the blocks of an FST file by type."""
    data, at, found = path.read_bytes(), 0, {}
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 9], "big")
        found[data[at]] = data[at + 9 : at + 1 + size]
        at += 1 + size
    return found


def test_waveforms(tmp_path: Path, rng: np.random.Generator) -> None:
    waves = simulator(trace_file=tmp_path / "run.fst", trace_cycles=(30, 50))
    plain = simulator().launch(memory(copy_program(8), rng), 0, 2)
    results = [waves.launch(memory(copy_program(8), rng), 0, 2) for _ in range(2)]
    assert [r.cycles for r in results] == [plain.cycles] * 2
    for name in ("run.fst", "run.2.fst"):
        header, hierarchy = (blocks(tmp_path / name)[kind] for kind in (0, 6))
        first, last = (int.from_bytes(header[i : i + 8], "big") for i in (0, 8))
        assert (first, last) == (60, 99), "two steps of time a cycle"
        text = unpack_lz4(hierarchy[8:])
        assert len(text) == int.from_bytes(hierarchy[:8], "big")
        assert b"m_axi__araddr [31:0]\0" in text


def test_waveforms_need_a_place_to_write(tmp_path: Path, rng: np.random.Generator) -> None:
    waves = simulator(trace_file=tmp_path / "missing" / "run.fst")
    with pytest.raises(DeviceError, match=r"cannot write waveforms to .*run\.fst"):
        waves.launch(memory(copy_program(1), rng), 0, 2)


def test_broken_verilog_is_a_tool_error() -> None:
    with pytest.raises(ToolchainError, match=r"Verilator failed with status 1: %Error.*syntax error"):
        RtlSimulator(ISA, verilog="module standin(input clk; endmodule", top=TOP)
