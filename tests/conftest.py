"""What all tests share: seeded randomness, the measuring models, and skips for what this machine lacks."""

from __future__ import annotations

import ctypes.util
import random
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, help="seed of every random test; by default each test has its own")
    parser.addoption("--update-golden", action="store_true", help="write the golden files instead of comparing")


def missing_need(item: pytest.Item) -> str | None:
    """Say which need named by the item's markers is missing here, if any."""
    if item.get_closest_marker("verilator"):
        missing = [tool for tool in ("g++", "make", "perl") if shutil.which(tool) is None]
        if missing:
            return f"compiling RTL needs {', '.join(missing)}"
    if item.get_closest_marker("gpu") and ctypes.util.find_library("cuda") is None:
        return "no CUDA driver"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    reason = missing_need(item)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Give the test's own seed, the same in every run; printed, so that a failure shows it."""
    chosen = request.config.getoption("--seed")
    if chosen is None:
        chosen = zlib.crc32(request.node.name.encode())
    print(f"seed {chosen} (repeat with --seed {chosen})")
    return chosen


@pytest.fixture
def rng(seed: int) -> np.random.Generator:
    """Give NumPy's generator, seeded."""
    return np.random.default_rng(seed)


@pytest.fixture
def python_random(seed: int) -> random.Random:
    """Give Python's generator, seeded."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def repository() -> Path:
    """Give the repository's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def measuring_models() -> Path:
    """Give the folder of models that lies beside the repository, where there is one."""
    folder = REPOSITORY.parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip("no ../shared/models beside the repository")
    return folder
