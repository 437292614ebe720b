"""The Grafana dashboards: they are what the code generates, each alert has a panel, and each query has an answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from shown_pipeline import STEPS, ShownPipeline

from bench.dashboards.__main__ import FOLDER, rendered
from streams.free_ports import free_port
from streams.watch.rules import ALERTS, render

BOARDS: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
PANELS = [(board, panel) for board, tree in BOARDS.items() for panel in tree["panels"] if panel["type"] != "row"]
PANEL_NAMES = [f"{board}: {panel['title']}" for board, panel in PANELS]
_STEP_SECONDS = 0.35
_MORE_STEPS = 24
_CHOSEN = {"measurement": "feed", "level": "10s", "metric": "recommendation_rate", "score_bin": "all"}
"""What a person chooses in the lists of the second dashboard; the rest is taken as it comes."""


# -- the files --------------------------------------------------------------------------------------------------------


def test_files_are_what_the_code_writes() -> None:
    """`python -m bench.dashboards` would change nothing."""
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == rendered()


def test_every_alert_has_a_panel() -> None:
    """Of each alert, a panel shows why it would be raised, and links to the page that says what to do."""
    linked = {link["url"] for _, panel in PANELS for link in panel.get("links", ()) if "runbooks" in link["url"]}
    assert linked == {f"${{runbooks}}/{alert}.md" for alert in ALERTS}


def test_dashboards_lead_to_one_another() -> None:
    """From the overview to a measurement, from there to the pipeline; time, source and choice go along."""
    uids = {tree["uid"] for tree in BOARDS.values()}
    text = json.dumps(list(BOARDS.values()))
    led_to = set(re.findall(r"/d/([\w-]+)", text))
    assert led_to == {"evenstream-measurement", "evenstream-pipeline"}
    assert led_to < uids
    assert "var-measurement=${__value.text}&var-datasource=${datasource}&${__url_time_range}" in text
    assert all(tree["links"][0]["tags"] == ["evenstream"] for tree in BOARDS.values())


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=PANEL_NAMES)
def test_panels_can_be_read(board: str, panel: dict[str, Any]) -> None:
    """Each says what it shows, in which unit; no limit lies where no value can be; no series differs by instance."""
    assert len(panel["description"]) > 15
    assert panel["datasource"]["uid"] == "${datasource}"
    defaults = panel["fieldConfig"]["defaults"]
    if panel["type"] in ("timeseries", "stat"):
        assert defaults["unit"] in ("percentunit", "s", "short", "none", "ops")
    limits = [step["value"] for step in defaults.get("thresholds", {}).get("steps", ()) if step["value"] is not None]
    if defaults.get("unit") == "percentunit":
        assert all(0 < limit <= 1 for limit in limits)
    for target in panel["targets"]:
        assert "instance" not in target["expr"]
        for metric in re.finditer(r"evenstream_\w+", target["expr"]):
            assert re.search(r"\b(max|min|sum|count|histogram_quantile)\b", target["expr"][: metric.start()])
        if panel["type"] == "timeseries":
            assert target["legendFormat"] != "__auto"


def test_what_is_not_due_has_no_age() -> None:
    """A replayed log, and a measurement that has ended, are not behind: as for the alert, nothing is shown of them."""
    ages = [target["expr"] for _, panel in PANELS for target in panel["targets"]
            if re.search(r"time\(\) - max.{,40}\(evenstream_window_end", target["expr"])]  # fmt: skip
    assert len(ages) == 3
    assert all("and on (measurement) max by (measurement) (evenstream_release_age_seconds)" in age for age in ages)


def test_intervals_are_bands() -> None:
    """Between the two ends of an interval the panel is filled, and neither end is a line of the legend."""
    filled = 0
    for _, panel in PANELS:
        for override in panel["fieldConfig"].get("overrides", ()):
            for value in override["properties"]:
                if value["id"] == "custom.fillBelowTo":
                    filled += 1
                    assert {"lower", "upper"} <= {target["legendFormat"] for target in panel["targets"]}
                    assert (override["matcher"]["options"], value["value"]) == ("upper", "lower")
    assert filled == 2


# -- every query ------------------------------------------------------------------------------------------------------


class Prometheus:
    """A real one, asked as Grafana asks it."""

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"
        self.began = time.time()

    def _get(self, path: str, **query: str) -> Any:
        with urllib.request.urlopen(f"{self._address}{path}?{urllib.parse.urlencode(query)}", timeout=10) as answer:
            return json.load(answer)["data"]

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            with urllib.request.urlopen(f"{self._address}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.HTTPError):
            return False

    def over_time(self, expr: str) -> list[Any]:
        """The series of a query, second by second, since the beginning."""
        end = time.time()
        found = self._get("/api/v1/query_range", query=expr, start=str(self.began), end=str(end), step="1")
        return [series for series in found["result"] if any(value != "NaN" for _, value in series["values"])]

    def now(self, expr: str) -> list[Any]:
        """What a query answers now."""
        found: list[Any] = self._get("/api/v1/query", query=expr)["result"]
        return found


@contextmanager
def running(folder: Path, targets: dict[str, int]) -> Iterator[Prometheus]:
    """A Prometheus that scrapes each role once a second, and records what the rules record sixty times as often."""
    (folder / "rules.yml").write_text(render(time_scale=60))
    (folder / "prometheus.yml").write_text(
        yaml.safe_dump(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(folder / "rules.yml")],
                "scrape_configs": [
                    {"job_name": role, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
                    for role, port in targets.items()
                ],
            }
        )
    )
    port = free_port()
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with (folder / "prometheus.log").open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)
    try:
        prometheus = Prometheus(port)
        deadline = time.monotonic() + 30
        # It begins to scrape some seconds after it answers.
        while not prometheus.is_ready() or len(prometheus.now("up == 1")) < len(targets):
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield prometheus
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """After two minutes of a pipeline's own time: an alarm, a void window and a new revision among them."""
    if shutil.which("prometheus") is None:
        pytest.skip("prometheus is not here; `apt-get install prometheus` brings it")
    folder = tmp_path_factory.mktemp("prometheus")
    shown = ShownPipeline(folder)
    with shown.served() as targets, running(folder, targets) as found:
        for number in range(STEPS.start, STEPS.stop + _MORE_STEPS):
            # In one minute of four noise leaves too little to compare the estimators: then there is another.
            if number >= STEPS.stop and shown.has_compared():
                break
            due = time.monotonic() + _STEP_SECONDS
            shown.step(number)
            time.sleep(max(0.0, due - time.monotonic()))
        assert {window.status for window in shown.windows} == {"published", "void"}
        assert any(result.alarm for window in shown.windows for result in window.results)
        assert {window.revision for window in shown.windows} == {1, 2}
        newest = max(window.window.end_ms for window in shown.windows) / 1000
        shown_last = f"max(evenstream_window_end_timestamp_seconds) >= {newest}"
        deadline = time.monotonic() + 30
        while not found.now(shown_last):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        time.sleep(1.5)  # and once more, so that counters have a rate and what is recorded was recorded
        yield found


