"""Processors that code is made for ahead of time, this one or another."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from llvmlite import binding

from tilewright.compiler.targets.cpu.levels import LEVELS, Level, host_levels
from tilewright.compiler.tir.native import Host
from tilewright.isa.errors import ConfigError

_PORTABLE = "portable"


@dataclass(frozen=True)
class Family:
    """Processors that run each other's programs.

    Attributes
    ----------
    triple : str
        In LLVM's words, unless one is asked for.
    features : tuple of str
        That every one of them has.
    levels : tuple of str
        Best first.
    abi : str
        How functions are called, where the triple leaves it open.
    """

    triple: str
    features: tuple[str, ...] = ()
    levels: tuple[str, ...] = (_PORTABLE,)
    abi: str = ""


#: By the first part of a triple.
FAMILIES = {
    "x86_64": Family(
        "x86_64-unknown-linux-gnu", levels=("avx512_vnni", "avx512_vnni_bw", "avx_vnni", "avx2", _PORTABLE)
    ),
    "aarch64": Family("aarch64-unknown-linux-gnu", ("neon",), ("neon_i8mm", _PORTABLE)),
    "riscv64": Family("riscv64-unknown-linux-gnu", ("m", "a", "f", "d", "c"), abi="lp64d"),
    "wasm32": Family("wasm32-unknown-unknown", ("simd128", "bulk-memory", "sign-ext", "nontrapping-fptoint")),
}


@dataclass(frozen=True)
class Processor:
    """What code is made for.

    Attributes
    ----------
    triple, cpu, features, abi : str
        In LLVM's words.
    level : Level
    """

    triple: str
    cpu: str
    features: str
    abi: str
    level: Level

    @classmethod
    def of(cls, name: str = "", level: str | None = None) -> Processor:
        """Find a processor.

        Parameters
        ----------
        name : str
            A family or a triple; empty for this computer's processor, with all that it can do.
        level : str, optional
            Instructions to use. Code for another processor is made of those that all of its family have, unless
            this asks for more; so is code for this computer when a level is named.

        Raises
        ------
        ConfigError
            When there is no such processor, or it has no such level.
        """
        if not name and level is None:
            host = Host.this()
            best = next(level for level in host_levels() if not level.tiles)  # programs would have to ask for these
            return cls(host.triple, host.cpu, host.features, _family(host.triple).abi, best)
        triple = name or Host.this().triple
        family = _family(triple)
        chosen = _level(triple, family, level or _PORTABLE)
        features = ",".join(f"+{feature}" for feature in (*family.features, *chosen.needs))
        return cls(triple if "-" in triple else family.triple, "", features, family.abi, chosen)

    @property
    def family(self) -> str:
        """The first part of the triple."""
        return self.triple.partition("-")[0]

    def target_machine(self) -> Any:
        """Return LLVM's target machine, for code that is linked later."""
        binding.initialize_all_targets()
        binding.initialize_all_asmprinters()
        try:
            target = binding.Target.from_triple(self.triple)
        except RuntimeError as error:
            raise ConfigError(f"LLVM makes no code for `{self.triple}`: {error}") from None
        return target.create_target_machine(
            self.cpu, self.features, opt=3, reloc="pic", codemodel="default", abiname=self.abi
        )


def _family(triple: str) -> Family:
    found = FAMILIES.get(triple.partition("-")[0])
    if found is None or not re.fullmatch(r"[\w.-]+", triple, re.ASCII):
        raise ConfigError(f"a processor is one of {', '.join(FAMILIES)}, or a triple of theirs, not `{triple}`")
    return found


def _level(triple: str, family: Family, name: str) -> Level:
    if name not in family.levels:
        raise ConfigError(f"`{triple}` has the levels {', '.join(family.levels)}, not `{name}`")
    return next(level for level in LEVELS if level.name == name)
