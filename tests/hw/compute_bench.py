"""Drives the compute engine and its activation scratchpad in Amaranth's simulator; expects what the ISA means."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from amaranth.hdl import Module, Value
from amaranth.lib import wiring
from amaranth.sim import Simulator

from tilewright.compiler.tir.interpreter import interpret
from tilewright.hw.compute_engine import ComputeEngine
from tilewright.hw.interleaved_bank import InterleavedBank
from tilewright.hw.scratchpad import ActScratchpad
from tilewright.hw.signatures import ACT_HALVES
from tilewright.hw.vector_alu import VECTOR_DATAPATH
from tilewright.isa.config import Config
from tilewright.isa.generator import Limits, random_instruction
from tilewright.isa.instructions import Engine, InstructionSet
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS, memories

Memories = dict[str, np.ndarray]
Program = Sequence[tuple[str, Mapping[str, int]]]


@dataclass
class Run:
    """What was seen of a run.

    Attributes
    ----------
    memories : dict
        `act` and `acc` afterwards, shaped as the ISA's buffers.
    starts, finishes : list of int
        Cycles, in order.
    masks : list of int
        `signal` masks given, in order.
    steps, gemm_steps, fence_cycles : int
    illegal, busy : bool
        At the end.
    """

    memories: Memories = field(default_factory=dict)
    starts: list[int] = field(default_factory=list)
    finishes: list[int] = field(default_factory=list)
    masks: list[int] = field(default_factory=list)
    steps: int = 0
    gemm_steps: int = 0
    fence_cycles: int = 0
    illegal: bool = False
    busy: bool = False


def random_memories(config: Config, rng: np.random.Generator) -> Memories:
    """Fill every memory; shifts are kept where results are not all saturated or zero."""
    filled = {}
    for name, buffer in memories(config).items():
        info = {"i8": np.int8, "u8": np.uint8, "i32": np.int32}[str(buffer.dtype)]
        low, high = np.iinfo(info).min, np.iinfo(info).max
        filled[name] = rng.integers(low, high, buffer.shape, info, endpoint=True)
    spare = 32 - config.gemm.acc_bits
    filled["acc"] = (filled["acc"] << spare) >> spare
    filled["acc"][::2] >>= 12
    prm = filled["prm"].reshape(config.prm_depth, -1, 8)
    prm[::2, :, 2:4] = 0  # biases of 16 bits
    prm[..., 7] = rng.integers(0, 64, prm.shape[:2])
    prm[::2, :, 7] = rng.integers(8, 8 + config.epilogue.multiplier_bits + 8, prm[::2, :, 7].shape)
    if config.vector.rows:
        prm[..., 7] |= rng.choice(np.array([0, 128], np.uint8), prm.shape[:2])
    return filled


def random_program(
    isa: InstructionSet, rng: random.Random, count: int, steps: int = 24
) -> list[tuple[str, dict[str, int]]]:
    """Draw compute instructions, with a fence where one reads what an earlier one may not have written yet."""
    program: list[tuple[str, dict[str, int]]] = []
    written: list[Mapping[str, np.ndarray]] = []
    while len(program) < count:
        drawn = random_instruction(isa, rng, Limits(steps=steps))
        if drawn.instruction.engine is not Engine.COMPUTE:
            continue
        reads = drawn.footprint.reads
        depends = any(np.isin(reads[s], w[s]).any() for w in written for s in reads if s in w)
        fence = depends or rng.random() < 0.05
        values = {**drawn.values, "fence": int(fence), "signal": rng.randrange(4), "wait": rng.randrange(4)}
        written = [drawn.footprint.writes] if fence else [*written, drawn.footprint.writes]
        program.append((drawn.instruction.name, values))
    return program


def expected_memories(isa: InstructionSet, program: Program, before: Memories) -> Memories:
    """Interpret the program's meaning."""
    after = {name: array.copy() for name, array in before.items()}
    buffers = memories(isa.config)
    functions = {i.name: i.function(buffers) for i in isa.of_engine(Engine.COMPUTE)}
    for name, values in program:
        interpret(functions[name], isa.by_name[name].complete(values), after)
    return after


def step_count(values: Mapping[str, int]) -> int:
    """Steps of a GEMM, VECTOR or ROW instruction."""
    return int(np.prod([values.get(f"extent_{loop}", 0) for loop in OUT_LOOPS + RED_LOOPS]))


def pixel_rows(values: Mapping[str, int]) -> tuple[int, int, int]:
    """Channel blocks, input rows and input columns of a DEPTHWISE instruction; zeros if it does nothing."""
    extents = [values.get(f"extent_{loop}", 0) for loop in OUT_LOOPS + RED_LOOPS[1:]]
    if not all(extents):
        return 0, 0, 0
    blocks, rows, columns, kernel_rows, kernel_columns = extents
    stride_y, stride_x = 1 + values.get("double_y", 0), 1 + values.get("double_x", 0)
    return blocks, (rows - 1) * stride_y + kernel_rows, (columns - 1) * stride_x + kernel_columns


def issue_count(name: str, values: Mapping[str, int]) -> int:
    """Steps of an instruction; of DEPTHWISE, pixels."""
    return int(np.prod(pixel_rows(values))) if name == "DEPTHWISE" else step_count(values)


