# SPDX-License-Identifier: Apache-2.0
"""The parts that all dashboards have: panels, variables and links, each made in one way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import prometheus, stat, timeseries
from grafana_foundation_sdk.builders import table as tables
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from daemonset.monitoring.names import collectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Steps: TypeAlias = "tuple[tuple[float | None, str], ...]"
"""Thresholds: from this value on, this colour; the first has no value."""
Panel: TypeAlias = "stat.Panel | timeseries.Panel | tables.Panel"

SOURCE: Final = dashboard.DataSourceRef("prometheus", "${datasource}")
TAG: Final = "gpu-scaler"
CLUSTER: Final = 'cluster=~"$cluster"'
PLAIN: Final[Steps] = ((None, "blue"),)
BAD_ABOVE_0: Final[Steps] = ((None, "green"), (1, "red"))
BAD_AT_0: Final[Steps] = ((None, "red"), (1, "green"))
NOTED_ABOVE_0: Final[Steps] = ((None, "green"), (1, "orange"))
HOT: Final[Steps] = ((None, "green"), (80, "orange"), (90, "red"))
FULL: Final[Steps] = ((None, "green"), (0.9, "orange"), (0.97, "red"))
LINE_WIDTH: Final = 24
GRAPH_HEIGHT: Final = 8
NUMBER_HEIGHT: Final = 4


class Column(NamedTuple):
    """A column of values: one for each of the table's keys."""

    header: str
    expr: str
    unit: str = "short"
    steps: Steps | None = None


class Key(NamedTuple):
    """A column with a label's values; `link` is the URL of what each of them leads to."""

    label: str
    header: str
    link: str = ""


def number(
    title: str,
    unit: str,
    description: str,
    expr: str,
    *,
    steps: Steps = PLAIN,
    words: Mapping[str, str] | None = None,
    width: int = 4,
) -> stat.Panel:
    """Return a panel with one number; `words` stand for values, such as {"1": "Stopped"}."""
    panel = (
        stat.Panel()
        .title(title)
        .description(_described(description, expr))
        .datasource(SOURCE)
        .unit(unit)
        .height(NUMBER_HEIGHT)
        .span(width)
        .thresholds(_thresholds(steps))
        .graph_mode(common.BigValueGraphMode.AREA)
        .reduce_options(common_builders.ReduceDataOptions().calcs(["lastNotNull"]))
        .with_target(prometheus.Dataquery().datasource(SOURCE).expr(expr).ref_id("A"))
    )
    if words:
        texts = {value: dashboard.ValueMappingResult(text) for value, text in words.items()}
        panel.mappings([dashboard.ValueMap(texts)]).graph_mode(common.BigValueGraphMode.NONE)
    return panel


def graph(
    title: str,
    unit: str,
    description: str,
    queries: Mapping[str, str],
    *,
    steps: Steps | None = None,
    highest: float | None = None,
    stacked: bool = False,
    width: int = 12,
) -> timeseries.Panel:
    """Return a panel with lines over time, from 0 on; `highest` is the end of the axis.

    `queries` are PromQL expressions by what their series are called, in Grafana's {{label}} form.
    """
    panel = (
        timeseries.Panel()
        .title(title)
        .description(_described(description, *queries.values()))
        .datasource(SOURCE)
        .unit(unit)
        .min(0)
        .height(GRAPH_HEIGHT)
        .span(width)
        .fill_opacity(60 if stacked else 8)
        .show_points(common.VisibilityMode.NEVER)
        .tooltip(
            common_builders.VizTooltipOptions()
            .mode(common.TooltipDisplayMode.MULTI)
            .sort(common.SortOrder.DESCENDING)
        )
        .legend(
            common_builders.VizLegendOptions()
            .display_mode(common.LegendDisplayMode.TABLE)
            .placement(common.LegendPlacement.BOTTOM)
            .show_legend(True)
            .calcs(["lastNotNull", "max"])
        )
    )
    if highest is not None:
        panel.max(highest)
    if stacked:
        panel.stacking(common_builders.StackingConfig().mode(common.StackingMode.NORMAL))
    if steps is not None:
        dashed = common_builders.GraphThresholdsStyleConfig()
        panel.thresholds(_thresholds(steps))
        panel.thresholds_style(dashed.mode(common.GraphThresholdsStyleMode.DASHED))
    for place, (legend, expr) in enumerate(queries.items()):
        target = prometheus.Dataquery().datasource(SOURCE).expr(expr)
        panel.with_target(target.legend_format(legend).ref_id(_ref_id(place)))
    return panel


