# SPDX-License-Identifier: Apache-2.0
"""The exporter's own state: readiness with its reason, and the `nvidia_gpu_exporter_*` metrics."""

from __future__ import annotations

import logging
import platform
import time
from typing import TYPE_CHECKING, Final

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import GaugeMetricFamily, InfoMetricFamily

from exporter import __version__
from toolkit.log_once import LogOnce

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.metrics_core import Metric

    from exporter.attribution.snapshots import Snapshots
    from exporter.cli.config import ExporterConfig
    from exporter.model import Readings, Snapshot
    from exporter.nvml import Nvml, NvmlError
    from exporter.nvml.sampler import Sampler
    from exporter.podresources.client import PodResources
    from toolkit.web.server import WebServer

log = logging.getLogger(__name__)

CYCLE_SECONDS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Counters:
    """What is counted as it happens, in a registry of its own; safe in any thread."""

    def __init__(self) -> None:
        # The `_created` series would double the number of counters and nobody reads them.
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self.nvml_errors = Counter(
            "nvidia_gpu_exporter_errors",
            "Failed NVML calls by function and error code. OTHER is a code unknown to the "
            "exporter; the log has its number.",
            ["function", "code"],
            registry=self.registry,
        )
        self.pod_resources_errors = Counter(
            "nvidia_gpu_exporter_pod_resources_errors",
            "Failed calls to the kubelet's pod-resources API by gRPC code; NO_PODS: the kubelet "
            "did not know its pods yet.",
            ["code"],
            registry=self.registry,
        )
        self.api_errors = Counter(
            "nvidia_gpu_exporter_api_errors",
            "Failed requests to the Kubernetes API by resource (--dra, --pod-labels).",
            ["resource"],
            registry=self.registry,
        )
        self.client_errors = Counter(
            "nvidia_gpu_exporter_client_errors",
            "Requests that were not valid HTTP, or whose client disconnected before the answer.",
            registry=self.registry,
        )
        self.cycle_seconds = Histogram(
            "nvidia_gpu_exporter_cycle_duration_seconds",
            "Duration of NVML cycles, including failed ones.",
            buckets=CYCLE_SECONDS_BUCKETS,
            registry=self.registry,
        )

    def on_nvml_error(self, error: NvmlError) -> None:
        """Count a failed call; codes that the binding does not know count together as OTHER."""
        code = "OTHER" if error.code.lstrip("-").isdigit() else error.code
        self.nvml_errors.labels(error.function, code).inc()


