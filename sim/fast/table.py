"""A program as the cycle model wants it: one row of numbers for each instruction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.hw.timing import WINDOW_CYCLES, depthwise_cycles, depthwise_row_cycles, row_delay_cycles, step_interval
from tilewright.isa.config import Config
from tilewright.isa.errors import ProgramError
from tilewright.isa.footprint import uses_operand_b
from tilewright.isa.instruction_fields import OP_BITS
from tilewright.isa.instructions import Engine, Instruction, InstructionSet, Opcode
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS
from tilewright.sim.decoded_program import DecodedProgram, Integers

#: Columns of the table, as the struct `Instruction` in common.hpp has them.
COLUMNS = (
    "engine", "wait", "signal",
    "fence", "steps", "length", "interval", "is_gemm", "writes_act", "reads_b_always", "reads_b_last",
    "first_result", "count0", "count1", "count2", "period0", "period1", "period2",
    "result", "result_stride0", "result_stride1", "result_stride2",
    "entry", "entry_stride0", "entry_stride1", "entry_stride2",
    "space", "base", "run", "extent0", "extent1", "extent2", "stride0", "stride1", "stride2",
    "pad_left", "pad_right", "pad_top", "pad_bottom",
)  # fmt: skip

#: The scratchpads that DMA reaches, numbered as in the model, by the instructions that move their entries.
SPACES: Mapping[Opcode, int] = {
    Opcode.LOAD_ACT: 0,
    Opcode.LOAD_WGT: 1,
    Opcode.LOAD_PRM: 2,
    Opcode.LOAD_TBL: 3,
    Opcode.STORE_ACT: 0,
}

_INDEX = {name: i for i, name in enumerate(COLUMNS)}
_ENGINES = tuple(Engine)
_TABLE_BYTES = 256
_MAX_STEPS = 1 << 60

Values = Mapping[str, Integers]
Columns = dict[str, Integers | int]


def entry_bytes(config: Config) -> tuple[int, ...]:
    """Return the bytes of an entry of each scratchpad, as `SPACES` numbers them."""
    return (config.row_bytes, config.wgt_entry_bytes, config.prm_entry_bytes, _TABLE_BYTES)


def program_table(program: DecodedProgram) -> Integers:
    """Return the table of a program, shape (instructions, columns).

    Raises
    ------
    ProgramError
        For an instruction that takes longer than can be counted.
    """
    table = np.zeros((len(program), len(COLUMNS)), np.int64)
    for instruction in program.isa.instructions:
        positions, values = program.positions[instruction.name], program.operands[instruction.name]
        if not len(positions):
            continue
        columns = {
            "engine": _ENGINES.index(instruction.engine),
            "wait": values["wait"],
            "signal": values["signal"],
            **_columns(program, instruction, values),
        }
        for name, numbers in columns.items():
            table[positions, _INDEX[name]] = numbers
    return table


def _columns(program: DecodedProgram, instruction: Instruction, values: Values) -> Columns:
    if instruction.opcode in SPACES:
        return _box(instruction, values)
    return _COMPUTE[instruction.opcode](program, instruction, values) | {
        "fence": values["fence"],
        "writes_act": 1 - values["to_acc"],
        "reads_b_last": values["residual"],
        "result": values["d_base"],
        **{f"result_stride{i}": values[f"d_{name}"] for i, name in enumerate(OUT_LOOPS)},
    }


def _box(instruction: Instruction, values: Values) -> Columns:
    loops = {f"extent{i}": values.get(f"extent{i}", 1) for i in range(3)}
    strides = {f"stride{i}": values.get(f"dram_stride{i}", 0) for i in range(3)}
    pads = {name: values.get(name, 0) for name in ("pad_left", "pad_right", "pad_top", "pad_bottom")}
    entries = {f"entry_stride{i}": values.get(f"stride{i}", 0) for i in range(3)}
    return {
        "space": SPACES[instruction.opcode],
        "base": values["dram_base"],
        "entry": values["base"],
        "run": values["extent_run"],
        **loops, **strides, **entries, **pads,
    }  # fmt: skip


def _gemm(program: DecodedProgram, instruction: Instruction, values: Values) -> Columns:
    """One step every `step_interval` cycles, a result every so many steps."""
    steps = _steps(program, instruction, values)
    reduction = np.maximum(_product(values, RED_LOOPS), 1)
    intervals = [step_interval(program.isa.config, r) for r in range(program.isa.config.epilogue.interval + 1)]
    interval = np.where(steps, np.array(intervals, np.int64)[np.minimum(reduction, len(intervals) - 1)], 1)
    counts, period = [values[f"extent_{name}"] for name in OUT_LOOPS], reduction * interval
    return {
        "steps": steps,
        "length": (np.maximum(steps, 1) - 1) * interval + 1,
        "interval": interval,
        "is_gemm": int(instruction.opcode is Opcode.GEMM),
        "first_result": (reduction - 1) * interval,
        **_loops(counts, (counts[1] * counts[2] * period, counts[2] * period, period)),
    }


def _vector(program: DecodedProgram, instruction: Instruction, values: Values) -> Columns:
    return {**_gemm(program, instruction, values), "reads_b_always": _reads_b(program.isa, values)}


def _row(program: DecodedProgram, instruction: Instruction, values: Values) -> Columns:
    """As GEMM, but every result comes later by some cycles, which the operation decides, and so does what follows."""
    columns = _gemm(program, instruction, values)
    delays = np.zeros(1 << OP_BITS, np.int64)
    for op in program.isa.row_ops:
        delays[op.code] = row_delay_cycles(program.isa.config, op)
    late = delays[values["op"]]
    return {**columns, "length": columns["length"] + late, "first_result": columns["first_result"] + late}


def _depthwise(program: DecodedProgram, instruction: Instruction, values: Values) -> Columns:
    """One input pixel a cycle, rows that follow each other, a result where a window ends."""
    config = program.isa.config
    blocks, heights, widths = (values[f"extent_{name}"] for name in OUT_LOOPS)
    kernel_rows, kernel_columns = (values[f"extent_{name}"] for name in RED_LOOPS[1:])
    step_y, step_x = 1 + values["double_y"], 1 + values["double_x"]
    rows, columns = (heights - 1) * step_y + kernel_rows, (widths - 1) * step_x + kernel_columns
    row_cycles = np.array([depthwise_row_cycles(config, int(count)) for count in columns], np.int64)
    is_empty = (blocks * heights * widths * kernel_rows * kernel_columns) == 0
    cycles = [depthwise_cycles(config, *map(int, shape)) for shape in zip(blocks, rows, columns, strict=True)]
    return {
        "steps": np.where(is_empty, 0, blocks * rows * columns),
        "length": np.where(is_empty, 1, np.array(cycles, np.int64)),
        "interval": 1,
        "first_result": (kernel_rows - 1) * row_cycles + kernel_columns - 1 + WINDOW_CYCLES,
        **_loops((blocks, heights, widths), (rows * row_cycles, step_y * row_cycles, step_x)),
    }


def _loops(counts: Sequence[Integers], periods: Sequence[Integers]) -> Columns:
    return {
        **{f"count{i}": count for i, count in enumerate(counts)},
        **{f"period{i}": period for i, period in enumerate(periods)},
    }


def _reads_b(isa: InstructionSet, values: Values) -> Integers:
    codes = [op.code for op in isa.vector_ops if uses_operand_b(isa, op.code)]
    return np.isin(values["op"], codes).astype(np.int64)


def _product(values: Values, loops: tuple[str, ...]) -> Integers:
    return np.asarray(np.prod([values[f"extent_{name}"] for name in loops], axis=0), np.int64)


def _steps(program: DecodedProgram, instruction: Instruction, values: Values) -> Integers:
    names = OUT_LOOPS + RED_LOOPS
    logarithm = np.sum([np.log2(np.maximum(values[f"extent_{name}"], 1)) for name in names], axis=0)
    steps = _product(values, names)
    too_long = np.flatnonzero((logarithm > np.log2(_MAX_STEPS)) & (steps != 0))
    if len(too_long):
        position = int(program.positions[instruction.name][too_long[0]])
        raise ProgramError(f"{program.describe(position)} takes more than 2**60 steps")
    return steps


_COMPUTE = {Opcode.GEMM: _gemm, Opcode.VECTOR: _vector, Opcode.DEPTHWISE: _depthwise, Opcode.ROW: _row}
