"""Configurations that the tests of the whole accelerator share."""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.isa.config import PRESETS, Config
from tilewright.isa.sections import Bus, Epilogue, Gemm, Memory, Queue

CONFIGS: Mapping[str, Config] = {
    "tiny": PRESETS["tiny"],
    "rectangular": Config(
        gemm=Gemm(batch=1, block_in=4, block_out=8),
        memory=Memory(act_kib=2, wgt_kib=2, acc_kib=1, prm_entries=8),
        bus=Bus(data_bits=128, burst_beats=4, reads_in_flight=4, writes_in_flight=2),
        queue=Queue(load=2, compute=2, store=2, token_bits=3),
        epilogue=Epilogue(residual=False, tables=0),
    ),
}
