# SPDX-License-Identifier: Apache-2.0
"""The exporter on a real kubelet, run as its DaemonSet runs it, with a simulated NVML.

"With the next List" is held so: when the kubelet itself lists a pod's devices, or lists them no
more, the first answer of the exporter that rests on a later List has it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import stat
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import pytest

from exporter.podresources.client import PodResourcesError
from exporter.processes.terminated_pods import FinishedPods
from tests.cluster.node.inspection import Process
from tests.cluster.node.joined import PODS, daemonset, joined_node, wait_for_devices
from tests.cluster.node.pods import (
    INTERVAL_SECONDS,
    Exporter,
    Pods,
    container_id,
    held,
    sidecar_pod,
)
from tests.pages.reading import read_through, run
from tests.waiting import until

pytestmark = [
    pytest.mark.needs(thing)
    for thing in ("root", "network", "kubelet", "idle", "containerd", "runc", "cni-plugins")
]

TOKEN = "var/run/secrets/kubernetes.io/serviceaccount/token"


@pytest.fixture(scope="module")
def node(installed, shipped_image, tmp_path_factory):
    with joined_node(installed, shipped_image, tmp_path_factory.mktemp("node")) as node:
        yield node


@pytest.fixture
def kubelet(node):
    """Asks the kubelet itself: pod -> UUIDs."""
    return lambda: held(node.machine.pod_resources_socket)


@pytest.fixture
async def exporter(node, namespace, kubelet):
    """The exporter, when no pod of an earlier test holds a GPU."""

    async def free():
        return not await kubelet()

    await until(free, what="all GPUs are free")
    exporter = Exporter(node.metrics_url, namespace)
    assert (await exporter.next_answer()).pods == {}
    return exporter


@pytest.fixture
def pods(admin, namespace, node, exporter):
    return Pods(admin, namespace, node.name)


@pytest.fixture
def process(node, installed):
    pod = installed.request("GET", node.exporter_path)
    (pid,) = node.machine.processes_of(container_id(pod))
    return Process(pid=pid)


def end(node, pod):
    """Let a pod's program end by itself, as far as the kubelet can see."""
    (pid,) = node.machine.processes_of(container_id(pod))
    os.kill(pid, signal.SIGTERM)


async def lists(kubelet, *names):
    """Wait until the kubelet lists devices for exactly these pods; return pod -> UUIDs."""

    async def listed():
        with contextlib.suppress(PodResourcesError):  # it is just starting
            found = await kubelet()
            return {"found": found} if found.keys() == {*names} else None

    return (await until(listed, what=f"{names} hold GPUs"))["found"]


def mode(uuids, name):
    return dict.fromkeys(uuids, name)


async def test_every_gpu_is_labelled_with_the_pods_that_hold_it(node, kubelet, exporter, pods):
    asked = {"one": {"gpu": 1}, "two": {"gpu": 2}, "left": {"shared": 1}, "right": {"shared": 1}}
    for count, (name, devices) in enumerate(asked.items(), start=1):
        await pods.create(name, **devices)
        listed = await lists(kubelet, *list(asked)[:count])
        answer = await exporter.next_answer()
        assert answer.of(name).keys() == listed[name], name
    await pods.start("none")

    for name in asked:
        await pods.reached(name, "Running")
    answer = await exporter.next_answer()
    assert answer.holders.keys() == {*node.whole_uuids, node.shared_uuid}
    assert answer.of("one") == mode(listed["one"], "exclusive")
    assert answer.of("two") == mode(node.whole_uuids - listed["one"], "exclusive")
    assert answer.pods[node.shared_uuid] == {"left", "right"}
    assert answer.of("left") == answer.of("right") == {node.shared_uuid: "share"}
    assert answer.of("none") == {}


async def test_one_replica_of_a_shared_gpu_is_a_share(node, exporter, pods):
    await pods.start("alone", shared=1)
    assert (await exporter.next_answer()).holders[node.shared_uuid] == {("alone", "share")}


async def test_a_deleted_pod_lets_go(node, kubelet, exporter, pods):
    await pods.start("stays", gpu=1)
    await pods.start("goes", gpu=2)
    assert len((await exporter.next_answer()).of("goes")) == 2
    await pods.delete("goes")
    listed = await lists(kubelet, "stays")
    answer = await exporter.next_answer()
    assert answer.pods == {uuid: {"stays"} for uuid in listed["stays"]}


