"""The configurations that tests of the depthwise mode sweep, by the shape of their array."""

from __future__ import annotations

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.isa.config import PRESETS, Config

_ROOM = {"act_kib": 4, "wgt_kib": 8, "acc_kib": 4, "prm_entries": 16}
_SHORT = {"enabled": True, "columns": 16}


def _shaped(block_in: int, block_out: int, batch: int = 1) -> Config:
    gemm = {"block_in": block_in, "block_out": block_out, "batch": batch}
    return PRESETS["tiny"].with_values(gemm=gemm, memory=_ROOM, bus={"data_bits": 128}, depthwise=_SHORT)


DEPTHWISE_CONFIGS: dict[str, Config] = {
    "4x4": PRESETS["tiny"].with_values(depthwise=_SHORT),
    "4x8_batch2": _shaped(4, 8, batch=2),
    "8x8": _shaped(8, 8),
    "8x16": _shaped(8, 16),
    "16x4_batch2": _shaped(16, 4, batch=2),
    "16x8": _shaped(16, 8),
    "32x4": _shaped(32, 4),
    "64x4": _shaped(64, 4).with_values(memory={"act_kib": 16}),
    "bare": COMPUTE_CONFIGS["bare"].with_values(gemm={"block_in": 8}, memory=_ROOM, depthwise=_SHORT),
    "acc24": COMPUTE_CONFIGS["acc24"].with_values(gemm={"block_in": 16}, memory=_ROOM, depthwise=_SHORT),
}
