"""Mutated files and arguments: never a traceback, a hang or a crash. A sample here, 10^5 cases with `-m slow`.

`--seed` chooses others. A case that fails names the number that makes it again.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.sweep.test_space import TEXT as SPACE
from tests.system.mutated_inputs import SECONDS, alarm, cases, memory_limit
from tilewright.bench.convolutions import convolution_model
from tilewright.compiler.targets.accelerator.workloads import ConvolutionShape

#: How many: here, and in the slow suite, where they are 100,000.
COUNTS = {
    "config": (200, 15_000),
    "space": (200, 15_000),
    "trace": (150, 12_000),
    "assembly": (200, 15_000),
    "instructions": (200, 15_000),
    "program": (100, 8_000),
    "onnx_bytes": (60, 8_000),
    "onnx_model": (40, 6_000),
    "arguments": (60, 6_000),
}

#: What a case may take beside what the process has.
MORE_BYTES = 2 << 30


def run_cases(kind: str, seed: int, count: int, folder: Path) -> None:
    model = convolution_model(ConvolutionShape("small", 6, 4, 8, 3, 1, 1))
    case = cases(folder, model, SPACE)[kind]
    for number in range(seed, seed + count):
        try:
            with alarm(SECONDS), memory_limit(MORE_BYTES):
                case(random.Random(number))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            raise AssertionError(f"{kind} {number}: {type(error).__name__}: {error}") from error


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Give a folder to work in, where names without a folder are written."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("kind", COUNTS)
def test_a_sample_of_mutated_inputs(kind: str, quiet: Path) -> None:
    run_cases(kind, 0, COUNTS[kind][0], quiet)


@pytest.mark.slow
@pytest.mark.parametrize("kind", COUNTS)
def test_mutated_inputs(kind: str, seed: int, quiet: Path) -> None:
    run_cases(kind, seed, COUNTS[kind][1], quiet)


def test_the_slow_suite_is_large() -> None:
    assert sum(slow for _, slow in COUNTS.values()) == 100_000
