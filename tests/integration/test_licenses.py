# SPDX-License-Identifier: Apache-2.0
"""Every source file names its license where license scanners look: in its first line."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
IDENTIFIER: Final = "SPDX-License-Identifier: Apache-2.0"
FIRST_LINES: Final = {".js": f"// {IDENTIFIER}", ".css": f"/* {IDENTIFIER} */"}
SCRIPTS_WITHOUT_SUFFIX: Final = (".ci/check-generated", ".ci/run")
SOURCES: Final = ("*.py", "*.js", "*.css", "*.sh", "*Dockerfile", "*Makefile")
MADE_BY_PROTOC: Final = ("*_pb2.py",)


def test_every_source_file_starts_with_its_license():
    listed = subprocess.run(
        [
            *("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--"),
            *(*SOURCES, *SCRIPTS_WITHOUT_SUFFIX),
            *(f":!:{pattern}" for pattern in MADE_BY_PROTOC),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    paths = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    assert len(paths) > 500, "git lists the tree"
    without = [str(path.relative_to(ROOT)) for path in paths if not _is_licensed(path)]
    assert not without, "add the line of FIRST_LINES, or of a comment with #, after any #! line"


def _is_licensed(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").split("\n", maxsplit=2)
    first = lines[1] if lines[0].startswith("#!") else lines[0]
    return first == FIRST_LINES.get(path.suffix, f"# {IDENTIFIER}")
