"""How long the NVML thread waits between two attempts."""

from __future__ import annotations

import pytest

from exporter.sampler import FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS, retry_seconds


@pytest.mark.parametrize(
    ("failures", "seconds"),
    [
        pytest.param(1, FIRST_RETRY_SECONDS, id="first"),
        pytest.param(2, 2 * FIRST_RETRY_SECONDS, id="second"),
        pytest.param(4, 8 * FIRST_RETRY_SECONDS, id="fourth"),
        pytest.param(100_000, LAST_RETRY_SECONDS, id="for days"),
    ],
)
def test_the_wait_doubles_up_to_a_limit(failures, seconds):
    assert retry_seconds(failures) == seconds
