"""The accelerator configuration: what the user chooses are fields of its sections, what follows is a property."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from tilewright.isa.errors import ConfigError
from tilewright.isa.parameter_record import RECORD_BYTES
from tilewright.isa.sections import (
    SECTIONS,
    Bus,
    Depthwise,
    Epilogue,
    Gemm,
    Limits,
    Memory,
    Queue,
    Vector,
    check_field,
    check_keys,
    section_from,
)

#: Changes whenever encodings or meanings change, so that old programs are refused.
ISA_VERSION = 1


#: Accumulators that hold the results of row operations.
ROW_ACC_BITS = 32

#: Products in a chain of multipliers that compute two each: more run over into each other.
MOST_PACKED_PRODUCTS = 8

#: Rows of the depthwise window, by the multipliers of a lane.
_WINDOW_ROWS = {4: 1, 8: 2, 16: 3, 32: 5, 64: 7}


@dataclass(frozen=True)
class Config:
    """One accelerator, validated at construction.

    Attributes
    ----------
    name : str
        A label for people; not part of the hash.
    gemm, memory, bus, queue, epilogue, vector, depthwise
        The sections; `describe_fields` lists their ranges.

    Raises
    ------
    ConfigError
        Naming the field, its constraint and the value.

    Examples
    --------
    >>> import tilewright
    >>> config = tilewright.Config.load("16x16").with_values(name="wide", gemm={"block_in": 32})
    >>> config.macs_per_cycle, config.gemm.block_out
    (512, 16)
    >>> tilewright.Config.from_toml(config.to_toml()) == config
    True
    >>> config.with_values(gemm={"block_in": 12})
    Traceback (most recent call last):
    tilewright.isa.errors.ConfigError: `gemm.block_in` must be a power of two in 4..64, not 12
    """

    name: str = "custom"
    gemm: Gemm = field(default_factory=Gemm)
    memory: Memory = field(default_factory=Memory)
    bus: Bus = field(default_factory=Bus)
    queue: Queue = field(default_factory=Queue)
    epilogue: Epilogue = field(default_factory=Epilogue)
    vector: Vector = field(default_factory=Vector)
    depthwise: Depthwise = field(default_factory=Depthwise)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"`name` must be a non-empty string, not {self.name!r}")
        for path, limits, value in self.describe_fields():
            check_field(path, limits, value)
        self._check_array()
        self._check_depths()
        self._check_interval()
        if self.vector.rows and self.gemm.acc_bits != ROW_ACC_BITS:
            raise ConfigError(f"`vector.rows` needs `gemm.acc_bits` = {ROW_ACC_BITS}, not {self.gemm.acc_bits}")

    def _check_array(self) -> None:
        cascade, packed = self.gemm.cascade, self.gemm.packed
        if cascade > self.gemm.block_in:
            raise ConfigError(f"`gemm.cascade` must be at most `gemm.block_in` ({self.gemm.block_in}), not {cascade}")
        if packed and cascade > MOST_PACKED_PRODUCTS:
            raise ConfigError(
                f"`gemm.cascade` must be at most {MOST_PACKED_PRODUCTS} with `gemm.packed`, not {cascade}"
            )
        if packed and self.depthwise.enabled:
            raise ConfigError(
                "`gemm.packed` must be false with `depthwise.enabled`: the products of windows have nothing in common"
            )

    def _check_interval(self) -> None:
        interval = self.epilogue.interval
        for path, has in (("depthwise.enabled", self.depthwise.enabled), ("vector.rows", self.vector.rows)):
            if interval > 1 and has:
                raise ConfigError(
                    f"`epilogue.interval` must be 1 with `{path}`, not {interval}: its results come in every cycle"
                )
        records = min(self.bus_bytes // RECORD_BYTES, self.gemm.block_out)
        if interval * records > self.gemm.block_out:
            raise ConfigError(
                f"`epilogue.interval` must be at most {self.gemm.block_out // records} with `gemm.block_out` ="
                f" {self.gemm.block_out} and `bus.data_bits` = {self.bus.data_bits}, not {interval}: parameters of"
                f" {records} channels come at once"
            )

    def _check_depths(self) -> None:
        for path, depth, least in (
            ("memory.act_kib", self.act_depth, 8 * self.ratio),
            ("memory.wgt_kib", self.wgt_depth, 4),
            ("memory.acc_kib", self.acc_depth, 4),
        ):
            if depth < least:
                section, key = path.split(".")
                value = getattr(getattr(self, section), key)
                raise ConfigError(
                    f"`{path}` must hold at least {least} entries of this array, not {depth} ({value} KiB)"
                )

    def describe_fields(self) -> Iterator[tuple[str, Limits, int | bool]]:
        """Yield (`section.field`, limits, value) for every field, in order."""
        for section in SECTIONS:
            values = getattr(self, section)
            for f in fields(values):
                yield f"{section}.{f.name}", f.metadata["limits"], getattr(values, f.name)

    # ---- derived: shapes -------------------------------------------------------------------------------------

    @property
    def atom(self) -> int:
        """Channels in one addressable entry of the activation scratchpad."""
        return min(self.gemm.block_in, self.gemm.block_out)

    @property
    def lanes(self) -> int:
        """Channels in one row, the unit of activation layout and DMA."""
        return max(self.gemm.block_in, self.gemm.block_out)

    @property
    def ratio(self) -> int:
        """Atoms in a row."""
        return self.lanes // self.atom

    @property
    def sub_in(self) -> int:
        """Blocks of `block_in` channels in a row."""
        return self.lanes // self.gemm.block_in

    @property
    def sub_out(self) -> int:
        """Blocks of `block_out` channels in a row."""
        return self.lanes // self.gemm.block_out

    @property
    def atom_bytes(self) -> int:
        """Bytes in one entry of the activation scratchpad."""
        return self.gemm.batch * self.atom

    @property
    def row_bytes(self) -> int:
        """Bytes in one row of activations."""
        return self.gemm.batch * self.lanes

    @property
    def wgt_entry_bytes(self) -> int:
        """Bytes in one weight entry."""
        return self.gemm.block_in * self.gemm.block_out

    @property
    def prm_entry_bytes(self) -> int:
        """Bytes in one parameter entry."""
        return RECORD_BYTES * self.gemm.block_out

    @property
    def acc_lanes(self) -> int:
        """Accumulators in one entry of the accumulator scratchpad."""
        return self.gemm.batch * self.gemm.block_out

    @property
    def turn_channels(self) -> int:
        """Output channels that the epilogue works on in one cycle; the others of a result have their turns after."""
        return self.gemm.block_out // self.epilogue.interval

    @property
    def turn_lanes(self) -> int:
        """Lanes of the epilogue: of all batch rows, `turn_channels` each."""
        return self.gemm.batch * self.turn_channels

    @property
    def macs_per_cycle(self) -> int:
        """Peak multiply-accumulates a cycle."""
        return self.gemm.batch * self.gemm.block_in * self.gemm.block_out

    @property
    def window_rows(self) -> int:
        """Rows of the depthwise window."""
        return _WINDOW_ROWS[self.gemm.block_in]

    @property
    def window_columns(self) -> int:
        """Columns of the depthwise window: rows times columns is at most `block_in`."""
        return self.gemm.block_in // self.window_rows

    @property
    def bus_bytes(self) -> int:
        """Bytes in one beat of the memory port."""
        return self.bus.data_bits // 8

    # ---- derived: depths and widths --------------------------------------------------------------------------

    @property
    def act_depth(self) -> int:
        """Atoms in the activation scratchpad."""
        return self.memory.act_kib * 1024 // self.atom_bytes

    @property
    def act_rows(self) -> int:
        """Rows in the activation scratchpad."""
        return self.act_depth // self.ratio

    @property
    def wgt_depth(self) -> int:
        """Entries in the weight scratchpad."""
        return self.memory.wgt_kib * 1024 // self.wgt_entry_bytes

    @property
    def acc_depth(self) -> int:
        """Entries in the accumulator scratchpad."""
        return self.memory.acc_kib * 1024 // (4 * self.acc_lanes)

    @property
    def prm_depth(self) -> int:
        """Entries in the parameter memory."""
        return self.memory.prm_entries

    @property
    def extent_bits(self) -> int:
        """Bits of a loop extent: enough to walk the deepest scratchpad."""
        return max(self.act_depth, self.wgt_depth, self.acc_depth).bit_length()

    # ---- identity, TOML --------------------------------------------------------------------------------------

    @property
    def hash(self) -> str:
        """16 hexadecimal digits that name this hardware; `name` does not count."""
        text = f"isa={ISA_VERSION}\n" + "".join(f"{p}={int(v)}\n" for p, _, v in self.describe_fields())
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_toml(self) -> str:
        """Return the configuration as TOML text that `from_toml` reads back."""
        sections = {s: {f.name: getattr(getattr(self, s), f.name) for f in fields(t)} for s, t in SECTIONS.items()}
        return tomli_w.dumps({"name": self.name, **sections})

    @classmethod
    def from_toml(cls, text: str) -> Config:
        """Build a configuration from TOML text; what is left out has its default.

        Raises
        ------
        ConfigError
            For broken TOML, an unknown key or an impossible value.
        """
        try:
            data = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(f"configuration is not valid TOML: {error}") from None
        return cls.from_dict(data)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Config:
        """Build a configuration from nested mappings; see `from_toml`."""
        arguments: dict[str, Any] = {}
        for key, value in data.items():
            if key == "name":
                arguments[key] = value
            elif key in SECTIONS:
                arguments[key] = section_from(key, value)
            else:
                raise ConfigError(f"unknown key `{key}` in configuration; known: name, {', '.join(SECTIONS)}")
        return cls(**arguments)

    @classmethod
    def load(cls, source: str | Path) -> Config:
        """Return the preset named `source`, or read the TOML file at that path."""
        if str(source) in PRESETS:
            return PRESETS[str(source)]
        path = Path(source)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:  # not text, or no path at all
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise ConfigError(
                f"configuration `{source}` is neither a preset ({', '.join(PRESETS)}) nor a readable file: {reason}"
            ) from None
        return cls.from_toml(text)

    def with_values(self, name: str | None = None, **sections: Mapping[str, int | bool]) -> Config:
        """Return a copy with some fields changed: `config.with_values(gemm={"batch": 2})`."""
        checked = {section: check_keys(section, values) for section, values in sections.items()}
        changes: dict[str, Any] = {s: replace(getattr(self, s), **values) for s, values in checked.items()}
        return replace(self, name=name or self.name, **changes)


def _square(size: int, name: str, memory: Memory, queue: Queue, *, rows: bool = True) -> Config:
    gemm, bus, vector = Gemm(block_in=size, block_out=size), Bus(data_bits=max(64, 8 * size)), Vector(rows=rows)
    return Config(name=name, gemm=gemm, memory=memory, bus=bus, queue=queue, vector=vector)


#: Named configurations; boards' presets are added by the FPGA part.
PRESETS: Mapping[str, Config] = {
    c.name: c
    for c in (
        _square(4, "tiny", Memory(act_kib=4, wgt_kib=4, acc_kib=2, prm_entries=16), Queue(4, 4, 4), rows=False),
        _square(8, "8x8", Memory(act_kib=64, wgt_kib=64, acc_kib=16), Queue()),
        _square(16, "16x16", Memory(act_kib=128, wgt_kib=128, acc_kib=32), Queue()),
        _square(32, "32x32", Memory(act_kib=256, wgt_kib=512, acc_kib=64), Queue()),
    )
}
