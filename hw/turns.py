"""The turns that the channels of a result take in the epilogue, `epilogue.interval` of them, a cycle each."""

from __future__ import annotations

from amaranth.hdl import Const, Value

from tilewright.hw.signatures import address_bits
from tilewright.isa.config import Config


def turn_bits(config: Config) -> int:
    """Return the bits of a turn's number."""
    return address_bits(config.epilogue.interval)


def is_turn(config: Config, turn: Value, number: int) -> Value:
    """Tell whether it is the turn of that number."""
    return turn == number if config.epilogue.interval > 1 else Const(1)


def turn_of(config: Config, lane: int) -> tuple[int, int]:
    """Return in which turn one of all lanes has its place in the epilogue, and in which of its lanes.

    Each turn has neighbouring channels of all batch rows.
    """
    row, channel = divmod(lane, config.gemm.block_out)
    turn, place = divmod(channel, config.turn_channels)
    return turn, row * config.turn_channels + place


def lanes_of(config: Config, place: int) -> list[int]:
    """Return which of all lanes have their place in this lane of the epilogue, turn by turn."""
    row, channel = divmod(place, config.turn_channels)
    first = row * config.gemm.block_out + channel
    return [first + turn * config.turn_channels for turn in range(config.epilogue.interval)]
