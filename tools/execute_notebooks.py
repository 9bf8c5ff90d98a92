"""Run the notebooks in place, and write them without noise; `--check` compares instead, and changes nothing.

Usage: python tools/execute_notebooks.py [--check] [NAME ...]

What is noise: times of execution, random ids of cells, the kernel's version, output in pieces. What a cell prints must
be the same everywhere: a cell whose output depends on the machine, or on packages that may be missing, has the tag
`varies`, and its output is not compared. Pictures are not compared either: they change with the version of matplotlib.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from traitlets.config import Config

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"

#: Seconds that one cell may take, on a busy machine.
TIMEOUT_SECONDS = 600

#: Tag of cells whose output depends on the machine.
VARIES = "varies"

_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}

#: What must not stand in an output: folders of this machine, objects' addresses.
_PRIVATE = re.compile(r"(?<![\w.<])/(?:home|root|tmp|work|usr|opt|var|Users)/\S*|\bat 0x[0-9a-f]{6,}")

#: A number, or a hash.
_FIGURE = re.compile(r"\b[0-9a-f]{16}\b|\d[\d,.]*")

#: How Python's ways of showing a picture begin; the text stands beside the picture.
_PICTURE = "image/"


def notebooks(names: Iterable[str] = ()) -> list[Path]:
    """Return the notebooks with these names, by default all."""
    chosen = [FOLDER / f"{name.removesuffix('.ipynb')}.ipynb" for name in names]
    return chosen or sorted(FOLDER.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """Read a notebook."""
    return nbformat.read(path, as_version=4)


def text_of(notebook: NotebookNode) -> str:
    """Return a notebook as its file has it."""
    return str(nbformat.writes(notebook)) + "\n"


def execute(notebook: NotebookNode, folder: Path = FOLDER) -> NotebookNode:
    """Return a notebook as run from its first cell to its last, normalised.

    Raises
    ------
    CellExecutionError
        When a cell raises an exception.
    """
    importlib.import_module("matplotlib.font_manager")  # looks for fonts once, and says so here if it takes long
    fresh = normalised(notebook)
    with tempfile.TemporaryDirectory() as sockets:  # which only this user can open
        config = Config({"KernelManager": {"transport": "ipc", "ip": str(Path(sockets) / "kernel")}})
        options = {"timeout": TIMEOUT_SECONDS, "coalesce_streams": True, "record_timing": False}
        client = NotebookClient(fresh, kernel_name="python3", config=config, **options)
        return normalised(client.execute(cwd=str(folder)))


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Return a notebook without noise; its code and its outputs are what they were."""
    cells = []
    seen: dict[str, int] = {}
    count = 0
    for cell in notebook.cells:
        source = cell.source.strip("\n")
        digest = hashlib.sha256(f"{cell.cell_type}\n{source}".encode()).hexdigest()[:8]
        seen[digest] = seen.get(digest, 0) + 1
        clean = {
            "cell_type": cell.cell_type,
            "id": digest if seen[digest] == 1 else f"{digest}-{seen[digest]}",
            "metadata": {"tags": list(cell.metadata["tags"])} if cell.metadata.get("tags") else {},
            "source": source,
        }
        if cell.cell_type == "code":
            count += 1
            clean |= {"execution_count": count, "outputs": [_output(output, count) for output in cell.outputs]}
        cells.append(clean)
    data = {"cells": cells, "metadata": _METADATA, "nbformat": 4, "nbformat_minor": 5}
    return nbformat.from_dict(data)


def _output(output: NotebookNode, count: int) -> dict[str, Any]:
    kept = {key: value for key, value in output.items() if key not in ("execution_count", "metadata")}
    if output.output_type == "stream":
        return kept
    kept["metadata"] = {}
    if output.output_type == "execute_result":
        kept["execution_count"] = count
    return kept


def code(notebook: NotebookNode) -> list[str]:
    """Return the code of all cells."""
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def compared_texts(notebook: NotebookNode) -> list[str]:
    """Return what the cells print that must be the same everywhere."""
    texts = []
    for cell in notebook.cells:
        if cell.cell_type == "code" and VARIES not in cell.metadata.get("tags", ()):
            texts.append("".join(_texts(cell)))
    return texts


def _texts(cell: NotebookNode) -> Iterator[str]:
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type in ("execute_result", "display_data"):
            is_picture = any(kind.startswith(_PICTURE) for kind in output.data)
            yield "" if is_picture else output.data.get("text/plain", "")


def faults(notebook: NotebookNode) -> list[str]:
    """Name what must not be committed: warnings, exceptions, folders of a machine, addresses of objects."""
    found = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            if output.output_type == "error":
                found.append(f"cell {number} raised {output.ename}")
            elif output.output_type == "stream" and output.name != "stdout":
                found.append(f"cell {number} wrote to {output.name}: {output.text.strip()[:200]}")
        found += [f"cell {number} names `{match}`" for text in _texts_of(cell) for match in _PRIVATE.findall(text)]
    return found


def _texts_of(cell: NotebookNode) -> list[str]:
    return [cell.source, *(_texts(cell) if cell.cell_type == "code" else ())]


def differences(committed: NotebookNode, executed: NotebookNode, *, with_figures: bool = True) -> list[str]:
    """Say in which cells the committed texts are not what running gives; without figures, all numbers are alike."""
    pairs = zip(compared_texts(committed), compared_texts(executed), strict=True)
    both = [(old, new) if with_figures else (_masked(old), _masked(new)) for old, new in pairs]
    return [f"a cell prints {new!r}, committed is {old!r}" for old, new in both if old != new]


def _masked(text: str) -> str:
    return " ".join(_FIGURE.sub("#", text).split())


def main(arguments: list[str]) -> int:
    """Write or compare; 1 when something differs or is wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="a notebook's name; by default all")
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    options = parser.parse_args(arguments)
    wrong = 0
    for path in notebooks(options.names):
        committed = read(path)
        executed = execute(committed)
        found = faults(executed) + (differences(committed, executed) if options.check else [])
        if options.check and text_of(normalised(committed)) != path.read_text(encoding="utf-8"):
            found.append("is not normalised")
        if not options.check:
            path.write_text(text_of(executed), encoding="utf-8")
        for fault in found:
            print(f"{path.name}: {fault}")
        wrong += bool(found)
    return 1 if wrong else 0


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as settings:
        os.environ.setdefault("IPYTHONDIR", settings)  # the user's own startup files are no part of a notebook
        raise SystemExit(main(sys.argv[1:]))
