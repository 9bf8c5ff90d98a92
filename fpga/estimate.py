"""A quick estimate of what a configuration takes, without synthesis, and whether that fits a device."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tilewright.fpga.devices import BUDGETED, Device, Family, Resources
from tilewright.hw.packed_dot_product import field_bits
from tilewright.isa.config import PRESETS, Config
from tilewright.isa.errors import CapacityError
from tilewright.isa.row_ops import SCALE_BITS, SCALED_BITS

ESTIMATE_STAGE = "config-estimate"

#: Memories of fewer bits than this, or of fewer words, become lookup tables.
_LEAST_RAM_BITS = 2048

#: Products of fewer bits than this become lookup tables.
_LEAST_PRODUCT_BITS = 9

#: The requantizer cuts its sum here, as `hw.requantizer` does.
_LOW_BITS = 16


@dataclass(frozen=True)
class Shortage:
    """A resource of which a device has too little.

    Attributes
    ----------
    resource : str
        The family's name for it.
    needed, available : float
    """

    resource: str
    needed: float
    available: float


def estimate(config: Config, family: Family) -> Resources:
    """Return what a configuration takes, from its shape alone.

    DSP blocks and block RAMs follow from the structure; lookup tables and flip-flops are fitted to synthesis.
    """
    return Resources(
        lut=_luts(config, family), ff=_flip_flops(config), dsp=_multipliers(config, family), ram=_rams(config, family)
    )


def shortages(needed: Resources, device: Device) -> list[Shortage]:
    """Return the resources of which the device has less than is needed."""
    family = device.family
    names = {"lut": family.lut_name, "ff": "flip-flop", "dsp": family.dsp_name, "ram": family.ram_name}
    return [
        Shortage(names[kind], getattr(needed, kind), getattr(device.budget, kind))
        for kind in BUDGETED
        if getattr(needed, kind) > getattr(device.budget, kind)
    ]


def check_fit(config: Config, device: Device, presets: Iterable[Config] = PRESETS.values()) -> Resources:
    """Return the estimate of a configuration that fits a device.

    Raises
    ------
    CapacityError
        If it does not fit, naming the resources and the largest preset that fits.
    """
    needed = estimate(config, device.family)
    short = shortages(needed, device)
    if short:
        words = ", ".join(f"about {s.needed:,.0f} {s.resource}s of {s.available:,.0f}" for s in short)
        raise CapacityError(
            f"configuration `{config.name}` does not fit {device.name}: it takes {words}; {_advice(device, presets)}"
        )
    return needed


def largest_that_fits(device: Device, presets: Iterable[Config]) -> Config | None:
    """Return the preset with the most multipliers that fits a device."""
    fitting = [c for c in presets if not shortages(estimate(c, device.family), device)]
    return max(fitting, key=lambda c: (c.macs_per_cycle, c.memory.act_kib), default=None)


def _advice(device: Device, presets: Iterable[Config]) -> str:
    largest = largest_that_fits(device, presets)
    return f"the largest preset that fits is `{largest.name}`" if largest else "no preset fits"


def _multiplier(family: Family, left: int, right: int) -> float:
    """Return the DSP blocks that a signed multiplier takes."""
    left, right = sorted((left, right))
    for a, b, part in family.multipliers:
        if left <= a and right <= b:
            return part
    a, b, part = family.multipliers[-1]
    return part * -(-left // a) * -(-right // b)


def _multipliers(config: Config, family: Family) -> float:
    scale = config.epilogue.multiplier_bits + 1
    packed = _multiplier(family, 9, 9 + field_bits(config.gemm.cascade))
    products = config.macs_per_cycle
    array = products / 2 * packed if config.gemm.packed else products * _multiplier(family, 8, 8)
    lane = _multiplier(family, _LOW_BITS + 1, scale) + _multiplier(family, config.gemm.acc_bits - _LOW_BITS, scale)
    soft = family.soft_multipliers
    if config.epilogue.residual and "ResidualAdder" not in soft:
        lane += 2 * _multiplier(family, 9, scale)
    has_vectors = config.vector.multiply and "VectorLane" not in soft
    vector_lane = _vector_lane_multipliers(config, family) if has_vectors else 0
    return array + config.turn_lanes * lane + config.acc_lanes * vector_lane + _row_multipliers(config, family)


def _vector_lane_multipliers(config: Config, family: Family) -> float:
    """Return the DSP blocks of a vector lane's product: what is above the first factor may be small enough without."""
    bits = min(config.gemm.factor_bits, config.gemm.acc_bits)
    rest = config.gemm.acc_bits - bits
    high = _multiplier(family, 9, rest + 1) if rest >= _LEAST_PRODUCT_BITS else 0
    return _multiplier(family, 9, bits + 1) + high


