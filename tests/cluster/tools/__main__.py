# SPDX-License-Identifier: Apache-2.0
"""Build the programs of the test bed that are missing: `make cluster-tools [TOOLS="NAME ..."]`."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster.tools import (
    BY_NAME,
    ONLY_NAMED,
    SERVERS,
    Tool,
    cache_folder,
    find,
    golang,
    pythons,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def main(names: Sequence[str]) -> int:
    """Build `names`, or all that tests need; what is there already is left alone."""
    known = [*BY_NAME, *SERVERS]
    unknown = [name for name in names if name not in known]
    if unknown:
        _say(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return 2
    wanted = names or [name for name in known if name not in ONLY_NAMED]
    missing = [name for name in wanted if find(name) is None]
    if not missing:
        return 0
    programs = [BY_NAME[name] for name in missing if name in BY_NAME]
    lowest = golang.needed([tool.name for tool in programs]) if programs else ""
    problem = golang.problem(golang.installed(), lowest) if programs else None
    if problem is not None:
        _say(f"The test bed's programs cannot be built: {problem}")
        return 1
    began = time.monotonic()
    with _alone():
        for server in (SERVERS[name] for name in missing if name in SERVERS):
            if find(server.name) is None and not _install(server):
                return 1
        for tool in programs:
            if find(tool.name) is None and not _build(tool):
                return 1
    _say(f"Everything is in {cache_folder()} ({time.monotonic() - began:.0f} s)")
    return 0


def _build(tool: Tool) -> bool:
    _say(f"Building {tool.name} {tool.version}")
    began = time.monotonic()
    path = tool.built_path
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    command = [
        *("go", "build", "-mod=readonly", "-trimpath", "-buildvcs=false"),
        *("-tags", tool.tags, "-ldflags", tool.linker_flags),
        *("-o", str(unfinished), tool.package),
    ]
    # Static programs: they run in containers that hold nothing else.
    environment = {**os.environ, **golang.LOCAL, "CGO_ENABLED": "0", "GOFLAGS": ""}
    if subprocess.run(command, cwd=tool.module, env=environment, check=False).returncode != 0:
        _say(f"{tool.name} could not be built; go's own words are above")
        return False
    unfinished.rename(path)
    _say(f"  {path} ({time.monotonic() - began:.0f} s)")
    return True


def _install(server: pythons.PythonServer) -> bool:
    _say(f"Installing {server.name} {server.version}")
    began = time.monotonic()
    environment = server.environment(cache_folder())
    if not pythons.install(server, environment):
        _say(f"{server.name} could not be installed; pip's own words are above")
        return False
    _say(f"  {environment} ({time.monotonic() - began:.0f} s)")
    return True


@contextmanager
def _alone() -> Iterator[None]:
    """Let a second build wait for the first one."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
