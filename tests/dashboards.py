# SPDX-License-Identifier: Apache-2.0
"""The dashboards as they are shipped, for tests to look into."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDER: Final = ROOT / "daemonset" / "dashboards"
DASHBOARDS: Final[dict[str, dict[str, Any]]] = {
    file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """One query of a panel; `instant` where it is not drawn over time."""

    dashboard: str
    panel: str
    legend: str
    expr: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel}"


def panels(uid: str) -> list[dict[str, Any]]:
    """Return a dashboard's panels, rows left out."""
    return [panel for panel in DASHBOARDS[uid]["panels"] if panel["type"] != "row"]


def queries() -> list[Query]:
    """Return every query of every panel."""
    return [
        Query(
            dashboard=uid,
            panel=panel["title"],
            legend=target.get("legendFormat", ""),
            expr=target["expr"],
            instant=bool(target.get("instant")),
        )
        for uid in DASHBOARDS
        for panel in panels(uid)
        for target in panel["targets"]
    ]


def variables(uid: str) -> dict[str, dict[str, Any]]:
    """Return a dashboard's variables by name."""
    return {one["name"]: one for one in DASHBOARDS[uid]["templating"]["list"]}
