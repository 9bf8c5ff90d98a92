"""The configurations that tests of the compute side sweep: small, each off the beaten track in some way."""

from __future__ import annotations

from tilewright.isa.config import PRESETS, Config

_TINY = PRESETS["tiny"]
_ROOM = {"act_kib": 4, "wgt_kib": 8, "acc_kib": 4, "prm_entries": 16}

COMPUTE_CONFIGS: dict[str, Config] = {
    "tiny": _TINY,
    "4_to_8": _TINY.with_values(gemm={"block_out": 8}, memory=_ROOM),
    "8_to_4": _TINY.with_values(gemm={"block_in": 8}, memory=_ROOM),
    "16_to_4_batch2": _TINY.with_values(gemm={"block_in": 16, "batch": 2}, memory=_ROOM),
    "4_to_16_batch2": _TINY.with_values(gemm={"block_out": 16, "batch": 2}, memory=_ROOM, bus={"data_bits": 128}),
    "32_to_4": _TINY.with_values(gemm={"block_in": 32}, memory=_ROOM, epilogue={"multiplier_bits": 24}),
    "acc24": _TINY.with_values(gemm={"acc_bits": 24}, epilogue={"tables": 4, "multiplier_bits": 8}),
    "acc20_deep_acc": _TINY.with_values(gemm={"acc_bits": 20}, memory={"act_kib": 1, "acc_kib": 16}),
    "cascade": _TINY.with_values(gemm={"cascade": 4}),
    "packed": _TINY.with_values(gemm={"cascade": 2, "packed": True}, depthwise={"enabled": False}),
    "interval2": _TINY.with_values(
        gemm={"cascade": 2, "packed": True}, depthwise={"enabled": False}, epilogue={"interval": 2}
    ),
    "interval2_8_to_4": _TINY.with_values(
        gemm={"block_in": 8, "acc_bits": 24}, memory=_ROOM, depthwise={"enabled": False},
        epilogue={"interval": 2, "residual": False, "tables": 4},
    ),
    "interval4_4_to_16_batch2": _TINY.with_values(
        gemm={"block_out": 16, "batch": 2}, memory=_ROOM, bus={"data_bits": 128}, depthwise={"enabled": False},
        epilogue={"interval": 4, "block_tables": True},
    ),
    "no_residual": _TINY.with_values(epilogue={"residual": False}),
    "no_tables": _TINY.with_values(epilogue={"tables": 0}),
    "no_multiply": _TINY.with_values(vector={"multiply": False}, epilogue={"tables": 1}),
    "bare": _TINY.with_values(
        vector={"multiply": False}, epilogue={"tables": 0, "residual": False}, depthwise={"enabled": False}
    ),
}  # fmt: skip
