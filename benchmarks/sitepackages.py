# SPDX-License-Identifier: Apache-2.0
"""What the image's site-packages hold: the locked packages less what the Dockerfile deletes."""

from __future__ import annotations

import compileall
import re
import shutil
import tempfile
from fnmatch import fnmatch
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[1]
OURS: Final = ("exporter", "scaler", "simulator", "toolkit")


def size_megabytes() -> float:
    """Return the size with bytecode, in 10^6 bytes, made of this environment's packages."""
    deleted = _deleted()
    with tempfile.TemporaryDirectory(prefix="site-packages-") as name:
        folder = Path(name)
        for source, path in _installed():
            if path.name == "__init__.py" or not any(fnmatch(f"/{path}", one) for one in deleted):
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, folder / path)
        compileall.compile_dir(folder, quiet=2)
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def _deleted() -> list[str]:
    """Return the patterns of the Dockerfile's `find`, for paths within site-packages."""
    text = (REPOSITORY / "Dockerfile").read_text()
    found = re.search(r"find /app/lib/\S+ \\\n(.*?)-delete", text, re.DOTALL)
    assert found is not None, "the Dockerfile deletes nothing of site-packages"
    patterns = re.findall(r"-(path|name) '([^']+)'", found[1])
    return [pattern if kind == "path" else f"*/{pattern}" for kind, pattern in patterns]


def _installed() -> Iterator[tuple[Path, Path]]:
    """Yield (file, path within site-packages) of all that the image installs."""
    lock = (REPOSITORY / "requirements.lock").read_text()
    for name in re.findall(r"^([\w.-]+)==", lock, re.MULTILINE):
        try:
            files = distribution(name).files or ()
        except PackageNotFoundError:
            continue  # for other systems
        for file in files:
            if ".." not in file.parts and file.suffix != ".pyc":
                yield Path(str(file.locate())), Path(file)
    for package in OURS:
        for path in (REPOSITORY / package).rglob("*"):
            if path.is_file() and path.suffix != ".pyc":
                yield path, path.relative_to(REPOSITORY)


if __name__ == "__main__":
    print(f"{size_megabytes():.1f} MB")
