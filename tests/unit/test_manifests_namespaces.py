# SPDX-License-Identifier: Apache-2.0
"""check: defaults in Namespaces of the same or another file."""

from __future__ import annotations

from scaler.policy.manifests import DEFAULT_OPTIONS, check_manifests


def findings_of(files, options=DEFAULT_OPTIONS) -> list[str]:
    return [str(one) for one in check_manifests(files, options).findings]


def check(text: str) -> list[str]:
    return findings_of([("web.yaml", text)])


NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: prod
  annotations:
    gpu-scaler/max-replicas: "{maximum}"
    gpu-scaler/target-duty-cycle: "40"
"""
SHORT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
  namespace: {namespace}
  annotations:
    gpu-scaler/enabled: "true"
    gpu-scaler/min-replicas: "{minimum}"
"""


def check_both(*, maximum="8", minimum="2", namespace="prod"):
    return findings_of(
        [
            ("web.yaml", SHORT.format(minimum=minimum, namespace=namespace)),
            ("ns.yaml", NAMESPACE.format(maximum=maximum)),
        ]
    )


def test_a_namespace_in_another_file_gives_its_deployments_their_defaults():
    assert check_both() == []


def test_a_namespace_gives_nothing_to_the_deployments_of_another():
    first, second = check_both(namespace="test")
    assert first.startswith(
        "web.yaml:7: [Deployment test/web] gpu-scaler/max-replicas: is required"
    )
    assert second.startswith("web.yaml:7: [Deployment test/web] gpu-scaler/target-duty-cycle: is")


def test_a_wrong_default_is_said_once_where_it_stands():
    assert check_both(maximum="many") == [
        'ns.yaml:6: [Namespace prod] gpu-scaler/max-replicas: "many" is not a whole number;'
        " allowed is a whole number from 1 to 2147483647 (default of the Namespace prod)"
    ]


def test_a_default_that_does_not_fit_names_its_namespace_at_the_deployment():
    assert check_both(minimum="9") == [
        'web.yaml:7: [Deployment prod/web] gpu-scaler/max-replicas: "8" is below'
        " gpu-scaler/min-replicas; allowed is at least 9"
        " (default of the Namespace prod)"
    ]


def test_a_namespace_opts_nobody_in():
    (found,) = check(
        'kind: Namespace\nmetadata:\n  name: prod\n  annotations: {gpu-scaler/enabled: "true"}\n'
    )
    assert found.startswith("web.yaml:4: [Namespace prod] gpu-scaler/enabled: has no effect on the")


def test_a_wrong_name_of_any_length_on_a_namespace():
    name = "gpu-scaler/" + "x" * 200
    (found,) = check(f'kind: Namespace\nmetadata:\n  annotations:\n    {name}: "1"\n')
    assert found.startswith("web.yaml:4: [Namespace (no name)] gpu-scaler/xxx")
