# SPDX-License-Identifier: Apache-2.0
"""Pure: the annotations that say where a model server's or a queue's metrics are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scaler.model import MetricSelector, Queue, ServerSettings
from scaler.policy.annotation_texts import BY_NAME, AnnotationTexts
from scaler.policy.annotations import (
    METRICS_PATH,
    METRICS_PORT,
    METRICS_SCHEME,
    POD_METRIC,
    QUEUE,
    SERVER,
    SERVER_NAMES,
    TARGET_POD_METRIC,
)
from scaler.policy.metric_text import parse_queue, parse_selector

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_MAX_SELECTOR_LENGTH = 512
_MAX_QUEUE_LENGTH = 1024
# The name of a container port (RFC 6335).
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9](-?[a-z0-9]){0,14}")
_PATH = re.compile(r"/[A-Za-z0-9._~/-]{0,255}")


class ServerAnnotations(AnnotationTexts):
    """Parses where metrics of model servers and queues are, and collects the problems."""

    def server_settings(self) -> ServerSettings:
        """Return the settings of the pods' model server."""
        server = self._one_of(SERVER, ("auto", *SERVER_NAMES))
        return ServerSettings(
            server=None if server == "auto" else server,
            port=self._port(),
            path=self._path(),
            scheme=self._one_of(METRICS_SCHEME, ("http", "https")),
            pod_metric=self._pod_metric(),
        )

    def queue(self) -> Queue | None:
        """Return the page and the metrics of the queue, None without one."""
        text = self._annotations.get(QUEUE)
        if text is None:
            return None
        if len(text) > _MAX_QUEUE_LENGTH:
            self._refuse(QUEUE, "is too long")
            return None
        try:
            return parse_queue(text)
        except ValueError:
            self._refuse(QUEUE, "is not a page and its metrics")
            return None

    def _pod_metric(self) -> MetricSelector | None:
        text = self._paired(POD_METRIC, TARGET_POD_METRIC)
        if text is None:
            return None
        if len(text) > _MAX_SELECTOR_LENGTH:
            self._refuse(POD_METRIC, "is too long")
            return None
        try:
            return parse_selector(text)
        except ValueError:
            self._refuse(POD_METRIC, "is not a metric")
            return None

    def _port(self) -> str | None:
        port = self._annotations.get(METRICS_PORT)
        if port is None:
            return None
        is_number = port.isascii() and port.isdigit() and len(port) <= 5
        if not (0 < int(port) <= 65535 if is_number else _PORT_NAME.fullmatch(port)):
            self._refuse(METRICS_PORT, "is not a port")
        return port

    def _path(self) -> str | None:
        path = self._annotations.get(METRICS_PATH)
        if path is not None and not _PATH.fullmatch(path):
            self._refuse(METRICS_PATH, "is not a path")
        return path

    def _one_of(self, name: str, allowed: Collection[str]) -> str | None:
        value = self._annotations.get(name, BY_NAME[name].default)
        if value is not None and value not in allowed:
            self._refuse(name, "is unknown")
        return value


def pod_server_settings(
    annotations: Mapping[str, str], defaults: Mapping[str, str] | None
) -> ServerSettings | None:
    """Return what a Deployment says about its pods' servers, None where one of these is wrong.

    `defaults` are the annotations of its Namespace. All other annotations make no difference.
    """
    parser = ServerAnnotations(annotations, defaults, "")
    settings = parser.server_settings()
    return None if parser.problems else settings