def table(
    title: str,
    description: str,
    keys: tuple[Key, ...],
    columns: tuple[Column, ...],
    *,
    width: int = LINE_WIDTH,
) -> tables.Panel:
    """Return a panel with a row for each set of keys, as of the end of the time range.

    Each column's expression must have exactly the keys' labels.
    """
    panel = (
        tables.Panel()
        .title(title)
        .description(_described(description, *(column.expr for column in columns)))
        .datasource(SOURCE)
        .height(GRAPH_HEIGHT)
        .span(width)
        .no_value("none")
        .filterable(True)
    )
    names = {key.label: key.header for key in keys}
    for place, column in enumerate(columns):
        ref_id = _ref_id(place)
        names["Value" if len(columns) == 1 else f"Value #{ref_id}"] = column.header
        panel.with_target(
            prometheus.Dataquery()
            .datasource(SOURCE)
            .expr(column.expr)
            .instant()
            .format(PromQueryFormat.TABLE)
            .ref_id(ref_id)
        )
        shown = [dashboard.DynamicConfigValue("unit", column.unit)]
        if column.steps is not None:
            shown.append(
                dashboard.DynamicConfigValue("thresholds", _thresholds(column.steps).build())
            )
            shown.append(dashboard.DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
        panel.override_by_name(column.header, shown)
    for key in keys:
        if key.link:
            links = [{"title": f"Show this {key.header.lower()}", "url": key.link}]
            panel.override_by_name(key.header, [dashboard.DynamicConfigValue("links", links)])
    options = {
        "excludeByName": {"Time": True},
        "renameByName": names,
        "indexByName": {name: place for place, name in enumerate(names)},
    }
    return panel.transformations(
        [
            dashboard.DataTransformerConfig(id_val="merge", options={}),
            dashboard.DataTransformerConfig(id_val="organize", options=options),
        ]
    )


def link_to(uid: str, **variables: str) -> str:
    """Return the URL of a dashboard with these variables, and with what is chosen here."""
    chosen = "${datasource:queryparam}&${cluster:queryparam}&${__url_time_range}"
    texts = "".join(f"&var-{name}={value}" for name, value in variables.items())
    return f"/d/{uid}?{chosen}{texts}"


def field(header: str) -> str:
    """Return the value of another column of the row, for a link."""
    return f'${{__data.fields["{header}"]}}'


NODE_KEY: Final = Key("node_name", "Node", link_to("gpu-node", node=field("Node")))
NAMESPACE_KEY: Final = Key("namespace_name", "Namespace")
POD_KEY: Final = Key(
    "pod_name", "Pod", link_to("gpu-pods", namespace=field("Namespace"), pod=field("Pod"))
)
"""Stands beside a column of namespaces."""


def choice(
    name: str,
    label: str,
    values: str,
    *,
    several: bool = True,
    every: str = ".+",
    hidden: bool = False,
) -> builders.QueryVariable:
    """Return a variable with the values of a `label_values(...)` query.

    With `several` there is "All", which stands for the regular expression `every`.
    """
    variable = (
        builders.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": values, "refId": "Values"})
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
        .multi(several)
        .include_all(several)
        .hide(dashboard.VariableHide.HIDE_VARIABLE if hidden else dashboard.VariableHide.DONT_HIDE)
    )
    if several:
        variable.all_value(every)
        variable.current(dashboard.VariableOption(selected=True, text=["All"], value=["$__all"]))
    return variable


def assemble(
    uid: str,
    title: str,
    description: str,
    variables: tuple[builders.QueryVariable, ...],
    sections: Mapping[str, Iterable[Panel]],
) -> dashboard.Dashboard:
    """Return a dashboard: a data source, a cluster, its own variables, and links to the others."""
    clusters = choice(
        "cluster",
        "Cluster",
        'label_values({__name__=~"nvidia_gpu_num_devices|gpu_scaler_leader"}, cluster)',
        every=".*",
    )
    made = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .timezone(common.TimeZoneBrowser)
        .time("now-3h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .with_variable(
            builders.DatasourceVariable("datasource").label("Data source").type("prometheus")
        )
        .with_variable(clusters)
        .link(
            builders.DashboardLink("GPU dashboards")
            .type(dashboard.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )
    for variable in variables:
        made.with_variable(variable)
    panel_id = 0
    for heading, panels in sections.items():
        panel_id += 1
        made.with_row(builders.Row(heading).id(panel_id))
        for panel in panels:
            panel_id += 1
            made.with_panel(panel.id(panel_id))
    return made.build()


def _described(description: str, *expressions: str) -> str:
    needed = ",".join(collectors(expressions))
    return f"{description} Needs `--collectors {needed}`." if needed else description


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    return (
        builders.ThresholdsConfig()
        .mode(dashboard.ThresholdsMode.ABSOLUTE)
        .steps([dashboard.Threshold(value, color) for value, color in steps])
    )


def _ref_id(place: int) -> str:
    return chr(ord("A") + place)
