"""What a run is charged: work from the instructions, cycles from their completions, the bound from both."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set
from tilewright.report import LayerReport, Report, Work, bound_of, cycles_by_layer, report_table, work_by_layer


def test_work_is_what_the_instructions_say() -> None:
    isa = instruction_set(PRESETS["8x8"])
    size = isa.instruction_bytes
    loops = [name for name in isa.by_name["GEMM"].operands if name.startswith("extent_")]
    gemm = dict.fromkeys(loops, 2)
    assert len(loops) == 6
    load = {"extent_run": 5, "extent0": 3, "extent1": 2, "extent2": 1, "pad_left": 7, "pad_top": 4}
    store = {"extent_run": 4, "extent0": 1, "extent1": 1, "extent2": 1}
    program = [
        ("LOAD_ACT", load, 0),
        ("LOAD_WGT", {"extent_run": 9, "extent0": 2}, 0),
        ("LOAD_PRM", {"extent_run": 1, "extent0": 1}, 0),
        ("GEMM", gemm, 0),
        ("VECTOR", dict.fromkeys(loops, 3), 1),
        ("STORE_ACT", store, 1),
    ]
    data = b"".join(isa.encode(name, values) for name, values, _ in program)
    work = work_by_layer(isa, data, [layer for *_, layer in program])
    assert work == {
        0: Work(4, 2**6, 0, 4 * size + 30 * 8 + 18 * 64 + 64, 0),  # padding is not read
        1: Work(2, 0, 3**6, 2 * size, 4 * 8),
    }


@pytest.mark.parametrize(
    ("trace", "expected"),
    [
        # (layer, engine, end)
        ([(0, "l", 10), (0, "c", 30), (1, "c", 50)], {0: 30, 1: 20}),
        ([(0, "l", 10), (1, "l", 20), (0, "c", 30), (1, "c", 45)], {0: 30, 1: 15}),  # loads ahead
        ([(0, "c", 30), (0, "s", 44), (1, "c", 45), (1, "s", 60)], {0: 30, 1: 30}),  # stores behind
        ([(0, "c", 30), (1, "l", 35), (1, "s", 50), (2, "c", 70)], {0: 30, 1: 20, 2: 20}),  # a copy
        ([(2, "c", 8), (3, "l", 8)], {2: 8, 3: 0}),
        ([], {}),
    ],
)
def test_charges_add_up(trace: list[tuple[int, str, int]], expected: dict[int, int]) -> None:
    layers, engines, end = ([entry[i] for entry in trace] for i in range(3))
    found = cycles_by_layer(layers, [engine == "c" for engine in engines], np.array(end))
    assert found == expected
    assert sum(found.values()) == max(end, default=0)


@pytest.mark.parametrize(
    ("work", "bound"),
    [
        (Work(gemm_steps=90, read_bytes=160), "array"),
        (Work(gemm_steps=60, read_bytes=1600), "bus"),
        (Work(vector_steps=70, write_bytes=160), "vector"),
        (Work(gemm_steps=40, read_bytes=480), "latency"),
    ],
)
def test_bound_is_the_busiest(work: Work, bound: str) -> None:
    assert bound_of(work, 100, 16) == bound


def test_report_adds_up_and_is_json() -> None:
    layers = (
        LayerReport("conv", "qconv2d", "device", 6400, 50, 0.5, Work(3, 100, 0, 10, 20), "array"),
        LayerReport("softmax", "onnx.Softmax", "host", note="float"),
    )
    report = Report("m", "16x16", "0", "rtl", 256, layers, 100)
    assert report.macs == 6400
    assert report.utilization == 0.25
    assert report.work.write_bytes == 20
    assert json.loads(json.dumps(report.as_data()))["layers"][1]["note"] == "float"
    assert report_table(report).row_count == 2
