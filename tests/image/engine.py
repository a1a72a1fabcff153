# SPDX-License-Identifier: Apache-2.0
"""buildah as the tests use it: a store of its own, no registry, the steps in a chroot.

The base image cannot be pulled without a registry. `STAND_IN` is Debian of the same release with
Debian's Python of the same minor version, laid out as the base image has it: in /usr/local, with
pip and ensurepip. It is made once and kept beside the programs of the test bed.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.cluster.tools import cache_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY: Final = Path(__file__).parents[2]
STAND_IN: Final = "localhost/python-stand-in"
STEP_SECONDS: Final = 300

_RELEASE: Final = "trixie"
_PYTHON: Final = "python3.13"
_PACKAGES: Final = (_PYTHON, f"{_PYTHON}-venv", "ca-certificates")
_LAY_OUT: Final = f"""
rm -rf /usr/local/lib/{_PYTHON} /usr/bin/python3
mv /usr/lib/{_PYTHON} /usr/local/lib/
mv /usr/bin/{_PYTHON} /usr/local/bin/
ln -s {_PYTHON} /usr/local/bin/python3
ln -s {_PYTHON} /usr/local/bin/python
mkdir -p /usr/local/include /usr/local/lib/{_PYTHON}/site-packages
rm -f /usr/local/lib/{_PYTHON}/EXTERNALLY-MANAGED
python -m venv /pip
mv /pip/lib/{_PYTHON}/site-packages/pip* /usr/local/lib/{_PYTHON}/site-packages/
ln -s site-packages /usr/local/lib/{_PYTHON}/dist-packages
ln -s {_PYTHON} /usr/local/bin/pip
rm -rf /pip
find /usr/local -name '*.pyc' -delete
"""


def base_archive() -> Path:
    """Return the root file system of the stand-in as an archive; made where there is none yet."""
    made_of = "\0".join((_RELEASE, *_PACKAGES, _LAY_OUT))
    key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
    path = cache_folder() / f"python-stand-in-{key}.tar"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(f".{os.getpid()}.tar")
        _run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(_PACKAGES)}",
            f"--customize-hook=chroot \"$1\" sh -euc '{_quoted(_LAY_OUT)}'",
            _RELEASE,
            unfinished,
        )
        unfinished.rename(path)
    return path


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """One store of images; its methods block and raise AssertionError with what buildah said."""

    folder: Path

    def build(self, context: Path, *, tag: str, dockerfile: Path, **arguments: str) -> str:
        """Build as `docker build` does, every step again; return what was printed."""
        return self._buildah(
            *("build", "--isolation=chroot", "--network=host", "--pull-never", "--no-cache"),
            *(f"--volume={here}:{there}:ro" for there, here in self._registry_settings().items()),
            *(f"--build-arg={name}={value}" for name, value in arguments.items()),
            *(f"--tag={tag}", f"--file={dockerfile}", context),
        )

    def inspect(self, tag: str) -> dict[str, Any]:
        """Return the image's configuration (`OCIv1`) and history."""
        document: dict[str, Any] = json.loads(self._buildah("inspect", "--type=image", tag))
        return document

    def save(self, tag: str, path: Path, *, name: str) -> None:
        """Write the image as an archive that `ctr images import` reads, under another name."""
        self._buildah("push", "--quiet", tag, f"docker-archive:{path}:{name}")

    @contextmanager
    def mounted(self, tag: str) -> Iterator[Path]:
        """Show the image's root file system while the context lasts."""
        container = self._buildah("from", "--pull-never", tag).strip()
        try:
            yield Path(self._buildah("mount", container).strip())
        finally:
            self._buildah("rm", container)

    def _registry_settings(self) -> dict[str, Path]:
        """Return this machine's settings for pip and its certificates: path there -> path here."""
        settings = self.folder / "pip.conf"
        lines = [
            f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {value}"
            for name, value in os.environ.items()
            if name.startswith("PIP_") and name not in ("PIP_FIND_LINKS", "PIP_CONFIG_FILE")
        ]
        settings.write_text("\n".join(["[global]", *lines, ""]))
        found = {"/etc/pip.conf": settings}
        certificates = Path("/etc/ssl/certs/ca-certificates.crt")
        return found | ({str(certificates): certificates} if certificates.exists() else {})

    def _buildah(self, *arguments: str | Path) -> str:
        return _run(
            *("buildah", f"--root={self.folder / 'store'}", f"--runroot={self.folder / 'run'}"),
            *arguments,
        )


@contextmanager
def running_engine() -> Iterator[Engine]:
    """Make a store that holds the stand-in, and remove it with all that was built in it."""
    with tempfile.TemporaryDirectory(prefix="image-") as name:
        engine = Engine(folder=Path(name))
        base = base_archive()
        dockerfile = engine.folder / "stand-in"
        dockerfile.write_text(
            f"FROM scratch\nADD {base.name} /\nENV PATH=/usr/local/bin:/usr/sbin:/usr/bin\n"
        )
        try:
            engine.build(base.parent, tag=STAND_IN, dockerfile=dockerfile)
            yield engine
        finally:
            engine._buildah("rm", "--all")
            engine._buildah("rmi", "--all", "--force")


def _quoted(script: str) -> str:
    return script.replace("'", "'\\''")


def _run(*command: str | Path) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=STEP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command[0]}: {done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
