"""Which kernel computes a GEMM, and with what tiles: by a plain model of time, or as measured."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib import resources

from tilewright.compiler.targets.gpu.gemm import CHUNK_BYTES, Gemm
from tilewright.compiler.targets.gpu.gemm_blocked import Blocking
from tilewright.compiler.targets.gpu.gemm_direct import Splitting
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling
from tilewright.compiler.targets.gpu.gemm_warpgroup import STEP_BYTES, Grouping, is_plain_matrix
from tilewright.compiler.targets.kernels.layout import ALIGNMENT
from tilewright.isa.ir import DType


@dataclass(frozen=True)
class Plain:
    """One result a thread, without tensor cores: for GPUs other than NVIDIA's; never chosen otherwise.

    Attributes
    ----------
    columns, run : int
        Channels that constants are continued to a multiple of.
    """

    columns: int = ALIGNMENT
    run: int = ALIGNMENT


Schedule = Tiling | Splitting | Grouping | Blocking | Plain
Schedules = Mapping[str, Schedule]

#: Gives the schedule of a problem.
Chooser = Callable[[Gemm], Schedule]

#: The multiprocessors that the model counts with, and what one of them does in a cycle.
_PROCESSORS = 132
_MACS = 1500
_WGMMA_MACS = 2600
_BYTES = 48
_BLOCKS = {128: 3, 256: 1, 64: 6}
_SHARED_BYTES = 225_000

_TILINGS = (
    Tiling((2, 2), (4, 8)), Tiling((4, 1), (2, 8)), Tiling((4, 1), (4, 8)), Tiling((2, 4), (4, 8)),
    Tiling((2, 2), (2, 4)), Tiling((4, 1), (2, 4)), Tiling((4, 1), (1, 8)), Tiling((4, 1), (2, 2)),
    Tiling((2, 2), (2, 8)), Tiling((4, 2), (2, 8)), Tiling((4, 1), (2, 8), 1, 3), Tiling((4, 1), (1, 4), 1, 3),
    Tiling((8, 1), (1, 8), 1, 3), Tiling((4, 1), (1, 8), 1, 3),
)  # fmt: skip
_GROUPINGS = tuple(
    Grouping(groups, blocks, columns, stages)
    for groups, blocks, columns, stages in (
        (2, 1, 256, 4), (2, 1, 192, 4), (2, 1, 128, 4), (2, 1, 64, 4), (2, 2, 128, 4), (2, 2, 64, 4), (1, 1, 64, 4),
        (1, 1, 128, 4), (1, 2, 64, 4), (2, 1, 32, 4), (1, 2, 128, 4), (1, 1, 256, 4), (1, 1, 32, 4),
        (2, 1, 128, 3), (1, 1, 128, 3), (2, 1, 64, 3), (1, 2, 128, 3), (2, 1, 192, 3), (2, 1, 256, 3), (1, 1, 192, 4),
        (2, 1, 192, 2), (2, 1, 128, 2), (2, 2, 128, 2), (2, 1, 256, 2), (1, 1, 256, 2), (1, 2, 128, 2), (2, 2, 128, 3),
    )
)  # fmt: skip
_BLOCKINGS = tuple(
    Blocking(*numbers)
    for numbers in (
        ((16, 8), (8, 16), 1, 3), ((8, 16), (8, 16), 1, 3), ((8, 8), (8, 16), 1, 3), ((16, 16), (8, 16), 1, 3),
        ((16, 4), (8, 16), 1, 3), ((8, 8), (8, 16), 2, 2), ((8, 4), (8, 16), 4, 2), ((16, 16), (8, 8), 1, 3),
        ((8, 16), (8, 8), 1, 3), ((16, 8), (8, 8), 1, 3), ((8, 8), (8, 8), 1, 3), ((8, 8), (8, 8), 2, 3),
        ((8, 8), (8, 8), 4, 2), ((16, 8), (4, 8), 1, 3), ((8, 8), (4, 8), 2, 3), ((8, 8), (4, 8), 4, 2),
        ((8, 8), (4, 4), 2, 3), ((8, 8), (4, 4), 4, 2), ((8, 4), (4, 8), 4, 2), ((8, 4), (4, 8), 8, 2),
        ((4, 8), (4, 4), 4, 3), ((4, 8), (4, 4), 8, 2), ((8, 4), (4, 4), 8, 2), ((4, 4), (4, 4), 8, 2),
        ((4, 4), (4, 4), 16, 2),
    )
)  # fmt: skip
_MOST_WARPS = 16
_MOST_LOADS = 24


def key(gemm: Gemm) -> str:
    """Name a problem: what decides which schedule is fast."""
    window = "x".join(map(str, gemm.kernel))
    kind = {DType.I8: "", DType.F16: "h", DType.F32: "f"}[gemm.dtype] + ("n" if gemm.is_narrow else "")
    return f"m{gemm.rows}n{gemm.y.channels}k{gemm.depth}w{window}s{gemm.strides[0]}{kind}"


def by_model(gemm: Gemm) -> Schedule:
    """Give the schedule that the model takes to be fastest, without instructions of one generation only."""
    return min(candidates(gemm, has_wgmma=False), key=lambda option: estimate(gemm, option))


def by_table(table: Schedules, has_wgmma: bool) -> Chooser:
    """Give schedules as they were measured, and by the model where nothing was."""

    def choose(gemm: Gemm) -> Schedule:
        found = table.get(key(gemm))
        if found is None or (isinstance(found, Grouping) and not has_wgmma):
            options = candidates(gemm, has_wgmma)
            return min(options, key=lambda option: estimate(gemm, option))
        return found

    return choose


def measured(name: str = "h200") -> Schedules:
    """Read the schedules that were fastest on a GPU."""
    file = resources.files("tilewright.compiler.targets.gpu") / f"schedules_{name}.json"
    return from_data(json.loads(file.read_text())) if file.is_file() else {}


def as_data(schedules: Schedules) -> dict[str, list[object]]:
    """Give schedules for JSON."""
    return {name: [type(option).__name__, *vars(option).values()] for name, option in sorted(schedules.items())}


def from_data(data: Mapping[str, list[object]]) -> dict[str, Schedule]:
    """Read what `as_data` gave."""
    kinds: dict[str, type[Tiling] | type[Splitting] | type[Grouping] | type[Blocking]] = {
        kind.__name__: kind for kind in (Tiling, Splitting, Grouping, Blocking)
    }
    found: dict[str, Schedule] = {}
    for name, (kind, *values) in data.items():
        arguments = [tuple(value) if isinstance(value, list) else value for value in values]
        found[name] = kinds[str(kind)](*arguments)  # type: ignore[arg-type]
    return found


def candidates(gemm: Gemm, has_wgmma: bool) -> Iterator[Schedule]:
    """Yield all schedules that can compute a problem."""
    if gemm.dtype == DType.F32:
        yield from _BLOCKINGS
        return
    yield from _TILINGS
    if has_wgmma:  # threads that copy are two steps ahead
        yield from (grouping for grouping in _GROUPINGS if grouping.stages > 2 or is_plain_matrix(gemm))
    for high in (1, 2):
        for wide in (2, 4, 8):
            for warps in range(1, _MOST_WARPS + 1):
                if gemm.chunks % warps == 0:
                    rest = gemm.chunks // warps
                    most = max(1, _MOST_LOADS // (2 * high + wide))
                    ahead = max(n for n in range(1, most + 1) if rest % n == 0)
                    yield Splitting(warps, (high, wide), ahead)


def _depth_bytes(gemm: Gemm) -> int:
    return gemm.depth * gemm.dtype.bits // 8


def estimate(gemm: Gemm, option: Schedule) -> float:
    """Estimate the cycles of a schedule."""
    if isinstance(option, Tiling):
        return _estimate_tiled(gemm, option)
    if isinstance(option, Grouping):
        return _estimate_grouped(gemm, option)
    if isinstance(option, Blocking):
        return _estimate_blocked(gemm, option)
    assert isinstance(option, Splitting)
    high, wide = option.blocks
    blocks = -(-gemm.rows // (16 * high)) * -(-gemm.y.channels // (8 * wide))
    resident = max(1, min(24 // option.warps, -(-blocks // _PROCESSORS)))
    load = gemm.chunks * CHUNK_BYTES * (16 * high + 8 * wide)
    rounds = gemm.chunks // (option.warps * option.ahead)
    one = max(rounds * 800 + 1500 + 25 * option.warps, resident * load / 32)
    return -(-blocks // (_PROCESSORS * resident)) * one


def _estimate_tiled(gemm: Gemm, option: Tiling) -> float:
    blocks = -(-gemm.rows // option.rows) * -(-gemm.y.channels // option.columns)
    shared = option.stages * option.chunks * CHUNK_BYTES * (option.rows + option.columns)
    resident = max(1, min(_BLOCKS[option.threads], 220_000 // shared, -(-blocks // _PROCESSORS)))
    work = option.rows * option.columns * CHUNK_BYTES / _MACS
    traffic = (option.rows + option.columns) * CHUNK_BYTES / _BYTES
    step = max(resident * work, resident * traffic, 350)
    one = gemm.chunks * step + 2500 + resident * option.rows * option.columns / 20
    return -(-blocks // (_PROCESSORS * resident)) * one


def _estimate_grouped(gemm: Gemm, option: Grouping) -> float:
    blocks = -(-gemm.rows // option.rows) * -(-gemm.y.channels // option.columns)
    resident = max(1, min(2048 // option.threads // 3, _SHARED_BYTES // option.shared_bytes, -(-blocks // _PROCESSORS)))
    work = option.rows * option.columns * STEP_BYTES / _WGMMA_MACS
    traffic = (option.rows + option.columns) * STEP_BYTES / _BYTES
    step = max(resident * work, resident * traffic, 450)
    one = -(-_depth_bytes(gemm) // STEP_BYTES) * step + 3000 + resident * option.rows * option.columns / 20
    return -(-blocks // (_PROCESSORS * resident)) * one


def _estimate_blocked(gemm: Gemm, option: Blocking) -> float:
    blocks = -(-gemm.rows // option.rows) * -(-gemm.y.channels // option.columns)
    threads = option.group * option.parts
    sums = option.sums[0] * option.sums[1]
    by_registers = 65536 // (threads * (sums + 4 * option.sums[0] + 40))
    resident = max(1, min(by_registers, _SHARED_BYTES // option.shared_bytes, -(-blocks // _PROCESSORS)))
    quads = 4 * threads // 32  # of all warps of a step, 4 elements deep
    work = quads * (sums + 2 * sum(option.sums))
    step = max(resident * work, 16 * sums + 300)
    one = -(-gemm.depth // option.step) * step + 2500 + (600 if option.parts > 1 else 0)
    return -(-blocks // (_PROCESSORS * resident)) * one
