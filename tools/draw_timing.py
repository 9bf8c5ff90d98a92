"""Draw the timing diagrams of the documentation from signals of the RTL; `--check` compares instead.

Usage: python tools/draw_timing.py [--check]

Small programs run on the RTL of the preset `tiny` with waveforms, which `pywellen` (extra `docs`) reads. Each diagram
names the signals that it shows, by their paths in the design.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
import pywellen

from tilewright.isa.assembly import assemble
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import Engine, instruction_set
from tilewright.sim.api import DramTiming, LaunchResult
from tilewright.sim.rtl import RtlSimulator

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "timing"

ISA = instruction_set(PRESETS["tiny"])

#: Where programs lie in memory; data before.
_PROGRAM = 8192

#: Verilator writes the scopes of some modules without those around them.
_SCOPES = ("harness.accelerator", "harness")

#: One tile: eight rows times four blocks of weights.
_ONE_TILE = """
LOAD_ACT  base=0 dram_base=0 extent_run=32 extent0=1 extent1=1 extent2=1
LOAD_WGT  dram_base=1024 extent_run=4 extent0=1
LOAD_PRM  dram_base=1536 extent_run=1 extent0=1 signal=compute
GEMM      wait=load signal=store extent_out0=1 extent_out1=4 extent_out2=1 extent_red0=1 extent_red1=1 extent_red2=2 \
a_out1=2 a_red2=1 w_red2=1 d_base=64 d_out1=1 clamp_low=-128 clamp_high=127
STORE_ACT base=64 dram_base=4096 extent_run=4 extent0=1 extent1=1 extent2=1 wait=compute
"""

#: Four tiles in two halves of the scratchpad: loads run ahead until a half is taken.
_TILE = """
LOAD_ACT  base={rows} dram_base={source} extent_run=128 extent0=1 extent1=1 extent2=1 {free}
LOAD_WGT  base={weights} dram_base=2048 extent_run=4 extent0=1 signal=compute
GEMM      wait={ready} signal={done} extent_out0=1 extent_out1=32 extent_out2=1 extent_red0=1 extent_red1=1 \
extent_red2=4 a_base={rows} a_out1=4 a_red2=1 w_base={weights} w_red2=1 d_base={results} d_out1=1 clamp_low=-128 \
clamp_high=127
STORE_ACT base={results} dram_base={target} extent_run=32 extent0=1 extent1=1 extent2=1 wait=compute {stored}
"""

_TILES = 4


@dataclass(frozen=True)
class Wave:
    """A signal to show.

    Attributes
    ----------
    title : str
    path : str
        In the design, without the harness around it.
    shown : Callable or None
        What stands in a box for a value; None for a single bit, which is drawn as a line.
    when : str
        Path of a bit; boxes are drawn only where it is 1. Empty: everywhere.
    """

    title: str
    path: str
    shown: Callable[[int], str] | None = None
    when: str = ""


@dataclass(frozen=True)
class Recording:
    """A run with its waveforms: `value(path, cycle)` for every signal of the design."""

    result: LaunchResult
    value: Callable[[str, int], int]


def record(text: str, folder: Path, dram: DramTiming) -> Recording:
    """Run a program on the RTL with waveforms."""
    program = assemble(text, ISA)
    memory = np.zeros(_PROGRAM + len(program), np.uint8)
    memory[:4096] = np.random.default_rng(1).integers(0, 256, 4096)
    memory[_PROGRAM:] = np.frombuffer(program, np.uint8)
    path = folder / "run.fst"
    simulator = RtlSimulator(ISA, dram, path)
    result = simulator.launch(memory, _PROGRAM, len(program) // ISA.instruction_bytes)
    signals = {var.full_name: var.signal for var in pywellen.Waveform(str(path)).all_vars()}

    def value(name: str, cycle: int) -> int:
        whole = next(f"{scope}.{name}" for scope in _SCOPES if f"{scope}.{name}" in signals)
        return int(signals[whole].value_at(2 * cycle))

    return Recording(result, value)


# ---- drawings -----------------------------------------------------------------------------------------------------

_CELL, _ROW, _LEFT, _TOP, _LETTER = 22, 28, 190, 24, 6
_STYLE = (
    "text{font:12px sans-serif;fill:#222}.s{font-size:10px}.m{text-anchor:middle}.g{stroke:#ddd}"
    ".w{fill:none;stroke:#1a5fb4;stroke-width:1.5}.b{fill:#e3eefb;stroke:#1a5fb4}.a{fill:none;stroke:#c01c28}"
)


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}">'
    return "\n".join([head, f"<style>{_STYLE}</style>", *parts, "</svg>", ""])


def _text(x: float, y: float, text: str, kind: str = "") -> str:
    return f'<text x="{x:g}" y="{y:g}" class="{kind}">{escape(text)}</text>'


def draw_waves(recording: Recording, waves: Sequence[Wave], first: int, last: int) -> str:
    """Draw signals from cycle `first` up to but not including `last`."""
    width, height = _LEFT + _CELL * (last - first) + 10, _TOP + _ROW * len(waves) + 6
    parts = []
    for cycle in range(first, last):
        x = _LEFT + _CELL * (cycle - first)
        parts.append(f'<path class="g" d="M{x} {_TOP - 4}V{height}"/>')
        if (cycle - first) % 2 == 0:
            parts.append(_text(x + _CELL / 2, _TOP - 9, str(cycle), "s m"))
    for number, wave in enumerate(waves):
        y = _TOP + _ROW * number
        parts.append(_text(4, y + 17, wave.title))
        parts += (
            _line(recording, wave, first, last, y) if wave.shown is None else _boxes(recording, wave, first, last, y)
        )
    return _svg(width, height, parts)


def _line(recording: Recording, wave: Wave, first: int, last: int, y: int) -> list[str]:
    path = ""
    for cycle in range(first, last):
        x, level = _LEFT + _CELL * (cycle - first), y + (4 if recording.value(wave.path, cycle) else 22)
        path += f"{'V' if path else f'M{x} '}{level}H{x + _CELL}"
    return [f'<path class="w" d="{path}"/>']


def _boxes(recording: Recording, wave: Wave, first: int, last: int, y: int) -> list[str]:
    """Draw a box from each change of a value to the next; none where the value does not count."""
    assert wave.shown is not None
    parts: list[str] = []
    begin, shown = first, ""
    for cycle in range(first, last + 1):
        counts = cycle < last and (not wave.when or recording.value(wave.when, cycle))
        now = wave.shown(recording.value(wave.path, cycle)) if counts else ""
        if now == shown:
            continue
        if shown:
            x, width = _LEFT + _CELL * (begin - first), _CELL * (cycle - begin)
            is_wide = _LETTER * len(shown) > width
            parts.append(f'<rect class="b" x="{x}" y="{y + 4}" width="{width}" height="18" rx="3"/>')
            parts.append(_text(x + (width + 3 if is_wide else width / 2), y + 17, shown, "s" if is_wide else "s m"))
        begin, shown = cycle, now
    return parts


def _lanes(engines: Sequence[Engine], start: Sequence[int], end: Sequence[int]) -> list[tuple[Engine, int]]:
    """Give each instruction a lane of its engine that is free from its start on: the first one."""
    free: dict[tuple[Engine, int], int] = {}
    lanes = []
    for engine, first, last in zip(engines, start, end, strict=True):
        number = next(n for n in range(len(engines)) if free.get((engine, n), 0) <= first)
        free[engine, number] = last
        lanes.append((engine, number))
    return lanes


def draw_engines(result: LaunchResult, engines: Sequence[Engine], titles: Sequence[str]) -> str:
    """Draw instructions as bars, from their start to their end; those that overlap stand below each other."""
    assert result.trace is not None and result.cycles is not None
    starts, ends, scale = result.trace.start.tolist(), result.trace.end.tolist(), 760 / result.cycles
    lanes = _lanes(engines, starts, ends)
    order = [(engine, n) for engine in Engine for n in range(1 + max(n for e, n in lanes if e is engine))]
    rows = {lane: _TOP + _ROW * number for number, lane in enumerate(order)}
    height = _TOP + _ROW * len(order) + 6
    parts = []
    for cycle in range(0, result.cycles, 50):
        x = 70 + scale * cycle
        parts += [
            f'<path class="g" d="M{x:.1f} {_TOP - 4}V{height}"/>',
            _text(round(x, 1), _TOP - 9, str(cycle), "s m"),
        ]
    parts += [_text(4, rows[engine, 0] + 17, str(engine)) for engine in Engine]
    for lane, title, start, end in zip(lanes, titles, starts, ends, strict=True):
        x, y, width = 70 + scale * start, rows[lane], scale * (end - start)
        parts.append(f'<rect class="b" x="{x:.1f}" y="{y + 4}" width="{width:.1f}" height="18" rx="3"/>')
        parts.append(_text(round(x + width / 2, 1), y + 17, title, "s m"))
    return _svg(850, height, parts)


# ---- the diagrams -------------------------------------------------------------------------------------------------

_AXI = "m_axi__"
_BURST = (
    Wave("arvalid", f"{_AXI}arvalid"),
    Wave("arready", f"{_AXI}arready"),
    Wave("araddr", f"{_AXI}araddr", hex, f"{_AXI}arvalid"),
    Wave("arlen (beats - 1)", f"{_AXI}arlen", str, f"{_AXI}arvalid"),
    Wave("rvalid", f"{_AXI}rvalid"),
    Wave("rready", f"{_AXI}rready"),
    Wave("rid (0 fetch, 1 load)", f"{_AXI}rid", str, f"{_AXI}rvalid"),
    Wave("rlast", f"{_AXI}rlast"),
)
_TOKEN = (
    Wave("load: instruction ends", "trace__load_finish"),
    Wave("load: gives to", "load.tokens__signal_mask", lambda mask: ("-", "compute", "store", "both")[mask],
         "load.tokens__signal_valid"),
    Wave("tokens load to compute", "tokens.load_to_compute", str),
    Wave("compute: asks", "compute.tokens__wait_request"),
    Wave("compute: may start", "compute.tokens__wait_grant"),
    Wave("compute: instruction starts", "trace__compute_start"),
    Wave("compute: step", "compute.step"),
)  # fmt: skip
_PIPELINE = (
    Wave("instruction starts", "trace__compute_start"),
    Wave("step", "compute.step"),
    Wave("act: address of operand a", "compute.act_a__addr", str, "compute.act_a__en"),
    Wave("array: operands are there", "compute.gemm_core.valid"),
    Wave("act: a result is written", "compute.act_d__valid"),
    Wave("act: its row", "compute.act_d__row", str, "compute.act_d__valid"),
    Wave("instruction ends", "trace__compute_finish"),
)


def _tiles() -> tuple[str, list[Engine], list[str]]:
    text, engines, titles = "", [], []
    for tile in range(_TILES):
        half = tile % 2
        text += _TILE.format(
            rows=256 * half, weights=16 * half, results=512 + 64 * half, source=512 * tile, target=4096 + 128 * tile,
            free="wait=compute" if tile > 1 else "", ready="load+store" if tile > 1 else "load",
            done="load+store" if tile < _TILES - 2 else "store", stored="signal=compute" if tile < _TILES - 2 else "",
        )  # fmt: skip
        engines += [Engine.LOAD, Engine.LOAD, Engine.COMPUTE, Engine.STORE]
        titles += [f"input {tile}", f"w{tile}", f"tile {tile}", f"{tile}"]
    return text, engines, titles


def diagrams() -> dict[Path, str]:
    """Return the text of every diagram, by path."""
    quick = DramTiming(latency_cycles=8, bytes_per_cycle=8)
    with tempfile.TemporaryDirectory() as folder:
        one = record(_ONE_TILE, Path(folder), quick)
        text, engines, titles = _tiles()
        many = record(text, Path(folder), DramTiming())
        trace = one.result.trace
        assert trace is not None
        load, gemm = int(trace.start[0]), int(trace.start[3])
        return {
            FOLDER / "burst.svg": draw_waves(one, _BURST, load, load + 34),
            FOLDER / "token.svg": draw_waves(one, _TOKEN, gemm - 10, gemm + 12),
            FOLDER / "pipeline.svg": draw_waves(one, _PIPELINE, gemm - 1, int(trace.end[3]) + 2),
            FOLDER / "tiles.svg": draw_engines(many.result, engines, titles),
        }


def main(arguments: list[str]) -> int:
    """Write or compare; 1 when a diagram differs."""
    found = diagrams()
    if "--check" in arguments:
        stale = [path for path, text in found.items() if not path.is_file() or path.read_text() != text]
        for path in stale:
            print(f"{path.name} is not what the RTL does; run tools/draw_timing.py")
        return 1 if stale else 0
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path, text in found.items():
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
