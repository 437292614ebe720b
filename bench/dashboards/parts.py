"""What the dashboards' panels, variables, links and annotations have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grafana_foundation_sdk.builders import common as looks
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.builders import prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common, dashboard
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

SOURCE = dashboard.DataSourceRef(type_val="prometheus", uid="${datasource}")
TAG = "evenstream"
UIDS = {name: f"evenstream-{name}" for name in ("overview", "measurement", "pipeline")}

BLUE, ORANGE, RED, GREY = "#0072B2", "#E69F00", "#D55E00", "#7F7F7F"
"""Of the palette of Okabe and Ito, which colour-blind people tell apart."""

AWAITED = "and on (measurement) max by (measurement) (evenstream_release_age_seconds)"
"""Of active measurements of live events alone: a replayed log is as old as it is, and what has ended is not late."""

_VALUES_OF_A_QUERY = 3
"""The kind of a variable that is filled by ``query_result``, as Grafana's Prometheus editor numbers it."""


@dataclass(frozen=True)
class Query:
    """One query of a panel.

    Attributes:
        expr: PromQL.
        legend: how a series is called, with its labels in double braces.
        instant: at the end of the time range only, for tables and single numbers.
    """

    expr: str
    legend: str = "__auto"
    instant: bool = False


def _target(place: int, query: Query, *, rows: bool) -> prometheus.Dataquery:
    target = prometheus.Dataquery().expr(query.expr).legend_format(query.legend).ref_id(chr(ord("A") + place))
    target = target.datasource(SOURCE)
    if rows:
        target = target.format(PromQueryFormat.TABLE)
    return target.instant() if query.instant or rows else target.range()


def _runbooks(alerts: Sequence[str]) -> list[Any]:
    """Links to the pages that say what to do; the variable says where these are kept."""
    return [
        build.DashboardLink(f"Runbook: {alert}")
        .type(dashboard.DashboardLinkType.LINK)
        .url(f"${{runbooks}}/{alert}.md")
        .target_blank(True)
        for alert in alerts
    ]


def _steps(limit: float | None, *, below: bool = False) -> build.ThresholdsConfig:
    """A line where an alert begins; what lies beyond it is bad, or with ``below`` what lies under it."""
    first, then = (RED, GREY) if below else (GREY, RED)
    steps = [dashboard.Threshold(value=None, color=GREY if limit is None else first)]
    if limit is not None:
        steps.append(dashboard.Threshold(value=limit, color=then))
    return build.ThresholdsConfig().mode(dashboard.ThresholdsMode.ABSOLUTE).steps(steps)


