# SPDX-License-Identifier: Apache-2.0
"""A driver that answers SUCCESS and fills in what cannot be: none of it is a reading."""

from __future__ import annotations

import ctypes
import inspect
import math

import pytest

from exporter.model import Collector
from exporter.nvml import NvmlError
from simulator.gpus import MODELS, GpuSpec
from tests.nvmlnode import Node

pytestmark = pytest.mark.usefixtures("no_slow_pcie")

ASKED = frozenset(Collector) - {Collector.XID}
BASE_FIELDS = (
    "duty_cycle_percent",
    "memory_total_bytes",
    "memory_used_bytes",
    "power_usage_milliwatts",
    "temperature_celsius",
    "fan_speed_percent",
)
# Whose answers are no readings.
KEPT = {"nvmlInit", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex", "nvmlDeviceGetMigMode"}
# They say that there is a GPU and who it is.
IDENTITY = {"nvidia_gpu_info", "nvidia_gpu_mig_info", "nvidia_gpu_readable"}
VALUE_TYPES = {float: (0, "dVal"), int: (3, "ullVal")}


def spoiled(answer, garbage):
    """Return the answer of a function with garbage in place of every number in it."""
    if isinstance(answer, tuple | list):
        return type(answer)(spoiled(one, garbage) for one in answer)
    if isinstance(answer, int):
        return garbage
    if isinstance(answer, ctypes.Array) and hasattr(answer[0], "nvmlReturn"):
        for one in answer:
            set_value(one, garbage)
    elif isinstance(answer, ctypes.Structure):
        for name in {"total", "used", "reserved", "gpu", "memory"} & {
            one[0] for one in answer._fields_
        }:
            setattr(answer, name, garbage if isinstance(garbage, int) else 2**64 - 1)
    return answer


def fill(structure, garbage):
    """Put garbage into every number of a structure that was given by reference."""
    for name, _ in getattr(structure, "_fields_", ()):
        if isinstance(getattr(structure, name), int):
            setattr(structure, name, garbage if isinstance(garbage, int) else 2**64 - 1)


def set_value(field, value):
    """Have a field value say this number with SUCCESS."""
    if value is None:
        field.nvmlReturn = 3
        return
    kind, member = VALUE_TYPES[type(value)]
    if isinstance(value, int) and value < 0:
        kind, member = 4, "sllVal"
    field.nvmlReturn, field.valueType = 0, kind
    setattr(field.value, member, value)


def spoil(node, garbage):
    def broken(function):
        def call(*arguments):
            answer = function(*arguments)
            for given in arguments:
                fill(getattr(given, "_obj", None), garbage)
            return spoiled(answer, garbage)

        return call

    for name, function in list(vars(node.binding).items()):
        is_reading = name.startswith("nvmlDevice") and name not in KEPT
        if is_reading and inspect.isfunction(function):
            setattr(node.binding, name, broken(function))


@pytest.mark.parametrize("garbage", [2**64 - 1, 2**63 - 16, -1, math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("model", MODELS)
def test_nothing_that_a_driver_fills_in_is_published(model, garbage):
    node = Node(model, collectors=ASKED).open()
    node.driver.set_load(0, 40)
    spoil(node, garbage)
    for _ in range(2):
        node.clock.now += 5
        reading = node.read_first()
        base = {field: getattr(reading, field) for field in BASE_FIELDS}
        if garbage == -1:
            # As a temperature this is one.
            assert base.pop("temperature_celsius") == -1
        assert set(base.values()) == {None}
        assert {sample.family.name for sample in reading.extended} <= IDENTITY | {
            "nvidia_gpu_recovery_action",
            *({"nvidia_gpu_temperature_margin_celsius"} if garbage == -1 else ()),
            *(f"nvidia_gpu_{kind}_ratio" for kind in GPM),
        }


GPM = (
    "graphics_engine_active",
    "sm_active",
    "sm_occupancy",
    "tensor_active",
    "dram_bandwidth",
    "fp64_active",
    "fp32_active",
    "fp16_active",
)


FIELDS = {
    "nvlink_transmit_bytes": (Collector.NVLINK, 138),
    "nvlink_receive_bytes": (Collector.NVLINK, 139),
    "clocks_event_seconds": (Collector.THROTTLE, 269),
    "violation_seconds": (Collector.THROTTLE, 79),
    "power_instant_watts": (Collector.POWER, 186),
    "retired_pages": (Collector.ECC, 29),
    "page_retirement_pending": (Collector.ECC, 31),
}


@pytest.mark.parametrize("value", [2**64 - 1, -1, math.nan, math.inf])
@pytest.mark.parametrize("family", FIELDS)
def test_a_field_value_that_cannot_be_is_absent_and_the_others_stay(family, value):
    collector, field = FIELDS[family]
    node = Node("T4" if collector is Collector.ECC else "H100", collectors=[collector]).open()
    before = node.samples()
    spoil_field(node, field, value)
    lost = before.keys() - node.samples().keys()
    assert {key[0].removesuffix("_total") for key in lost} == {family}
    assert len(lost) == 1


def spoil_field(node, field, value):
    original = node.binding.nvmlDeviceGetFieldValues

    def ask(handle, fields):
        answers = original(handle, fields)
        for answer in answers:
            if answer.fieldId == field:
                set_value(answer, value)
        return answers

    node.binding.nvmlDeviceGetFieldValues = ask


@pytest.mark.parametrize("count", [math.nan, math.inf, -1, 2**32 - 1, 0.5, 0])
def test_a_number_of_links_that_cannot_be_is_none(count):
    node = Node("H100", collectors=[Collector.NVLINK]).open()
    spoil_field(node, node.binding.NVML_FI_DEV_NVLINK_LINK_COUNT, count)
    assert node.samples() == {}


@pytest.mark.parametrize(
    ("function", "value", "field"),
    [
        pytest.param("nvmlDeviceGetTemperature", 300, "temperature_celsius", id="temperature"),
        pytest.param("nvmlDeviceGetFanSpeed", 500, "fan_speed_percent", id="fan"),
        pytest.param("nvmlDeviceGetPowerUsage", 2**31 - 16, "power_usage_milliwatts", id="power"),
        pytest.param("nvmlDeviceGetPowerUsage", 0, "power_usage_milliwatts", id="no power"),
    ],
)
def test_a_reading_out_of_range_is_unknown(function, value, field):
    node = Node("RTX-A6000").open()
    node.driver.faults.answer(function, value)
    assert getattr(node.read_first(), field) is None


def test_samples_out_of_range_are_no_samples():
    node = Node("T4").open()
    node.driver.set_load(0, 40)
    node.driver.faults.answer("nvmlDeviceGetSamples", 101)
    assert node.after(30).duty_cycle_percent == 40.0, "from the instantaneous rates"
    node.driver.faults.answer("nvmlDeviceGetUtilizationRates", 101)
    node = Node("T4").open()
    node.driver.faults.answer("nvmlDeviceGetSamples", 101)
    node.driver.faults.answer("nvmlDeviceGetUtilizationRates", 101)
    assert node.after(30).duty_cycle_percent is None


@pytest.mark.parametrize("stamp", [0, 2**64 - 1, 2**63])
def test_a_sample_of_no_time_is_no_sample(stamp):
    node = Node("T4").open()
    node.driver.set_load(0, 40)
    original = node.binding.nvmlDeviceGetSamples

    def samples(*arguments):
        kind, found = original(*arguments)
        found[0].timeStamp, found[0].sampleValue.uiVal = stamp, 100
        return kind, found

    node.binding.nvmlDeviceGetSamples = samples
    assert node.after(30).duty_cycle_percent == 40.0
    node.driver.set_load(0, 0)
    assert node.after(30).duty_cycle_percent == 0.0


@pytest.mark.parametrize(("number", "version"), [(13000, "13.0"), (0, ""), (-1, ""), (2**31, "")])
def test_a_version_of_cuda_that_cannot_be_is_empty(number, version):
    node = Node("T4", collectors=[Collector.INFO]).open()
    node.binding.nvmlSystemGetCudaDriverVersion_v2 = lambda: number
    (versions,) = node.readings().node
    assert versions.labels[1] == version


@pytest.mark.parametrize(
    "spec",
    ["T4", GpuSpec(model="H100", mig_profiles=("1g.10gb",))],
    ids=["board", "MIG instance"],
)
@pytest.mark.parametrize("total", [0, 2**51, 2**63, 2**64 - 1])
def test_an_answer_whose_total_cannot_be_was_not_filled_in(spec, total):
    node = Node(spec).open()
    uuid = node.driver.uuids[-1]
    node.driver.device(uuid).memory_total_bytes = total
    reading = node.read()[uuid]
    assert reading.memory_total_bytes is None
    assert reading.memory_used_bytes is None


@pytest.mark.parametrize("total", [0, 2**51, 2**64 - 1])
def test_nothing_is_reserved_of_memory_that_cannot_be(total):
    node = Node("T4", collectors=[Collector.MEMORY]).open()
    assert node.samples(of="memory_reserved")
    node = Node("T4", collectors=[Collector.MEMORY]).open()
    original = node.binding.nvmlDeviceGetMemoryInfo

    def info(*arguments):
        answer = original(*arguments)
        answer.total, answer.reserved = total, 0
        return answer

    node.binding.nvmlDeviceGetMemoryInfo = info
    assert not node.samples(of="memory_reserved")


def test_more_memory_in_use_than_there_is_is_unknown():
    node = Node("T4").open()
    total = node.driver.gpus[0].memory_total_bytes
    node.driver.set_memory_used(0, total + 1)
    reading = node.read_first()
    assert (reading.memory_total_bytes, reading.memory_used_bytes) == (total, None)


def test_numbers_that_identify_are_bounded_too():
    node = Node(GpuSpec(model="H100", mig_profiles=("1g.10gb",))).open()
    for function in (
        "nvmlDeviceGetMinorNumber",
        "nvmlDeviceGetGpuInstanceId",
        "nvmlDeviceGetComputeInstanceId",
    ):
        node.driver.faults.answer(function, 2**32 - 1)
    board, instance = node.read().values()
    assert board.device.minor_number is None
    assert (instance.device.gpu_instance_id, instance.device.compute_instance_id) == (None, None)


def test_a_number_of_instances_that_cannot_be_is_none():
    node = Node(GpuSpec(model="H100", mig_profiles=("1g.10gb",))).open()
    node.driver.faults.answer("nvmlDeviceGetMaxMigDeviceCount", 2**32 - 1)
    (board,) = node.read().values()
    assert board.power_usage_milliwatts is not None


def test_a_number_of_gpus_that_cannot_be_is_an_error():
    node = Node("T4").open()
    node.binding.nvmlDeviceGetCount = lambda: 2**32 - 1
    with pytest.raises(NvmlError, match="4294967295"):
        node.read()


@pytest.mark.parametrize("garbage", [2**32 - 1, 101])
def test_a_sample_buffer_that_goes_on_with_garbage_gives_way_to_the_rates(garbage, monkeypatch):
    monkeypatch.setattr("exporter.nvml.duty_cycle._BUFFER_STALLED_SECONDS", 0.0)
    node = Node("H100", window_seconds=0.01).open()
    node.driver.set_load(0, 40)
    assert node.after(20).duty_cycle_percent == 40
    node.driver.set_load(0, 90)
    node.driver.faults.answer("nvmlDeviceGetSamples", garbage)
    while node.after(1).duty_cycle_percent != 90:
        pass
