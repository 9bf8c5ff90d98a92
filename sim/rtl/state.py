"""The state of the RTL in the architecture's form: scratchpads from its memory banks, queues, tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import count, takewhile
from typing import Any

import numpy as np
import numpy.typing as npt

from tilewright.isa.config import Config
from tilewright.isa.errors import DeviceError
from tilewright.isa.instructions import Engine
from tilewright.isa.parameter_record import BIAS, MULTIPLIER, NEGATE, SHIFT, Part

Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]

#: Gives a memory of the design by its path, as `[words, bytes]`, little-endian; None where there is none.
ReadMemory = Callable[[str], Bytes | None]

#: For Verilator: keep the names of memories, of the queues' levels and of token counters, and make them readable.
CONFIGURATION = """`verilator_config
public_flat_rd -module "*.MemoryBank*" -var "memory"
public_flat_rd -module "*.InterleavedBank*" -var "half*"
public_flat_rd -module "*.TableLane*" -var "memory*"
public_flat_rd -module "*.dispatch.*_queue" -var "level"
public_flat_rd -module "*.tokens" -var "*_to_*"
"""


def read_state(config: Config, read: ReadMemory) -> Mapping[str, npt.NDArray[Any]]:
    """Return copies of the scratchpads `act`, `wgt`, `acc`, `prm`, `tbl`, shaped as `semantics.memories` says.

    Raises
    ------
    DeviceError
        If the design has no such memories.
    """
    act = _interleaved(*(_side_by_side(read, f"scratchpad.bank{{}}.{half}") for half in ("half0", "half1")))
    wgt = _side_by_side(read, "compute.weights.bank{}.memory")
    return {
        "act": act.reshape(config.act_depth, config.atom_bytes).view(np.int8),
        "wgt": wgt.reshape(config.wgt_depth, config.wgt_entry_bytes).view(np.int8),
        "acc": _extended(_numbers(read, "compute.accumulators.bank{}.memory"), config.gemm.acc_bits),
        "prm": _read_parameters(config, read),
        "tbl": _read_tables(config, read).view(np.int8),
    }


def read_queues(read: ReadMemory) -> dict[Engine, int]:
    """Return how many instructions stand in each engine's queue."""
    return {engine: _number(read, f"dispatch.{engine}_queue.level") for engine in Engine}


def read_tokens(read: ReadMemory) -> dict[tuple[Engine, Engine], int]:
    """Return the tokens given and not taken, by giver and taker."""
    return {(giver, taker): _number(read, f"tokens.{giver}_to_{taker}") for giver in Engine for taker in giver.others}


def kept_parameters(config: Config, prm: Bytes) -> Bytes:
    """Return parameters as the hardware keeps them: bits that no instruction looks at are not stored."""
    words = prm.reshape(config.prm_depth, -1).view("<u8")
    bias, multiplier, shift, negate = (_part(words, part) for part in (BIAS, MULTIPLIER, SHIFT, NEGATE))
    kept = replace(MULTIPLIER, bits=config.epilogue.multiplier_bits).mask
    return _records(config, bias, multiplier & np.uint64(kept), shift, negate * np.uint64(config.vector.rows))


def _read_parameters(config: Config, read: ReadMemory) -> Bytes:
    scales, words = (
        _by_channel(config, _numbers(read, f"compute.parameters.{x}{{}}.memory")) for x in ("scale", "bias")
    )
    scale, sums = Part(0, config.epilogue.multiplier_bits), Part(0, config.gemm.acc_bits)
    shifts, negates = replace(SHIFT, low=scale.bits), replace(NEGATE, low=sums.bits)
    return _records(config, _part(words, sums), _part(scales, scale), _part(scales, shifts), _part(words, negates))


def _by_channel(config: Config, words: Words) -> Words:
    """Return `[entries, channels]` of banks that hold one channel of each turn, the turns one after another."""
    turns = words.reshape(config.epilogue.interval, config.prm_depth, config.turn_channels)
    return turns.transpose(1, 0, 2).reshape(config.prm_depth, config.gemm.block_out)


def _read_tables(config: Config, read: ReadMemory) -> Bytes:
    if not config.epilogue.tables:
        return np.zeros((1, 256), np.uint8)
    return _side_by_side(read, "compute.epilogue.tables.lane0.memory{}").reshape(config.epilogue.tables, 256)


def _banks(read: ReadMemory, path: str) -> list[Bytes]:
    found = (read(path.format(i)) for i in count())
    banks = [bank for bank in takewhile(lambda bank: bank is not None, found) if bank is not None]
    if not banks:
        raise DeviceError(f"this design has no memory `{path.format(0)}`, so its state cannot be read")
    return banks


def _number(read: ReadMemory, path: str) -> int:
    value = read(path)
    if value is None:
        raise DeviceError(f"this design has no register `{path}`, so its state cannot be read")
    return int.from_bytes(value.tobytes(), "little")


def _side_by_side(read: ReadMemory, path: str) -> Bytes:
    """Return words of memories side by side, one array of bytes."""
    return np.concatenate(_banks(read, path), axis=1)


def _interleaved(*parts: Bytes) -> Bytes:
    """Return words of memories one by one in turn."""
    return np.stack(parts, axis=1).reshape(-1, parts[0].shape[1])


def _numbers(read: ReadMemory, path: str) -> npt.NDArray[np.uint64]:
    """Return `[entries, banks]` numbers of memories with up to 64 bits a word."""
    banks = _banks(read, path)
    words = np.zeros((len(banks[0]), len(banks), 8), np.uint8)
    for i, bank in enumerate(banks):
        words[:, i, : bank.shape[1]] = bank
    return words.view("<u8")[..., 0]


def _extended(values: npt.NDArray[np.uint64], bits: int) -> npt.NDArray[np.int32]:
    return (values.astype(np.uint32) << np.uint32(32 - bits)).view(np.int32) >> (32 - bits)


def _part(words: Words, part: Part) -> Words:
    return words >> np.uint64(part.low) & np.uint64(part.mask)


def _records(config: Config, bias: Words, multiplier: Words, shift: Words, negate: Words) -> Bytes:
    extended = _extended(bias, config.gemm.acc_bits).view(np.uint32).astype(np.uint64)
    values = {BIAS: extended, MULTIPLIER: multiplier, SHIFT: shift, NEGATE: negate}
    words = np.zeros(bias.shape, "<u8")
    for part, numbers in values.items():
        words |= numbers << np.uint64(part.low)
    return words.view(np.uint8)
