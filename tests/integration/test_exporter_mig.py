# SPDX-License-Identifier: Apache-2.0
"""MIG: who an instance is, its duty cycle by GPM, and changes while it runs."""

from __future__ import annotations

import gc
import tempfile
from dataclasses import fields
from pathlib import Path

import pytest

from exporter.model import Collector, Device
from exporter.nvml.gpm import PROFILE, sole_instances
from simulator.driver import SimulatedDriver
from simulator.gpus import GpuSpec
from simulator.kubelet import SimulatedKubelet
from simulator.nvml.gpm import SHARES
from tests.exporting import PREFIX, exporter
from tests.nvmlnode import Node
from tests.waiting import until

NOT_SUPPORTED, GPU_IS_LOST, UNKNOWN = 3, 15, 999
NOT_FOUND = 6
HOPPER = GpuSpec(model="H100", mig_profiles=("1g.10gb", None, "3g.40gb"))
AMPERE = GpuSpec(model="A100-80GB", mig_profiles=("1g.10gb", "3g.40gb"))
DUTY_CYCLE = "nvidia_gpu_duty_cycle"


@pytest.fixture
def on_the_drivers_clock(monkeypatch):
    """Return a Node whose GPM takes its time from the driver's clock, which is set by hand."""

    def made(*gpus, **options):
        node = Node(*gpus, **options)
        monkeypatch.setattr("exporter.nvml.gpm.monotonic", node.clock)
        return node

    return made


def instances(node, index=0):
    return [mig for mig in node.driver.gpus[index].mig_devices if mig is not None]


def duty_cycles(node):
    return {
        reading.device.uuid: reading.duty_cycle_percent
        for reading in node.readings().devices
        if reading.device.is_mig_instance
    }


def test_each_instance_has_its_own_duty_cycle_averaged_over_the_window(on_the_drivers_clock):
    node = on_the_drivers_clock(HOPPER, window_seconds=10.0).open()
    small, large = instances(node)
    node.driver.set_load(small.uuid, 80)
    assert duty_cycles(node) == {small.uuid: None, large.uuid: None}, "one sample is no share"
    node.clock.now += 5
    assert duty_cycles(node) == {
        small.uuid: pytest.approx(80, abs=1),
        large.uuid: pytest.approx(0, abs=1),
    }
    node.driver.set_load(small.uuid, 0)
    node.clock.now += 5
    assert duty_cycles(node)[small.uuid] == pytest.approx(40, abs=1)
    for _ in range(6):
        node.clock.now += 2
        readings = duty_cycles(node)
    assert readings[small.uuid] == pytest.approx(0, abs=1)
    assert node.errors == []


def test_a_board_without_gpm_has_instances_without_a_duty_cycle_and_is_asked_once(
    on_the_drivers_clock,
):
    node = on_the_drivers_clock(AMPERE).open()
    node.count_calls()
    for _ in range(3):
        node.clock.now += 5
        assert set(duty_cycles(node).values()) == {None}
    assert node.calls["nvmlGpmQueryDeviceSupport"] == 1
    assert not {name for name in node.calls if name.startswith("nvmlGpmSample")}


def test_an_old_driver_without_gpm(on_the_drivers_clock):
    node = on_the_drivers_clock(HOPPER)
    node.driver.faults.fail("nvmlGpmQueryDeviceSupport", 13)  # FUNCTION_NOT_FOUND
    node.open()
    node.readings()
    node.clock.now += 5
    assert set(duty_cycles(node).values()) == {None}
    assert node.errors == []


def test_a_whole_gpu_is_asked_for_gpm_by_the_collector_only():
    node = Node("H100").open()
    node.count_calls()
    node.readings()
    assert not {name for name in node.calls if "Gpm" in name}


@pytest.mark.parametrize("spec", ["H100", HOPPER], ids=["whole", "mig"])
def test_the_profile(on_the_drivers_clock, spec):
    node = on_the_drivers_clock(spec, collectors=[Collector.GPM]).open()
    uuids = [mig.uuid for mig in instances(node)] or [node.driver.gpus[0].uuid]
    for uuid in uuids:
        node.driver.set_load(uuid, 50)
    node.readings()
    node.clock.now += 5
    readings = {one.device.uuid: one for one in node.readings().devices}
    for uuid in uuids:
        found = {sample.family: sample.value for sample in readings[uuid].extended}
        assert found == {
            PROFILE[metric]: pytest.approx(0.5 * share, abs=0.01)
            for metric, share in SHARES.items()
        }
    if len(uuids) > 1:
        assert readings[node.driver.gpus[0].uuid].extended == ()
    assert node.errors == []


