# SPDX-License-Identifier: Apache-2.0
"""Pods that have finished, told from the node's files."""

from __future__ import annotations

import os

import pytest

from exporter.processes.terminated_pods import FinishedPods
from tests.forbidding import CODES, forbidden

UIDS = [f"0a1b2c3d-0000-4000-8000-00000000000{n}" for n in range(4)]
V2_SYSTEMD = "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{}.slice"
LAYOUTS = {
    "v2, systemd": ("", V2_SYSTEMD, True),
    "v2, systemd, guaranteed": ("", "kubepods.slice/kubepods-pod{}.slice", True),
    "v2, cgroupfs": ("", "kubepods/besteffort/pod{}", False),
    "v2, kind": (
        "",
        "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/"
        "kubelet-kubepods-burstable-pod{}.slice",
        True,
    ),
    "v1, cgroupfs": ("memory/", "kubepods/burstable/pod{}", False),
    "v1, only pids": ("pids/", "kubepods/pod{}", False),
}


class Node:
    def __init__(self, root, layout):
        self.root = root
        controller, self.path, self.underscores = LAYOUTS[layout]
        self.controller = controller
        (root / "cgroup" / controller).mkdir(parents=True)
        (root / "log" / "pods").mkdir(parents=True)
        if not controller:
            (root / "cgroup" / "cgroup.controllers").write_text("cpu memory")
        self.pods = FinishedPods(cgroups=root / "cgroup", logs=root / "log")

    def cgroup(self, uid):
        name = self.path.format(uid.replace("-", "_") if self.underscores else uid)
        return self.root / "cgroup" / (self.controller + name)

    def start(self, name, uid, namespace="ns"):
        self.cgroup(uid).mkdir(parents=True)
        (self.root / "log" / "pods" / f"{namespace}_{name}_{uid}").mkdir()

    def finish(self, uid):
        self.cgroup(uid).rmdir()

    def finished(self, *names):
        asked = {("ns", name) for name in names}
        return {name for _, name in self.pods.among(asked)}


@pytest.fixture(params=LAYOUTS)
def node(request, tmp_path):
    return Node(tmp_path, request.param)


def test_a_pod_whose_cgroup_is_gone_has_finished_when_it_is_seen_so_twice(node):
    node.start("job", UIDS[0])
    node.start("serving", UIDS[1])
    assert node.pods.problem() is None
    assert node.finished("job", "serving") == set()
    assert not node.pods.awaits_second_look
    node.finish(UIDS[0])
    assert node.finished("job", "serving") == set()
    assert node.pods.awaits_second_look
    for _ in range(2):
        assert node.finished("job", "serving") == {"job"}
        assert not node.pods.awaits_second_look


def test_a_pod_that_is_listed_before_it_begins_is_none(node):
    node.start("serving", UIDS[0])
    for _ in range(3):
        assert node.finished("starting") == set()


def test_a_pod_of_the_same_name_as_a_finished_one(node):
    node.start("other", UIDS[3])
    node.start("web-0", UIDS[0])
    node.finish(UIDS[0])
    assert node.finished("web-0") == set()
    node.start("web-0", UIDS[1])
    assert node.finished("web-0") == set()
    assert node.finished("web-0") == set()


def test_a_node_whose_cgroups_cannot_be_seen_has_no_finished_pods(node):
    node.start("job", UIDS[0])
    node.finish(UIDS[0])
    assert "shows no cgroup of a pod" in node.pods.problem()
    for _ in range(3):
        assert node.finished("job") == set()


def test_without_the_folder_of_logs(node):
    node.start("job", UIDS[0])
    (node.root / "log" / "pods").rename(node.root / "elsewhere")
    assert "is not mounted" in node.pods.problem()
    node.finish(UIDS[0])
    for _ in range(3):
        assert node.finished("job") == set()


def test_other_namespaces_are_others(node):
    node.start("job", UIDS[0], namespace="elsewhere")
    node.start("serving", UIDS[1])
    node.finish(UIDS[0])
    for _ in range(3):
        assert node.finished("job") == set()


def codes(parameter):
    return pytest.mark.parametrize(parameter, CODES, ids=os.strerror)


@codes("code")
@pytest.mark.parametrize(
    "keep",
    [
        pytest.param(lambda node: node.root / "cgroup", id="the cgroups"),
        pytest.param(lambda node: node.cgroup(UIDS[0]).parent, id="a folder of pods' cgroups"),
        pytest.param(lambda node: node.root / "log" / "pods", id="the pods' logs"),
        pytest.param(lambda node: node.root / "log", id="the logs"),
    ],
)
def test_while_files_cannot_be_read_nothing_has_finished_and_the_log_says_so_once(
    node, caplog, code, keep
):
    caplog.set_level("INFO")
    node.start("job", UIDS[0])
    node.start("serving", UIDS[1])
    node.finish(UIDS[0])
    with forbidden(keep(node), code):
        for _ in range(3):
            assert node.finished("job", "serving") == set()
        assert os.strerror(code) in node.pods.problem()
    (record,) = caplog.records
    assert os.strerror(code) in record.error
    assert node.finished("job", "serving") == set(), "it is seen for the first time"
    assert node.finished("job", "serving") == {"job"}
    assert [one.levelname for one in caplog.records] == ["WARNING", "INFO"]


@codes("code")
def test_pods_below_a_folder_that_cannot_be_read_are_not_taken_for_finished(tmp_path, code):
    """The other folders can be read, so some cgroups of pods are seen."""
    node = Node(tmp_path, "v2, systemd")
    node.start("burstable", UIDS[0])
    node.path = V2_SYSTEMD.replace("burstable", "besteffort")
    node.start("besteffort", UIDS[1])
    with forbidden(node.cgroup(UIDS[1]).parent, code):
        for _ in range(3):
            assert node.finished("burstable", "besteffort") == set()


@codes("code")
def test_one_of_the_controllers_of_cgroup_v1_suffices(tmp_path, code):
    node = Node(tmp_path, "v1, only pids")
    node.start("job", UIDS[0])
    node.start("serving", UIDS[1])
    node.finish(UIDS[0])
    with forbidden(tmp_path / "cgroup" / "memory", code):
        assert node.pods.problem() is None
        node.finished("job", "serving")
        assert node.finished("job", "serving") == {"job"}
