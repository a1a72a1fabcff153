# SPDX-License-Identifier: Apache-2.0
"""The pinned model servers of the test bed: Python programs, each in an environment of its own.

Each folder beside this file with a requirements.txt is one: pins with hashes, made by `make lock`
from the requirements.in beside it. Only what a server needs to start is in there, so its packages
are installed without their dependencies.
"""

from __future__ import annotations

import hashlib
import platform
import shutil
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_FOLDERS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class PythonServer:
    """A model server from Python packages; `pin` is the package whose version is the server's."""

    name: str
    pin: str

    @property
    def requirements(self) -> Path:
        """The file with its pins and their hashes."""
        return _FOLDERS / self.name / "requirements.txt"

    @property
    def version(self) -> str:
        """The pinned version."""
        return self.requirements.read_text().partition(f"{self.pin}==")[2].split()[0]

    def environment(self, cache: Path) -> Path:
        """Return where its environment lies in the cache, whether it is there or not."""
        made_of = "\0".join(
            (
                self.requirements.read_text(),
                # An environment belongs to the Python that made it.
                sys.implementation.cache_tag,
                sys.base_prefix,
                platform.system(),
                platform.machine(),
            )
        )
        key = hashlib.sha256(made_of.encode()).hexdigest()[:12]
        return cache / f"{self.name}-{key}"


SERVERS: Final = (
    PythonServer(name="dynamo", pin="ai-dynamo"),
    PythonServer(name="llamacpp", pin="xllamacpp"),
)


def interpreter(environment: Path) -> Path:
    """Return the Python of an environment."""
    return environment / "bin" / "python"


def install(server: PythonServer, environment: Path) -> bool:
    """Make its environment; False where pip could not, which pip then says on stderr."""
    # Renamed when it is whole: nothing in it that the tests run knows its own path.
    unfinished = environment.with_name(f".{environment.name}.unfinished")
    venv.EnvBuilder(clear=True, symlinks=True).create(unfinished)
    command = [
        *(sys.executable, "-m", "pip", "--python", str(interpreter(unfinished))),
        *("install", "--quiet", "--disable-pip-version-check", "--no-deps"),
        # No package is built here, and only what is pinned is taken.
        *("--only-binary", ":all:", "--require-hashes", "-r", str(server.requirements)),
    ]
    if subprocess.run(command, check=False).returncode != 0:
        return False
    shutil.rmtree(environment, ignore_errors=True)
    unfinished.rename(environment)
    return True
