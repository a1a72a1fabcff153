# SPDX-License-Identifier: Apache-2.0
"""A whole exporter over a simulated driver and kubelet, read through its real HTTP port."""

from __future__ import annotations

import time
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)

from exporter.app import NvmlRequiredError
from exporter.model import Collector
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.nvml.binding import bind
from tests.exporting import PREFIX, exporter
from tests.waiting import until
from toolkit.listening.listener import BindError

OPENMETRICS = "application/openmetrics-text;version=1.0.0"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """Shorten what is meant for real drivers and kubelets."""
    monkeypatch.setattr("exporter.nvml.sampler.FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr("exporter.nvml.sampler.LAST_RETRY_SECONDS", 0.1)
    monkeypatch.setattr("exporter.nvml.sampler.STOP_SECONDS", 0.2)
    monkeypatch.setattr("exporter.podresources.client.MIN_INTERVAL_SECONDS", 0.05)


async def test_readings_reach_http():
    with SimulatedDriver(["T4", "RTX-A6000"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready, what="ready")
            uuids = {gpu.uuid for gpu in driver.gpus}
            for family in ("duty_cycle", "memory_total_bytes", "power_usage_milliwatts"):
                assert set(await reader.values(f"nvidia_gpu_{family}")) == uuids
            assert set(await reader.values("nvidia_gpu_fanspeed_percent")) == {driver.gpus[1].uuid}
            assert await reader.values("nvidia_gpu_num_devices", "node_name") == {"node-1": 2.0}
            driver.set_memory_used(0, 1 << 30)

            async def follows():
                used = await reader.values("nvidia_gpu_memory_used_bytes")
                return used[driver.gpus[0].uuid] == 1 << 30

            await until(follows, what="the new memory in use")


async def test_the_age_of_the_readings_is_in_every_answer():
    with SimulatedDriver(["T4"]) as driver:
        begun_seconds = time.monotonic()
        async with exporter(driver) as reader:
            await until(reader.ready)
            names = f"?name[]={PREFIX}snapshot_age_seconds&name[]={PREFIX}interval_seconds"
            first = {sample.name: sample for sample in await reader.samples(names)}
            assert set(first) == {f"{PREFIX}snapshot_age_seconds", f"{PREFIX}interval_seconds"}
            assert first[f"{PREFIX}snapshot_age_seconds"].labels == {}
            assert first[f"{PREFIX}interval_seconds"].value == 0.05
            lasted_seconds = time.monotonic() - begun_seconds
            assert 0 <= first[f"{PREFIX}snapshot_age_seconds"].value <= lasted_seconds


async def test_formats_compression_and_filter():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            _, headers, text = await reader.get(**{"Accept-Encoding": "identity"})
            assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            assert "Content-Encoding" not in headers
            _, headers, zipped = await reader.get(**{"Accept-Encoding": "gzip"})
            assert headers["Content-Encoding"] == "gzip"
            assert int(headers["Content-Length"]) < len(text) / 3
            assert "nvidia_gpu_duty_cycle{" in zipped
            _, headers, plain = await reader.get(**{"Accept-Encoding": "gzip;q=0, identity"})
            assert "Content-Encoding" not in headers
            assert "nvidia_gpu_duty_cycle{" in plain
            _, headers, text = await reader.get(Accept=OPENMETRICS)
            assert headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            assert text.endswith("\n# EOF\n")
            assert text.count("# EOF") == 1
            only = await reader.samples(
                "?name[]=nvidia_gpu_duty_cycle&name[]=nvidia_gpu_num_devices"
            )
            assert {sample.name for sample in only} == {
                "nvidia_gpu_duty_cycle",
                "nvidia_gpu_num_devices",
            }


async def test_all_collectors():
    with SimulatedDriver(["H100", GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb",))]) as driver:
        async with exporter(driver, collectors=frozenset(Collector)) as reader:
            await until(lambda: reader.values("nvidia_gpu_xid_errors_total"), what="all of them")
            driver.report_xid(0, 79)
            uuids = {gpu.uuid for gpu in driver.gpus}
            energy = "nvidia_gpu_energy_joules_total"
            assert set(await reader.values(energy)) == uuids
            assert set(await reader.values(energy, query=f"?name[]={energy}")) == uuids
            assert set(await reader.values("nvidia_gpu_driver_info", "cuda_version")) == {"13.0"}

            async def reported():
                return await reader.values("nvidia_gpu_xid_last_timestamp_seconds")

            assert set(await until(reported, what="the Xid")) == {driver.gpus[0].uuid}
            _, _, text = await reader.get(Accept=OPENMETRICS)
            types = {metric.name: metric.type for metric in parse_openmetrics(text)}
            assert types["nvidia_gpu"] == "info"
            assert types["nvidia_gpu_energy_joules"] == "counter"
            assert types["nvidia_gpu_clock_hertz"] == "gauge"


async def test_an_event_wait_that_hangs_does_not_hold_up_the_end(caplog):
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.hang("nvmlEventSetWait_v2")
        async with exporter(driver, collectors=frozenset({Collector.XID})) as reader:
            await until(reader.ready)
            await until(driver.events.registered, what="the event thread")
    assert "Exiting without nvmlShutdown" in caplog.text


async def test_landing_page_health_and_telemetry_path():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, telemetry_path="/gpus") as reader:
            await until(reader.ready)
            assert (await reader.get("/gpus"))[0] == 200
            assert (await reader.get("/metrics"))[0] == 404
            assert (await reader.get("/healthz"))[:3:2] == (200, "ok\n")
            status, _, page = await reader.get("/")
            assert status == 200
            assert '<a href="/gpus">' in page


async def test_metrics_at_the_root():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, telemetry_path="/") as reader:
            status, _, text = await reader.get("/")
            assert (status, text.startswith("# HELP")) == (200, True)


async def test_a_hanging_call(monkeypatch, caplog):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 0.1)
    monkeypatch.setattr("exporter.cli.config.MIN_MAX_AGE_SECONDS", 0.3)
    monkeypatch.setattr("exporter.app.parts._WATCHDOG_SECONDS", 0.02)
    monkeypatch.setattr("exporter.app.parts._READY_WATCHDOG_SECONDS", 0.02)
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetTemperature")

            async def named():
                reason = await reader.unready_reason() or ""
                return reason.startswith("nvmlDeviceGetTemperature has not returned for")

            await until(named, what="not ready, with the call that hangs")

            async def gone():
                return await reader.value(f"{PREFIX}unreadable_devices") == 1.0

            await until(gone, what="the GPU series are gone")
            hanging = await reader.values(f"{PREFIX}hanging_call_seconds", "function")
            assert set(hanging) == {"nvmlDeviceGetTemperature"}
            assert await reader.value(f"{PREFIX}ready") == 0.0
            assert not await reader.values("nvidia_gpu_duty_cycle")
            assert (await reader.get("/healthz"))[0] == 200

            def reported():
                reasons = [vars(record).get("error", "") for record in caplog.records]
                return any(one.startswith("nvmlDeviceGetTemperature has not") for one in reasons)

            await until(reported, what="the log says why it is not ready")
            driver.faults.release()
            await until(lambda: reader.values("nvidia_gpu_duty_cycle"), what="it is read again")
            await until(reader.ready)

            async def nothing_hangs():
                return await reader.values(f"{PREFIX}hanging_call_seconds", "function") == {}

            await until(nothing_hangs)


async def test_the_end_does_not_wait_for_a_hanging_call(monkeypatch, caplog):
    monkeypatch.setattr("exporter.nvml.hang_guard.HANGING_CALL_SECONDS", 0.05)
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.hang("nvmlDeviceGetPowerUsage")

            async def hangs():
                return "nvmlDeviceGetPowerUsage" in (await reader.unready_reason() or "")

            await until(hangs)
        assert "Exiting without nvmlShutdown" in caplog.text


async def test_a_lost_gpu_takes_only_its_own_series_along():
    with SimulatedDriver(["T4", "T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            lost, other = driver.gpus[0].uuid, driver.gpus[1].uuid
            driver.faults.lose(lost)

            async def only_the_other():
                return set(await reader.values("nvidia_gpu_duty_cycle")) == {other}

            await until(only_the_other)
            assert await reader.value("nvidia_gpu_num_devices") == 2.0
            assert await reader.value(f"{PREFIX}unreadable_devices") == 1.0
            assert (await reader.values(f"{PREFIX}errors_total", "code"))["GPU_IS_LOST"] >= 1
            assert await reader.ready()
            driver.faults.find(lost)
            await until(lambda: _shows(reader, lost), what="the GPU is back")


async def _shows(reader, uuid):
    return uuid in await reader.values("nvidia_gpu_duty_cycle")


async def test_the_driver_goes_and_comes_back(caplog):
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            await until(reader.ready)
            driver.faults.unload_driver()

            async def not_loaded():
                return "DRIVER_NOT_LOADED" in (await reader.unready_reason() or "")

            await until(not_loaded, what="the reason")
            assert await reader.value(f"{PREFIX}nvml_up") == 0.0
            codes = await reader.values(f"{PREFIX}errors_total", "code")
            assert {"UNINITIALIZED", "DRIVER_NOT_LOADED"} <= set(codes)

            async def retried():
                codes = await reader.values(f"{PREFIX}errors_total", "code")
                return codes["DRIVER_NOT_LOADED"] >= 3

            await until(retried)
            driver.faults.load_driver()
            await until(reader.ready, what="ready again")
            assert await reader.value(f"{PREFIX}nvml_up") == 1.0
    records = [record for record in caplog.records if "NVML cannot be used" in record.getMessage()]
    assert ["UNINITIALIZED" in vars(one)["error"] for one in records] == [True, False]


async def test_without_a_library_the_own_metrics_are_served(caplog):
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.lacks_library = True
        async with exporter(driver) as reader:
            await until(lambda: reader.value(f"{PREFIX}errors_total"))

            async def says_why() -> bool:
                reason = await reader.unready_reason()
                return bool(reason.startswith("NVML cannot be used: nvmlInit: LIBRARY_NOT_FOUND"))

            await until(says_why)
            assert (await reader.get("/healthz"))[0] == 200
            assert await reader.value(f"{PREFIX}snapshot_age_seconds") is None
            assert await reader.value(f"{PREFIX}interval_seconds") == 0.05
            assert await reader.values("nvidia_gpu_num_devices") == {}
            driver.faults.lacks_library = False
            await until(reader.ready, what="the library was mounted")
    records = [record for record in caplog.records if "NVML cannot be used" in record.getMessage()]
    assert len(records) == 1


async def test_nvml_required_ends_the_exporter():
    with SimulatedDriver(["T4"]) as driver:
        driver.faults.lacks_library = True
        with pytest.raises(NvmlRequiredError, match="LIBRARY_NOT_FOUND"):
            async with exporter(driver, nvml_required=True) as reader:
                await until(lambda: reader.value("nvidia_gpu_num_devices"))


async def test_nvml_required_and_there():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver, nvml_required=True) as reader:
            await until(reader.ready)


async def test_an_exception_of_the_embedding_program_comes_out_as_it_is():
    with SimulatedDriver(["T4"]) as driver, pytest.raises(LookupError):
        async with exporter(driver):
            raise LookupError


async def test_an_address_in_use():
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            with pytest.raises(BindError, match="Address already in use"):
                async with exporter(driver, listen_port=reader.port):
                    pass


async def test_a_dead_thread_is_told_by_healthz(monkeypatch):
    monkeypatch.setattr("exporter.nvml.sampler.Sampler._run", lambda self: None)
    with SimulatedDriver(["T4"]) as driver:
        async with exporter(driver) as reader:
            status, _, text = await reader.get("/healthz")
            assert (status, text) == (503, "the NVML thread has ended\n")


async def test_an_unexpected_exception_does_not_end_the_thread(caplog):
    with SimulatedDriver(["T4"]) as driver:
        binding: Any = bind(driver)
        original = binding.nvmlDeviceGetCount

        def broken():
            raise AttributeError("no such field")

        async with exporter(driver, binding=binding) as reader:
            await until(reader.ready)
            binding.nvmlDeviceGetCount = broken
            reason = await until(reader.unready_reason)
            assert reason == "NVML cannot be used: AttributeError: no such field"
            binding.nvmlDeviceGetCount = original
            await until(reader.ready)
    assert "The NVML thread failed unexpectedly" in caplog.text


async def test_two_exporters_in_one_process_do_not_mix():
    with SimulatedDriver(["T4"], seed="a") as one, SimulatedDriver(["L4"], seed="b") as other:
        async with (
            exporter(one, node_name="a") as first,
            exporter(other, node_name="b") as second,
        ):
            await until(first.ready)
            await until(second.ready)
            assert set(await first.values("nvidia_gpu_duty_cycle", "name")) == {"Tesla T4"}
            assert set(await second.values("nvidia_gpu_duty_cycle", "name")) == {"NVIDIA L4"}
            assert set(await first.values("nvidia_gpu_num_devices", "node_name")) == {"a"}
            assert set(await second.values("nvidia_gpu_num_devices", "node_name")) == {"b"}


async def test_an_unexpected_exception_in_letting_go_does_not_end_the_thread(caplog):
    with SimulatedDriver(["T4"]) as driver:
        binding: Any = bind(driver)
        original = binding.nvmlShutdown

        def broken():
            raise AttributeError("no such function")

        async with exporter(driver, binding=binding) as reader:
            await until(reader.ready)
            binding.nvmlShutdown = broken
            reader.exporter.release()
            await until(lambda: "The NVML thread failed unexpectedly" in caplog.text)
            binding.nvmlShutdown = original
            reader.exporter.resume()
            await until(reader.ready)
            assert (await reader.get("/healthz"))[0] == 200
