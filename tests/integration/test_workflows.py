# SPDX-License-Identifier: Apache-2.0
"""The workflows of the public CI: linted, and their shell steps run where no registry is needed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import tools

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yaml"))
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
DIGEST = "sha256:" + "ab" * 32
by_file = pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)


def jobs(file: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(file.read_text())["jobs"]
    return found


def script(job: str, name: str) -> str:
    (step,) = (
        one for one in jobs(FOLDER / "release.yaml")[job]["steps"] if one.get("name") == name
    )
    return str(step["run"])


def run(text: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a step as the runner does."""
    return subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.needs("actionlint")
def test_the_workflows_are_clean():
    done = subprocess.run(
        [tools.path_of("actionlint"), "-no-color", *FILES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@by_file
def test_every_action_is_pinned_by_its_commit(file):
    lines = re.findall(r"^ *(?:- )?uses: (.+)$", file.read_text(), re.M)
    assert lines
    for line in lines:
        assert re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line)


@by_file
def test_no_job_may_do_more_than_it_needs(file):
    workflow = yaml.safe_load(file.read_text())
    assert workflow["permissions"] in ({}, {"contents": "read"})
    more = {
        (name, right)
        for name, job in workflow["jobs"].items()
        for right, level in job.get("permissions", {}).items()
        if level == "write"
    }
    assert more <= {("publish", "contents"), ("publish", "id-token")}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 90
        for step in job["steps"]:
            if "actions/checkout@" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False


@by_file
def test_no_registry_is_named(file):
    hosts = re.findall(r"\b[\w-]+\.(?:io|com|dev|org)\b", file.read_text())
    assert hosts == []


def test_the_gate_is_the_gate():
    for file in FILES:
        assert jobs(file)["gate"]["steps"][-1] == {"run": "bash .ci/run"}
    assert "gate" in jobs(FOLDER / "release.yaml")["image"]["needs"]


@pytest.mark.parametrize(
    ("tag", "registry", "complaint"),
    [
        pytest.param(f"v{VERSION}", "example/team", None, id="in order"),
        pytest.param("v99.0.0", "example/team", "The tag is v99.0.0", id="another version"),
        pytest.param(VERSION, "example/team", f"The tag is {VERSION}", id="no v"),
        pytest.param(f"v{VERSION}", "", "REGISTRY is not set", id="no registry"),
    ],
)
def test_a_tag_must_be_the_projects_version(tmp_path, tag, registry, complaint):
    output = tmp_path / "output"
    output.touch()
    text = script("version", "Compare the tag with pyproject.toml, and look for the registry")
    done = run(text, ROOT, TAG=tag, REGISTRY=registry, GITHUB_OUTPUT=str(output))
    if complaint is None:
        assert done.returncode == 0, done.stderr
        settings = dict(line.split("=", 1) for line in output.read_text().splitlines())
        assert settings["version"] == VERSION
        assert re.match(r"\d{4}-\d\d-\d\dT", settings["created"])
    else:
        assert done.returncode == 1
        assert complaint in done.stdout


def fake_docker(folder: Path, *, digest: str) -> dict[str, str]:
    """Put a `docker` into PATH that notes its calls and knows one digest."""
    docker = folder / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        f'#!/bin/sh\necho "$@" >>"$CALLS"\ncase "$*" in *inspect*) echo "{digest}";; esac\n'
    )
    docker.chmod(0o755)
    return {
        "PATH": f"{docker.parent}:{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "GITHUB_OUTPUT": str(folder / "output"),
    }


@pytest.mark.parametrize(
    "pin", [pytest.param("", id="the tag"), pytest.param(f"@{DIGEST}", id="an older digest")]
)
def test_a_release_pins_the_base_image_by_digest(tmp_path, pin):
    text = (ROOT / "Dockerfile").read_text()
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.M)
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / "Dockerfile").write_text(text.replace(image, image + pin))
    digest = "sha256:" + "cd" * 32
    environment = fake_docker(tmp_path, digest=digest)
    step = script("version", "Pin the base image by its digest")
    done = run(step, checkout, **environment)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "output").read_text() == f"base={image}@{digest}\n"
    assert f"imagetools inspect {image}{pin} " in (tmp_path / "calls").read_text()


def test_a_release_without_the_digest_of_the_base_image_ends(tmp_path):
    step = script("version", "Pin the base image by its digest")
    done = run(step, ROOT, **fake_docker(tmp_path, digest="<no value>"))
    assert done.returncode == 1
    assert "has no digest" in done.stdout
    assert not (tmp_path / "output").exists()


def test_both_images_are_built_from_the_pinned_base():
    release = jobs(FOLDER / "release.yaml")
    assert release["version"]["outputs"]["base"] == "${{ steps.base.outputs.base }}"
    (build,) = (step for step in release["image"]["steps"] if step.get("id") == "build")
    arguments = dict(line.split("=", 1) for line in build["with"]["build-args"].splitlines())
    assert arguments["PYTHON_IMAGE"] == "${{ needs.version.outputs.base }}"
    declared = re.findall(r"^ARG (\w+)=", (ROOT / "Dockerfile").read_text(), re.M)
    assert {*arguments} == {*declared}


def test_the_digest_comes_into_the_manifests(tmp_path):
    shutil.copytree(ROOT / "daemonset", tmp_path / "daemonset")
    image = "example/team/gpu-scaler"
    text = script("publish", "Put the image's digest into the manifests")
    done = run(text, tmp_path, IMAGE=image, VERSION=VERSION, DIGEST=DIGEST)
    assert done.returncode == 0, done.stderr
    for file in (tmp_path / "daemonset").glob("*.yaml"):
        images = re.findall(r"^ *(?:- )?image: (\S*gpu-scaler\S*)$", file.read_text(), re.M)
        assert {*images} <= {f"{image}:{VERSION}@{DIGEST}"}, file.name


def test_the_digest_comes_into_the_chart(tmp_path):
    shutil.copytree(ROOT / "daemonset", tmp_path / "daemonset")
    text = script("publish", "Put the image's digest into the chart")
    done = run(text, tmp_path, IMAGE="example/team/gpu-scaler", DIGEST=DIGEST)
    assert done.returncode == 0, done.stderr
    values = yaml.safe_load((tmp_path / "daemonset" / "chart" / "values.yaml").read_text())
    assert values["image"]["repository"] == "example/team/gpu-scaler"
    assert values["image"]["digest"] == DIGEST


def test_both_digests_become_one_index(tmp_path):
    digests = tmp_path / "digests"
    digests.mkdir()
    (digests / "aa").touch()
    text = script("publish", "Make one index of both images")
    environment = fake_docker(tmp_path, digest=DIGEST) | {
        "IMAGE": "example/gpu-scaler",
        "VERSION": VERSION,
    }
    assert run(text, digests, **environment).returncode != 0, "one of two architectures"
    (digests / "bb").touch()
    done = run(text, digests, **environment)
    assert done.returncode == 0, done.stderr
    create, _ = (tmp_path / "calls").read_text().splitlines()
    assert create == (
        f"buildx imagetools create --tag example/gpu-scaler:{VERSION}"
        " example/gpu-scaler@sha256:aa example/gpu-scaler@sha256:bb"
    )
    assert (tmp_path / "output").read_text() == f"digest={DIGEST}\n"
