# SPDX-License-Identifier: Apache-2.0
"""Pods and containers in cgroup paths, of every driver and runtime, and in names of logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.processes.cgroups import Place, container_of_log, place_of, pod_of_folder

UID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
SLICE_UID = UID.replace("-", "_")
ID = "4e5f" * 16
STATIC = "0123456789abcdef" * 2
SLICE = f"kubepods-burstable-pod{SLICE_UID}.slice"


@pytest.mark.parametrize(
    ("cgroups", "expected"),
    [
        pytest.param(f"0::/kubepods/burstable/pod{UID}/{ID}", (UID, ID), id="v2, cgroupfs"),
        pytest.param(
            f"0::/kubepods.slice/kubepods-burstable.slice/{SLICE}/cri-containerd-{ID}.scope",
            (UID, ID),
            id="v2, systemd, containerd",
        ),
        pytest.param(
            f"0::/kubepods.slice/{SLICE}/crio-{ID}.scope", (UID, ID), id="v2, systemd, CRI-O"
        ),
        pytest.param(
            f"0::/kubepods.slice/{SLICE}/crio-{ID}.scope/container", (UID, ID), id="CRI-O, crun"
        ),
        pytest.param(
            f"0::/kubepods.slice/kubepods-pod{SLICE_UID}.slice/docker-{ID}.scope",
            (UID, ID),
            id="v2, systemd, docker, guaranteed",
        ),
        pytest.param(
            f"0::/../../{SLICE}/cri-containerd-{ID}.scope",
            (UID, ID),
            id="from a cgroup namespace of its own",
        ),
        pytest.param(
            f"0::/kubepods/besteffort/pod{UID}/{ID}/init.scope", (UID, ID), id="systemd inside"
        ),
        pytest.param(
            f"0::/system.slice/containerd.service/{SLICE}:cri-containerd:{ID}",
            (UID, ID),
            id="systemd kubelet over a cgroupfs containerd",
        ),
        pytest.param(
            f"12:pids:/kubepods/burstable/pod{UID}/{ID}\n1:name=systemd:/kubepods/pod{UID}/{ID}",
            (UID, ID),
            id="v1",
        ),
        pytest.param(
            f"12:rdma:/\n4:devices:/kubepods/pod{UID}/{ID}\n0::/", (UID, ID), id="v1, some at root"
        ),
        pytest.param(
            f"11:cpu,cpuacct:/system.slice/{SLICE}:cri-containerd:{ID}", (UID, ID), id="v1, mixed"
        ),
        pytest.param(f"0::/kubepods/pod{STATIC}/{ID}", (STATIC, ID), id="a static pod"),
        pytest.param(f"0::/kubepods/pod{UID}", (UID, None), id="the pod's own cgroup"),
        pytest.param(f"0::/kubepods/pod{UID}/{ID} (deleted)", (UID, ID), id="just ended"),
        pytest.param(
            f"0::/kubepods/pod{UID}/{ID}/kubelet/kubepods/pod{STATIC}/{'f' * 64}",
            (UID, ID),
            id="Kubernetes in a pod: the node's own",
        ),
        pytest.param("0::/system.slice/gdm.service", None, id="the node's"),
        pytest.param(f"0::/docker/{ID}", None, id="a container of no pod"),
        pytest.param("0::/user.slice/podman-pod.slice", None, id="a name with pod"),
        pytest.param(f"0::/machine.slice/libpod-{ID}.scope", None, id="podman"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_places(cgroups, expected):
    place = None if expected is None else Place(pod_uid=expected[0], container_id=expected[1])
    assert place_of(cgroups) == place


@given(st.text())
def test_any_text_is_a_place_or_none(text):
    assert place_of(text) is None or text


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(f"default_web-0_{UID}", (UID, "default", "web-0"), id="a pod"),
        pytest.param(f"a-b_web.example-0_{UID}", (UID, "a-b", "web.example-0"), id="dots"),
        pytest.param(f"kube-system_etcd-n1_{STATIC}", (STATIC, "kube-system", "etcd-n1"), id="st"),
        pytest.param("lost+found", None, id="something else"),
        pytest.param(f"web-0_{UID}", None, id="no namespace"),
    ],
)
def test_folders_of_pods(name, expected):
    assert pod_of_folder(name) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param(f"web-0_default_main-{ID}.log", (ID, "main"), id="a container"),
        pytest.param(f"web.a-0_default_side-car-{ID}.log", (ID, "side-car"), id="dashes"),
        pytest.param("web-0_default_main.log", None, id="no ID"),
    ],
)
def test_logs_of_containers(name, expected):
    assert container_of_log(name) == expected
