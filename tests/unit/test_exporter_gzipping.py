# SPDX-License-Identifier: Apache-2.0
"""One beginning, compressed once, with many ends."""

from __future__ import annotations

import zlib

from hypothesis import given
from hypothesis import strategies as st

from exporter.exposition.compression import Gzipped, gzipping

ANY_GZIP_READER = zlib.MAX_WBITS | 16


def gzipped(data: bytes) -> Gzipped:
    steps = gzipping(data)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            found: Gzipped = end.value
            return found


@given(beginning=st.binary(max_size=2000), ends=st.lists(st.binary(max_size=2000), max_size=3))
def test_each_end_makes_one_member_that_any_reader_takes(beginning, ends):
    start = gzipped(beginning)
    for end in ends:
        reader = zlib.decompressobj(ANY_GZIP_READER)  # checks the sum and the size, too
        assert reader.decompress(start.followed_by(end)) == beginning + end
        assert reader.eof
        assert reader.unused_data == b""


def test_an_end_that_repeats_the_beginning():
    text = b"nvidia_gpu_duty_cycle 63.0\n" * 5000
    whole = gzipped(text).followed_by(text)
    assert zlib.decompress(whole, ANY_GZIP_READER) == text + text