def lines(
    title: str,
    description: str,
    *queries: Query,
    unit: str,
    limit: float | None = None,
    below: bool = False,
    alerts: Sequence[str] = (),
    width: int = 12,
    height: int = 8,
    least: float | None = None,
    most: float | None = None,
    bars: bool = False,
    calcs: Sequence[str] = ("lastNotNull",),
) -> timeseries.Panel:
    """Values over time.

    Args:
        unit: as Grafana names it: "percentunit" of a ratio, "s", "short".
        limit: where an alert begins, drawn as a dashed line.
        alerts: whose runbooks the panel links to.
        least, most: ends of the axis, where a value cannot pass them.
        bars: stacked bars, of counts in an interval.
    """
    legend = (
        looks.VizLegendOptions()
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(list(calcs))
    )
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .legend(legend)
        .tooltip(looks.VizTooltipOptions().mode(common.TooltipDisplayMode.MULTI).sort(common.SortOrder.DESCENDING))
        .span(width)
        .height(height)
        .fill_opacity(0)
        .line_width(2)
        .show_points(common.VisibilityMode.AUTO)
        .span_nulls(False)
        .links(_runbooks(alerts))
        .color_scheme(build.FieldColor().mode(dashboard.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .thresholds(_steps(limit, below=below))
    )
    if limit is not None:
        dashed = looks.GraphThresholdsStyleConfig().mode(common.GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(dashed)
    if least is not None:
        panel = panel.min(least)
    if most is not None:
        panel = panel.max(most)
    if bars:
        panel = (
            panel.draw_style(common.GraphDrawStyle.BARS)
            .fill_opacity(80)
            .stacking(looks.StackingConfig().mode(common.StackingMode.NORMAL))
        )
    return panel.targets([_target(place, query, rows=False) for place, query in enumerate(queries)])


def band(panel: timeseries.Panel, lower: str, upper: str) -> timeseries.Panel:
    """Fill the interval between two series, by their legends."""
    thin: list[dashboard.DynamicConfigValue] = [
        dashboard.DynamicConfigValue(id_val="custom.lineWidth", value=0),
        dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": BLUE}),
        dashboard.DynamicConfigValue(id_val="custom.hideFrom", value={"legend": True, "tooltip": False, "viz": False}),
    ]
    filled = [
        dashboard.DynamicConfigValue(id_val="custom.fillBelowTo", value=lower),
        dashboard.DynamicConfigValue(id_val="custom.fillOpacity", value=20),
    ]
    return panel.override_by_name(lower, thin).override_by_name(upper, thin + filled)


def styled(panel: timeseries.Panel, name: str, color: str, *, dashed: bool = False) -> timeseries.Panel:
    """Give a series, by its legend, a colour of its own; dashed where it is a limit."""
    values = [dashboard.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})]
    if dashed:
        values.append(dashboard.DynamicConfigValue(id_val="custom.lineStyle", value={"fill": "dash", "dash": [8, 8]}))
        values.append(dashboard.DynamicConfigValue(id_val="custom.lineWidth", value=1))
    return panel.override_by_regexp(name, values)


def number(
    title: str,
    description: str,
    query: Query,
    *,
    unit: str,
    limit: float | None = None,
    below: bool = False,
    alerts: Sequence[str] = (),
    leads_to: tuple[str, str] | None = None,
    width: int = 4,
) -> stat.Panel:
    """One number, as it is at the end of the time range, coloured where it is beyond a limit.

    Args:
        leads_to: title and name of the dashboard that says more.
    """
    links = _runbooks(alerts)
    if leads_to is not None:
        more = build.DashboardLink(leads_to[0]).type(dashboard.DashboardLinkType.LINK)
        links.append(more.url(f"/d/{UIDS[leads_to[1]]}").keep_time(True).include_vars(True))
    reduced = looks.ReduceDataOptions().calcs(["lastNotNull"])
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .unit(unit)
        .span(width)
        .height(4)
        .links(links)
        .reduce_options(reduced)
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .thresholds(_steps(limit, below=below))
        .targets([_target(0, Query(query.expr, query.legend, instant=True), rows=False)])
    )


def states(
    title: str,
    description: str,
    query: Query,
    *,
    names: dict[str, tuple[str, str]],
    alerts: Sequence[str] = (),
    width: int = 12,
    height: int = 6,
) -> statetimeline.Panel:
    """A strip of states over time.

    Args:
        names: for each value its word and its colour.
    """
    mapping = dashboard.ValueMap(
        options={
            value: dashboard.ValueMappingResult(text=word, color=color, index=index)
            for index, (value, (word, color)) in enumerate(names.items())
        }
    )
    return (
        statetimeline.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(width)
        .height(height)
        .links(_runbooks(alerts))
        .mappings([mapping])
        .show_value(common.VisibilityMode.NEVER)
        .targets([_target(0, query, rows=False)])
    )


