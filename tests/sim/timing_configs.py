"""The configurations and memories on which cycle counts are compared: small, each off the beaten track in some way."""

from __future__ import annotations

from collections.abc import Mapping

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tests.hw.configs import CONFIGS
from tests.hw.depthwise_configs import DEPTHWISE_CONFIGS
from tests.hw.row_configs import ROW_CONFIGS
from tilewright.isa.config import PRESETS, Config
from tilewright.sim.api import DramTiming

_TINY = PRESETS["tiny"]
_ROOM = {"act_kib": 4, "wgt_kib": 8, "acc_kib": 4, "prm_entries": 16}

TIMING_CONFIGS: Mapping[str, Config] = {
    "tiny": _TINY,
    "rectangular": CONFIGS["rectangular"],
    "8_to_4_single_beats": _TINY.with_values(
        gemm={"block_in": 8}, memory=_ROOM, bus={"burst_beats": 1, "reads_in_flight": 1, "writes_in_flight": 1}
    ),
    "wide_bus": _TINY.with_values(gemm={"block_in": 8}, memory=_ROOM, bus={"data_bits": 512, "burst_beats": 256}),
    "16_to_4_batch2": _TINY.with_values(gemm={"block_in": 16, "batch": 2}, memory=_ROOM, bus={"burst_beats": 8}),
    "few_tokens": _TINY.with_values(
        queue={"load": 2, "compute": 2, "store": 2, "token_bits": 2},
        bus={"burst_beats": 2, "reads_in_flight": 32, "writes_in_flight": 32},
    ),
    "bare": _TINY.with_values(
        vector={"multiply": False}, epilogue={"tables": 0, "residual": False}, depthwise={"enabled": False}
    ),
    "batch2_bus256": _TINY.with_values(gemm={"batch": 2}, memory=_ROOM, bus={"data_bits": 256}),
    "4_to_16_batch2": _TINY.with_values(
        gemm={"block_out": 16, "batch": 2}, memory=_ROOM, bus={"data_bits": 128, "reads_in_flight": 2}
    ),
    "batch8": _TINY.with_values(gemm={"batch": 8}, memory=_ROOM, queue={"load": 16, "compute": 32, "store": 2}),
    "depthwise": DEPTHWISE_CONFIGS["16x4_batch2"],
    "rows": ROW_CONFIGS["tiny"],
    "rows_4_to_16_batch2": ROW_CONFIGS["4_to_16_batch2"],
    "rows_32_to_4": ROW_CONFIGS["long_cascade"],
    "rows_packed": ROW_CONFIGS["packed"],
    "interval2": COMPUTE_CONFIGS["interval2"],
    "interval2_8_to_4": COMPUTE_CONFIGS["interval2_8_to_4"],
    "interval4_4_to_16_batch2": COMPUTE_CONFIGS["interval4_4_to_16_batch2"],
    "8x8": PRESETS["8x8"],
    "16x16": PRESETS["16x16"],
}

#: Memories: the usual one, a perfect one with a single burst, a slow and far one, one with little behind it.
TIMING_DRAMS: tuple[DramTiming, ...] = (
    DramTiming(),
    DramTiming(latency_cycles=1, bytes_per_cycle=64, outstanding=1),
    DramTiming(latency_cycles=73, bytes_per_cycle=4, outstanding=3),
    DramTiming(latency_cycles=7, bytes_per_cycle=16, outstanding=2),
)
