"""Timing facts of the hardware, in clock cycles: the RTL is built by them, the cycle model reads them.

Cycles of a compute step are counted from the cycle in which the sequencer issues it (0).
"""

from __future__ import annotations

from dataclasses import dataclass

from tilewright.isa.config import Config
from tilewright.isa.row_ops import RowOp

#: Block RAM with its output register: data are there this many cycles after the address.
MEMORY_READ_CYCLES = 2

#: From the cycle in which a compute instruction starts (takes its tokens) to that of its first step.
COMPUTE_START_CYCLES = 1

#: From the start of a compute instruction to the earliest start of the next one, if that waits in the
#: queue already: the head of the queue is decoded in between.
COMPUTE_DECODE_CYCLES = 2

#: From the read of a depthwise pixel to the step that multiplies the window which it completes: shift it in. The
#: first pixel is read when another instruction's first step would be issued (`COMPUTE_START_CYCLES`); every result is
#: a step like another's, operand `b` and all that follows counted from it; the next instruction starts in the cycle of
#: the last of them at the earliest.
WINDOW_CYCLES = 1

#: Levels of two-input adders between two registers of the adder tree.
TREE_LEVELS_PER_STAGE = 2

#: Multiply, add halves, shift coarsely, shift finely, add the zero point, saturate.
REQUANTIZE_CYCLES = 6

#: Subtract zero points, multiply, add, shift coarsely, shift finely, add the zero point, saturate.
RESIDUAL_CYCLES = 7

#: Read the table's word, pick the byte.
LOOKUP_CYCLES = 2

#: Fold the addends, add them to the sum.
ADDEND_CYCLES = 2

#: From the operands of a row operation's step to what a lane makes of them: multiply, scale by a power of two; or
#: multiply, interpolate the power of two.
ROW_LANE_CYCLES = {"max": 4, "sum": 4, "square_sum": 5, "exp_sum": 10, "exp": 10, "normalise": 6}

#: From a row's sum to its result: multiply, or find the highest one, interpolate the logarithm, add; saturate.
ROW_FINISH_CYCLES = 8

#: From a row operation's operands to the registers of its factors.
ROW_FACTOR_CYCLES = 3

#: Instructions that the front of a DMA engine may be ahead of its back.
DMA_BOX_QUEUE = 16

#: Bursts that a DMA engine may have cut before the bus takes them.
DMA_BURST_QUEUE = 4

#: Instructions of a DMA engine that may have started and not finished; tokens leave room for as many.
DMA_IN_FLIGHT = 63

#: No burst crosses a multiple of this.
PAGE_BYTES = 4096

#: Program that fetch holds or has asked for: 16 instructions of the usual size.
FETCH_BUFFER_BYTES = 1024

#: From the start of a load or store instruction to its first burst on the bus, if nothing is in the way: walk, cut,
#: queue, send. Runs follow each other every cycle (or every burst, where a run needs several); the next instruction
#: can start one cycle after the last run's request.
DMA_ADDRESS_CYCLES = 4

#: From a beat on the read channel to the write that it completes, which is also when its instruction finishes.
LOAD_WRITE_CYCLES = 2

#: From the start of a load instruction to its first row of padding, or to its finish if it is empty.
LOAD_PADDING_CYCLES = 4

#: From the start of a store instruction to its first read of the scratchpad.
STORE_READ_CYCLES = 3

#: From the data of a read (the last of those in one beat) to the beat on the write channel.
STORE_BEAT_CYCLES = 3

#: From an instruction's last response to its finish.
STORE_FINISH_CYCLES = 2

#: From an instruction's last beat on the read channel to the head of its empty queue: fetch's buffer, assembly, queue.
FETCH_CYCLES = 5

#: From the cycle in which the start command is registered to the one in which fetch begins, the last before those
#: that count.
BEGIN_CYCLES = 2

#: From the first cycle that counts to the first burst of fetch on the bus.
FETCH_ADDRESS_CYCLES = 1

#: From the last finish to the last cycle that counts.
DONE_CYCLES = 2

#: Cycles in which nothing moves while an engine waits for a token, before that is called a deadlock.
DEADLOCK_CYCLES = 64


def act_read_cycles(config: Config) -> int:
    """Return the cycles from an activation address to its data; choosing an atom of a row takes one more."""
    return MEMORY_READ_CYCLES + (config.ratio > 1)


def depthwise_row_cycles(config: Config, columns: int) -> int:
    """Return the cycles from the first pixel of a depthwise input row to the next row's.

    It is one a pixel; but a column of the line buffer is read again only after it was written.
    """
    return max(columns, MEMORY_READ_CYCLES + 1) if config.window_rows > 1 else columns


