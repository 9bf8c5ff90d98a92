"""Encoded programs hold a token or a fence for every dependency of the entries that their instructions really touch."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from tests.compiler.targets.accelerator.layer_driver import CONFIGS, GraphBuilder
from tilewright.compiler.pipeline import compile_model
from tilewright.compiler.program import Program
from tilewright.compiler.qops import Window
from tilewright.isa.config import Config
from tilewright.isa.footprint import footprint
from tilewright.isa.instructions import Engine, Instruction, instruction_set
from tilewright.isa.order import RESULT_STEPS
from tilewright.isa.semantics import memories
from tilewright.sim.pipeline_steps import PipelineSteps

ENGINES = tuple(Engine)


def check_order(program: Program) -> int:
    """Follow every launch, keeping what is known to be complete; give the number of dependencies found."""
    isa = instruction_set(program.config)
    memory = program.dram()
    found = 0
    for launch in program.launches:
        size = isa.instruction_bytes
        words = memory[launch.offset : launch.offset + launch.count * size].tobytes()
        follower = Follower(program)
        for i in range(launch.count):
            instruction, values = isa.decode(words[i * size : (i + 1) * size])
            touched = footprint(isa, instruction.opcode, values)
            reads = dict(touched.reads)
            if values.get("to_acc") and not values["bias_enable"]:
                del reads["prm"]  # read, and not used
            found += follower.take(instruction, values, reads, touched.writes)
        assert not any(follower.tokens.values()), "tokens are left over"
    return found


class Follower:
    """Last writers and readers of every entry, and what each engine knows."""

    def __init__(self, program: Program) -> None:
        sizes = {name: buffer.shape[0] for name, buffer in memories(program.config).items()}
        sizes["dram"] = program.dram_bytes
        self.written = {s: {e: np.full(n, -1, np.int64) for e in ENGINES} for s, n in sizes.items()}
        self.read = {s: {e: np.full(n, -1, np.int64) for e in ENGINES} for s, n in sizes.items()}
        self.steps = PipelineSteps(program.config)
        self.counts = dict.fromkeys(ENGINES, 0)
        self.known = {e: dict.fromkeys(ENGINES, -1) for e in ENGINES}
        self.tokens: dict[tuple[Engine, Engine], deque[dict[Engine, int]]] = {
            (g, t): deque() for g in ENGINES for t in g.others
        }

    def take(self, instruction: Instruction, values: dict[str, int], reads: dict, writes: dict) -> int:  # type: ignore[type-arg]
        engine, opcode = instruction.engine, instruction.opcode
        known, number = self.known[engine], self.counts[engine]
        for bit, giver in enumerate(engine.others):
            if values["wait"] >> bit & 1:
                assert self.tokens[giver, engine], "waits for a token that no earlier instruction gives"
                known |= {e: max(known[e], n) for e, n in self.tokens[giver, engine].popleft().items()}
        if values.get("fence"):
            known[engine] = number - 1
        found = 0
        for other in ENGINES:
            soon = dict(reads)
            if other is engine is Engine.COMPUTE:
                soon = {s: e[self.steps.distance(opcode, values, s, e) < RESULT_STEPS] for s, e in reads.items()}
            needed = [self.written[s][other][entries].max(initial=-1) for s, entries in soon.items()]
            if other is not engine:
                for s, entries in writes.items():
                    needed += [table[s][other][entries].max(initial=-1) for table in (self.written, self.read)]
            elif engine is not Engine.COMPUTE:
                continue
            last = max(needed, default=-1)
            assert last <= known[other], f"{engine} {number} starts without knowing that {other} {last} is complete"
            found += last >= 0
        if engine is Engine.COMPUTE:
            self.steps.record(opcode, values, writes)
        for table, touched in ((self.written, writes), (self.read, reads)):
            for space, entries in touched.items():
                table[space][engine][entries] = number
        for bit, taker in enumerate(engine.others):
            if values["signal"] >> bit & 1:
                self.tokens[engine, taker].append({**known, engine: number})
        self.counts[engine] = number + 1
        return found


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_every_dependency_is_covered(config: Config, rng: np.random.Generator) -> None:
    builder = GraphBuilder(rng)
    same = Window((3, 3), (1, 1), (1, 1, 1, 1), (1, 1))
    x = builder.input(2, 9, 12, 11)
    stem = builder.conv(x, 40, same, table=True)
    deep = builder.conv(stem, 40, same, residual=stem)
    apart = builder.conv(deep, 40, same, groups=40)
    smaller = builder.node("qmaxpool", [apart], Window((2, 2), (2, 2), (0, 0, 0, 0), (1, 1)).as_attributes())
    wide = builder.conv(smaller, 70, Window((1, 1), (1, 1), (0, 0, 0, 0), (1, 1)))
    total = builder.node("qadd", [wide, wide, ""], {"epilogue": builder.epilogue(True)})
    padded = builder.node("qpad", [total], {"pads": (0, 0, 1, 0, 0, 0, 0, 2), "value": 3})
    program = compile_model(builder.graph(padded), config)
    assert check_order(program) > 20
