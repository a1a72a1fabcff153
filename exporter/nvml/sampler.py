# SPDX-License-Identifier: Apache-2.0
"""The loop: one thread owns NVML, and another one reads and hands on each cycle's readings.

Only they wait for the driver. A call that hangs in the driver cannot be cancelled, so the owner
replaces the reader (`exporter.nvml.hang_guard`), and the others only watch: `state` and
`Nvml.running_call` show how long it takes.
"""

from __future__ import annotations

import contextlib
import logging
import random
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from exporter.nvml import NvmlError
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Callable

    from exporter.model import Readings
    from exporter.nvml import Nvml

log = logging.getLogger(__name__)

# A failed attempt costs well under a millisecond: the library is loaded already and looks for a
# device file, no GPU is touched. So GPUs are back at most 5 s after their driver, for however long
# it was away.
FIRST_RETRY_SECONDS: Final = 0.5
LAST_RETRY_SECONDS: Final = 4.0
# A driver that is loaded again is back within seconds. What lasts longer, after NVML has answered,
# is what this process cannot mend: its library or its devices are not those of the node any more.
RESTART_AFTER_SECONDS: Final = 60.0
_MISMATCH: Final = "LIB_RM_VERSION_MISMATCH"
CLOSE_AGAIN_SECONDS: Final = 1.0
# Reasons logged in one outage: a driver that alternates between them must not fill the log.
MAX_LOGGED_PROBLEMS: Final = 10
# How long the end of the process waits for a running cycle before it leaves the thread behind.
STOP_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplerState:
    """What the NVML thread last knew.

    `problem` says why NVML cannot be used, None while it can or before it was tried.
    `released_until_seconds` (monotonic clock) is when NVML is opened again after `Sampler.release`,
    None while it is not released.
    `last_success_unix_seconds` is for people and alerting rules; ages are computed from the
    monotonic clock elsewhere.
    """

    nvml_up: bool = False
    problem: str | None = None
    released_until_seconds: float | None = None
    last_success_unix_seconds: float | None = None