async def test_a_finished_pod_holds_nothing(node, kubelet, exporter, pods):
    finishes = await pods.start("finishes", gpu=3)
    assert (await exporter.next_answer()).of("finishes").keys() == node.whole_uuids
    end(node, finishes)
    await lists(kubelet)
    assert (await exporter.next_answer()).pods == {}
    # Its object stays, and what it had goes to another pod.
    await pods.start("follows", gpu=3)
    assert (await exporter.next_answer()).pods == {uuid: {"follows"} for uuid in node.whole_uuids}
    assert (await pods.reached("finishes", "Succeeded"))["spec"]["nodeName"] == node.name


async def test_the_nodes_files_tell_which_pods_have_finished(node, namespace, exporter, pods):
    """What the exporter goes by where an old kubelet lists finished pods."""
    assert (await exporter.answer()).holders
    finished_pods = FinishedPods(cgroups=Path("/sys/fs/cgroup"), logs=node.machine.logs)
    names = {(namespace, name) for name in ("job", "serving")}
    job = await pods.start("job", gpu=1)
    await pods.start("serving", gpu=1)
    assert finished_pods.problem() is None
    for _ in range(3):
        assert finished_pods.among(names) == frozenset()
    end(node, job)
    await pods.reached("job", "Succeeded")
    await until(
        lambda: finished_pods.among(names) == {(namespace, "job")},
        what="the finished pod is told from the one that runs",
    )


async def test_a_pod_that_the_kubelet_refuses_holds_nothing(node, exporter, pods):
    await pods.start("holds", gpu=3)
    await pods.create("refused", gpu=1)
    refused = await pods.reached("refused", "Failed")
    assert refused["status"]["reason"] == "UnexpectedAdmissionError"
    answer = await exporter.next_answer()
    assert answer.pods == {uuid: {"holds"} for uuid in node.whole_uuids}


MOST_RESTARTS = 10
# From about 0.3 to 1.3 s after its start the kubelet answers List without the API server's pods,
# later on a busy machine. The restarts aim there one after another, until the exporter has listed
# at such a moment.
UNKNOWING_AFTER_SECONDS = (0.8, 1.2, 0.5, 1.6)


@contextlib.asynccontextmanager
async def watched(exporter):
    """Collect the pods of every answer, scraped without a break while the context lasts."""
    seen = []

    async def watch():
        while True:
            seen.append((await exporter.answer()).pods)
            await asyncio.sleep(0.05)

    task = asyncio.create_task(watch())
    try:
        yield seen
        assert not task.done(), "a scrape failed"
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_restart_of_the_kubelet_gives_no_gpu_to_a_wrong_pod(
    node, installed, kubelet, exporter, pods
):
    await pods.start("whole", gpu=1)
    await pods.start("shared", shared=1)
    listed = await lists(kubelet, "whole", "shared")
    right = {uuid: {pod} for pod, uuids in listed.items() for uuid in uuids}
    before = await exporter.next_answer()
    assert before.pods == right
    async with watched(exporter) as seen:
        for aim_seconds in islice(cycle(UNKNOWING_AFTER_SECONDS), MOST_RESTARTS):
            now = await exporter.next_answer()
            await asyncio.to_thread(node.machine.stop_kubelet)
            next_list = now.listed_at_unix_seconds + INTERVAL_SECONDS
            await asyncio.sleep(max(0.0, next_list - aim_seconds - time.time()))
            await asyncio.to_thread(node.machine.start_kubelet)
            assert await lists(kubelet, "whole", "shared") == listed
            now = await exporter.next_answer()
            assert now.pods == right
            if now.unknowing_count > before.unknowing_count:
                break
        else:
            pytest.fail("the exporter never listed while the kubelet did not know its pods yet")
    assert [one for one in seen if one != right] == []
    # The device plugin registers again, so the kubelet can go on giving GPUs away.
    await asyncio.to_thread(wait_for_devices, installed)
    await pods.start("later", gpu=2)
    answer = await exporter.next_answer()
    assert answer.of("later").keys() == node.whole_uuids - listed["whole"]


async def test_a_pod_that_ends_while_the_kubelet_is_away_lets_go(node, kubelet, exporter, pods):
    await pods.start("stays", shared=1)
    ends = await pods.start("ends", gpu=1)
    await asyncio.to_thread(node.machine.stop_kubelet)
    end(node, ends)
    await asyncio.to_thread(node.machine.start_kubelet)
    await pods.reached("ends", "Succeeded")
    await lists(kubelet, "stays")
    assert (await exporter.next_answer()).pods == {node.shared_uuid: {"stays"}}


