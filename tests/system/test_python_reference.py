"""The Python interface is documented: every public name on its page, with examples that do what they show."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

import tilewright

NAMES = [name for name in tilewright.__all__ if name != "__version__"]

#: Packages that an example needs and the tests' own extra does not bring.
NEEDS = {"from_torch": ("torch", "onnxscript")}


def test_the_page_names_everything_public(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "python.md").read_text()
    assert sorted(re.findall(r"^::: tilewright\.(\w+)$", page, re.M)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_examples_do_what_they_show(name: str) -> None:
    missing = [module for module in NEEDS.get(name, ()) if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"{', '.join(missing)} not installed")
    public = getattr(tilewright, name)
    examples = doctest.DocTestParser().get_doctest(inspect.getdoc(public) or "", {}, name, None, None)
    assert examples.examples
    told: list[str] = []
    runner = doctest.DocTestRunner()
    result = runner.run(examples, out=told.append)
    assert result.failed == 0, "".join(told)
    assert result.attempted > 0


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isfunction(getattr(tilewright, name))])
def test_parameters_results_and_errors_of_functions_are_documented(name: str) -> None:
    function = getattr(tilewright, name)
    text = inspect.getdoc(function) or ""
    documented = re.findall(r"^(\w+) : ", section(text, "Parameters"), re.M)
    assert documented == list(inspect.signature(function).parameters)
    assert section(text, "Returns")
    assert re.findall(r"^\w+Error$", section(text, "Raises"), re.M)


@pytest.mark.parametrize("name", [name for name in NAMES if inspect.isclass(getattr(tilewright, name))])
def test_members_of_classes_are_documented(name: str) -> None:
    public = getattr(tilewright, name)
    members = {key: value for key, value in vars(public).items() if not key.startswith("_")}
    described = section(inspect.getdoc(public) or "", "Attributes")
    for key, value in members.items():
        is_code = isinstance(value, property | classmethod | staticmethod) or inspect.isroutine(value)
        assert inspect.getdoc(value) if is_code else key in described or value.__doc__, key
    for field in getattr(public, "__dataclass_fields__", ()):
        assert re.search(rf"\b{field}\b", described), field


def section(text: str, title: str) -> str:
    """Give a section of a docstring in numpy's style."""
    found = re.search(rf"^{title}\n-+\n(.*?)(?=^\w+\n-+\n|\Z)", text, re.M | re.S)
    return found.group(1) if found else ""
