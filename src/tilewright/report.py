"""What a run took, layer by layer: cycles, utilization, DRAM traffic, and what bounds each layer.

Engines overlap, so a layer has no cycles of its own. A layer is charged the time from the last result of the layers
before it to its own last result; the charges add up to the run's cycles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tilewright.isa.assembly import decode_program
from tilewright.isa.instructions import Engine, Instruction, InstructionSet, Opcode
from tilewright.isa.semantics import OUT_LOOPS, RED_LOOPS, memories

if TYPE_CHECKING:
    from rich.table import Table

#: Below this share of a layer's cycles neither array nor vector unit nor bus bounds it: it waits, for latency mostly.
BOUND_SHARE = 0.5

_LOOPS = tuple(f"extent_{name}" for name in OUT_LOOPS + RED_LOOPS)
_PLAIN_SPACES = {Opcode.LOAD_WGT: "wgt", Opcode.LOAD_PRM: "prm", Opcode.LOAD_TBL: "tbl"}


@dataclass(frozen=True)
class Work:
    """What instructions ask of the machine, whatever the timing.

    Attributes
    ----------
    instructions : int
    gemm_steps, vector_steps : int
        Cycles in which the array or the vector unit takes a step, or the array a pixel of a depthwise convolution.
    read_bytes, write_bytes : int
        DRAM traffic, the fetch of the instructions included.
    """

    instructions: int = 0
    gemm_steps: int = 0
    vector_steps: int = 0
    read_bytes: int = 0
    write_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        mine, theirs = asdict(self), asdict(other)
        return Work(**{key: mine[key] + theirs[key] for key in mine})


@dataclass(frozen=True)
class LayerInfo:
    """A layer as compiled.

    Attributes
    ----------
    name, kind : str
    place : str
        `device` or `host`.
    macs : int
        Multiply-accumulates, on the device.
    note : str
        Why it runs on the host, or how it is tiled.
    moved_bytes : int
        That an accelerator's loads and stores move for it.
    needed_bytes : int
        Of its constants, operands and results, once each, as they lie in DRAM: what must move unless tensors stay in
        the scratchpads.
    """

    name: str
    kind: str
    place: str
    macs: int = 0
    note: str = ""
    moved_bytes: int = 0
    needed_bytes: int = 0


@dataclass(frozen=True)
class LayerReport:
    """One layer of a run.

    Attributes
    ----------
    name, kind : str
    place : str
        `device` or `host`.
    macs : int
        Useful multiply-accumulates.
    cycles : int or None
        The layer's share of the run; None when the simulator counts no cycles, and for host layers.
    utilization : float or None
        `macs / (peak macs a cycle * cycles)`.
    work : Work
    bound : str
        `array`, `vector`, `bus` or `latency`; empty when unknown.
    note : str
        Why the layer runs on the host.
    """

    name: str
    kind: str
    place: str
    macs: int = 0
    cycles: int | None = None
    utilization: float | None = None
    work: Work = Work()
    bound: str = ""
    note: str = ""


@dataclass(frozen=True)
class Report:
    """One run.

    Attributes
    ----------
    model, config, hash, simulator : str
    macs_per_cycle : int
        The array's peak.
    layers : tuple of LayerReport
    cycles : int or None
        Of the whole run on the device.
    counters : mapping of str to int
        The device's own performance counters, where there are any.
    seconds : mapping of str to float
        Host time by phase.

    Examples
    --------
    >>> import tilewright
    >>> from tilewright.demo import default_model, default_samples
    >>> images, _ = default_samples(1)
    >>> report = tilewright.compile(default_model(), config="8x8").run(images[0]).report
    >>> report.macs, report.macs_per_cycle, report.cycles  # `functional` knows no time
    (12206720, 64, None)
    >>> sorted({layer.place for layer in report.layers})
    ['device', 'host']
    """

    model: str
    config: str
    hash: str
    simulator: str
    macs_per_cycle: int
    layers: tuple[LayerReport, ...]
    cycles: int | None = None
    counters: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Useful multiply-accumulates on the device."""
        return sum(layer.macs for layer in self.layers if layer.place == "device")

    @property
    def utilization(self) -> float | None:
        """Of the whole run."""
        return self.macs / (self.macs_per_cycle * self.cycles) if self.cycles else None

    @property
    def work(self) -> Work:
        """Of all layers together."""
        return sum((layer.work for layer in self.layers), Work())

    def as_data(self) -> dict[str, Any]:
        """Give the report for JSON."""
        data = asdict(self)
        return {**data, "macs": self.macs, "utilization": self.utilization, "work": asdict(self.work)}


def work_by_layer(isa: InstructionSet, instructions: bytes, layer_of: Sequence[int]) -> dict[int, Work]:
    """Add up what the instructions of each layer ask for; `layer_of` has an entry per instruction."""
    entry_bytes = {space: buffer.shape[1] for space, buffer in memories(isa.config).items() if len(buffer.shape) > 1}
    totals: dict[int, Work] = {}
    for layer, (instruction, values) in zip(layer_of, decode_program(instructions, isa), strict=True):
        work = _instruction_work(isa, instruction, values, entry_bytes)
        totals[layer] = totals.get(layer, Work()) + work
    return totals


