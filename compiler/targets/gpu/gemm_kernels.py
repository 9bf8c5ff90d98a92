"""The kernel that a schedule asks for, and weights in the order in which it reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tilewright.compiler.targets.gpu import windows
from tilewright.compiler.targets.gpu.gemm import Gemm, column_order
from tilewright.compiler.targets.gpu.gemm_blocked import Blocking, blocked_gemm
from tilewright.compiler.targets.gpu.gemm_direct import direct_gemm
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling, tiled_gemm
from tilewright.compiler.targets.gpu.gemm_warpgroup import Grouping, step_elements, warpgroup_gemm
from tilewright.compiler.targets.gpu.kernel import Kernel
from tilewright.compiler.targets.gpu.schedules import Plain, Schedule


def gemm_kernel(name: str, gemm: Gemm, schedule: Schedule) -> Kernel:
    """Build the kernel of a convolution or matrix product."""
    if isinstance(schedule, Tiling):
        return tiled_gemm(name, gemm, schedule)
    if isinstance(schedule, Grouping):
        return warpgroup_gemm(name, gemm, schedule)
    if isinstance(schedule, Blocking):
        return blocked_gemm(name, gemm, schedule)
    if isinstance(schedule, Plain):
        return windows.plain_convolution(name, windows.sliding_of(gemm), gemm.x.channels, 1)
    return direct_gemm(name, gemm, schedule)


def packed_weight(gemm: Gemm, schedule: Schedule, weight: NDArray[np.generic]) -> NDArray[np.generic]:
    """Order a weight `[O, C, KH, KW]` for the kernel."""
    if isinstance(schedule, Grouping):
        order = column_order(schedule.run, schedule.columns, schedule.unit(gemm))
        return gemm.pack(weight, order, step_elements(gemm))
    if isinstance(schedule, Blocking):
        return gemm.pack(weight, schedule.order, schedule.step)
    if isinstance(schedule, Plain):
        return np.ascontiguousarray(weight.transpose(0, 2, 3, 1)).reshape(-1)
    return gemm.pack(weight, column_order(schedule.run, schedule.columns, schedule.run), gemm.chunk)
