"""The accelerator configuration: what the user chooses is a field, what follows from it is a property."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import tomli_w

from tilewright.isa.errors import ConfigError, shown
from tilewright.isa.parameter_record import RECORD_BYTES

#: Changes whenever encodings or meanings change, so that old programs are refused.
ISA_VERSION = 1


@dataclass(frozen=True)
class Limits:
    """The stated range of one configuration field.

    Attributes
    ----------
    low, high : int
        Smallest and largest value; ignored for booleans.
    power_of_two : bool
        Whether only powers of two are allowed.
    doc : str
        One line for the reference page.
    """

    low: int
    high: int
    power_of_two: bool
    doc: str

    def describe(self) -> str:
        """Return the constraint in words."""
        return f"{'a power of two' if self.power_of_two else 'an integer'} in {self.low}..{self.high}"

    def allows(self, value: int) -> bool:
        """Tell whether `value` is in range."""
        return self.low <= value <= self.high and not (self.power_of_two and value & (value - 1))


def _parameter(default: int, low: int, high: int, doc: str, *, power_of_two: bool = False) -> Any:
    return field(default=default, metadata={"limits": Limits(low, high, power_of_two, doc)})


def _switch(default: bool, doc: str) -> Any:
    return field(default=default, metadata={"limits": Limits(0, 1, False, doc)})


@dataclass(frozen=True)
class Gemm:
    """Shape of the multiply-accumulate array."""

    batch: int = _parameter(1, 1, 8, "rows of activations multiplied at once", power_of_two=True)
    block_in: int = _parameter(16, 4, 64, "input channels per step", power_of_two=True)
    block_out: int = _parameter(16, 4, 64, "output channels per step", power_of_two=True)
    acc_bits: int = _parameter(32, 20, 32, "accumulator width in bits; sums wrap")
    cascade: int = _parameter(
        1, 1, 64, "products added one after another, as DSP blocks do, before the adder tree", power_of_two=True
    )
    packed: bool = _switch(False, "whether each multiplier computes two int8 products (needs 25 x 18 bits)")


@dataclass(frozen=True)
class Memory:
    """Sizes of the scratchpads."""

    act_kib: int = _parameter(128, 1, 4096, "activation scratchpad in KiB", power_of_two=True)
    wgt_kib: int = _parameter(128, 1, 8192, "weight scratchpad in KiB", power_of_two=True)
    acc_kib: int = _parameter(32, 1, 2048, "accumulator scratchpad in KiB (32 bits a lane)", power_of_two=True)
    prm_entries: int = _parameter(
        128, 8, 4096, "epilogue parameter entries (block_out channels each)", power_of_two=True
    )


@dataclass(frozen=True)
class Bus:
    """The AXI4 memory port."""

    data_bits: int = _parameter(128, 64, 512, "width of the data channels", power_of_two=True)
    address_bits: int = _parameter(32, 20, 40, "width of a DRAM address")
    burst_beats: int = _parameter(64, 1, 256, "longest burst in beats (AXI3 allows 16)", power_of_two=True)
    reads_in_flight: int = _parameter(16, 1, 32, "read bursts outstanding", power_of_two=True)
    writes_in_flight: int = _parameter(8, 1, 32, "write bursts outstanding", power_of_two=True)


@dataclass(frozen=True)
class Queue:
    """Depths of the instruction queues, in instructions, and range of the token counters."""

    load: int = _parameter(16, 2, 128, "instructions waiting for the load engine", power_of_two=True)
    compute: int = _parameter(8, 2, 128, "instructions waiting for the compute engine", power_of_two=True)
    store: int = _parameter(8, 2, 128, "instructions waiting for the store engine", power_of_two=True)
    token_bits: int = _parameter(6, 2, 16, "width of a token counter")


@dataclass(frozen=True)
class Epilogue:
    """What happens between accumulator and activation scratchpad."""

    multiplier_bits: int = _parameter(16, 8, 24, "width of the fixed-point requantization multipliers")
    residual: bool = _switch(True, "whether a second operand with its own scale can be added")
    tables: int = _parameter(2, 0, 16, "resident 256-entry lookup tables, 0 leaves the lookup out", power_of_two=True)
    block_tables: bool = _switch(False, "whether lookup tables are block RAM instead of distributed RAM on FPGAs")
    interval: int = _parameter(
        1, 1, 4, "cycles from a result to the next, whose channels take turns in so many times fewer lanes",
        power_of_two=True,
    )  # fmt: skip


@dataclass(frozen=True)
class Vector:
    """The vector unit."""

    multiply: bool = _switch(True, "whether the vector unit multiplies two operands")
    rows: bool = _switch(False, "whether there is a unit for softmax and normalization along rows")


@dataclass(frozen=True)
class Depthwise:
    """The depthwise mode of the array: every lane gets a window of its own channel."""

    enabled: bool = _switch(True, "whether the array has the depthwise mode")
    columns: int = _parameter(128, 16, 1024, "longest input row of a pass", power_of_two=True)


#: Accumulators that hold the results of row operations.
ROW_ACC_BITS = 32

#: Products in a chain of multipliers that compute two each: more run over into each other.
MOST_PACKED_PRODUCTS = 8

#: Rows of the depthwise window, by the multipliers of a lane.
_WINDOW_ROWS = {4: 1, 8: 2, 16: 3, 32: 5, 64: 7}

_SECTIONS: dict[str, type] = {
    "gemm": Gemm, "memory": Memory, "bus": Bus, "queue": Queue,
    "epilogue": Epilogue, "vector": Vector, "depthwise": Depthwise,
}  # fmt: skip


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
    gemm: Gemm = Gemm()
    memory: Memory = Memory()
    bus: Bus = Bus()
    queue: Queue = Queue()
    epilogue: Epilogue = Epilogue()
    vector: Vector = Vector()
    depthwise: Depthwise = Depthwise()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ConfigError(f"`name` must be a non-empty string, not {self.name!r}")
        for path, limits, value in self.describe_fields():
            _check_field(path, limits, value, _is_switch(path))
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
        for section in _SECTIONS:
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
        sections = {s: {f.name: getattr(getattr(self, s), f.name) for f in fields(t)} for s, t in _SECTIONS.items()}
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
            elif key in _SECTIONS:
                arguments[key] = _section_from(key, value)
            else:
                raise ConfigError(f"unknown key `{key}` in configuration; known: name, {', '.join(_SECTIONS)}")
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
        checked = {section: _check_keys(section, values) for section, values in sections.items()}
        changes: dict[str, Any] = {s: replace(getattr(self, s), **values) for s, values in checked.items()}
        return replace(self, name=name or self.name, **changes)


def _is_switch(path: str) -> bool:
    section, key = path.split(".")
    return isinstance(getattr(_SECTIONS[section](), key), bool)


def _check_field(path: str, limits: Limits, value: object, is_switch: bool) -> None:
    if is_switch:
        if not isinstance(value, bool):
            raise ConfigError(f"`{path}` must be true or false, not {shown(value)}")
        return
    if not isinstance(value, int) or isinstance(value, bool):
        raise ConfigError(f"`{path}` must be {limits.describe()}, not {shown(value)}")
    if value == 0 and limits.low == 0:
        return
    if not limits.allows(value):
        raise ConfigError(f"`{path}` must be {limits.describe()}, not {shown(value)}")


def _check_keys(section: str, values: object) -> dict[str, Any]:
    if section not in _SECTIONS:
        raise ConfigError(f"unknown section `{section}` in configuration; known: {', '.join(_SECTIONS)}")
    if not isinstance(values, Mapping):
        raise ConfigError(f"`{section}` must be a section of the configuration, not {shown(values)}")
    known = [f.name for f in fields(_SECTIONS[section])]
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown key `{section}.{key}` in configuration; known: {', '.join(known)}")
    return dict(values)


def _section_from(section: str, values: object) -> Any:
    return _SECTIONS[section](**_check_keys(section, values))


def _square(size: int, name: str, memory: Memory, queue: Queue = Queue(), *, rows: bool = True) -> Config:
    gemm, bus, vector = Gemm(block_in=size, block_out=size), Bus(data_bits=max(64, 8 * size)), Vector(rows=rows)
    return Config(name=name, gemm=gemm, memory=memory, bus=bus, queue=queue, vector=vector)


#: Named configurations; boards' presets are added by the FPGA part.
PRESETS: Mapping[str, Config] = {
    c.name: c
    for c in (
        _square(4, "tiny", Memory(act_kib=4, wgt_kib=4, acc_kib=2, prm_entries=16), Queue(4, 4, 4), rows=False),
        _square(8, "8x8", Memory(act_kib=64, wgt_kib=64, acc_kib=16)),
        _square(16, "16x16", Memory(act_kib=128, wgt_kib=128, acc_kib=32)),
        _square(32, "32x32", Memory(act_kib=256, wgt_kib=512, acc_kib=64)),
    )
}
