"""The configurations that tests of row operations sweep, by the shape of their array."""

from __future__ import annotations

from tests.hw.compute_configs import COMPUTE_CONFIGS
from tilewright.isa.config import Config

_NAMES = ("tiny", "4_to_8", "8_to_4", "4_to_16_batch2", "16_to_4_batch2", "32_to_4", "cascade", "packed", "bare")

ROW_CONFIGS: dict[str, Config] = {name: COMPUTE_CONFIGS[name].with_values(vector={"rows": True}) for name in _NAMES} | {
    "long_cascade": COMPUTE_CONFIGS["32_to_4"].with_values(gemm={"cascade": 16}, vector={"rows": True}),
    "4_to_32": COMPUTE_CONFIGS["4_to_8"].with_values(
        gemm={"block_out": 32}, memory={"prm_entries": 8}, bus={"data_bits": 256}, vector={"rows": True}
    ),
}