def depthwise_cycles(config: Config, blocks: int, rows: int, columns: int) -> int:
    """Return the cycles of a depthwise instruction, from its first pixel's read to its last result's step inclusive.

    The step of a result comes after the first read by `depthwise_row_cycles` for each input row (of all blocks) before
    that of its window's last pixel, by one for each pixel before that one in its row, and by `WINDOW_CYCLES`.

    Parameters
    ----------
    config : Config
    blocks, rows, columns : int
        Channel blocks; rows and columns of input pixels.
    """
    return (blocks * rows - 1) * depthwise_row_cycles(config, columns) + columns + WINDOW_CYCLES


@dataclass(frozen=True)
class ComputeTiming:
    """When things happen in the compute pipeline, in cycles after the issue of a step.

    From `summed` to `clamped` it is the result's first channels that are meant; the others follow, in
    `epilogue.interval` turns, a cycle each.

    Attributes
    ----------
    operands : int
        Operands `a`, `w` and `b` are there.
    tree : int
        Register stages between the sums of the cascades (products, without) and the accumulators.
    reduced : int
        The accumulators hold the sum that includes this step.
    summed : int
        Bias and addend are added; a result for `acc` is written in this cycle.
    requantized : int
        The requantized int8 is there.
    blended : int
        The residual is added, where the configuration has it.
    clamped : int
        The clamped int8 is there.
    latency : int
        All of the result is written to `act`, and the instruction completes if it was its last.
    """

    operands: int
    tree: int
    reduced: int
    summed: int
    requantized: int
    blended: int
    clamped: int
    latency: int


def compute_timing(config: Config) -> ComputeTiming:
    """Return the depths of the compute pipeline of a configuration."""
    cascade = config.gemm.cascade
    levels = (config.gemm.block_in // cascade).bit_length() - 1
    tree = max(3 - cascade, -(-levels // TREE_LEVELS_PER_STAGE))  # at least as deep as the vector unit's operations
    operands = act_read_cycles(config)
    reduced = operands + cascade + tree + 1
    summed = reduced + ADDEND_CYCLES
    requantized = summed + REQUANTIZE_CYCLES
    blended = requantized + (RESIDUAL_CYCLES if config.epilogue.residual else 0)
    clamped = blended + 1
    latency = clamped + (LOOKUP_CYCLES if config.epilogue.tables else 0) + config.epilogue.interval - 1
    return ComputeTiming(operands, tree, reduced, summed, requantized, blended, clamped, latency)


def step_interval(config: Config, reduction: int) -> int:
    """Return the cycles from a step of GEMM and VECTOR to the next, where `reduction` steps make a result.

    Results are `epilogue.interval` cycles apart or more: the first step of an instruction comes so long after the step
    before, too. An instruction without steps never waits.
    """
    return -(-config.epilogue.interval // max(reduction, 1))


def row_start_cycles(config: Config) -> int:
    """Return how long operands of row operations are held back, so that none is ready before the array would be.

    Factors that the last stages use, too, stay until the next instruction's are there.
    """
    timing = compute_timing(config)
    return max(0, timing.reduced - timing.operands - ROW_FACTOR_CYCLES - 2)


def row_reduce_cycles(config: Config) -> int:
    """Return the cycles from a step's values of all lanes to the sum that includes them: choose, tree, add."""
    levels = config.gemm.block_out.bit_length() - 1
    return 2 + -(-levels // TREE_LEVELS_PER_STAGE)


def row_delay_cycles(config: Config, op: RowOp) -> int:
    """Return by how many cycles results of a row operation come later than those of other instructions.

    That much later than another's the next instruction starts, too.
    """
    timing = compute_timing(config)
    cycles = row_start_cycles(config) + ROW_LANE_CYCLES[op.name]
    if op.reduce:
        cycles += row_reduce_cycles(config) + ROW_FINISH_CYCLES
    return timing.operands + cycles - timing.reduced


def burst_limit(config: Config) -> int:
    """Return the beats of the longest burst: `bus.burst_beats`, but never more than a page."""
    return min(config.bus.burst_beats, PAGE_BYTES // config.bus_bytes)


def store_row_queue(config: Config) -> int:
    """Return the rows that the store engine may have asked for and not sent: enough for one a cycle."""
    return act_read_cycles(config) + 3


def fetch_buffer_beats(config: Config) -> int:
    """Return the beats of program that fetch holds or has asked for."""
    return max(FETCH_BUFFER_BYTES // config.bus_bytes, 4)


def fetch_burst_beats(config: Config) -> int:
    """Return the longest burst of fetch, in beats: a quarter of its buffer, if the bus allows that."""
    return min(fetch_buffer_beats(config) // 4, config.bus.burst_beats)