@pytest.mark.parametrize(
    "function", ["nvmlGpmSampleAlloc", "nvmlGpmMigSampleGet", "nvmlGpmMetricsGet"]
)
def test_a_failing_function_leaves_the_duty_cycle_out_until_it_works(
    on_the_drivers_clock, function
):
    node = on_the_drivers_clock(HOPPER).open()
    node.readings()
    node.clock.now += 5
    node.driver.faults.fail(function, UNKNOWN)
    assert set(duty_cycles(node).values()) == {None}
    assert {code for _, code in node.errors} == {"UNKNOWN"}
    node.driver.faults.heal(function)
    for _ in range(2):
        node.clock.now += 5
        found = duty_cycles(node)
    assert None not in found.values()


def test_samples_are_freed(on_the_drivers_clock):
    node = on_the_drivers_clock(HOPPER, collectors=[Collector.GPM]).open()
    for _ in range(200):
        node.clock.now += 0.5
        node.readings()
    held = len(node.driver.gpm_samples)
    assert held <= 2 * 12
    node.driver.divide(0, None)
    node.readings()
    node.clock.now += 1
    node.readings()
    assert len(node.driver.gpm_samples) < held
    node.nvml.close()
    gc.collect()
    assert node.driver.gpm_samples == {}


async def test_a_driver_that_goes_away_takes_its_samples_along_and_the_exporter_goes_on(
    monkeypatch,
):
    monkeypatch.setattr("exporter.nvml.sampler.FIRST_RETRY_SECONDS", 0.05)
    with SimulatedDriver([HOPPER]) as driver:
        async with exporter(driver, collectors=frozenset({Collector.GPM})) as reader:

            async def measured():
                return len(await reader.values(DUTY_CYCLE)) == 2

            await until(measured)
            driver.faults.unload_driver()

            async def released():
                return "DRIVER_NOT_LOADED" in (await reader.unready_reason() or "")

            await until(released)
            assert (await reader.get("/healthz"))[0] == 200
            driver.faults.load_driver()
            await until(reader.ready)
            await until(measured)
            errors = await reader.values(f"{PREFIX}errors_total", "function")
            assert "nvmlGpmSampleFree" not in errors


@pytest.mark.parametrize("code", [GPU_IS_LOST, UNKNOWN])
def test_samples_of_a_lost_gpu_harm_no_other(on_the_drivers_clock, code):
    node = on_the_drivers_clock(HOPPER, HOPPER).open()
    node.readings()
    lost = node.driver.gpus[0]
    node.driver.faults.lose(lost.uuid)
    node.driver.faults.fail("nvmlGpmSampleFree", code)
    node.clock.now += 5
    found = duty_cycles(node)
    assert found.keys() == {mig.uuid for mig in instances(node, 1)}
    assert None not in found.values()
    node.nvml.close()


def device(uuid, gpu_instance_id):
    return Device(uuid=uuid, name="", minor_number=0, gpu_instance_id=gpu_instance_id)


@pytest.mark.parametrize(
    ("devices", "sole"),
    [
        pytest.param([device("a", 7), device("b", 8)], ["a", "b"], id="one each"),
        pytest.param([device("a", 7), device("b", 7), device("c", 8)], ["c"], id="two share one"),
        pytest.param([device("a", None)], [], id="unknown"),
    ],
)
def test_which_instances_have_counters_of_their_own(devices, sole):
    assert [one.uuid for one in sole_instances(devices)] == sole


def test_who_an_instance_is():
    node = Node(HOPPER, collectors=[Collector.INFO]).open()
    found = {one.device.uuid: one.extended for one in node.readings().devices}
    for mig in instances(node):
        (info,) = found[mig.uuid]
        assert info.family.name == "nvidia_gpu_mig_info"
        assert dict(zip(info.family.labels, info.labels, strict=True)) == {
            "parent_uuid": node.driver.gpus[0].uuid,
            "mig_profile": mig.profile,
            "gpu_instance_id": str(mig.gpu_instance_id),
            "compute_instance_id": "0",
        }


@pytest.fixture
def socket_path():
    # A short path: a socket address holds about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="gpu-") as folder:
        yield str(Path(folder) / "kubelet.sock")


