# SPDX-License-Identifier: Apache-2.0
"""What several tests over sockets and processes begin with."""

from __future__ import annotations

import tempfile
from pathlib import Path

import aiohttp
import pytest

from tests.cluster.certificates import Authority
from tests.embedded import running_cluster
from tests.exporterweb import WebFile
from tests.kubeapi import service_account
from tests.metricsapidoor import running_door
from tests.statuspage import Scene, decision, gpu, ref


@pytest.fixture
def socket_path():
    # A short path: a socket address holds about a hundred bytes.
    with tempfile.TemporaryDirectory(prefix="gpu-") as directory:
        yield str(Path(directory) / "kubelet.sock")


@pytest.fixture
def frequent_listings(monkeypatch):
    """Let the exporter ask the kubelet often."""
    monkeypatch.setattr("exporter.podresources.client.MIN_INTERVAL_SECONDS", 0.05)


@pytest.fixture
def quick_retries(monkeypatch):
    """Let the exporter look soon for a driver that went away."""
    monkeypatch.setattr("exporter.nvml.sampler.FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr("exporter.nvml.sampler.LAST_RETRY_SECONDS", 0.1)


@pytest.fixture
def no_slow_pcie(monkeypatch):
    """Let the simulated measurement of PCIe throughput take no time."""
    monkeypatch.setattr("simulator.nvml.extended.PCIE_THROUGHPUT_SECONDS", 0.0)


@pytest.fixture
def file(tmp_path):
    """The exporter's web configuration file, with certificates beside it."""
    return WebFile(tmp_path, Authority(tmp_path, "ca"))


@pytest.fixture
def account(tmp_path):
    """The folder of a service account, and the TLS of an API server by its CA."""
    return tmp_path, service_account(tmp_path)


@pytest.fixture
async def door(tmp_path):
    """The metrics API behind its own door."""
    async with running_door(tmp_path) as made:
        yield made


@pytest.fixture
async def cluster(tmp_path):
    async with running_cluster(tmp_path) as running:
        yield running


@pytest.fixture
def scene():
    """A status page with many Deployments and one node."""
    scene = Scene()
    scene.decide(*(decision(f"web-{n}") for n in range(60)), decision("web"))
    scene.samples = {"node-1": [gpu("node-1", n, 50, ref("web-1")) for n in range(8)]}
    return scene


@pytest.fixture
async def client():
    async with aiohttp.ClientSession() as session:
        yield session
