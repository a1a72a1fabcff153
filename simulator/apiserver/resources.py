# SPDX-License-Identifier: Apache-2.0
"""The table of the resources that the embedded API serves."""

from __future__ import annotations

from dataclasses import dataclass

FIELDS_OF_ALL = frozenset({"metadata.name", "metadata.namespace"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """One kind of object; `selectable` are the field selectors that the real API knows."""

    plural: str
    kind: str
    group: str = ""
    version: str = "v1"
    namespaced: bool = True
    subresources: frozenset[str] = frozenset()
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    selectable: frozenset[str] = FIELDS_OF_ALL
    needs_resource_version: bool = False
    counts_generations: bool = False

    @property
    def api_version(self) -> str:
        """`apps/v1`, or `v1` for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """`deployments.apps`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()


NAMESPACES = Resource(
    plural="namespaces",
    kind="Namespace",
    namespaced=False,
    subresources=frozenset({"status"}),
    short_names=("ns",),
    selectable=FIELDS_OF_ALL | {"status.phase"},
)
NODES = Resource(
    plural="nodes",
    kind="Node",
    namespaced=False,
    subresources=frozenset({"status"}),
    short_names=("no",),
    selectable=FIELDS_OF_ALL | {"spec.unschedulable"},
)
PODS = Resource(
    plural="pods",
    kind="Pod",
    subresources=frozenset({"status", "binding"}),
    short_names=("po",),
    categories=("all",),
    selectable=FIELDS_OF_ALL
    | {
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    },
)
EVENTS = Resource(
    plural="events",
    kind="Event",
    short_names=("ev",),
    selectable=FIELDS_OF_ALL
    | {f"involvedObject.{name}" for name in ("kind", "namespace", "name", "uid", "apiVersion")}
    | {"involvedObject.resourceVersion", "involvedObject.fieldPath"}
    | {"reason", "reportingComponent", "source", "type"},
)
SERVICES = Resource(
    plural="services",
    kind="Service",
    subresources=frozenset({"status"}),
    short_names=("svc",),
    categories=("all",),
)
CONFIG_MAPS = Resource(plural="configmaps", kind="ConfigMap", short_names=("cm",))
SERVICE_ACCOUNTS = Resource(plural="serviceaccounts", kind="ServiceAccount", short_names=("sa",))
DEPLOYMENTS = Resource(
    group="apps",
    plural="deployments",
    kind="Deployment",
    subresources=frozenset({"status", "scale"}),
    short_names=("deploy",),
    categories=("all",),
    counts_generations=True,
)
REPLICA_SETS = Resource(
    group="apps",
    plural="replicasets",
    kind="ReplicaSet",
    subresources=frozenset({"status", "scale"}),
    short_names=("rs",),
    categories=("all",),
    selectable=FIELDS_OF_ALL | {"status.replicas"},
    counts_generations=True,
)
DAEMON_SETS = Resource(
    group="apps",
    plural="daemonsets",
    kind="DaemonSet",
    subresources=frozenset({"status"}),
    short_names=("ds",),
    categories=("all",),
    counts_generations=True,
)
LEASES = Resource(
    group="coordination.k8s.io",
    plural="leases",
    kind="Lease",
    needs_resource_version=True,
)
HORIZONTAL_POD_AUTOSCALERS = Resource(
    group="autoscaling",
    version="v2",
    plural="horizontalpodautoscalers",
    kind="HorizontalPodAutoscaler",
    subresources=frozenset({"status"}),
    short_names=("hpa",),
    categories=("all",),
)
ENDPOINT_SLICES = Resource(group="discovery.k8s.io", plural="endpointslices", kind="EndpointSlice")
# Not served unless asked for: on most clusters KEDA is not installed.
SCALED_OBJECTS = Resource(
    group="keda.sh",
    version="v1alpha1",
    plural="scaledobjects",
    kind="ScaledObject",
    subresources=frozenset({"status"}),
    short_names=("so",),
    counts_generations=True,
)

SERVED: tuple[Resource, ...] = (
    NAMESPACES,
    NODES,
    PODS,
    EVENTS,
    SERVICES,
    CONFIG_MAPS,
    SERVICE_ACCOUNTS,
    DEPLOYMENTS,
    REPLICA_SETS,
    DAEMON_SETS,
    LEASES,
    HORIZONTAL_POD_AUTOSCALERS,
    ENDPOINT_SLICES,
)