def run_compute(
    isa: InstructionSet,
    program: Program,
    before: Memories,
    rng: random.Random | None = None,
    datapath: Mapping = VECTOR_DATAPATH,
    encoder: InstructionSet | None = None,
    halt_from: int | None = None,
) -> Run:
    """Run a program; with `rng`, instructions arrive and tokens are granted at random, and stores use the free reads.

    `encoder` makes the words, if it is to be another than `isa`; from cycle `halt_from` on the engine is halted.
    """
    config = isa.config
    m = Module()
    m.submodules.engine = engine = ComputeEngine(isa, datapath)
    m.submodules.act = act = ActScratchpad(config)
    wiring.connect(m, engine.act_a, act.a)
    wiring.connect(m, engine.act_b, act.b)
    wiring.connect(m, engine.act_d, act.d)
    run = Run()
    words = [(encoder or isa).by_name[name].encode(values) for name, values in program]

    async def drive(ctx):
        _fill(ctx, config, engine, act, before)
        each = 1 + config.epilogue.interval
        cycle, left = 0, sum(each * issue_count(n, v) + 40 for n, v in program) * (4 if rng else 1) + 100
        position = 0
        offered = False
        while len(run.finishes) < len(words) and left and not run.illegal:
            offered = position < len(words) and (offered or rng is None or rng.random() < 0.8)
            ctx.set(engine.instruction.valid, offered)
            ctx.set(engine.instruction.payload, words[position] if offered else 0)
            ctx.set(engine.halt, halt_from is not None and cycle >= halt_from)
            ctx.set(engine.tokens.wait_grant, rng is None or rng.random() < 0.7)
            if rng:
                ctx.set(act.store.request.valid, rng.random() < 0.5)
                ctx.set(act.store.request.payload, rng.randrange(config.act_rows))
            if ctx.get(engine.start):
                run.starts.append(cycle)
                position, offered = position + 1, False
            if ctx.get(engine.tokens.signal_valid):
                run.finishes.append(cycle)
                run.masks.append(ctx.get(engine.tokens.signal_mask))
            run.steps += ctx.get(engine.step)
            run.gemm_steps += ctx.get(engine.gemm_step)
            run.fence_cycles += ctx.get(engine.fence_wait)
            run.illegal = bool(ctx.get(engine.illegal))
            await ctx.tick()
            cycle, left = cycle + 1, left - 1
        ctx.set(engine.instruction.valid, 0)
        await ctx.tick()
        run.busy = bool(ctx.get(engine.busy))
        _read_back(ctx, config, engine, act, run)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.run()
    return run


def _int(data: np.ndarray) -> int:
    return int.from_bytes(np.ascontiguousarray(data).tobytes(), "little")


def _act_word(bank: InterleavedBank, row: int) -> Value:
    return bank.halves[row % ACT_HALVES].data[row // ACT_HALVES]


def _fill(ctx, config: Config, engine: ComputeEngine, act: ActScratchpad, before: Memories) -> None:
    for atom, values in enumerate(before["act"]):
        row, bank = divmod(atom, config.ratio)
        ctx.set(_act_word(act.banks[bank], row), _int(values))
    bits = engine.weights.word_bits
    for entry, values in enumerate(before["wgt"]):
        for bank, word in zip(engine.weights.banks, values.reshape(-1, bits // 8), strict=True):
            ctx.set(bank.memory.data[entry], _int(word))
    mask = (1 << config.gemm.acc_bits) - 1
    for entry, lanes in enumerate(before["acc"]):
        for bank, value in zip(engine.accumulators.banks, lanes, strict=True):
            ctx.set(bank.memory.data[entry], int(value) & mask)
    for entry, values in enumerate(before["prm"]):
        for channel, record in enumerate(values.reshape(-1, 8)):
            low, high = _int(record[:4]), _int(record[4:])
            scale = high & ((1 << config.epilogue.multiplier_bits) - 1)
            scale |= (high >> 24 & 63) << config.epilogue.multiplier_bits
            bias = low & mask | (high >> 31 << config.gemm.acc_bits if config.vector.rows else 0)
            turn, bank = divmod(channel, config.turn_channels)
            word = turn * config.prm_depth + entry
            ctx.set(engine.parameters.bias_banks[bank].memory.data[word], bias)
            ctx.set(engine.parameters.scale_banks[bank].memory.data[word], scale)
    if config.epilogue.tables:
        for lane in engine.epilogue.tables.lanes:
            words = before["tbl"].reshape(-1, len(lane.memories), 8)
            for row, values in enumerate(words):
                for memory, word in zip(lane.memories, values, strict=True):
                    ctx.set(memory.data[row], _int(word))


def _read_back(ctx, config: Config, engine: ComputeEngine, act: ActScratchpad, run: Run) -> None:
    atoms = []
    for row in range(config.act_rows):
        for bank in act.banks:
            word = int(ctx.get(_act_word(bank, row)))
            atoms.append(np.frombuffer(word.to_bytes(config.atom_bytes, "little"), np.int8))
    spare = 32 - config.gemm.acc_bits
    acc = np.array(
        [[int(ctx.get(b.memory.data[e])) for b in engine.accumulators.banks] for e in range(config.acc_depth)], np.int64
    )
    run.memories = {"act": np.array(atoms), "acc": ((acc << spare).astype(np.int32) >> spare)}


def check_run(isa: InstructionSet, program: Program, run: Run, expected: Memories) -> None:
    """Compare memories and tokens with what the program means."""
    for name in ("acc", "act"):
        wrong = np.argwhere(run.memories[name] != expected[name])
        assert len(wrong) == 0, f"{name}: {len(wrong)} elements differ, first at {wrong[0]}"
    assert not run.busy
    assert run.masks == [values.get("signal", 0) for _, values in program]
    assert len(run.starts) == len(run.finishes) == len(program)
    assert run.steps == sum(issue_count(name, values) for name, values in program)
    assert run.gemm_steps == sum(step_count(values) for name, values in program if name == "GEMM")
