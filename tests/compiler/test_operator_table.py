"""The page of operators is what the compiler does."""

from __future__ import annotations

import pytest

from tests.compiler.operator_table import operator_page
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "operators.md"


def test_page_of_operators(request: pytest.FixtureRequest) -> None:
    text = operator_page()
    if request.config.getoption("--update-golden"):
        PAGE.write_text(text, encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == text, "run pytest tests/compiler/test_operator_table.py --update-golden"
