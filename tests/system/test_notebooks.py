"""The notebooks run, hold what their asserts say, and are committed without noise."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("nbclient", reason="the notebooks extra is not installed")
pytest.importorskip("matplotlib", reason="the notebooks extra is not installed")

from nbformat.v4 import new_output
from tools import execute_notebooks as tool

#: What has to be there, and what each needs.
NEEDS = {
    "1_first_run": (),
    "2_sweep": (),
    "3_adding_an_instruction": (pytest.mark.verilator,),
    "4_pytorch_to_bitstream": (),
    "5_accelerator_cpu_gpu": (),
    "6_reading_a_timeline": (),
}

PATHS = [pytest.param(tool.FOLDER / f"{name}.ipynb", id=name, marks=marks) for name, marks in NEEDS.items()]


def test_all_notebooks_are_known() -> None:
    assert [path.stem for path in tool.notebooks()] == sorted(NEEDS)


@pytest.mark.parametrize("path", PATHS)
def test_notebook_runs(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Numbers are left to the asserts, as cycles change with the compiler; all other text must be what is committed."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    committed = tool.read(path)
    executed = tool.execute(committed)
    assert tool.code(executed) == tool.code(committed)
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")
    assert tool.faults(executed) == []
    assert tool.differences(committed, executed, with_figures=False) == []


@pytest.mark.parametrize("path", PATHS)
def test_notebook_is_committed_without_noise(path: Path) -> None:
    notebook = tool.read(path)
    assert tool.text_of(tool.normalised(notebook)) == path.read_text(encoding="utf-8")
    assert tool.faults(notebook) == []
    assert any("assert " in source for source in tool.code(notebook))
    pictures = [o for cell in notebook.cells for o in cell.get("outputs", ()) if "image/png" in o.get("data", {})]
    assert pictures
    assert path.stat().st_size < 200_000


def test_noise_is_seen() -> None:
    notebook = tool.read(tool.FOLDER / "1_first_run.ipynb")
    cell = next(cell for cell in notebook.cells if cell.get("outputs"))
    cell.metadata["execution"] = {"iopub.execute_input": "2026-01-01"}
    cell["id"] = "random"
    cell.outputs.append(new_output("stream", name="stderr", text="read /home/someone/file"))
    assert len(tool.faults(notebook)) == 2
    assert tool.normalised(notebook).cells == tool.normalised(tool.normalised(notebook)).cells
    assert "2026-01-01" not in tool.text_of(tool.normalised(notebook))


def test_figures_can_be_left_out_of_the_comparison() -> None:
    committed, executed = (tool.read(tool.FOLDER / "1_first_run.ipynb") for _ in range(2))
    cell = next(cell for cell in executed.cells if any(o.output_type == "stream" for o in cell.get("outputs", ())))
    cell.outputs[0]["text"] = cell.outputs[0]["text"].replace("1", "2")
    assert tool.differences(committed, executed) != []
    assert tool.differences(committed, executed, with_figures=False) == []
    cell.outputs[0]["text"] += "more"
    assert tool.differences(committed, executed, with_figures=False) != []