def retry_seconds(failures: int) -> float:
    """Return how long to wait after this many failures in a row: doubling, up to a limit."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(failures - 1, 16), LAST_RETRY_SECONDS)


def restart_reason(error: Exception, lost_for_seconds: float | None) -> str | None:
    """Return why only a new process can use NVML, None while waiting may help.

    `lost_for_seconds` is for how long NVML has not answered, None if it never has in this process:
    a node without a driver must not make the container start again and again.
    """
    if isinstance(error, NvmlError) and error.code == _MISMATCH:
        return (
            f"{error}: the driver was replaced, and its new library is loaded by a new process only"
        )
    if lost_for_seconds is not None and lost_for_seconds >= RESTART_AFTER_SECONDS:
        return f"{error}: NVML answered before and has not for {lost_for_seconds:.0f} s"
    return None


class Sampler:
    """Runs NVML cycles at a fixed interval in threads of its own.

    `publish` gets each cycle's readings, `on_failure` each reason for which NVML cannot be used and
    `on_restart_needed` each for which only a new process can use it, all in its threads;
    `observe_cycle` gets the seconds that each finished cycle took.
    """

    def __init__(
        self,
        nvml: Nvml,
        *,
        interval_seconds: float,
        publish: Callable[[Readings], None],
        on_failure: Callable[[str], None],
        on_restart_needed: Callable[[str], None],
        observe_cycle: Callable[[float], None],
    ) -> None:
        self._nvml = nvml
        self._interval_seconds = interval_seconds
        self._publish = publish
        self._on_failure = on_failure
        self._on_restart_needed = on_restart_needed
        self._observe_cycle = observe_cycle
        self._stopping = False
        self._release_until_seconds: float | None = None
        # Held, unless the thread is to look at the two above at once. An Event does the same in a
        # hundred lines of Python for each sleep.
        self._nothing_new = threading.Lock()
        self._nothing_new.acquire()
        # Since when NVML has not answered, None while it does and before it first did.
        self._lost_seconds: float | None = None
        # Since when a cycle runs: one that begins again without a GPU that hangs is still the same.
        self._cycle_seconds: float | None = None
        self._problems = LogOnce(limit=MAX_LOGGED_PROBLEMS)
        self._outage_is_logged = True
        # A daemon: a call that never returns must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="nvml", daemon=True)
        self.state = SamplerState()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def request_stop(self) -> None:
        """Ask the thread to shut NVML down and end."""
        self._stopping = True
        self._wake()

    def release(self, seconds: float) -> None:
        """Ask the thread to shut NVML down and to stay away from the GPUs for this long.

        An open session keeps a GPU from being reset, and from a change of its MIG mode.
        """
        self._release_until_seconds = time.monotonic() + seconds
        self._wake()

    def resume(self) -> None:
        """Ask the thread to open NVML again if it was released."""
        self._release_until_seconds = None
        self._wake()

    def is_alive(self) -> bool:
        """Whether the thread runs, be it in a call that hangs."""
        return self._thread.is_alive()

    def _run(self) -> None:
        failures = 0
        while not self._stopping:
            if self._released():
                self._stay_away()
                continue
            started = time.monotonic()
            error = self._session()
            if error is None:
                continue
            # Opening NVML wakes the GPUs up, so a driver that fails at once again is left longer.
            was_stable = time.monotonic() - started >= LAST_RETRY_SECONDS
            failures = 1 if self.state.nvml_up and was_stable else failures + 1
            self._failed(error)
            # The jitter keeps the nodes of a cluster apart after a common cause.
            self._sleep(retry_seconds(failures) * random.uniform(0.75, 1.0))

    def _sleep(self, seconds: float) -> None:
        """Wait, but not longer than until something is asked for."""
        self._nothing_new.acquire(timeout=max(seconds, 0.0))

    def _wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it is awake already
            self._nothing_new.release()

    def _released(self) -> bool:
        until = self._release_until_seconds
        return until is not None and time.monotonic() < until

    def _stay_away(self) -> None:
        log.warning("NVML is released; no GPU is read until it is taken back")
        is_closed = self._close()
        if not is_closed:
            log.warning("NVML stays open until the call that hangs in the driver returns")
        while not self._stopping and self._released():
            until = self._release_until_seconds
            if until is None:
                continue
            self.state = SamplerState(released_until_seconds=until)
            remaining = max(until - time.monotonic(), 0.0)
            self._sleep(remaining if is_closed else min(remaining, CLOSE_AGAIN_SECONDS))
            is_closed = is_closed or self._close()
        # What was changed meanwhile may be beyond this process: then it must not wait for ever.
        self._lost_seconds = time.monotonic()
        self.state = SamplerState()
        if not self._stopping:
            log.info("NVML is in use again")

    def _close(self) -> bool:
        """Let NVML go; False while a call hangs, so that it has to be tried again."""
        try:
            return self._nvml.close()
        except Exception:
            log.exception("NVML could not be released")
            return True

    def _session(self) -> Exception | None:
        """Read until asked to stop; returns why NVML cannot be used, None if that is not why."""
        try:
            try:
                self._nvml.open()
                self._nvml.run(self._read_until_failure)
            finally:
                self._nvml.close()
        except Exception as error:  # noqa: BLE001  whatever comes up, the thread must outlive it
            return error
        return None

    def _read_until_failure(self) -> None:
        next_cycle = time.monotonic()
        while not (self._stopping or self._released()):
            readings = self._read()
            self._succeeded(readings)
            self._publish(readings)
            # A cycle longer than the interval skips beats instead of running without a pause.
            now = time.monotonic()
            next_cycle = max(next_cycle + self._interval_seconds, now)
            self._sleep(next_cycle - now)

    def _read(self) -> Readings:
        self._cycle_seconds = self._cycle_seconds or time.monotonic()
        try:
            readings = self._nvml.read()
        except Exception:
            self._cycle_ends()
            raise
        self._cycle_ends()
        return readings

    def _cycle_ends(self) -> None:
        if self._cycle_seconds is not None:
            self._observe_cycle(time.monotonic() - self._cycle_seconds)
        self._cycle_seconds = None

    def _succeeded(self, readings: Readings) -> None:
        if not self.state.nvml_up:
            if self._outage_is_logged:
                log.info(
                    "NVML answers",
                    extra={
                        "driver_version": self._nvml.driver_version,
                        "devices": readings.device_count,
                    },
                )
            self._outage_is_logged = True
            self._problems.end_all()
        self.state = SamplerState(nvml_up=True, last_success_unix_seconds=time.time())

    def _failed(self, error: Exception) -> None:
        problem = str(error) if isinstance(error, NvmlError) else f"{type(error).__name__}: {error}"
        if self.state.nvml_up:
            self._lost_seconds = time.monotonic()
        lost = self._lost_seconds
        lost_for_seconds = None if lost is None else time.monotonic() - lost
        if reason := restart_reason(error, lost_for_seconds):
            self._on_restart_needed(reason)
        if self._problems.begins(problem):
            if not isinstance(error, NvmlError):
                log.error("The NVML thread failed unexpectedly; trying again", exc_info=error)
            log.warning(
                "NVML cannot be used; retrying",
                extra={"error": problem, "longest_retry_seconds": LAST_RETRY_SECONDS},
            )
        self._outage_is_logged = self._problems.has_active
        self.state = replace(self.state, nvml_up=False, problem=problem)
        self._on_failure(problem)

    def join(self) -> None:
        """Wait for the thread to end, but not for a call that hangs."""
        self._thread.join(STOP_SECONDS)
        call = self._nvml.running_call
        if self._thread.is_alive() or call is not None:
            log.warning(
                "Exiting without nvmlShutdown, because an NVML call does not return",
                extra={"function": call.function if call else ""},
            )
