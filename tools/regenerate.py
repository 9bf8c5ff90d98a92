"""Write the committed files that are generated from the instruction table; `--check` compares instead.

Usage: python tools/regenerate.py [--check]
"""

from __future__ import annotations

import sys
from pathlib import Path

from tilewright.isa import c_header, document
from tilewright.isa.config import PRESETS
from tilewright.isa.instructions import instruction_set

ROOT = Path(__file__).resolve().parent.parent


def generated_files() -> dict[Path, str]:
    """Return the text of every generated file, by path."""
    isa = instruction_set(PRESETS["16x16"])
    return {
        ROOT / "docs" / "isa.md": document.render(isa),
        ROOT / "fpga" / "driver" / "tilewright_isa.h": c_header.render(isa),
    }


def main(arguments: list[str]) -> int:
    """Write or compare; 1 when a file differs."""
    stale = [path for path, text in generated_files().items() if not path.is_file() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is not what the instruction table gives; run tools/regenerate.py")
        return 1 if stale else 0
    for path, text in generated_files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
