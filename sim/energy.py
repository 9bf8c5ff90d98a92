"""An estimate of energy: what was done, times what each thing takes, from a table that can be replaced."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

from tilewright.isa.config import Config
from tilewright.isa.errors import ConfigError
from tilewright.isa.semantics import memories

#: What the energy of a layer consists of.
PARTS: tuple[str, ...] = ("array", "vector", "epilogue", "act", "wgt", "acc", "prm", "tbl", "dram", "program", "static")

_SPACES = ("act", "wgt", "acc", "prm", "tbl")
_NUMBERS = {
    "compute": ("mac", "vector_operation", "requantize", "instruction"),
    "sram": ("word_bytes", "sizes_bytes", "access"),
    "dram": ("byte",),
    "static": ("cycle",),
}
_LISTS = ("sram.sizes_bytes", "sram.access")
_ELEMENT_BYTES = {"act": 1, "wgt": 1, "acc": 4, "prm": 1, "tbl": 1}


@dataclass(frozen=True)
class EnergyTable:
    """Picojoules for each thing that an accelerator does.

    Attributes
    ----------
    name, source : str
        What the figures are for, and where they are from.
    mac, vector_operation, requantize, instruction : float
        Each one of them.
    sram_word_bytes : int
        Width of the memories that a scratchpad is made of.
    sram_sizes_bytes : tuple of float
        Sizes of such memories, rising.
    sram_access : tuple of float
        An access to a memory of each size.
    dram_byte : float
    static_cycle : float
        Whatever is done.
    """

    name: str
    source: str
    mac: float
    vector_operation: float
    requantize: float
    instruction: float
    sram_word_bytes: int
    sram_sizes_bytes: tuple[float, ...]
    sram_access: tuple[float, ...]
    dram_byte: float
    static_cycle: float

    @classmethod
    def default(cls) -> EnergyTable:
        """Return the table that ships with Tilewright."""
        path = files("tilewright.sim") / "energy_45nm.toml"
        return cls.from_toml(path.read_text(encoding="utf-8"), path.name)

    @classmethod
    def load(cls, path: str | Path) -> EnergyTable:
        """Read a table from a TOML file; see `from_toml`."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot read energy table `{path}`: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"energy table `{path}` is not UTF-8 text") from None
        return cls.from_toml(text, str(path))

    @classmethod
    def from_toml(cls, text: str, where: str = "text") -> EnergyTable:
        """Build a table from TOML text of the form of the table that ships with Tilewright.

        Parameters
        ----------
        text : str
        where : str
            What errors call it.

        Raises
        ------
        ConfigError
            For broken TOML, a key that is missing or unknown, or a value that is no energy.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"energy table `{where}` is not valid TOML: {error}") from None
        _check_keys(data, where)
        sram = data["sram"]
        _check_sizes(sram["sizes_bytes"], sram["access"], where)
        if sram["word_bytes"] != int(sram["word_bytes"]) or sram["word_bytes"] < 1:
            raise ConfigError(f"energy table `{where}`: `sram.word_bytes` must be a whole number of at least 1, "
                              f"not {sram['word_bytes']}")  # fmt: skip
        return cls(
            name=data["name"],
            source=" ".join(data["source"].split()),
            **data["compute"],
            sram_word_bytes=int(sram["word_bytes"]),
            sram_sizes_bytes=tuple(sram["sizes_bytes"]),
            sram_access=tuple(sram["access"]),
            dram_byte=data["dram"]["byte"],
            static_cycle=data["static"]["cycle"],
        )

    def sram_byte(self, total_bytes: int, entry_bytes: int) -> float:
        """Return the energy of a byte from or to a scratchpad of so many bytes, in entries of so many."""
        memory = total_bytes / max(1, entry_bytes // self.sram_word_bytes)
        return self._access(memory) / self.sram_word_bytes

    def _access(self, memory_bytes: float) -> float:
        """Interpolate between the sizes given, both axes logarithmic."""
        sizes, energies = self.sram_sizes_bytes, self.sram_access
        if memory_bytes <= sizes[0]:
            return energies[0]
        for i in range(1, len(sizes)):
            if memory_bytes <= sizes[i]:
                share = math.log(memory_bytes / sizes[i - 1]) / math.log(sizes[i] / sizes[i - 1])
                return float(energies[i - 1] ** (1 - share) * energies[i] ** share)
        return energies[-1]

    def estimate(self, config: Config, counts: Mapping[str, int], cycles: int | None = None) -> dict[str, float]:
        """Return the energy of some work by part (`PARTS`), in picojoules.

        Parameters
        ----------
        config : Config
            Whose scratchpads these are.
        counts : mapping of str to int
            By the names of `accesses.COUNTS`.
        cycles : int, optional
            That the work took.
        """
        buffers = memories(config)
        parts = {
            "array": counts["macs"] * self.mac,
            "vector": counts["vector_operations"] * self.vector_operation,
            "epilogue": counts["requantized"] * self.requantize,
            "dram": (counts["read_bytes"] + counts["write_bytes"]) * self.dram_byte,
            "program": counts["instructions"] * self.instruction + counts["fetch_bytes"] * self.dram_byte,
            "static": (cycles or 0) * self.static_cycle,
        }
        for space in _SPACES:
            depth, elements = buffers[space].shape
            entry_bytes = elements * _ELEMENT_BYTES[space]
            parts[space] = counts[f"{space}_bytes"] * self.sram_byte(depth * entry_bytes, entry_bytes)
        return {name: parts[name] for name in PARTS}


def _check_keys(data: Mapping[str, object], where: str) -> None:
    for name in ("name", "source"):
        if not isinstance(data.get(name), str) or not data[name]:
            raise ConfigError(f"energy table `{where}`: `{name}` must be text, not {data.get(name)!r}")
    for key in data:
        if key not in ("name", "source", *_NUMBERS):
            raise ConfigError(
                f"energy table `{where}`: unknown key `{key}`; known: name, source, {', '.join(_NUMBERS)}"
            )
    for section, names in _NUMBERS.items():
        values = data.get(section)
        if not isinstance(values, Mapping):
            raise ConfigError(f"energy table `{where}`: section `{section}` is missing")
        for key in values:
            if key not in names:
                raise ConfigError(f"energy table `{where}`: unknown key `{section}.{key}`; known: {', '.join(names)}")
        for name in names:
            if name not in values:
                raise ConfigError(f"energy table `{where}`: `{section}.{name}` is missing")
            _check_value(f"{section}.{name}", values[name], where)


def _check_value(path: str, value: object, where: str) -> None:
    if path in _LISTS:
        if not isinstance(value, list) or not value or not all(_is_number(v) and v > 0 for v in value):
            raise ConfigError(f"energy table `{where}`: `{path}` must be a list of numbers above 0, not {value!r}")
    elif not _is_number(value) or value < 0:  # type: ignore[operator]  # a number, by now
        raise ConfigError(f"energy table `{where}`: `{path}` must be a number of at least 0, not {value!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_sizes(sizes: list[float], energies: list[float], where: str) -> None:
    if len(sizes) != len(energies):
        raise ConfigError(
            f"energy table `{where}`: `sram.access` must have a value for each of the {len(sizes)} sizes, "
            f"not {len(energies)}"
        )
    if any(b <= a for a, b in pairwise(sizes)):
        raise ConfigError(f"energy table `{where}`: `sram.sizes_bytes` must rise, not {sizes}")
