# SPDX-License-Identifier: Apache-2.0
"""What the scaler uses of the Kubernetes client: the image leaves the classes of the API out."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.kubeconfigs import LOADS, USERS, kubeconfig


@pytest.mark.parametrize("user", sorted(USERS))
def test_no_class_of_the_api_is_loaded(tmp_path, user):
    file = tmp_path / "kubeconfig"
    file.write_text(json.dumps(kubeconfig(USERS[user])))
    output = subprocess.run(
        [sys.executable, "-c", LOADS, str(file)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert output.stdout == "https://127.0.0.1:9\n", output.stderr