class Health:
    """Answers whether the process lives and whether its readings can be used, and if not why."""

    def __init__(
        self,
        config: ExporterConfig,
        *,
        nvml: Nvml,
        sampler: Sampler,
        snapshots: Snapshots,
        pod_resources: PodResources | None,
        web: WebServer,
    ) -> None:
        self._config = config
        self._nvml = nvml
        self._sampler = sampler
        self._snapshots = snapshots
        self._pod_resources = pod_resources
        self._web = web
        self._fixed = (
            InfoMetricFamily(
                "nvidia_gpu_exporter_build",
                "Version of the exporter.",
                value={"version": __version__, "python_version": platform.python_version()},
            ),
            _gauge(
                "interval_seconds",
                "Time between two readings of the GPUs.",
                config.nvml_interval_seconds,
            ),
            _gauge(
                "window_seconds",
                "Time over which the duty cycle is averaged.",
                config.nvml_window_seconds,
            ),
        )

    def fresh_snapshot(self) -> Snapshot | None:
        """Return the newest snapshot unless its readings are too old to be published.

        While NVML is released the GPUs may be changed under it, so no reading counts as fresh.
        """
        return None if self.fresh_readings() is None else self._snapshots.newest

    def fresh_readings(self) -> Readings | None:
        """Return the readings of the newest snapshot, likewise."""
        if self._sampler.state.released_until_seconds is not None:
            return None
        age = self._age_seconds()
        is_fresh = age is not None and age <= self._config.max_age_seconds
        return self._snapshots.readings if is_fresh else None

    def dead_reason(self) -> str | None:
        """Return why the process cannot recover by itself, None while it lives."""
        return None if self._sampler.is_alive() else "the NVML thread has ended"

    def unready_reason(self) -> str | None:
        """Return why there are no current readings, None when there are."""
        if reason := self.dead_reason():
            return reason
        if (call := self._nvml.hanging_call) and not self._reads_any_gpu():
            duration = time.monotonic() - call.started_seconds
            return f"{call.function} has not returned for {duration:.0f} s"
        state = self._sampler.state
        if (until := state.released_until_seconds) is not None:
            remaining = max(until - time.monotonic(), 0.0)
            return f"NVML is released for {remaining:.0f} s more; SIGUSR2 takes it back"
        if state.problem is not None:
            return f"NVML cannot be used: {state.problem}"
        age = self._age_seconds()
        if age is None:
            return "no reading yet"
        if age > self._config.max_age_seconds:
            return f"the last readings are {age:.0f} s old"
        if not self._reads_any_gpu() and (count := self._device_count()):
            reason = f"no GPU can be read, of {count} that the driver shows"
            return "; ".join([reason, *self._first_unreadable()])
        return None

    def collect(self) -> Iterator[Metric]:
        """Yield the state as metrics (prometheus-client's collector interface)."""
        state = self._sampler.state
        snapshot = self._snapshots.newest
        yield from self._fixed
        yield _gauge("nvml_up", "1 while NVML answers, 0 while it cannot be used.", state.nvml_up)
        yield _gauge(
            "nvml_released",
            "1 while NVML is released on demand, for example to reset a GPU.",
            state.released_until_seconds is not None,
        )
        yield _gauge(
            "ready", "1 while current readings are published.", self.unready_reason() is None
        )
        if (age := self._age_seconds()) is not None:
            yield _gauge("snapshot_age_seconds", "Age of the newest readings.", age)
        if state.last_success_unix_seconds is not None:
            yield _gauge(
                "last_success_timestamp_seconds",
                "Unix time of the last successful NVML cycle.",
                state.last_success_unix_seconds,
            )
        if snapshot is not None:
            yield _gauge(
                "unreadable_devices",
                "GPUs that the driver shows but that could not be read in the last cycle.",
                snapshot.readings.unreadable_count,
            )
        if call := self._nvml.hanging_call:
            hanging = GaugeMetricFamily(
                "nvidia_gpu_exporter_hanging_call_seconds",
                "How long an NVML call has been hanging; absent if none is.",
                labels=["function"],
            )
            hanging.add_metric([call.function], time.monotonic() - call.started_seconds)
            yield hanging
        yield from self._pod_resources_metrics(snapshot)
        if (is_good := self._web.config_is_good) is not None:
            yield _gauge(
                "web_config_last_reload_successful",
                "1 if the web configuration file was valid when last read.",
                is_good,
            )

    def _pod_resources_metrics(self, snapshot: Snapshot | None) -> Iterator[Metric]:
        pod_resources = self._pod_resources
        if pod_resources is None:
            return
        last_success = pod_resources.last_success_unix_seconds
        yield _gauge(
            "pod_resources_up",
            "1 while the kubelet lists the devices of its pods.",
            last_success is not None and pod_resources.problem is None,
        )
        if last_success is not None:
            yield _gauge(
                "pod_resources_last_success_timestamp_seconds",
                "Unix time when the kubelet last listed the devices of its pods.",
                last_success,
            )
        yield _gauge(
            "pod_resources_finished_pods",
            "Finished pods that the kubelet still lists with devices.",
            pod_resources.finished_count,
        )
        if snapshot is not None:
            yield _gauge(
                "pod_resources_unmatched_devices",
                "Allocated devices that match no known GPU.",
                len(snapshot.unmatched_device_ids),
            )

    def _reads_any_gpu(self) -> bool:
        """Whether there are fresh readings of a GPU: one that hangs leaves the others be."""
        readings = self.fresh_readings()
        return readings is not None and readings.device_count > readings.unreadable_count

    def _first_unreadable(self) -> Iterator[str]:
        if (readings := self._snapshots.readings) is not None:
            yield from map(str, readings.unreadable[:1])

    def _device_count(self) -> int:
        readings = self._snapshots.readings
        return 0 if readings is None else readings.device_count

    def _age_seconds(self) -> float | None:
        readings = self._snapshots.readings
        return None if readings is None else time.monotonic() - readings.taken_at_seconds


class Watchdog:
    """Logs changes of readiness with their reason."""

    def __init__(self, health: Health) -> None:
        self._health = health
        self._was_ready = False
        self._unready = LogOnce(limit=1)

    def check(self) -> bool:
        """Compare with the last check; return whether the exporter is ready."""
        reason = self._health.unready_reason()
        if reason is None:
            if self._unready.ends("") or not self._was_ready:
                log.info("Ready: current GPU readings are served")
            self._was_ready = True
        elif self._was_ready and self._unready.begins(""):
            log.warning("Not ready: no current GPU readings", extra={"error": reason})
        return reason is None


def _gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"nvidia_gpu_exporter_{name}", help_text, value=value)
