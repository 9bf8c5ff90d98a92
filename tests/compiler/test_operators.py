"""Every quantized operator at random: against onnxruntime, the integer reference and the device."""

from __future__ import annotations

import pytest

from tests.compiler.operator_cases import CASES
from tests.compiler.operator_driver import check_case

FEW, MANY = 12, 200
NAMES = [name for name, entry in CASES.items() if entry.host is not None]


@pytest.mark.parametrize("name", NAMES)
def test_operator(name: str) -> None:
    for seed in range(FEW):
        check_case(name, seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_operator_at_length(name: str) -> None:
    for seed in range(FEW, FEW + MANY):
        check_case(name, seed)
