# SPDX-License-Identifier: Apache-2.0
"""`make cluster-tools` where Go is missing or too old."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster.tools import golang

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("version", "complaint"),
    [
        pytest.param(None, "and there is no `go`", id="no Go"),
        pytest.param("1.23.4", "and `go` is 1.23.4", id="a Go that is too old"),
    ],
)
def test_the_build_says_which_go_it_needs(tmp_path, version, complaint):
    programs = tmp_path / "programs"
    programs.mkdir()
    if version is not None:
        # It answers so only where it may not become another version.
        condition = '[ "$GOTOOLCHAIN" = local ] && [ "$*" = "env GOVERSION" ]'
        script = f"#!/bin/sh\n{condition} && echo go{version}\n"
        (programs / "go").write_text(script)
        (programs / "go").chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "tests.cluster.tools", "idle"],
        cwd=ROOT,
        env={**os.environ, "PATH": str(programs), "CLUSTER_TOOLS_DIR": str(tmp_path / "built")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    expected = f"Go >= {golang.needed(['idle'])} is needed, {complaint}"
    assert done.stdout == f"The test bed's programs cannot be built: {expected}\n"
    assert not (tmp_path / "built").exists()
