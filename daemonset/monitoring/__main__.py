# SPDX-License-Identifier: Apache-2.0
"""`python -m daemonset.monitoring [FOLDER]`: write what is made from this code and the rules.

The chart has copies of them in `chart/files`, because Helm reads no file outside of a chart.
FOLDER is `daemonset` by default; the rules are always those of `daemonset/prometheus-rules.yaml`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from daemonset.monitoring import cluster, node, pods, scaler
from daemonset.monitoring.prometheusrule import prometheus_rule

DAEMONSET: Final = Path(__file__).resolve().parents[1]
BUILDERS: Final = {module.UID: module.build for module in (cluster, node, pods, scaler)}


def main(folder: Path) -> None:
    """Write the dashboards and the operator's rules into `folder`."""
    files = folder / "chart" / "files"
    for parent in (folder, files):
        (parent / "dashboards").mkdir(parents=True, exist_ok=True)
    encoder = JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False)
    for uid, build in BUILDERS.items():
        dashboard = encoder.encode(build()) + "\n"
        for parent in (folder, files):
            (parent / "dashboards" / f"{uid}.json").write_text(dashboard)
    text = (DAEMONSET / "prometheus-rules.yaml").read_text()
    (files / "prometheus-rules.yaml").write_text(text)
    rules = yaml.safe_load(text)
    source = "# Made from prometheus-rules.yaml by `make generate`, for the Prometheus operator.\n"
    (folder / "prometheus-operator-rules.yaml").write_text(source + prometheus_rule(rules))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DAEMONSET)
