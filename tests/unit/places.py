# SPDX-License-Identifier: Apache-2.0
"""Places that have to know every member of an enumeration or a table.

A place is a check of one member. What is added in one place and forgotten in another fails the test
that is named after the member and the forgotten place. What the type checker finds (`match` with
`assert_never`) is not repeated.
"""

from __future__ import annotations

import pytest
import yaml

from scaler.policy.annotations import PREFIX


def places(checks, members):
    """Every member at every place, as `member at place`."""
    return pytest.mark.parametrize(
        ("member", "check"),
        [
            pytest.param(member, check, id=f"{str(member).removeprefix(PREFIX)} at {place}")
            for place, check in checks.items()
            for member in members
        ],
    )


def manifest(metadata):
    gpus = {"resources": {"limits": {"nvidia.com/gpu": "1"}}}
    return yaml.safe_dump(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "web", "annotations": metadata},
            "spec": {"template": {"spec": {"containers": [{"name": "web", **gpus}]}}},
        }
    )
