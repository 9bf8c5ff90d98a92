"""Expressions over fields: values, and what is refused."""

from __future__ import annotations

import pytest

from tilewright.isa.errors import ConfigError
from tilewright.sweep.expressions import Expression

VALUES = {"gemm.block_in": 16, "gemm.block_out": 32, "memory.act_kib": 64, "depthwise.enabled": True}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8 * max(gemm.block_in, gemm.block_out)", 256),
        ("gemm.block_in * gemm.block_out <= 512", True),
        ("gemm.block_in < gemm.block_out < memory.act_kib", True),
        ("gemm.block_in == 8 or not depthwise.enabled", False),
        ("-(memory.act_kib // 3) % 5", -21 % 5),
        ("min(1, 2.5, 0.5) / 2", 0.25),
        ("1 != 1 and 1 / 0 > 1", False),
    ],
)
def test_value(text: str, expected: object) -> None:
    assert Expression(text).value(VALUES) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gemm.block_in +", "`gemm.block_in \\+` is not an expression"),
        ("__import__('os')", "cannot hold"),
        ("open('x')", "cannot hold"),
        ("gemm.block_in.real", "cannot hold `gemm.block_in.real`"),
        ("block_in", "cannot hold `block_in`"),
        ("'text'", "cannot hold"),
        ("2 ** 100", "cannot hold"),
        ("[1][0]", "cannot hold"),
        ("(" * 500 + "1" + ")" * 500, "is not an expression"),
    ],
)
def test_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Expression(text)


def test_value_needs_known_names_and_divides_by_no_zero() -> None:
    with pytest.raises(ConfigError, match="names `gemm.blocks`, which is no field"):
        Expression("gemm.blocks").value(VALUES)
    with pytest.raises(ConfigError, match="divides by zero"):
        Expression("1 // (gemm.block_in - 16)").value(VALUES)
