# SPDX-License-Identifier: Apache-2.0
"""Wrong values are refused before anything reaches a cluster, in words that say what to do."""

from __future__ import annotations

import pytest

from tests.chart import CHART, KUBERNETES, helm, rendered, template, template_without_image
from tests.chart.cases import DIGEST
from tests.pages.files import FileKind, kind_of
from tests.pages.markdown import blocks

pytestmark = pytest.mark.needs("helm")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        (
            ("exporter.resources.limits.nvidia\\.com/gpu=1",),
            "at '/exporter/resources/limits': additional properties 'nvidia.com/gpu' not allowed",
        ),
        (("image.repository=",), 'image.repository is "", which names no registry'),
        (("image.repository=gpu-scaler",), "which names no registry"),
        (("image.local=true",), "image.local is true, but image.repository is"),
        (
            ("image.repository=", "image.local=true", f"image.digest={DIGEST}"),
            "image.local is true, but image.digest is set",
        ),
        (("exporter.runtimeClas=nvidia",), "'/exporter': additional properties 'runtimeClas' not"),
        (("scaler.mode=sidcar",), "'/scaler/mode': value must be one of 'deployment', 'sidecar'"),
        (("scaler.replicas=0",), "'/scaler/replicas': minimum: got 0, want 1"),
        (("scaler.replicas=two",), "'/scaler/replicas': got string, want integer"),
        (("exporter.collectors={gpmm}",), "'/exporter/collectors/0': value must be one of 'all',"),
        (("exporter.collectors=gpm",), "'/exporter/collectors': got string, want array"),
        (("image.digest=latest",), "'/image/digest': 'latest' does not match pattern"),
        (("exporter.namespace=GPU",), "'/exporter/namespace': 'GPU' does not match pattern"),
        (
            ("exporter.updateStrategy.rollingUpdate.maxUnavailable=x",),
            "'/exporter/updateStrategy/rollingUpdate/maxUnavailable': 'x' does not match pattern",
        ),
        (
            ("exporter.podMonitor.enabled=true", "exporter.serviceMonitor.enabled=true"),
            "exporter.podMonitor.enabled and exporter.serviceMonitor.enabled",
        ),
        (
            ("scaler.ingress.enabled=true", "scaler.ingress.hosts={a.example}"),
            "scaler.ingress.enabled needs scaler.replicas=1",
        ),
        (("scaler.ingress.enabled=true", "scaler.replicas=1"), "scaler.ingress.hosts is empty"),
        (("scaler.httpRoute.enabled=true", "scaler.replicas=1"), "httpRoute.parentRefs is empty"),
        (("prometheusRule.runbookUrl=docs",), "'/prometheusRule/runbookUrl'"),
        (("admissionPolicy.actions={Deny,Warn}",), "'/admissionPolicy/actions'"),
        (("global.registry=x",), "global.registry is no value of this chart"),
        (("global.imageRegistry=https://x/",), "'/global/imageRegistry'"),
        (("image.repository=", "image.registry=r.example"), "which names no registry"),
        (
            ("image.repository=", "image.local=true", "image.registry=r.example"),
            "image.local is true, but the registry r.example is set",
        ),
        (
            ("commonLabels.app\\.kubernetes\\.io/name=x",),
            "invalid propertyName 'app.kubernetes.io/name'",
        ),
        (("fullnameOverride=Gpu",), "'/fullnameOverride': 'Gpu' does not match pattern"),
        (("exporter.podLabels=team",), "'/exporter/podLabels': got string, want object"),
        (("scaler.serviceAccount.create=false",), "scaler.serviceAccount.name is empty"),
        (("exporter.serviceAccount.create=false",), "exporter.serviceAccount.name is empty"),
        (
            ("exporter.hostNetwork=true", "exporter.networkPolicy.enabled=true"),
            "exporter.networkPolicy.enabled has no effect with exporter.hostNetwork",
        ),
        (
            ("scaler.hostNetwork=true", "scaler.networkPolicy.enabled=true"),
            "scaler.networkPolicy.enabled has no effect with scaler.hostNetwork",
        ),
        (
            tuple(
                f"scaler.podDisruptionBudget.{key}=1" for key in ("minAvailable", "maxUnavailable")
            ),
            "mutually exclusive",
        ),
        (("scaler.podSecurityContext.runAsUsr=1",), "additional properties 'runAsUsr' not allowed"),
        (("scaler.logLevel=loud",), "'/scaler/logLevel': value must be one of"),
        (("exporter.port=0",), "'/exporter/port': minimum: got 0, want 1"),
        (("exporter.enabled=maybe",), "'/exporter/enabled': got string, want boolean"),
        (("scaler.kinds={Deployment}",), "'/scaler/kinds/0': 'Deployment' does not match pattern"),
        (("scaler.prometheus.url=prometheus:9090",), "'/scaler/prometheus/url'"),
        (("scaler.extraArgs={interval=1s}",), "'/scaler/extraArgs/0'"),
        (("exporter.tolerations[0].operater=Exists",), "'/exporter/tolerations/0': additional"),
        (
            ("scaler.mode=sidecar", "exporter.enabled=false"),
            "there is no pod to be beside. Set scaler.mode=deployment or exporter.enabled=true.",
        ),
        (
            ("scaler.mode=sidecar", "scaler.metricsApi.enabled=true"),
            "scaler.metricsApi.enabled needs scaler.mode=deployment",
        ),
        (("exporter.driver.hostPath=/x",), "set without exporter.driver.mountPath"),
        (
            (
                *("exporter.driver.hostPath=/x", "exporter.driver.mountPath=/x"),
                "exporter.runtimeClassName=nvidia",
            ),
            "set one of them",
        ),
        (
            ("exporter.resourceQuotaPods=9", "exporter.priorityClassName="),
            "exporter.priorityClassName, which is empty",
        ),
        (("scaler.source=prometheus",), "scaler.prometheus.url is empty"),
        (("scaler.prometheus.access.secret=s",), "scaler.prometheus.url is empty"),
        (
            (
                *("scaler.source=prometheus", "scaler.prometheus.url=http://x"),
                "scaler.prometheus.metrics=dcgm",
            ),
            "scaler.prometheus.exportersMatcher is empty",
        ),
        (("scaler.exporters.access.keys.ca=x",), "scaler.exporters.access.secret no Secret"),
        (
            ("scaler.exporters.access.username=x",),
            "scaler.exporters.access.keys.password go together",
        ),
        (
            (
                *("scaler.prometheus.url=http://x", "scaler.prometheus.access.secret=s"),
                "scaler.prometheus.access.keys.key=x",
            ),
            "keys.certificate and scaler.prometheus.access.keys.key go together",
        ),
        (
            (
                *("scaler.prometheus.url=http://x", "scaler.prometheus.access.secret=s"),
                "scaler.prometheus.access.username=u",
                *(f"scaler.prometheus.access.keys.{key}=x" for key in ("password", "bearerToken")),
            ),
            "mutually exclusive",
        ),
        (("scaler.servers.credentialsKey=x",), "scaler.servers.access.secret no Secret"),
        (
            (
                "scaler.servers.access.secret=s",
                "scaler.servers.access.keys.bearerToken=x",
            ),
            "scaler.servers.credentialsNamespaces names no namespace",
        ),
        (("scaler.servers.credentialsNamespaces={a}",), "has no credentials"),
        (("scaler.metricsApi.certificate.from=secret",), "certificate.secretName is empty"),
        (("scaler.metricsApi.certificate.from=certManager",), "issuerRef.name is empty"),
    ],
)
def test_a_wrong_value_is_refused(values, complaint):
    done = template(*(f"--set={value}" for value in values))
    assert done.returncode != 0
    assert complaint in done.stderr


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(block.text, id=block.where)
        for block in blocks("yaml")
        if kind_of(block) is FileKind.VALUES
    ],
)
def test_the_values_of_the_page_are_right(values, tmp_path):
    file = tmp_path / "values.yaml"
    file.write_text(values, encoding="utf-8")
    assert rendered(f"--values={file}") != rendered()


def test_a_parent_chart_may_have_global_values_of_its_own(tmp_path):
    (tmp_path / "charts").mkdir()
    (tmp_path / "charts" / "gpu-scaler").symlink_to(CHART)
    (tmp_path / "Chart.yaml").write_text("{apiVersion: v2, name: parent, version: 0.0.1}")
    done = helm(
        *("template", "parent", tmp_path, "--namespace=gpu-scaler", KUBERNETES),
        *("--set=global.storageClass=fast", "--set=global.imageRegistry=mirror.example"),
        "--set=gpu-scaler.image.repository=gpu-scaler",
    )
    assert done.returncode == 0, done.stderr
    assert "image: mirror.example/gpu-scaler:" in done.stdout


def test_the_default_values_say_what_to_set():
    done = template_without_image()
    assert done.returncode != 0
    assert "set image.repository=" in done.stderr
    assert "set image.local=true" in done.stderr
