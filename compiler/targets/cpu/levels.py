"""Levels: which instructions of a processor the kernels are written for."""

from __future__ import annotations

import ctypes
import platform
from dataclasses import dataclass, replace
from functools import cache

from llvmlite import binding

from tilewright.isa.errors import ConfigError
from tilewright.isa.ir import DType


@dataclass(frozen=True)
class Level:
    """A generation of vector instructions.

    Attributes
    ----------
    name : str
    lanes : int
        32-bit elements of a vector.
    registers : int
        Vectors in registers.
    accumulators : int
        Those of them that a tile of sums may take.
    dot : str
        LLVM's name of the dot product of four unsigned and signed bytes, but for its type; empty where there is none.
    has_rounding : bool
        Whether float instructions can round down by themselves.
    has_permute : bool
        Whether bytes of two vectors can be permuted.
    needs : tuple of str
        Features, in LLVM's words, that a processor must have.
    has_bf16 : bool
        Whether products of floats are of bfloat16, two to an element.
    tiles : tuple of DType
        What matrix tiles (AMX) multiply.
    """

    name: str
    lanes: int
    registers: int
    accumulators: int
    dot: str = ""
    has_rounding: bool = False
    has_permute: bool = False
    needs: tuple[str, ...] = ()
    has_bf16: bool = False
    tiles: tuple[DType, ...] = ()


_AVX512 = ("avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512vnni")

_TILES_BF16 = "amx-bf16"
_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA = 158, 0x1023, 18
_BF16, _PAIR_LANES = "avx512bf16", 16

_AMX = ("amx-tile", "amx-int8")

_VPDPBUSD = "llvm.x86.avx512.vpdpbusd.512"

#: Best first.
LEVELS = (
    Level("amx_int8", 16, 32, 28, _VPDPBUSD, True, True, (*_AVX512, "avx512vbmi", *_AMX), tiles=(DType.U8,)),
    Level("avx512_vnni", 16, 32, 28, _VPDPBUSD, True, True, (*_AVX512, "avx512vbmi")),
    Level("avx512_vnni_bw", 16, 32, 28, _VPDPBUSD, True, False, _AVX512),
    Level("neon_i8mm", 4, 32, 24, "llvm.aarch64.neon.usdot.v4i32.v16i8", needs=("i8mm",)),
    Level("avx_vnni", 8, 16, 12, "llvm.x86.avx512.vpdpbusd.256", needs=("avx2", "fma", "avxvnni")),
    Level("avx2", 8, 16, 12, needs=("avx2", "fma")),
    Level("portable", 8, 16, 8),
)


def host_levels() -> tuple[Level, ...]:
    """Return the levels that this processor can run, best first."""
    features = dict(binding.get_host_cpu_features())
    possible = (level for level in LEVELS if all(features.get(name) for name in level.needs))
    return tuple(level for level in possible if not level.tiles or _may_use_tiles())


@cache
def _may_use_tiles() -> bool:
    """Ask the system for the registers of matrix tiles, for all threads of this process; it may refuse."""
    if platform.system() != "Linux":
        return False
    return bool(ctypes.CDLL(None).syscall(_ARCH_PRCTL, _REQUEST_PERMISSION, _TILE_DATA) == 0)


def with_bf16(level: Level) -> Level:
    """Return a level whose products of floats are of bfloat16.

    Raises
    ------
    ConfigError
        When the level or this processor has no such products.
    """
    if level.lanes != _PAIR_LANES or not dict(binding.get_host_cpu_features()).get(_BF16):
        raise ConfigError(f"bf16 needs AVX-512 with its bf16 extension: this processor's level is `{level.name}`")
    tiles, needs = level.tiles, (*level.needs, _BF16)
    if tiles and dict(binding.get_host_cpu_features()).get(_TILES_BF16):
        tiles, needs = (*tiles, DType.BF16), (*needs, _TILES_BF16)
    return replace(level, needs=needs, has_bf16=True, tiles=tiles)


def level_of(name: str | None = None) -> Level:
    """Return a level that this processor can run, by name, or the best.

    Raises
    ------
    ConfigError
        When there is none of that name, or the processor cannot run it.
    """
    possible = host_levels()
    if name is None:
        return possible[0]
    for level in possible:
        if level.name == name:
            return level
    names = ", ".join(level.name for level in possible)
    raise ConfigError(f"this processor runs the levels {names}, not `{name}`")
