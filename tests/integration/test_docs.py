# SPDX-License-Identifier: Apache-2.0
"""Commands of the pages that need a node with GPUs, on a simulated one."""

from __future__ import annotations

import pytest

from tests.pages.markdown import ROOT
from tests.pages.reading import read_through, run
from tests.simulated import programs


@pytest.fixture
def environment(tmp_path):
    return programs(tmp_path)


def test_the_collectors_that_the_exporters_page_asks_for(environment):
    with read_through("docs/exporter.md", "Collectors") as page:
        (block,) = page.take()
    printed = run(block, ROOT, environment)
    three, all_but_one = printed.split("# HELP nvidia_gpu_num_devices ")[1:]
    assert "nvidia_gpu_ecc_enabled{" in three
    assert "nvidia_gpu_pcie_link_width{" not in three
    assert "nvidia_gpu_pcie_link_width{" in all_but_one
    assert "nvidia_gpu_nvlink_up{" not in all_but_one
