# SPDX-License-Identifier: Apache-2.0
"""How `benchmarks.latency` reports: table of ratios, time line of each kind, figures."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.report import Figure, percentile, publish
from benchmarks.timeline import STAGES

if TYPE_CHECKING:
    from benchmarks.timeline import Timeline

ROWS: Final = (
    ("(a)", "ours, defaults", "our scaler from exporters, defaults"),
    ("(b)", "ours by Prometheus, defaults", "our scaler from Prometheus, defaults"),
    ("(c)", "chain, defaults", "Prometheus + adapter + HPA, defaults"),
    ("(a2)", "ours, tuned", "our scaler from exporters, tuned"),
    ("(b2)", "ours by Prometheus, tuned", "our scaler from Prometheus, tuned"),
    ("(d)", "chain, tuned", "Prometheus + adapter + HPA, tuned"),
)
NOTES: Final = """
defaults  our exporter samples every 2 s and averages 10 s, our scaler loops every 2 s;
          Prometheus scrapes every 1m (its configuration reference, scrape_interval);
          the adapter looks for series every 10m (its README, --metrics-relist-interval);
          the HPA controller syncs every 15s (kube-controller-manager's reference,
          --horizontal-pod-autoscaler-sync-period).
tuned     our exporter samples every 1 s and averages 1 s (both for ours and for the chain), our
          scaler loops every 1 s; Prometheus scrapes every 1s; the adapter looks every 1s, for what
          was there in the last 1m (its README: --metrics-max-age not below the scrape interval);
          the HPA controller syncs every 1s. Prometheus and kube-controller-manager document no
          shortest value; 1 s is what all of them are run with here.
          Where the control plane is managed, nobody can set the HPA controller's period.
The adapter knew the names before the steps: it is started after Prometheus has scraped them, and
each HPA has read its metric once. So no figure holds the up to 10 minutes that it needs to learn
of the first pod on a GPU. Target 40 %, tolerance 0.1, behavior at the defaults of each scaler.
"""


def report(timelines: list[Timeline]) -> None:
    """Print the tables, and publish the figures."""
    taken: dict[str, list[float]] = {}
    for one in timelines:
        taken.setdefault(one.kind, []).append(one.seconds["patched"])
    print(NOTES)
    _print_ratios(taken)
    _print_stages(timelines)
    publish("latency", _figures(taken), is_cited=True)


def _print_ratios(taken: dict[str, list[float]]) -> None:
    columns = ("steps", "median", "p90", "least", "most", "x (a)", "x (a2)")
    print(f"{'load step to patched replicas, s':<44}" + "".join(f"{c:>8}" for c in columns))
    for letter, kind, text in ROWS:
        found = taken[kind]
        median = statistics.median(found)
        bases = (statistics.median(taken[f"ours, {setting}"]) for setting in ("defaults", "tuned"))
        cells = (
            median,
            percentile(found, 90),
            min(found),
            max(found),
            *(median / b for b in bases),
        )
        print(f"{letter:<5}{text:<39}{len(found):>8}" + "".join(f"{cell:8.1f}" for cell in cells))


def _print_stages(timelines: list[Timeline]) -> None:
    print(f"\n{'median time line, s after the load step':<44}" + "".join(f"{s:>9}" for s in STAGES))
    for letter, kind, text in ROWS:
        lines = [one.seconds for one in timelines if one.kind == kind]
        print(f"{letter:<5}{text:<39}" + "".join(_median_cell(lines, s) for s in STAGES))
    print(
        "shown: by the exporter, above target and tolerance; scraped: by Prometheus; answered: by\n"
        "the metrics API; decided: the API server has the patch; patched: it has answered it. Our\n"
        "scaler reads the exporter between `shown` and `decided`."
    )


def _median_cell(lines: list[dict[str, float]], stage: str) -> str:
    found = [line[stage] for line in lines if stage in line]
    return f"{statistics.median(found):9.1f}" if found else f"{'-':>9}"


def _figures(taken: dict[str, list[float]]) -> list[Figure]:
    figures = []
    for _, kind, text in ROWS:
        bar = f"{text} ({len(taken[kind])} steps)"
        median, p90 = statistics.median(taken[kind]), percentile(taken[kind], 90)
        figures.append(Figure(bar=f"{bar}: median", value=median, unit="s", limit=None))
        figures.append(Figure(bar=f"{bar}: p90", value=p90, unit="s", limit=None))
    medians = {kind: statistics.median(found) for kind, found in taken.items()}
    for setting, limit in (("defaults", 10.0), ("tuned", None)):
        figures.append(
            Figure(
                bar=f"Prometheus + adapter + HPA slower than our scaler, {setting}: medians",
                value=medians[f"chain, {setting}"] / medians[f"ours, {setting}"],
                unit="x",
                limit=limit,
                better="higher",
            )
        )
    return figures
