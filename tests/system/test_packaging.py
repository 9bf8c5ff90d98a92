"""The package as it is shipped: the symlinks, the metadata, and what sdist and wheel contain."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import entry_points, version
from pathlib import Path

import pytest

import tilewright

FLOORS = ("isa", "hw", "compiler", "sim", "fpga")
DATA = ("default_resnet8.json", "default_resnet8_int8.onnx", "default_resnet8_samples.npz")


@pytest.mark.parametrize("floor", FLOORS)
def test_face_links_to_each_folder(repository: Path, floor: str) -> None:
    link = repository / "src" / "tilewright" / floor
    assert link.is_symlink()
    assert link.readlink() == Path("../..") / floor
    assert link.resolve() == repository / floor
    module = __import__(f"tilewright.{floor}", fromlist=["__file__"])
    assert Path(module.__file__).resolve() == repository / floor / "__init__.py"


def test_version_is_the_project_files(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert tilewright.__version__ == version("tilewright") == project["version"]


def test_every_requirement_has_a_lower_bound(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    requirements = project["dependencies"] + [item for extra in extras for item in extra]
    assert requirements
    unbounded = [item for item in requirements if ">=" not in item and not item.startswith("tilewright[")]
    assert unbounded == []


def test_extras_are_those_that_are_documented(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert extras >= {"cpu", "gpu", "fpga", "sweep", "quantize", "torch", "docs", "test"}
    page = (repository / "docs" / "install.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \| ", page, re.M)) == extras


def test_advice_names_extras_that_exist(repository: Path) -> None:
    """Whatever tells a user to install something."""
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    folders = ("docs", "src", "notebooks", "tools", ".ci", *FLOORS)
    files = [path for folder in folders for path in (repository / folder).rglob("*") if path.is_file()]
    files += [repository / name for name in ("README.md", "CONTRIBUTING.md", "Dockerfile")]
    named: dict[str, str] = {}
    for path in files:
        if path.suffix in (".py", ".md", ".ipynb", "", ".toml") and "egg-info" not in str(path):
            for group in re.findall(r"(?:tilewright|\.)\[([a-z]+(?:,[a-z]+)*)\]'", path.read_text(errors="replace")):
                named |= dict.fromkeys(group.split(","), str(path))
    assert {"gpu", "torch", "sweep"} <= set(named)
    assert {extra: path for extra, path in named.items() if extra not in project["optional-dependencies"]} == {}


def test_command_is_installed() -> None:
    (command,) = entry_points(group="console_scripts", name="tilewright")
    assert command.value == "tilewright.cli:main"
    assert callable(command.load())


def test_importing_is_quick() -> None:
    code = "import time; start = time.process_time(); import tilewright; print(time.process_time() - start)"
    seconds = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert float(seconds) < 0.5  # of the processor; 0.05 here


def test_nothing_is_fetched_at_run_time() -> None:
    code = (
        "import socket\n"
        "def refuse(*where, **more): raise AssertionError(f'asks the network for {where}')\n"
        "socket.socket.connect = socket.getaddrinfo = socket.create_connection = refuse\n"
        "from tilewright.cli import cli\n"
        "cli.main(['demo', '--on', 'functional', '--quiet', '--json', '-'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)["ok"]


def test_ci_runs_the_readmes_test_command(repository: Path) -> None:
    readme = (repository / "README.md").read_text()
    install = r"^\.venv/bin/pip install -e '\.\[test\]' && \.venv/bin/"
    (command,) = re.findall(rf"{install}(pytest.*)$", readme, re.M)
    script = (repository / ".ci" / "run").read_text()
    assert "-e '.[test]'" in script
    assert re.search(rf"^(timeout \d+ )?{re.escape(command)}( |$)", script, re.M)


@pytest.fixture(scope="module")
def built(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with an sdist, and the wheel that was built from it, of the files that git knows."""
    folder = tmp_path_factory.mktemp("built")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", "HEAD"], cwd=repository, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip("not a git checkout")
    source = folder / "source"
    source.mkdir()
    subprocess.run(["tar", "-x", "-C", str(source)], input=archive.stdout, check=True)
    build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(source)]
    result = subprocess.run(build, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    return folder / "dist"


@pytest.mark.slow
def test_wheel_holds_all_five_folders_and_the_data(built: Path, repository: Path) -> None:
    (path,) = built.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        sizes = {info.filename: info.file_size for info in wheel.infolist()}
        # A symlink stored in a zip has the file type S_IFLNK in its external attributes.
        links = [info.filename for info in wheel.infolist() if info.external_attr >> 28 == 0o12]
    assert links == []
    tracked = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", "HEAD", *FLOORS],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert {name.split("/")[0] for name in tracked} == set(FLOORS)
    missing = [name for name in tracked if f"tilewright/{name}" not in sizes]
    assert missing == []
    assert [name for name in DATA if not sizes.get(f"tilewright/data/{name}")] == []
    assert "tilewright/py.typed" in sizes
    assert not any(name.startswith(("tests/", *(f"{floor}/" for floor in FLOORS))) for name in sizes)


@pytest.mark.slow
def test_installed_wheel_imports_without_the_repository(built: Path, tmp_path: Path) -> None:
    (path,) = built.glob("*.whl")
    target = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", str(target), str(path)], check=True)
    names = ", ".join(f"tilewright.{floor}" for floor in FLOORS)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import {names}; print(tilewright.hw.__file__)"
    result = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert Path(result.stdout.strip()).is_relative_to(target)


@pytest.mark.slow
def test_sdist_holds_the_licence_and_real_files(built: Path) -> None:
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as sdist:
        members = {member.name.split("/", 1)[-1]: member for member in sdist.getmembers()}
    assert members["LICENSE"].isreg()
    for floor in FLOORS:
        assert members[f"src/tilewright/{floor}/__init__.py"].isreg()
