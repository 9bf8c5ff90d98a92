"""What is written where: colours and progress to terminals only, data to programs, and a next step in errors."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from tilewright.cli import cli
from tilewright.cli.group import Exit

ESCAPE = "\x1b["
DOCTOR = ("doctor",)
COMPILE = ("compile", "src/tilewright/data/default_resnet8_int8.onnx", "-c", "8x8", "-o", os.devnull)


def environment(**more: str) -> dict[str, str]:
    kept = {key: os.environ[key] for key in ("PATH", "HOME", "XDG_CACHE_HOME", "PYTHONPATH") if key in os.environ}
    return {**kept, "TERM": "xterm-256color", **more}


def on_a_terminal(arguments: tuple[str, ...], folder: Path, **more: str) -> str:
    """Give what the command writes to a terminal."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "tilewright", *arguments]
    process = subprocess.Popen(
        command, cwd=folder, stdin=follower, stdout=follower, stderr=follower, env=environment(**more)
    )
    os.close(follower)
    written = bytearray()
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        written += part
    os.close(leader)
    process.wait(timeout=60)
    return written.decode(errors="replace")


def through_a_pipe(arguments: tuple[str, ...], folder: Path, **more: str) -> str:
    """Give what the command writes when nobody is there to see it."""
    command = [sys.executable, "-m", "tilewright", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment(**more), check=False)
    return done.stdout + done.stderr


def test_colours_are_for_terminals(repository: Path) -> None:
    assert f"{ESCAPE}32mok" in on_a_terminal(DOCTOR, repository)
    assert f"{ESCAPE}32m" not in on_a_terminal(DOCTOR, repository, NO_COLOR="1")
    assert ESCAPE not in through_a_pipe(DOCTOR, repository)


def test_progress_is_for_terminals(repository: Path) -> None:
    assert "compiling" in on_a_terminal(COMPILE, repository).partition("resnet8_digits for")[0]
    shown = through_a_pipe(COMPILE, repository)
    assert "compiling" not in shown and ESCAPE not in shown
    assert "compiling" not in on_a_terminal((*COMPILE, "--quiet"), repository)


@pytest.mark.parametrize(
    ("arguments", "code", "step"),
    [
        (("dmeo",), Exit.USAGE, "did you mean `demo`?"),
        (("run", "nowhere.onnx", "--onn", "rtl"), Exit.USAGE, "Did you mean"),
        (("run",), Exit.USAGE, "`tilewright run --help`"),
        (("synth",), Exit.USAGE, "`--list` names them"),
        (("synth", "--board", "pynq"), Exit.USAGE, "known: pynq-z1"),
        (("config", "17x17"), Exit.USAGE, "tiny, 8x8, 16x16"),
        (("sweep", "show", "nowhere"), Exit.USAGE, "`tilewright sweep SPACE.toml`"),
        (("bench", "accelerator", "--only", "nothing"), Exit.USAGE, "it has C2, C3"),
        (("demo", "--on", "board"), Exit.FAILED, "`tilewright project`"),
    ],
)
def test_errors_say_what_to_do_next(arguments: tuple[str, ...], code: Exit, step: str) -> None:
    result = CliRunner().invoke(cli, list(arguments), prog_name="tilewright")
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert step in result.stderr


def test_exit_codes_are_documented(repository: Path) -> None:
    page = (repository / "docs" / "reference" / "cli.md").read_text()
    shown = CliRunner().invoke(cli, ["--help"]).output
    readme = (repository / "README.md").read_text()
    for code in Exit:
        assert f"| {code.value} | " in page
        for text in (shown, readme):
            _, found, codes = text.partition("Exit codes: ")
            assert found and f"{code.value} " in codes.partition("\n\n")[0]