def _instruction_work(
    isa: InstructionSet, instruction: Instruction, values: Mapping[str, int], entry_bytes: Mapping[str, int]
) -> Work:
    fetched = isa.instruction_bytes
    if instruction.engine is Engine.COMPUTE:
        if instruction.opcode is Opcode.DEPTHWISE:
            return Work(1, gemm_steps=_depthwise_pixels(values), read_bytes=fetched)
        steps = _product(values[name] for name in _LOOPS)
        is_gemm = instruction.opcode is Opcode.GEMM
        return Work(1, steps if is_gemm else 0, 0 if is_gemm else steps, fetched)
    if instruction.opcode in _PLAIN_SPACES:
        entries = values["extent_run"] * values["extent0"]
        return Work(1, read_bytes=fetched + entries * entry_bytes[_PLAIN_SPACES[instruction.opcode]])
    rows = _product(values[name] for name in ("extent_run", "extent0", "extent1", "extent2"))
    moved = rows * isa.config.row_bytes
    if instruction.engine is Engine.STORE:
        return Work(1, read_bytes=fetched, write_bytes=moved)
    return Work(1, read_bytes=fetched + moved)


def _depthwise_pixels(values: Mapping[str, int]) -> int:
    """Count the pixels that a depthwise instruction feeds to the array, one a cycle."""
    blocks, rows, columns, *kernel = (values[f"extent_{name}"] for name in (*OUT_LOOPS, *RED_LOOPS[1:]))
    if not all((blocks, rows, columns, *kernel)):
        return 0
    input_rows = (rows - 1) * (1 + values["double_y"]) + kernel[0]
    return blocks * input_rows * ((columns - 1) * (1 + values["double_x"]) + kernel[1])


def _product(values: Any) -> int:
    result = 1
    for value in values:
        result *= value
    return result


def cycles_by_layer(layer_of: Sequence[int], is_compute: Sequence[bool], end: Sequence[int]) -> dict[int, int]:
    """Charge each layer the time from the computing of all before it to its own.

    Computing is in order, so that no layer is charged less than its steps. The first layer's charge includes the
    wait for its operands, the last one's the wait for its results to be stored; layers that only move data count
    when they are complete.

    Parameters
    ----------
    layer_of : sequence of int
        Layer of each instruction.
    is_compute : sequence of bool
        Whether each is a compute instruction.
    end : sequence of int
        Cycle in which each completed, from the start of the launch.
    """
    complete: dict[int, int] = {}
    computed: dict[int, int] = {}
    for layer, computes, cycle in zip(layer_of, is_compute, end, strict=True):
        complete[layer] = max(complete.get(layer, 0), int(cycle))
        if computes:
            computed[layer] = max(computed.get(layer, 0), int(cycle))
    marks = {layer: computed.get(layer, cycle) for layer, cycle in complete.items()}
    charges, done = {}, 0
    for layer, cycle in sorted(marks.items(), key=lambda item: (item[1], item[0])):
        charges[layer] = cycle - done
        done = cycle
    if charges:
        charges[next(reversed(charges))] += max(complete.values()) - done
    return charges


def bound_of(work: Work, cycles: int, bytes_per_cycle: float) -> str:
    """Name what keeps a layer from being faster."""
    if cycles <= 0:
        return ""
    busy = {
        "array": work.gemm_steps,
        "vector": work.vector_steps,
        "bus": max(work.read_bytes, work.write_bytes) / bytes_per_cycle,
    }
    name = max(busy, key=lambda key: busy[key])
    return name if busy[name] >= BOUND_SHARE * cycles else "latency"


def report_table(report: Report) -> Table:
    """Lay a report out as a table."""
    from rich.markup import escape
    from rich.table import Table

    title = f"{report.model} on {report.config} ({report.simulator})"
    table = Table(title=escape(title), title_justify="left", show_footer=True)
    total = report.work
    table.add_column("layer", "total", overflow="fold")
    table.add_column("kind")
    for head, foot in (
        ("MACs", f"{report.macs:,}"),
        ("cycles", _number(report.cycles)),
        ("utilization", _percent(report.utilization)),
        ("DRAM read", f"{total.read_bytes:,}"),
        ("written", f"{total.write_bytes:,}"),
    ):
        table.add_column(head, foot, justify="right")
    table.add_column("bound by")
    for layer in report.layers:
        table.add_row(*_row(layer))
    return table


def _row(layer: LayerReport) -> tuple[str, ...]:
    from rich.markup import escape

    if layer.place == "host":
        return (
            escape(layer.name),
            shown_kind(layer.kind),
            *[""] * 5,
            escape(f"host: {layer.note}" if layer.note else "host"),
        )
    return (
        escape(layer.name), shown_kind(layer.kind), f"{layer.macs:,}" if layer.macs else "", _number(layer.cycles),
        _percent(layer.utilization if layer.macs else None), f"{layer.work.read_bytes:,}",
        f"{layer.work.write_bytes:,}", layer.bound,
    )  # fmt: skip


def shown_kind(kind: str) -> str:
    """Show an operator: those of ONNX under their plain name."""
    return kind.removeprefix("onnx.")


def _number(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
