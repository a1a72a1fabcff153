# SPDX-License-Identifier: Apache-2.0
"""The values that the chart is tried with: the presets, and the switches that change objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.chart import PRESETS

if TYPE_CHECKING:
    from pathlib import Path

DIGEST: Final = f"sha256:{'5' * 64}"
SWITCHES: Final[dict[str, tuple[str, ...]]] = {
    "default": (),
    "image": (
        *("image.repository=registry.example/gpu-scaler", f"image.digest={DIGEST}"),
        *("image.pullSecrets={registry}", "image.pullPolicy=Always"),
    ),
    "local-image": ("image.repository=", "image.local=true"),
    "registry": (
        *("image.repository=team/gpu-scaler", "image.registry=registry.example"),
        *("image.pullSecrets={registry}", "imagePullSecrets[0].name=second"),
    ),
    "global": (
        *("image.repository=gpu-scaler", "image.registry=registry.example"),
        *("global.imageRegistry=mirror.example:5000", "global.imagePullSecrets={mirror}"),
    ),
    "names": (
        *(
            "fullnameOverride=team-a-gpus",
            "scaler.metricsApi.enabled=true",
            "scaler.namespaces={team-a}",
        ),
        *("exporter.dra=true", "exporter.publishPodLabels=team", "commonLabels.team=a"),
        *("scaler.networkPolicy.enabled=true", "exporter.networkPolicy.enabled=true"),
    ),
    "name": ("nameOverride=gpus", "scaler.metricsApi.enabled=true", "scaler.mode=deployment"),
    "accounts": (
        *("scaler.serviceAccount.name=scaling", "exporter.serviceAccount.name=exporting"),
        *("scaler.serviceAccount.annotations.note=ours", "exporter.dra=true"),
        "exporter.serviceAccount.annotations.note=ours",
    ),
    "accounts-of-others": (
        *("scaler.serviceAccount.create=false", "scaler.serviceAccount.name=gpu-scaler"),
        *("exporter.serviceAccount.create=false", "exporter.serviceAccount.name=gpu-exporter"),
    ),
    "host-network": ("exporter.hostNetwork=true", "exporter.port=19445"),
    "host-network-of-both": (
        *("exporter.hostNetwork=true", "exporter.dnsPolicy=Default", "scaler.mode=sidecar"),
        "scaler.networkPolicy.enabled=false",
    ),
    "settings": (
        *("scaler.interval=5s", "scaler.dryRun=true", "scaler.logLevel=debug"),
        *("scaler.logFormat=json", "exporter.logLevel=warning", "exporter.logFormat=json"),
        *("exporter.updateStrategy.type=OnDelete", "exporter.updateStrategy.rollingUpdate=null"),
        *("scaler.updateStrategy.type=Recreate", "scaler.podSecurityContext.fsGroup=65532"),
        *("scaler.podDisruptionBudget.maxUnavailable=50%", "scaler.dnsConfig.searches={a.example}"),
        "scaler.topologySpreadConstraints=null",
    ),
    "services": (
        *("exporter.service.enabled=true", "exporter.service.annotations.note=ours"),
        *("scaler.service.enabled=true", "scaler.service.port=80"),
    ),
    "ingress": (
        *("scaler.ingress.enabled=true", "scaler.ingress.hosts={gpus.example}"),
        *("scaler.replicas=1", "scaler.ingress.className=web", "scaler.ingress.annotations.a=b"),
        *("scaler.ingress.tls[0].secretName=tls", "scaler.ingress.tls[0].hosts={gpus.example}"),
    ),
    "dashboards": ("dashboards.enabled=true", "dashboards.annotations.grafana_folder=GPUs"),
    "admission-policy": ("admissionPolicy.enabled=true", "scaler.namespaces={team-a,team-b}"),
    "exporter-only": ("scaler.enabled=false",),
    "scaler-only": ("exporter.enabled=false",),
    "collectors": (
        "exporter.collectors={power,xid}",
        "exporter.extraResourceNames={a.example/gpu}",
    ),
    "containers": ("exporter.collectors={all,containers}",),
    "finished-pods": ("exporter.finishedPods.enabled=true",),
    "finished-pods-v1": (
        "exporter.finishedPods.enabled=true",
        "exporter.finishedPods.cgroupPath=/sys/fs/cgroup/pids",
    ),
    "dra": ("exporter.dra=true",),
    "pod-labels": ("exporter.publishPodLabels=team|app-.+",),
    "kubelet-elsewhere": ("exporter.kubeletPath=/var/snap/microk8s/common/var/lib/kubelet",),
    "web-config": (
        "exporter.web.configSecret=web",
        *("scaler.exporters.access.secret=readers", "scaler.exporters.access.keys.ca=ca.crt"),
        *("scaler.exporters.access.serverName=exporter", "scaler.exporters.access.username=us"),
        "scaler.exporters.access.keys.password=password",
    ),
    "client-certificates": (
        *("exporter.web.configSecret=web", "exporter.web.clientCertificates=true"),
        *("scaler.exporters.access.secret=readers", "scaler.exporters.access.keys.ca=ca.crt"),
        "scaler.exporters.access.keys.certificate=tls.crt",
        "scaler.exporters.access.keys.key=tls.key",
    ),
    "passwords-without-tls": (
        *("exporter.web.configSecret=web", "exporter.web.tls=false"),
        *("scaler.exporters.access.secret=readers", "scaler.exporters.access.username=us"),
        "scaler.exporters.access.keys.password=password",
    ),
    "status-page-web-config": (*("scaler.web.configSecret=page", "scaler.scrapeAnnotations=true"),),
    "status-page-client-certificates": (
        *("scaler.web.configSecret=page", "scaler.web.clientCertificates=true"),
        "scaler.web.configKey=web.yml",
    ),
    "prometheus": (
        *("scaler.source=prometheus", "scaler.prometheus.url=https://thanos.monitoring:9091"),
        'scaler.prometheus.exportersMatcher=job="dcgm-exporter"',
        *("scaler.prometheus.metrics=dcgm", 'scaler.prometheus.matchers={cluster="eu-1"}'),
        *("scaler.prometheus.params.dedup=true", "scaler.prometheus.headers.X-Scope-OrgID=a"),
        *("scaler.prometheus.access.secret=thanos", "scaler.prometheus.access.keys.ca=ca.crt"),
        "scaler.prometheus.access.keys.bearerToken=token",
    ),
    "queries": (
        *("scaler.prometheus.url=https://prometheus:9090", "exporter.web.configSecret=web"),
        *("scaler.prometheus.access.secret=asking", "scaler.prometheus.access.keys.ca=ca.crt"),
        *("scaler.exporters.access.secret=readers", "scaler.exporters.access.keys.ca=ca.crt"),
    ),
    "model-servers": (
        *("scaler.servers.access.secret=servers", "scaler.servers.access.keys.ca=ca.crt"),
        *("scaler.servers.access.keys.bearerToken=token", "scaler.servers.access.serverName=llm"),
        "scaler.servers.credentialsNamespaces={chat,search}",
        "scaler.servers.credentialsKey=credentials.yaml",
    ),
    "scraped-by-annotation": (
        "exporter.scrapeAnnotations=true",
        "scaler.scrapeAnnotations=true",
    ),
    "network-policies": (
        *("exporter.networkPolicy.enabled=true", "scaler.networkPolicy.enabled=true"),
        "exporter.networkPolicy.from[0].namespaceSelector.matchLabels.team=monitoring",
    ),
    "idle-gpus": ("scaler.idle.all=true",),
    "one-replica": ("scaler.replicas=1",),
    "namespaces": ("scaler.namespaces={team-a,team-b}",),
    "scale-down-pods": ("scaler.scaleDownPods=true",),
    "kinds": ("scaler.kinds={deployments.apps,statefulsets.apps,rollouts.argoproj.io}",),
    "metrics-api": ("scaler.metricsApi.enabled=true", "scaler.networkPolicy.enabled=true"),
    "metrics-api-own-certificate": (
        "scaler.metricsApi.enabled=true",
        "scaler.metricsApi.certificate.from=secret",
        "scaler.metricsApi.certificate.secretName=mine",
    ),
    "sidecar": ("scaler.mode=sidecar", "exporter.networkPolicy.enabled=true"),
    "sidecar-with-tokens": (
        *("scaler.mode=sidecar", "exporter.dra=true", "exporter.collectors={containers}"),
        *("scaler.namespaces={team-a}", "exporter.web.configSecret=web"),
        "scaler.web.configSecret=page",
        *("scaler.exporters.access.secret=readers", "scaler.exporters.access.keys.ca=ca.crt"),
    ),
    "scheduling": (
        *("scaler.priorityClassName=important", "scaler.nodeSelector.pool=system"),
        *("exporter.nodeSelector.pool=gpus", "scaler.tolerations[0].operator=Exists"),
        *("exporter.podAnnotations.note=ours", "scaler.podLabels.team=ours"),
    ),
}
CUSTOM_RESOURCES: Final[dict[str, tuple[str, ...]]] = {
    "service-monitors": (
        *("exporter.serviceMonitor.enabled=true", "scaler.serviceMonitor.enabled=true"),
        *(
            "exporter.serviceMonitor.interval=15s",
            "scaler.serviceMonitor.labels.release=prometheus",
        ),
        *(
            "exporter.serviceMonitor.relabelings[0].targetLabel=rack",
            "scaler.web.configSecret=page",
        ),
        "exporter.serviceMonitor.metricRelabelings[0].action=labeldrop",
    ),
    "gateway": (
        *("scaler.httpRoute.enabled=true", "scaler.replicas=1", "scaler.service.port=80"),
        *("scaler.httpRoute.parentRefs[0].name=web", "scaler.httpRoute.hostnames={gpus.example}"),
    ),
    "rules": ("prometheusRule.enabled=true", "prometheusRule.labels.release=prometheus"),
    "rules-without-scaler": (
        *("prometheusRule.enabled=true", "prometheusRule.namespace=monitoring"),
        *("prometheusRule.runbookUrl=https://wiki.example/gpus", "scaler.enabled=false"),
    ),
    "pod-monitors": (
        *("exporter.podMonitor.enabled=true", "exporter.podMonitor.labels.release=prometheus"),
        *("exporter.podMonitor.interval=15s", "scaler.podMonitor.enabled=true"),
        *("exporter.web.configSecret=web", "exporter.podMonitor.tlsConfig.insecureSkipVerify=true"),
        *("scaler.web.configSecret=page", "scaler.podMonitor.basicAuth.username.name=page"),
    ),
    "metrics-api-cert-manager": (
        "scaler.metricsApi.enabled=true",
        "scaler.metricsApi.certificate.from=certManager",
        "scaler.metricsApi.certificate.issuerRef.name=ours",
    ),
}
"""Those with kinds that not every API server has."""


def flags(name: str) -> tuple[str, ...]:
    """Return helm's flags for one of the switches."""
    return tuple(f"--set={value}" for value in {**SWITCHES, **CUSTOM_RESOURCES}[name])


def preset_flags(preset: Path) -> tuple[str, ...]:
    """Return helm's flags for a preset."""
    return (f"--values={preset}",)


ACCEPTED_EVERYWHERE: Final = {
    **{name: flags(name) for name in SWITCHES},
    **{preset.stem: preset_flags(preset) for preset in PRESETS},
}
ALL: Final = {**ACCEPTED_EVERYWHERE, **{name: flags(name) for name in CUSTOM_RESOURCES}}
