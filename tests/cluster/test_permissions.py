# SPDX-License-Identifier: Apache-2.0
"""What the scaler's and the exporter's service accounts may do, asked of the real authorizer.

A row is what follows `kubectl auth can-i`.
"""

from __future__ import annotations

import json

import pytest

SCALER = "gpu-scaler/gpu-scaler"
EXPORTER = "gpu-exporter/gpu-exporter"

SCALER_MAY = (
    "list deployments.apps --all-namespaces",
    "watch deployments.apps --all-namespaces",
    "list replicasets.apps --all-namespaces",
    "watch replicasets.apps --all-namespaces",
    "get deployments.apps --subresource=scale --namespace=default",
    "patch deployments.apps --subresource=scale --namespace=default",
    "list pods --all-namespaces",
    "watch pods --all-namespaces",
    "list namespaces",
    "watch namespaces",
    "get services --namespace=default",
    "list endpointslices.discovery.k8s.io --namespace=default",
    "create events --namespace=default",
    "patch events --namespace=default",
    "list horizontalpodautoscalers.autoscaling --all-namespaces",
    "watch horizontalpodautoscalers.autoscaling --all-namespaces",
    "create leases.coordination.k8s.io --namespace=gpu-scaler",
    "get leases.coordination.k8s.io/gpu-scaler --namespace=gpu-scaler",
    "update leases.coordination.k8s.io/gpu-scaler --namespace=gpu-scaler",
    "create configmaps --namespace=gpu-scaler",
    "get configmaps/gpu-scaler-zeros --namespace=gpu-scaler",
    "patch configmaps/gpu-scaler-zeros --namespace=gpu-scaler",
)
NOBODY_OF_OURS_MAY = (
    "create deployments.apps --namespace=default",
    "update deployments.apps --namespace=default",
    "patch deployments.apps --namespace=default",
    "delete deployments.apps --namespace=default",
    "update deployments.apps --subresource=scale --namespace=default",
    "patch statefulsets.apps --subresource=scale --namespace=default",
    "patch replicasets.apps --subresource=scale --namespace=default",
    "patch namespaces",
    "create pods --namespace=default",
    "delete pods --namespace=default",
    "create pods --subresource=exec --namespace=default",
    "create pods --subresource=eviction --namespace=default",
    "get pods --subresource=log --namespace=default",
    "get pods --subresource=proxy --namespace=gpu-scaler",
    "list services --namespace=default",
    "patch services --namespace=default",
    "patch endpointslices.discovery.k8s.io --namespace=default",
    "list nodes",
    "get nodes --subresource=proxy",
    "list secrets --all-namespaces",
    "get secrets --namespace=gpu-scaler",
    "list configmaps --namespace=gpu-scaler",
    "patch configmaps/another --namespace=gpu-scaler",
    "create configmaps --namespace=default",
    "create serviceaccounts --subresource=token --namespace=gpu-scaler",
    "patch horizontalpodautoscalers.autoscaling --namespace=default",
    "delete leases.coordination.k8s.io/gpu-scaler --namespace=gpu-scaler",
    "update leases.coordination.k8s.io/another --namespace=gpu-scaler",
    "get leases.coordination.k8s.io/gpu-scaler --namespace=default",
    "create clusterrolebindings.rbac.authorization.k8s.io",
    "escalate clusterroles.rbac.authorization.k8s.io",
    "impersonate users",
)


@pytest.fixture(scope="module")
def kubeconfigs(installed):
    accounts = (SCALER, EXPORTER, "default/default")
    return {account: installed.kubeconfig_for(account) for account in accounts}


def can_i(control_plane, kubeconfig, question):
    answer = control_plane.kubectl("auth", "can-i", *question.split(), kubeconfig=kubeconfig)
    return answer.stdout.strip(), answer.stderr


@pytest.mark.parametrize("question", SCALER_MAY)
def test_the_scaler_may(installed, kubeconfigs, question):
    answer, problem = can_i(installed, kubeconfigs[SCALER], question)
    assert answer == "yes", problem


@pytest.mark.parametrize("verb", ["list", "watch"])
def test_the_scaler_may_see_what_keda_scales(installed, kubeconfigs, verb):
    # `kubectl auth can-i` drops the group of a resource that the server does not know.
    wanted = {"group": "keda.sh", "resource": "scaledobjects", "verb": verb}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": wanted},
    }
    answer = installed.kubectl(
        *("create", "--validate=false", "-f", "-", "-o", "jsonpath={.status.allowed}"),
        kubeconfig=kubeconfigs[SCALER],
        stdin=json.dumps(review),
    )
    assert answer.stdout == "true", answer.stderr


@pytest.mark.parametrize("question", NOBODY_OF_OURS_MAY)
def test_the_scaler_may_not(installed, kubeconfigs, question):
    answer, problem = can_i(installed, kubeconfigs[SCALER], question)
    assert answer == "no", problem


@pytest.mark.parametrize("question", [*SCALER_MAY, *NOBODY_OF_OURS_MAY])
def test_the_exporter_may_not(installed, kubeconfigs, question):
    answer, problem = can_i(installed, kubeconfigs[EXPORTER], question)
    assert answer == "no", problem


def rules(control_plane, kubeconfig, namespace):
    listed = control_plane.kubectl(
        *("auth", "can-i", "--list", "--no-headers", f"--namespace={namespace}"),
        kubeconfig=kubeconfig,
    )
    assert listed.returncode == 0, listed.stderr
    return {" ".join(line.split()) for line in listed.stdout.splitlines()}


@pytest.mark.parametrize("namespace", ["default", "gpu-exporter", "gpu-scaler", "kube-system"])
def test_the_exporter_has_no_right_that_not_every_account_has(installed, kubeconfigs, namespace):
    everyone = rules(installed, kubeconfigs["default/default"], namespace)
    assert rules(installed, kubeconfigs[EXPORTER], namespace) == everyone


@pytest.mark.parametrize(
    ("namespace", "more"),
    [
        pytest.param("default", set(), id="in any namespace"),
        pytest.param(
            "gpu-scaler",
            {
                "leases.coordination.k8s.io [] [] [create]",
                "leases.coordination.k8s.io [] [gpu-scaler] [get update]",
                "configmaps [] [] [create]",
                "configmaps [] [gpu-scaler-zeros] [get patch]",
            },
            id="in its own namespace",
        ),
    ],
)
def test_the_scaler_has_these_rights_and_no_others(installed, kubeconfigs, namespace, more):
    everyone = rules(installed, kubeconfigs["default/default"], namespace)
    assert rules(installed, kubeconfigs[SCALER], namespace) - everyone == more | {
        "deployments.apps [] [] [list watch]",
        "replicasets.apps [] [] [list watch]",
        "deployments.apps/scale [] [] [get patch]",
        "pods [] [] [list watch]",
        "namespaces [] [] [list watch]",
        "events [] [] [create patch]",
        "horizontalpodautoscalers.autoscaling [] [] [list watch]",
        "scaledobjects.keda.sh [] [] [list watch]",
        "services [] [] [get]",
        "endpointslices.discovery.k8s.io [] [] [list]",
    }