def rows(
    title: str,
    description: str,
    queries: Sequence[tuple[str, str, str]],
    *,
    by: str,
    labels: Sequence[str],
    link: tuple[str, str] | None = None,
    alerts: Sequence[str] = (),
    height: int = 8,
) -> table.Panel:
    """A table of what is there at the end of the time range.

    Args:
        queries: for each column its title, its PromQL and its unit.
        by: the label by which the columns are put together.
        labels: labels that are shown, in this order; all others are left out.
        link: a title and an address for the cells of ``by``.
    """
    names = [f"Value #{chr(ord('A') + place)}" for place in range(len(queries))]
    renamed = dict(zip(names, (column for column, _, _ in queries), strict=True))
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .span(24)
        .height(height)
        .links(_runbooks(alerts))
        .targets([_target(place, Query(expr), rows=True) for place, (_, expr, _) in enumerate(queries)])
        .transformations(
            [
                dashboard.DataTransformerConfig(
                    id_val="joinByField" if by else "merge",
                    options={"byField": by, "mode": "outer"} if by else {},
                ),
                dashboard.DataTransformerConfig(
                    id_val="filterFieldsByName",
                    options={"include": {"names": [*labels, *names]}},
                ),
                dashboard.DataTransformerConfig(
                    id_val="organize",
                    options={
                        "indexByName": {name: place for place, name in enumerate([*labels, *names])},
                        "renameByName": renamed,
                    },
                ),
            ]
        )
    )
    for column, _, unit in queries:
        panel = panel.override_by_name(column, [dashboard.DynamicConfigValue(id_val="unit", value=unit)])
    if link is not None:
        shown = [dashboard.DynamicConfigValue(id_val="links", value=[{"title": link[0], "url": link[1]}])]
        panel = panel.override_by_name(labels[0], shown)
    return panel


# -- dashboards -------------------------------------------------------------------------------------------------------


def page(name: Literal["overview", "measurement", "pipeline"], title: str, description: str) -> build.Dashboard:
    """An empty dashboard, with links to the others that keep time and variables."""
    others = (
        build.DashboardLink("evenstream")
        .type(dashboard.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .keep_time(True)
        .include_vars(True)
    )
    source = build.DatasourceVariable("datasource").label("Data source").type("prometheus")
    runbooks = (
        build.TextBoxVariable("runbooks")
        .label("Runbooks at")
        .description("Where docs/runbooks can be read: the address without the page's name")
        .default_value(RUNBOOKS)
        .current(dashboard.VariableOption(text=RUNBOOKS, value=RUNBOOKS))
    )
    # Where one Prometheus scrapes several deployments: Grafana puts what is chosen here into every query.
    filters = build.AdHocVariable("filters").label("Only").datasource(SOURCE)
    return (
        build.Dashboard(title)
        .uid(UIDS[name])
        .description(description)
        .tags([TAG])
        .timezone("utc")
        .time("now-6h", "now")
        .refresh("30s")
        .tooltip(dashboard.DashboardCursorSync.CROSSHAIR)
        .link(others)
        .with_variable(source)
        .with_variable(runbooks)
        .with_variable(filters)
    )


RUNBOOKS = "/runbooks"
"""Until somebody says in the text field where the pages are: that is not known here."""


def choice(name: str, label: str, expr: str, *, what: str | None = None, multi: bool = False) -> build.QueryVariable:
    """A variable whose values are those of a label, as the query answers at the end of the time range.

    Args:
        expr: PromQL whose series have the label.
        what: the label, where it is not called as the variable is.
    """
    query: dict[str, object] = {
        "qryType": _VALUES_OF_A_QUERY,
        "query": f"query_result({expr})",
        "refId": "PrometheusVariableQueryEditor-VariableQuery",
    }
    variable = (
        build.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .regex(f'/{what or name}="([^"]+)"/')
        .refresh(dashboard.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(dashboard.VariableSort.NATURAL_ASC)
    )
    return variable.multi(True).include_all(True) if multi else variable


@dataclass(frozen=True)
class Mark:
    """An annotation: a mark wherever a query has a value that is not 0.

    Attributes:
        title, text: with labels in double braces.
    """

    name: str
    expr: str
    color: str
    title: str
    text: str

    def json(self) -> dict[str, Any]:
        """As Grafana's Prometheus data source reads it, which has fields that the SDK does not know."""
        return {
            "name": self.name,
            "datasource": {"type": "prometheus", "uid": "${datasource}"},
            "enable": True,
            "hide": False,
            "iconColor": self.color,
            "expr": self.expr,
            "step": "10s",
            "titleFormat": self.title,
            "textFormat": self.text,
        }
