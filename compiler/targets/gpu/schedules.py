"""Which kernel computes a GEMM, and with what tiles: by a plain model of time, or as measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from tilewright.compiler.targets.gpu.gemm import CHUNK, Gemm
from tilewright.compiler.targets.gpu.gemm_direct import Splitting
from tilewright.compiler.targets.gpu.gemm_tiled import Tiling

Schedule = Tiling | Splitting

#: The multiprocessors that the model counts with, and what one of them does in a cycle.
_PROCESSORS = 132
_MACS = 1500
_BYTES = 48
_BLOCKS = {128: 3, 256: 1, 64: 6}

_TILINGS = (
    Tiling((2, 2), (4, 8)), Tiling((4, 1), (2, 8)), Tiling((4, 1), (4, 8)), Tiling((2, 4), (4, 8)),
    Tiling((2, 2), (2, 4)), Tiling((4, 1), (2, 4)), Tiling((4, 1), (1, 8)), Tiling((4, 1), (2, 2)),
    Tiling((2, 2), (2, 8)), Tiling((4, 2), (2, 8)),
)  # fmt: skip
_MOST_WARPS = 16
_MOST_LOADS = 24

Schedules = Mapping[str, Schedule]


def key(gemm: Gemm) -> str:
    """Name a problem: what decides which schedule is fast."""
    window = "x".join(map(str, gemm.kernel))
    return f"m{gemm.rows}n{gemm.y.channels}k{gemm.depth}w{window}s{gemm.strides[0]}{'n' if gemm.is_narrow else ''}"


def schedule(gemm: Gemm, known: Schedules) -> Schedule:
    """Give what was measured to be fastest, or what the model takes to be."""
    found = known.get(key(gemm))
    return found if found is not None else min(candidates(gemm), key=lambda option: estimate(gemm, option))


def candidates(gemm: Gemm) -> Iterator[Schedule]:
    """Yield all schedules that can compute a problem."""
    yield from _TILINGS
    for high in (1, 2):
        for wide in (2, 4, 8):
            for warps in range(1, _MOST_WARPS + 1):
                if gemm.chunks % warps == 0:
                    rest = gemm.chunks // warps
                    most = max(1, _MOST_LOADS // (2 * high + wide))
                    ahead = max(n for n in range(1, most + 1) if rest % n == 0)
                    yield Splitting(warps, (high, wide), ahead)


def estimate(gemm: Gemm, option: Schedule) -> float:
    """Estimate the cycles of a schedule."""
    if isinstance(option, Tiling):
        return _estimate_tiled(gemm, option)
    high, wide = option.blocks
    blocks = -(-gemm.rows // (16 * high)) * -(-gemm.y.channels // (8 * wide))
    resident = max(1, min(24 // option.warps, -(-blocks // _PROCESSORS)))
    load = gemm.chunks * CHUNK * (16 * high + 8 * wide)
    rounds = gemm.chunks // (option.warps * option.ahead)
    one = max(rounds * 800 + 1500 + 25 * option.warps, resident * load / 32)
    return -(-blocks // (_PROCESSORS * resident)) * one


def _estimate_tiled(gemm: Gemm, option: Tiling) -> float:
    blocks = -(-gemm.rows // option.rows) * -(-gemm.y.channels // option.columns)
    shared = option.stages * option.chunks * CHUNK * (option.rows + option.columns)
    resident = max(1, min(_BLOCKS[option.threads], 220_000 // shared, -(-blocks // _PROCESSORS)))
    work = option.rows * option.columns * CHUNK / _MACS
    traffic = (option.rows + option.columns) * CHUNK / _BYTES
    step = max(resident * work, resident * traffic, 350)
    one = gemm.chunks * step + 2500 + resident * option.rows * option.columns / 20
    return -(-blocks // (_PROCESSORS * resident)) * one
