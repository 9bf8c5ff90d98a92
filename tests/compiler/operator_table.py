"""The page of operators: what each random operator becomes, and what of it the host computes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from tests.compiler.operator_cases import CASES, Case
from tests.compiler.operator_driver import is_input_format
from tests.compiler.quantized_models import ModelBuilder
from tilewright.compiler.passes.pipeline import load_integer_graph
from tilewright.compiler.targets.accelerator.partition import HostPlan, LaunchPlan, partition
from tilewright.isa.config import Config

SEEDS = range(6)

_HEAD = """# Operators

Written by `pytest tests/compiler/test_operator_table.py --update-golden`; do not edit.

What becomes of each quantized operator, in QDQ or QOperator form, int8 or uint8, with any zero points of activations
and weights, weights' scales per tensor or per channel: the integer operators (`compiler/qops.py`) that it is made of,
on the device unless the last column says otherwise. Taken from {count} random models of each, on `16x16` with
`vector.rows`. The same models (`tests/compiler/operator_cases.py`) are compared with onnxruntime, within a step, and
with the integer reference, bit for bit, by `tests/compiler/test_operators.py`: 12 of each in CI and 200 in the slow
suite. `reshape` and `transpose` cost nothing where the bytes stay the same.

Whatever the operator: an input or output that is not quantized is converted on the host; scales and zero points must be
constants; weights too. What is not listed runs on the host.

| operator | device | integer operators | on the host, and why |
|---|---|---|---|
"""


@dataclass(frozen=True)
class _Found:
    """What one model became."""

    operators: tuple[str, ...]
    host: tuple[str, ...]
    is_on_device: bool


def operator_page() -> str:
    """Give the page's text."""
    return _HEAD.format(count=len(SEEDS)) + "".join(f"{_row(case)}\n" for case in CASES.values())


def _row(case: Case) -> str:
    found = [_found(case, seed) for seed in SEEDS]
    operators = sorted({name for entry in found for name in entry.operators})
    host = sorted({text for entry in found for text in entry.host})
    if not host:
        where = "yes"
    else:
        where = "partly" if any(entry.is_on_device and not entry.host for entry in found) else "no"
        where = "with the host" if where == "no" and operators else where
    names = ", ".join(f"`{name}`" for name in operators)
    return f"| {case.name} | {where} | {names} | {'; '.join(host)} |"


def _found(case: Case, seed: int) -> _Found:
    config = Config.load("16x16").with_values(vector={"rows": True})
    builder = ModelBuilder(np.random.default_rng([seed, zlib.crc32(case.name.encode())]), opset=case.opset)
    model = builder.model([case.build(builder).name])
    graph = load_integer_graph(model, multiplier_bits=config.epilogue.multiplier_bits)
    steps = partition(graph, config).steps
    layers = [layer.node.op for step in steps if isinstance(step, LaunchPlan) for layer in step.layers]
    plans = [step for step in steps if isinstance(step, HostPlan) and not is_input_format(step.node, graph)]
    host = tuple(f"`{plan.node.op.removeprefix('onnx.')}`: {_without_numbers(plan.reason)}" for plan in plans)
    return _Found(tuple(layers), host, bool(layers))


def _without_numbers(reason: str) -> str:
    """A reason of one random model as one of all: its numbers as n."""
    return " ".join(_words(reason))


def _words(reason: str) -> Iterator[str]:
    for word in reason.split():
        digits = word.strip("(),.")
        yield word.replace(digits, "n") if digits.isdigit() else word
