# SPDX-License-Identifier: Apache-2.0
"""Programs of the test bed as processes, each with a log file, that all end with the test run."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path
    from typing import Self

GRACE_SECONDS: Final = 5.0
POLL_SECONDS: Final = 0.05
# The kernel gives none of these to a connection between the look and the program's own bind, and
# another worker of the same test run begins elsewhere.
_PORTS: Final = range(20_000, 30_000)
_candidates = itertools.islice(
    itertools.cycle(_PORTS), os.getpid() * 1009 % len(_PORTS), len(_PORTS) * 2
)

_WATCHDOG: Final = """
import os, signal, sys
groups = set()
for line in sys.stdin:
    word, group = line.split()
    (groups.add if word == "started" else groups.discard)(int(group))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass
"""
"""Ends what is left when the test run itself was killed: its end of the pipe is then closed."""


class Processes:
    """Starts programs in process groups of their own; leaving the context ends them, last first.

    Ctrl-C at the terminal reaches none of them: they end in order when the tests do.
    """

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._watchdog = subprocess.Popen(
            [sys.executable, "-c", _WATCHDOG],
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed([*self._running]):
            self.stop(name)
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.close()
        self._watchdog.wait()

    def log_file(self, name: str) -> Path:
        """Return where a program's stdout and stderr go; a restart appends."""
        return self.logs / f"{name}.log"

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start `command` under a name that no running program has."""
        assert name not in self._running, f"{name} runs already"
        with self.log_file(name).open("ab") as log:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.logs,
                env={**os.environ, **(environment or {})},
                start_new_session=True,
            )
        self._running[name] = process
        self._tell_watchdog("started", process.pid)
        return process

    def stop(self, name: str, *, grace_seconds: float = GRACE_SECONDS) -> None:
        """End a program's process group: SIGTERM, and SIGKILL after the grace period."""
        process = self._running.pop(name)
        _signal_group(process.pid, signal.SIGTERM)
        try:
            process.wait(grace_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
            self._tell_watchdog("ended", process.pid)

    def wait_for(
        self, name: str, condition: Callable[[], Any], *, what: str, deadline_seconds: float = 60.0
    ) -> Any:
        """Return the first truthy answer of `condition` while the program runs.

        Raises AssertionError with the end of its log when it ended or did not do so in time.
        """
        end = time.monotonic() + deadline_seconds
        process = self._running[name]
        while process.poll() is None and time.monotonic() < end:
            answer = condition()
            if answer:
                return answer
            time.sleep(POLL_SECONDS)
        status = process.poll()
        happened = "in time" if status is None else f"before it ended with status {status}"
        records = self.log_file(name).read_text(errors="replace")[-3000:]
        msg = f"{name}: not {what} {happened}; the end of its log:\n{records}"
        raise AssertionError(msg)

    def _tell_watchdog(self, word: str, group: int) -> None:
        assert self._watchdog.stdin is not None
        self._watchdog.stdin.write(f"{word} {group}\n")
        self._watchdog.stdin.flush()


def free_ports(count: int) -> list[int]:
    """Return loopback ports that nobody listens on now; none is returned a second time."""
    return list(itertools.islice(filter(_is_free, _candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return
