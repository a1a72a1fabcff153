# SPDX-License-Identifier: Apache-2.0
"""Lists of processes that can be true, and those that cannot."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.nvml.process_lists import PIDS, impossible_entry

MIB = 2**20
TOTAL = 15360 * MIB


@pytest.mark.parametrize(
    "entries",
    [
        pytest.param([], id="nobody"),
        pytest.param([(10, 2 * MIB), (11, 300 * MIB)], id="two"),
        pytest.param([(1, 0)], id="the first process, nothing yet"),
        pytest.param([(4194303, TOTAL)], id="the last PID, all memory"),
        pytest.param([(10, None), (11, 64 * 1024)], id="not told; one page"),
        pytest.param([(10, MIB), (10, MIB)], id="twice the same"),
    ],
)
def test_lists_that_can_be_true(entries):
    assert impossible_entry(entries, TOTAL) is None
    assert impossible_entry(entries, None) is None
    assert impossible_entry(entries, 0) is None


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        pytest.param((0, MIB), "0 is not the ID", id="PID 0"),
        pytest.param((2**32 - 1, MIB), "4294967295 is not the ID", id="PID -1"),
        pytest.param((4194304, MIB), "4194304 is not the ID", id="beyond Linux' last PID"),
        pytest.param((300 * MIB, None), "314572800 is not the ID", id="a size for a PID"),
        pytest.param((11, 4242), "4242 is not the size", id="a PID for a size"),
        pytest.param((11, 1), "1 is not the size", id="one byte"),
        pytest.param((11, TOTAL + MIB), "is not the size", id="more than the device has"),
        pytest.param((11, 2**60), "is not the size", id="more than any device has"),
        pytest.param((11, 2**64 - 2), "is not the size", id="a sentinel"),
        pytest.param((11, 0xFFFFFFFF_00000007), "is not the size", id="IDs of an instance"),
        pytest.param((10, 2 * MIB), "twice with different", id="one PID, two sizes"),
    ],
)
@pytest.mark.parametrize("place", [0, 1])
def test_one_impossible_entry_makes_it_no_list(entry, why, place):
    entries = [(10, MIB)]
    entries.insert(place, entry)
    found = impossible_entry(entries, TOTAL)
    assert found is not None
    if place or "twice" not in why:
        assert why in found


@pytest.mark.parametrize("total", [None, 0, 2**63, 2**64 - 1])
def test_a_total_that_is_not_known_or_cannot_be_bounds_sizes_by_any_devices(total):
    assert impossible_entry([(10, TOTAL)], total) is None
    assert impossible_entry([(10, 2**60)], total) is not None


NO_INSTANCE = 2**32 - 1


@given(
    st.lists(
        st.tuples(st.sampled_from(PIDS), st.integers(4, 15360).map(lambda mib: mib * MIB)),
        min_size=2,
        max_size=8,
        unique_by=lambda one: one[0],
    ),
    st.sampled_from([0, 2**64 - 1]),
)
def test_a_list_of_larger_structures_than_the_bindings_is_always_found_out(processes, protected):
    """Drivers of the 535 branch have 8 bytes more for each process: its protected memory."""
    memory = b"".join(
        struct.pack("<IxxxxQIIQ", pid, used, NO_INSTANCE, NO_INSTANCE, protected)
        for pid, used in processes
    )
    misread = [
        struct.unpack_from("<IxxxxQ", memory, 24 * number) for number in range(len(processes))
    ]
    assert misread[0] == processes[0], "the first entry looks right"
    assert impossible_entry(misread, TOTAL) is not None


@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.none() | st.integers(0, 2**64 - 1))))
def test_what_is_believed_is_possible(entries):
    if impossible_entry(entries, TOTAL) is None:
        assert all(0 < pid < 2**22 for pid, _ in entries)
        assert all(used is None or 0 <= used <= TOTAL for _, used in entries)
