# SPDX-License-Identifier: Apache-2.0
"""Lines of a watch: whatever the chunks, the lines are those that were sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from scaler.kube.lines import LineSplitter

lines = st.lists(st.binary(min_size=1, max_size=40).filter(lambda line: b"\n" not in line))


@given(lines, st.lists(st.integers(min_value=1, max_value=30)), st.binary(max_size=10))
def test_lines_survive_any_chunking(sent, sizes, tail):
    tail = tail.replace(b"\n", b"")
    stream = b"".join(line + b"\n" for line in sent) + tail
    splitter, got, position = LineSplitter(), [], 0
    for size in [*sizes, len(stream)]:
        got += splitter.feed(stream[position : position + size])
        position += size
    assert got == sent


def test_a_line_far_longer_than_any_buffer():
    splitter = LineSplitter()
    chunk = b"x" * 65536
    assert [splitter.feed(chunk) for _ in range(64)] == [[]] * 64
    assert splitter.feed(b"y\n") == [chunk * 64 + b"y"]
