"""Prometheus, Alertmanager and their tools, as Debian packs them, for the tests that run the real ones."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from streams.free_ports import free_port

PACKAGES = {
    "prometheus": "prometheus",
    "promtool": "prometheus",
    "prometheus-alertmanager": "prometheus-alertmanager",
    "amtool": "prometheus-alertmanager",
}
"""Debian's package of each program."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Skip a test where a program is not installed, with the command that installs it."""
    missing = [program for program in programs if shutil.which(program) is None]
    packages = " ".join(sorted({PACKAGES[program] for program in missing}))
    return pytest.mark.skipif(
        bool(missing), reason=f"not here: {', '.join(missing)}; `apt-get install {packages}` brings it"
    )


def run(program: str, *arguments: str) -> str:
    """What a tool says; shown where it fails."""
    result = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@dataclass(frozen=True)
class Notification:
    """One alert as a receiver was told of it."""

    receiver: str
    status: str
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    at: float

    @property
    def name(self) -> str:
        """The alert's name."""
        return self.labels["alertname"]


class Monitoring:
    """A Prometheus that scrapes, an Alertmanager that it tells, and receivers that Alertmanager tells.

    All on free ports of 127.0.0.1, with their data in one folder; what is started here ends with the context.

    Args:
        folder: for files, data and logs.
        targets: host:port of each process to scrape.
        rules: what stands in the rules file.
        alertmanager: the configuration of the examples; its receivers' addresses are replaced, and its waits cut.
    """

    def __init__(self, folder: Path, targets: Sequence[str], rules: str, alertmanager: Mapping[str, Any]) -> None:
        self.notifications: list[Notification] = []
        self.began_firing: list[tuple[float, Mapping[str, str]]] = []
        """When Prometheus was seen to have an alert firing that did not fire before, epoch seconds, and its labels."""
        self._folder, self._targets, self._rules, self._config = folder, targets, rules, alertmanager
        self._processes: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()
        self._receiver = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._threads = [threading.Thread(target=self._receiver.serve_forever, args=(0.1,), daemon=True)]
        self._threads.append(threading.Thread(target=self._follow, daemon=True))
        self.prometheus = f"http://127.0.0.1:{free_port()}"
        self.alertmanager = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Monitoring:
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._write_files()
            self._start("prometheus-alertmanager", "--config.file=alertmanager.yaml", "--storage.path=alertmanager",
                        "--cluster.listen-address=", f"--web.listen-address={self.alertmanager[7:]}")  # fmt: skip
            self._start("prometheus", "--config.file=prometheus.yaml", "--storage.tsdb.path=prometheus",
                        f"--web.listen-address={self.prometheus[7:]}")  # fmt: skip
            for address in (self.alertmanager, self.prometheus):
                await_true(f"{address} is ready", lambda address=address: answers(f"{address}/-/ready"), 30.0)
        except BaseException:
            self.__exit__()
            raise
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._threads[0].is_alive():
            self._receiver.shutdown()
        self._receiver.server_close()
        for thread in self._threads:
            if thread.is_alive():
                thread.join(5)

    def _write_files(self) -> None:
        prometheus = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": ["rules.yaml"],
            "alerting": {"alertmanagers": [{"static_configs": [{"targets": [self.alertmanager[7:]]}]}]},
            "scrape_configs": [{"job_name": "evenstream", "static_configs": [{"targets": list(self._targets)}]}],
        }
        config = copy.deepcopy(dict(self._config))
        for route in (config["route"], *config["route"]["routes"]):
            route |= {"group_wait": "200ms", "group_interval": "1s"}
        for receiver in config["receivers"]:
            url = f"http://127.0.0.1:{self._receiver.server_address[1]}/{receiver['name']}"
            receiver["webhook_configs"] = [{"url": url, "send_resolved": True}]
        (self._folder / "rules.yaml").write_text(self._rules)
        (self._folder / "prometheus.yaml").write_text(yaml.safe_dump(prometheus))
        (self._folder / "alertmanager.yaml").write_text(yaml.safe_dump(config))

    def _start(self, program: str, *arguments: str) -> None:
        with (self._folder / f"{program}.log").open("wb") as log:
            self._processes.append(
                subprocess.Popen([program, *arguments], cwd=self._folder, stdout=log, stderr=subprocess.STDOUT)
            )

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        seen = self.notifications

        class Receiver(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                now = time.time()
                seen.extend(
                    Notification(self.path[1:], alert["status"], alert["labels"], alert["annotations"], now)
                    for alert in told["alerts"]
                )
                self.send_response(200)
                self.end_headers()

            def log_message(self, *arguments: object) -> None:
                """Nothing: a test's output is for its result."""

        return Receiver

    def _follow(self) -> None:
        before: set[tuple[tuple[str, str], ...]] = set()
        while not self._over.wait(0.2):
            try:
                alerts = self.alerts()
            except OSError:  # it is busy, or ends
                continue
            now = {tuple(sorted(alert["labels"].items())) for alert in alerts if alert["state"] == "firing"}
            self.began_firing += [(time.time(), dict(labels)) for labels in now - before]
            before = now

    def alerts(self) -> list[dict[str, Any]]:
        """What Prometheus holds of alerts now, pending and firing."""
        return list(self._api("alerts")["alerts"])

    def firing(self) -> set[str]:
        """The names of the alerts that fire now, in Prometheus."""
        return {alert["labels"]["alertname"] for alert in self.alerts() if alert["state"] == "firing"}

    def _api(self, path: str) -> dict[str, Any]:
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/{path}", timeout=5) as answer:
            return dict(json.loads(answer.read())["data"])

    def series(self) -> set[str]:
        """The names of all series that it has scraped or recorded."""
        with urllib.request.urlopen(f"{self.prometheus}/api/v1/label/__name__/values", timeout=5) as answer:
            return set(json.loads(answer.read())["data"])

    def targets_up(self) -> int:
        """How many processes answer scrapes now."""
        return sum(target["health"] == "up" for target in self._api("targets")["activeTargets"])

    def told(self, name: str, since: float, status: str = "firing", **labels: str) -> list[Notification]:
        """What receivers were told of an alert since some time, oldest first."""
        return [
            one
            for one in list(self.notifications)
            if one.name == name and one.status == status and one.at >= since and labels.items() <= one.labels.items()
        ]

    def fired(self, name: str, since: float, **labels: str) -> float | None:
        """When Prometheus had it firing for the first time since some time."""
        wanted = {"alertname": name, **labels}.items()
        return next((at for at, has in list(self.began_firing) if at >= since and wanted <= has.items()), None)


def answers(url: str) -> bool:
    """Whether an address answers with 200."""
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def await_true(what: str, check: Callable[[], object], seconds: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.1)