def _row_multipliers(config: Config, family: Family) -> float:
    """Return the DSP blocks of the row unit: a product and an interpolation a lane, a scale and two lines a row."""
    if not config.vector.rows:
        return 0
    line = _multiplier(family, 11, 12)
    lane = _multiplier(family, 17, SCALE_BITS + 1) + line
    return config.acc_lanes * lane + config.gemm.batch * (_multiplier(family, SCALED_BITS, SCALE_BITS + 1) + 2 * line)


def _memory(family: Family, depth: int, width: int) -> float:
    """Return the block RAMs of one memory with a read port."""
    if depth * width < _LEAST_RAM_BITS or depth <= 16:
        return 0
    whole = min(-(-depth // d) * -(-width // w) for d, w in family.ram_shapes)
    is_xilinx = family.ram_name == "RAMB36"
    if not is_xilinx:
        return whole
    halves = min(-(-depth // d) * -(-width // (w // 2)) for d, w in family.ram_shapes if w > 1)
    return min(whole, halves / 2)


def _rams(config: Config, family: Family) -> float:
    act = 2 * config.ratio * _memory(family, config.act_rows, 8 * config.atom_bytes)
    word = min(64, config.bus.data_bits, 8 * config.gemm.block_in)
    wgt = 8 * config.wgt_entry_bytes // word * _memory(family, config.wgt_depth, word)
    acc = 2 * config.acc_lanes * _memory(family, config.acc_depth, config.gemm.acc_bits)
    scale_bits = config.epilogue.multiplier_bits + 6
    depth, widths = config.prm_depth * config.epilogue.interval, (config.gemm.acc_bits, scale_bits)
    prm = config.turn_channels * sum(_memory(family, depth, width) for width in widths)
    return act + wgt + acc + prm + _table_rams(config, family)


def _table_rams(config: Config, family: Family) -> float:
    if not config.epilogue.block_tables:
        return 0
    words = min(config.bus_bytes, 256) // 8
    return config.turn_lanes * words * _memory(family, config.epilogue.tables * 32 // words, 64)


#: Lookup tables of six inputs, fitted to synthesis for xc7: of the whole, a bit of the bus, a lane, one of the
#: epilogue, a multiplication in a lane, the residual and a table of a lane of the epilogue (in block RAM or not), a
#: multiplication in depthwise mode, a lane and a batch row of rows.
_LUTS = {
    "base": 7000, "bus_bit": 9, "lane": 165, "epilogue": 200, "product": 11, "residual": 95, "table": 83,
    "block_table": 17, "window": 14, "row_lane": 440, "row": 650,
}  # fmt: skip

#: Flip-flops, likewise.
_FLIP_FLOPS = {
    "base": 6700, "bus_bit": 9, "lane": 255, "epilogue": 120, "product": 9, "residual": 80, "table": 70,
    "block_table": 9, "window": 10, "row_lane": 290, "row": 700,
}  # fmt: skip

#: Lookup tables of a lane's multipliers in one component, where they are no DSP blocks.
_SOFT_MULTIPLIER_LUTS = 300

#: Lookup tables of a family's own size for one of six inputs.
_LUT_RATIO = {"xc7": 1.0, "xcup": 1.1, "cyclonev": 1.4, "ecp5": 1.9, "gw2a": 1.9}


def _logic(config: Config, amounts: Mapping[str, float]) -> float:
    lane = amounts["lane"] + config.gemm.block_in * amounts["product"]
    ends = amounts["epilogue"] + amounts["residual"] * config.epilogue.residual
    ends += amounts["block_table" if config.epilogue.block_tables else "table"] * config.epilogue.tables
    lane += amounts["window"] * config.gemm.block_in * config.depthwise.enabled
    lane += amounts["row_lane"] * config.vector.rows
    rows = amounts["row"] * config.gemm.batch * config.vector.rows
    lanes = config.acc_lanes * lane + config.turn_lanes * ends
    return amounts["base"] + amounts["bus_bit"] * config.bus.data_bits + lanes + rows


def _luts(config: Config, family: Family) -> float:
    soft = len(family.soft_multipliers) * _SOFT_MULTIPLIER_LUTS * config.acc_lanes
    return round(_LUT_RATIO[family.name] * _logic(config, _LUTS)) + soft


def _flip_flops(config: Config) -> float:
    return round(_logic(config, _FLIP_FLOPS))