def test_the_exporter_runs_with_the_rights_of_the_manifest(process):
    pod = daemonset()["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert process.status("Uid") == " ".join([str(pod["securityContext"]["runAsUser"])] * 4)
    assert process.status("Gid") == " ".join([str(pod["securityContext"]["runAsGroup"])] * 4)
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(process.status(kind), 16) == 0, kind
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert process.status("NoNewPrivs") == "1"
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert process.status("Seccomp") == "2"  # by a filter


def test_the_exporter_has_the_mounts_of_the_manifest_and_no_other(process):
    (container,) = daemonset()["spec"]["template"]["spec"]["containers"]
    assert process.added_mounts() == {
        mount["mountPath"]: "ro" if mount.get("readOnly") else "rw"
        for mount in container["volumeMounts"]
    }


def test_the_exporter_can_write_neither_to_its_image_nor_beside_the_kubelets_socket(process):
    (container,) = daemonset()["spec"]["template"]["spec"]["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    for folder in ("/", "/app", *(mount["mountPath"] for mount in container["volumeMounts"])):
        with pytest.raises(OSError, match="Read-only") as refused:
            (process.root / folder.lstrip("/") / "written").touch()
        assert refused.value.errno == errno.EROFS


def test_the_exporter_is_started_as_the_manifest_says(node, process):
    (container,) = daemonset()["spec"]["template"]["spec"]["containers"]
    named = {one["name"]: one.get("value", node.name) for one in container["env"]}
    environment = process.environment()
    assert {name: environment[name] for name in named} == named
    _interpreter, program, *arguments = process.command()
    assert [program.rpartition("/")[2], *arguments] == container["command"]


@pytest.mark.needs("helm")
async def test_beside_the_exporter_the_scaler_alone_has_a_token_and_can_read_it(node, admin):
    path = f"{PODS}/beside"
    await admin.post(PODS, sidecar_pod(node.name))

    async def running():
        statuses = (await admin.get(path))["status"].get("containerStatuses", ())
        return [one for one in statuses if "running" in one["state"]][1:] and statuses

    try:
        started = {}
        for one in await until(running, what="both containers run"):
            (pid,) = node.machine.processes_of(one["containerID"])
            started[one["name"]] = Process(pid=pid)
        assert not started["exporter"].root.joinpath(TOKEN).exists()
        scaler = started["scaler"]
        assert scaler.status("Uid") == " ".join(["65532"] * 4)
        token = scaler.root.joinpath(TOKEN).stat()
        assert token.st_mode & stat.S_IROTH or token.st_uid == 65532
        assert started["scaler"].mounts()[f"/{TOKEN.rpartition('/')[0]}"] == "ro"
    finally:
        await admin.delete(path, body={"gracePeriodSeconds": 0})


EXAMPLE_NODE = "gpu-node-7"
"""What the pages call the node that is meant."""


async def test_what_the_pages_do_in_the_exporters_pod(node, installed, exporter, tmp_path):
    (tmp_path / "kubectl").symlink_to(installed.tool("kubectl"))
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "KUBECONFIG": str(installed.admin),
    }

    async def ran(block, text):
        there = replace(block, text=text.replace(EXAMPLE_NODE, node.name))
        return await asyncio.to_thread(run, there, tmp_path, environment)

    def shows(*, gpus):
        async def answers():
            return bool((await exporter.answer()).holders) is gpus

        return answers

    with (
        read_through("docs/exporter.md", "How the library is found") as here,
        read_through("docs/troubleshooting.md", "The exporter of a node") as trouble,
        read_through("docs/exporter.md", "GPU resets, MIG changes, driver upgrades") as resets,
    ):
        for block in (*here.take(), *trouble.take()):
            assert "no failures" in await ran(block, block.text)
        (block,) = resets.take(containing="USR1")
        for described in resets.take():
            await ran(described, described.text)
    pod, before, after = block.text.splitlines()
    await ran(block, f"{pod}\n{before}")
    await until(shows(gpus=False), what="NVML is released")
    await ran(block, f"{pod}\n{after}")
    await until(shows(gpus=True), what="the GPUs are read again")


async def test_the_exporter_ends_well_when_told_to_and_begins_again(
    node, admin, kubelet, exporter, pods, process
):
    (status,) = (await admin.get(node.exporter_path))["status"]["containerStatuses"]
    assert (status["ready"], status["restartCount"]) == (True, 0), "the probes hold"
    await pods.start("holds", gpu=1)
    listed = await lists(kubelet, "holds")
    os.kill(process.pid, signal.SIGTERM)

    async def ready_again():
        (status,) = (await admin.get(node.exporter_path))["status"]["containerStatuses"]
        return status if status["restartCount"] and status["ready"] else None

    again = await until(ready_again, what="the exporter is ready again")
    assert again["lastState"]["terminated"]["exitCode"] == 0
    assert (await exporter.next_answer()).of("holds").keys() == listed["holds"]
