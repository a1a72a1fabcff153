# SPDX-License-Identifier: Apache-2.0
"""`make image` takes the builder that is there."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.image.engine import REPOSITORY


@pytest.mark.parametrize("builder", ["docker", "podman", "buildah"])
def test_any_builder_builds_the_image(tmp_path, builder):
    done = make_image(tmp_path, builder)
    assert done.returncode == 0, done.stderr
    assert f"{builder} build -t registry.example.com/gpu-scaler:7 .\n" in done.stdout


def test_without_a_builder_it_says_what_to_install(tmp_path):
    done = make_image(tmp_path)
    assert done.returncode != 0
    assert "docker podman buildah" in done.stdout


def make_image(folder, *builders):
    for tool in ("make", "sed", "sh"):
        (folder / tool).symlink_to(shutil.which(tool))
    for builder in builders:
        (folder / builder).write_text(f'#!/bin/sh\necho {builder} "$@"\n')
        (folder / builder).chmod(0o755)
    return subprocess.run(
        ["make", "image", "IMAGE=registry.example.com/gpu-scaler:7"],
        cwd=REPOSITORY,
        env={"PATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
