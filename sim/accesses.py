"""What every instruction of a program asks of the machine, whatever the timing: steps, arithmetic, bytes, bursts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from tilewright.hw.axi import burst_limit
from tilewright.isa.config import Config
from tilewright.isa.footprint import uses_operand_b
from tilewright.isa.instructions import Engine, Instruction, Opcode
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.sim.decoded_program import DecodedProgram, Integers
from tilewright.sim.dram_access import bytes_moved

#: Bytes of a lookup table.
_TABLE_BYTES = 256


@dataclass(frozen=True, eq=False)
class Accesses:
    """Counts for every instruction, each an array of int64 of shape (instructions,), in stream order.

    Attributes
    ----------
    instructions : array
        Ones.
    steps : array
        Cycles in which the compute engine issues a step of it.
    macs : array
        Multiply-accumulates of the array, those on padded channels included.
    vector_operations : array
        Operations of the vector unit's lanes.
    requantized : array
        Values that went through the epilogue to int8.
    fetch_bytes : array
        Of the instruction itself, read from DRAM.
    read_bytes, write_bytes : array
        Between DRAM and the scratchpads.
    read_bursts, write_bursts : array
        The same, in bursts of the bus; the program's own fetch is not in them.
    act_bytes, wgt_bytes, acc_bytes, prm_bytes, tbl_bytes : array
        Read from and written to each scratchpad.
    """

    instructions: Integers
    steps: Integers
    macs: Integers
    vector_operations: Integers
    requantized: Integers
    fetch_bytes: Integers
    read_bytes: Integers
    write_bytes: Integers
    read_bursts: Integers
    write_bursts: Integers
    act_bytes: Integers
    wgt_bytes: Integers
    acc_bytes: Integers
    prm_bytes: Integers
    tbl_bytes: Integers

    def by_group(self, groups: Integers, count: int) -> dict[str, Integers]:
        """Add up the instructions of each of `count` groups; `groups` has a group's number for each instruction."""
        sums: dict[str, Integers] = {}
        for name in COUNTS:
            total = np.zeros(count, np.int64)
            np.add.at(total, groups, getattr(self, name))
            sums[name] = total
        return sums


#: Names of all counts.
COUNTS: tuple[str, ...] = tuple(f.name for f in fields(Accesses))


def accesses(program: DecodedProgram) -> Accesses:
    """Count what the instructions of a program do."""
    counts = {name: np.zeros(len(program), np.int64) for name in COUNTS}
    counts["instructions"][:] = 1
    counts["fetch_bytes"][:] = program.isa.instruction_bytes
    for instruction in program.isa.instructions:
        positions, values = program.positions[instruction.name], program.operands[instruction.name]
        if not len(positions):
            continue
        counted = _COUNTERS[instruction.engine](program, instruction, values)
        for name, numbers in counted.items():
            counts[name][positions] = numbers
    return Accesses(**counts)


def _product(values: Mapping[str, Integers], names: tuple[str, ...]) -> Integers:
    """Multiply the extents of those loops that the instruction has."""
    extents = [values[f"extent_{name}"] for name in names if f"extent_{name}" in values]
    return np.asarray(np.prod(extents, axis=0), np.int64)


def _compute(program: DecodedProgram, instruction: Instruction, values: Mapping[str, Integers]) -> dict[str, Integers]:
    config = program.isa.config
    outputs, reductions = _product(values, OUT_LOOPS), _product(values, RED_LOOPS)
    outputs = np.where(reductions > 0, outputs, 0)
    lanes = config.acc_lanes
    work = _WORK[instruction.opcode](program, values, outputs, outputs * reductions)
    to_acc = values["to_acc"]
    table = values["table_enable"] * (1 - to_acc)
    residual = values["residual"] * (1 - to_acc)
    has_parameters = np.maximum(values["bias_enable"], 1 - to_acc)
    return {
        **work,
        "requantized": outputs * lanes * (1 - to_acc),
        "act_bytes": work["act_bytes"] + outputs * lanes * (residual + 1 - to_acc),
        "acc_bytes": work.get("acc_bytes", 0) + outputs * 4 * lanes * (values["accumulate"] + to_acc),
        "prm_bytes": outputs * config.prm_entry_bytes * has_parameters,
        "tbl_bytes": outputs * lanes * table,
    }


def _gemm(
    program: DecodedProgram, values: Mapping[str, Integers], outputs: Integers, steps: Integers
) -> dict[str, Integers]:
    config = program.isa.config
    return {
        "steps": steps,
        "macs": steps * config.macs_per_cycle,
        "act_bytes": steps * config.gemm.batch * config.gemm.block_in,
        "wgt_bytes": steps * config.wgt_entry_bytes,
    }