def chosen(prometheus: Prometheus, board: str) -> dict[str, str]:
    """What the variables are, each with what was chosen before it, as Grafana fills them in."""
    values = {"datasource": "x", "runbooks": "x", "__rate_interval": "5s", "__range": "1m", "__interval": "1s"}
    for variable in BOARDS[board]["templating"]["list"]:
        if variable["type"] != "query":
            continue
        query = re.fullmatch(r"query_result\((.*)\)", filled_in(variable["query"]["query"], values), re.DOTALL)
        assert query is not None
        shown = [
            f"{name}{{{','.join(f'{k}={json.dumps(v)}' for k, v in series['metric'].items())}}} 1"
            for series in prometheus.now(query[1])
            for name in [series["metric"].get("__name__", "")]
        ]
        pattern = re.compile(variable["regex"].strip("/"))
        options = sorted({match[1] for text in shown for match in [pattern.search(text)] if match is not None})
        assert options, f"the list of {variable['name']} is empty"
        wanted = _CHOSEN.get(variable["name"], options[-1])
        assert wanted in options
        values[variable["name"]] = "(" + "|".join(options) + ")" if variable["multi"] else wanted
    return values


def filled_in(expr: str, values: dict[str, str]) -> str:
    """A query without variables."""
    for name in sorted(values, key=len, reverse=True):
        expr = expr.replace(f"${{{name}}}", values[name]).replace(f"${name}", values[name])
    assert "$" not in expr.replace('"$1"', ""), expr
    return expr


@pytest.mark.observe
@pytest.mark.parametrize("board", list(BOARDS))
def test_every_query_has_an_answer(prometheus: Prometheus, board: str) -> None:
    """Of each panel, each variable and each annotation: a series with a number, from what a real pipeline shows."""
    values = chosen(prometheus, board)
    silent, own = [], values
    for panel in BOARDS[board]["panels"]:
        if panel["type"] == "row":  # one for each value, where it is repeated: look at one of them
            own = values | ({panel["repeat"]: "hispanic"} if panel.get("repeat") else {})
        for target in panel.get("targets", ()):
            expr = filled_in(target["expr"], own)
            answer = prometheus.now(expr) if target.get("instant") else prometheus.over_time(expr)
            if not answer:
                silent.append((panel["title"], expr))
    marks = [(mark["name"], filled_in(mark["expr"], values)) for mark in BOARDS[board]["annotations"]["list"]]
    silent += [(name, expr) for name, expr in marks if not prometheus.over_time(expr)]
    assert silent == []


@pytest.mark.observe
def test_numbers_are_what_was_published(prometheus: Prometheus) -> None:
    """The overview tells of the alarm, of five roles, and of the group that is treated worse."""
    overview = {panel["title"]: panel for panel in BOARDS["overview"]["panels"]}
    first = {title: panel["targets"][0]["expr"] for title, panel in overview.items() if panel.get("targets")}
    assert float(prometheus.now(first["Roles up, of 5"])[0]["value"][1]) == 5
    assert float(prometheus.now(first["Active measurements"])[0]["value"][1]) == 1
    assert float(prometheus.now(first["Reviews open"])[0]["value"][1]) >= 1
    assert max(float(v) for _, v in prometheus.over_time(first["Alarms"])[0]["values"]) >= 1
    apart = prometheus.over_time(first["At least so far apart"])
    assert max(float(v) for series in apart for _, v in series["values"]) > 0.05


@pytest.mark.observe
def test_the_check_of_queries_sees(prometheus: Prometheus) -> None:
    """A metric that nobody exports has no answer: the check above can fail."""
    assert prometheus.over_time("max(evenstream_no_such_metric)") == []