@pytest.mark.parametrize("collectors", [frozenset(), frozenset(Collector)], ids=["base", "all"])
async def test_rows_follow_every_change_of_mig_while_it_runs(socket_path, collectors, caplog):
    steps = (
        ("1g.10gb",) * 7,
        ("3g.40gb", None, "1g.10gb"),
        (),
        None,
        ("7g.80gb",),
        ("1g.10gb", "1g.10gb"),
        None,
    )
    with SimulatedDriver(["H100", "T4"]) as driver:
        async with (
            SimulatedKubelet(driver, socket_path),
            exporter(driver, pod_resources_socket=socket_path, collectors=collectors) as reader,
        ):
            await until(reader.ready)
            other = driver.gpus[1].uuid
            for profiles in steps:
                driver.divide(0, profiles)
                made = {mig.uuid for mig in driver.gpus[0].mig_devices if mig}
                whole = {driver.gpus[0].uuid} if profiles is None else set()

                async def shown(expected=frozenset(made | whole | {other})):
                    memory = await reader.values("nvidia_gpu_memory_total_bytes")
                    return memory.keys() == expected

                await until(shown, what=f"the instances {profiles}")
                powers = await reader.values("nvidia_gpu_power_usage_milliwatts")
                assert powers.keys() == {driver.gpus[0].uuid, other}, "the board's, once"

                async def measured(expected=frozenset(made | whole | {other})):
                    return (await reader.values(DUTY_CYCLE)).keys() == expected

                await until(measured, what=f"their duty cycles {profiles}")
                assert await reader.value("nvidia_gpu_num_devices") == 2
            assert await reader.ready()
    assert "unexpectedly" not in caplog.text


def test_the_next_cycle_has_exactly_the_instances_that_there_are_now():
    with Node("H100", "T4", collectors=[Collector.INFO]) as node:
        board, other = node.driver.gpus
        for profiles in (("1g.10gb",) * 7, ("3g.40gb", None, "1g.10gb"), (), ("7g.80gb",), None):
            node.driver.divide(0, profiles)
            made = {mig.uuid for mig in board.mig_devices if mig}
            readings = node.readings()
            assert {one.device.uuid for one in readings.devices} == {board.uuid, other.uuid, *made}
            assert readings.unreadable_count == 0


@pytest.fixture(scope="module")
def functions_of_a_cycle():
    with Node("H100", collectors=Collector) as node:
        node.readings()
        node.count_calls()
        node.readings()
    return sorted(name for name in node.calls if name.startswith("nvmlDevice"))


def known(node):
    """What the first GPU has a value of."""
    reading = node.read_first()
    base = {one.name for one in fields(reading) if getattr(reading, one.name) is not None}
    return base | {sample.family.name for sample in reading.extended}


def test_what_a_gpu_lacks_amid_a_change_of_mig_it_has_again_after_it(
    functions_of_a_cycle, monkeypatch
):
    for function in functions_of_a_cycle:
        with Node("H100", collectors=Collector) as node:
            node.readings()
            before = known(node)
            original = getattr(node.binding, function)

            def changing(*arguments, node=node, original=original):
                node.driver.divide(0, ("1g.10gb",))
                return original(*arguments)

            with monkeypatch.context() as amid:
                amid.setattr(node.binding, function, changing)
                node.readings()
            node.readings()
            node.driver.divide(0, None)
            node.readings()
            assert before <= known(node), f"MIG was enabled before {function}"


def test_a_gpu_that_once_told_its_mig_mode_is_asked_for_it_whatever_it_says():
    node = Node(HOPPER).open()
    before = set(node.read())
    node.driver.faults.fail("nvmlDeviceGetMigMode", NOT_SUPPORTED)
    for _ in range(3):
        assert set(node.read()) < before
    node.driver.faults.heal("nvmlDeviceGetMigMode")
    assert set(node.read()) == before


def test_instances_are_found_at_once_where_the_board_only_has_no_new_samples_any_more():
    with Node("H100") as node:
        node.readings()
        node.clock.now += 5
        assert node.read_first().duty_cycle_percent is not None
        (board,) = node.driver.gpus
        node.driver.divide(0, ("1g.10gb",))
        node.driver.faults.fail("nvmlDeviceGetSamples", NOT_FOUND, uuid=board.uuid)
        found = node.read()
        assert found.keys() == {board.uuid, *(mig.uuid for mig in instances(node))}
        assert found[board.uuid].duty_cycle_percent is None
        assert found[board.uuid].memory_total_bytes is None


async def test_a_new_instance_does_not_begin_with_the_load_of_the_one_before():
    with SimulatedDriver([GpuSpec(model="H100", mig_profiles=("1g.10gb",))]) as driver:
        async with exporter(driver) as reader:

            async def of(uuid):
                return (await reader.values(DUTY_CYCLE)).get(uuid)

            (old,) = (mig.uuid for mig in driver.gpus[0].mig_devices if mig)
            driver.set_load(old, 100)

            async def busy():
                percent = await of(old)
                return percent is not None and percent > 50

            await until(busy)
            driver.divide(0, ("1g.10gb",))
            (new,) = (mig.uuid for mig in driver.gpus[0].mig_devices if mig)
            assert new != old

            async def measured():
                return await of(new) is not None

            await until(measured)
            assert await of(new) == 0
            assert await of(old) is None