def _vector(
    program: DecodedProgram, values: Mapping[str, Integers], outputs: Integers, steps: Integers
) -> dict[str, Integers]:
    isa = program.isa
    second = np.isin(values["op"], [op.code for op in isa.vector_ops if uses_operand_b(isa, op.code)])
    first = steps * isa.config.acc_lanes
    return {
        "steps": steps,
        "vector_operations": first,
        "act_bytes": first * (1 - values["from_acc"] + second),
        "acc_bytes": 4 * first * values["from_acc"],
    }


def _row(
    program: DecodedProgram, values: Mapping[str, Integers], outputs: Integers, steps: Integers
) -> dict[str, Integers]:
    """One operand from `act`, one from `acc` for each batch row."""
    isa = program.isa
    second = np.isin(values["op"], [op.code for op in isa.row_ops if op.uses_b])
    lanes = steps * isa.config.acc_lanes
    return {"steps": steps, "vector_operations": lanes, "act_bytes": lanes, "acc_bytes": 4 * lanes * second}


def _depthwise(
    program: DecodedProgram, values: Mapping[str, Integers], outputs: Integers, steps: Integers
) -> dict[str, Integers]:
    """One pixel of the input a step; every lane multiplies its whole window."""
    config = program.isa.config
    rows = (values["extent_out1"] - 1) * (1 + values["double_y"]) + values["extent_red1"]
    columns = (values["extent_out2"] - 1) * (1 + values["double_x"]) + values["extent_red2"]
    pixels = np.where(outputs > 0, values["extent_out0"] * rows * columns, 0)
    return {
        "steps": pixels,
        "macs": steps * config.acc_lanes,
        "act_bytes": pixels * config.acc_lanes,
        "wgt_bytes": np.where(outputs > 0, values["extent_out0"], 0) * config.wgt_entry_bytes,
    }


_WORK = {Opcode.GEMM: _gemm, Opcode.VECTOR: _vector, Opcode.DEPTHWISE: _depthwise, Opcode.ROW: _row}


def _load(program: DecodedProgram, instruction: Instruction, values: Mapping[str, Integers]) -> dict[str, Integers]:
    config, space = program.isa.config, _space(instruction)
    moved = bytes_moved(config, instruction, values)
    written = moved
    if instruction.opcode is Opcode.LOAD_ACT:
        run = values["pad_left"] + values["extent_run"] + values["pad_right"]
        rows = values["pad_top"] + values["extent0"] + values["pad_bottom"]
        written = run * rows * values["extent1"] * values["extent2"] * config.row_bytes
    return {
        "read_bytes": moved,
        "read_bursts": bursts(config, instruction, values),
        f"{space}_bytes": written,
    }


def _store(program: DecodedProgram, instruction: Instruction, values: Mapping[str, Integers]) -> dict[str, Integers]:
    config = program.isa.config
    moved = bytes_moved(config, instruction, values)
    return {"write_bytes": moved, "write_bursts": bursts(config, instruction, values), "act_bytes": moved}


_COUNTERS = {Engine.LOAD: _load, Engine.COMPUTE: _compute, Engine.STORE: _store}


def _space(instruction: Instruction) -> str:
    return str(instruction.operands["base"].space).removesuffix("_row")


def bursts(config: Config, instruction: Instruction, values: Mapping[str, Integers]) -> Integers:
    """Count the bursts of each load or store of a kind.

    A run of contiguous bytes is a request of its own; bursts end at multiples of the longest burst.
    """
    limit = burst_limit(config) * config.bus_bytes
    moved = bytes_moved(config, instruction, values)
    loops = [i for i in range(3) if f"extent{i}" in values]
    shapes = np.stack([moved, values["dram_base"] % limit, *(values[f"extent{i}"] for i in loops),
                       *(values[f"dram_stride{i}"] for i in loops)])  # fmt: skip
    alike, places = np.unique(shapes, axis=1, return_inverse=True)  # there are few, and many instructions
    counts = [_bursts(int(c[0]), int(c[1]), list(zip(*np.split(c[2:], 2), strict=True)), limit) for c in alike.T]
    return np.array(counts, np.int64)[places.ravel()]


def _bursts(moved: int, base: int, loops: Sequence[tuple[np.int64, np.int64]], limit: int) -> int:
    """Count the bursts of one load or store; a burst's length divides the address space."""
    if not moved:
        return 0
    starts = np.array([base], np.int64)
    runs = 1
    for extent, stride in loops:
        starts = (starts[:, None] + np.arange(extent, dtype=np.int64) * stride).ravel()
        runs *= int(extent)
    length = moved // runs
    return int(((starts + length - 1) // limit - starts // limit + 1).sum())
