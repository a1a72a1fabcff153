# SPDX-License-Identifier: Apache-2.0
"""What the Dockerfile says before it is built."""

from __future__ import annotations

import re

from tests.image.engine import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def test_the_base_image_is_pinned_in_one_place_to_the_patch_version():
    (pin,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.M)
    assert re.fullmatch(r"python:3\.13\.\d+-slim-trixie(@sha256:[0-9a-f]{64})?", pin)
    bases = re.findall(r"^FROM (\S+)", DOCKERFILE, re.M)
    assert {*bases} == {"${PYTHON_IMAGE}", "scratch"}


def test_nothing_is_installed_that_is_not_locked():
    installs = re.findall(r"pip .*?install((?:.|\\\n)*?)(?:\n *#|\n[^ ]|&&)", DOCKERFILE)
    assert len(installs) == 3
    for options in installs:
        assert "--require-hashes -r requirements" in options or "--no-deps" in options
    for lock in ("requirements.lock", "requirements-build.lock"):
        pins = re.findall(r"^[a-z][^\n]*", (REPOSITORY / lock).read_text(), re.M)
        assert pins
        assert all(re.match(r"[\w.-]+==\S+ ", pin) and pin.endswith("\\") for pin in pins)
