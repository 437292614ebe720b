"""The chart's pods, run: commands, variables, paths, Secrets and ACLs of the chart, proven together on a real Kafka.

Each StatefulSet, Deployment, Job and test Pod is taken as the API server stored it, in five namespaces that enforce
`restricted`; its container runs as a process of this machine (``chart.pod_process``) against a broker with TLS, SCRAM
and the ACLs of the chart's own KafkaUser resources. Traffic is sent, and `publish` shows metrics of it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from chart import cluster as clusters
from chart.cluster import CHART
from chart.domains import DEPLOYMENT, DOMAINS, EXAMPLES, Brokers, Deployment, evenstream
from chart.pod_process import REPOSITORY, Container, Json, Node, is_possible

from streams.free_ports import free_port
from streams.kafka.dev_broker import DevBroker

pytestmark = [
    pytest.mark.chart,
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not clusters.is_built(), reason="no control plane: `make chart-live` builds it, once"),
    pytest.mark.skipif(not is_possible(), reason="runs containers' processes: needs root, unshare and setpriv"),
]

_SIZES = ("topics.replication_factor=1", "topics.min_insync_replicas=1", "topics.partitions=2",
          "keys.governance_threshold=1")  # fmt: skip
_SECONDS = 240
_TRIAL_KEYS = "trial-evenstream-keys"
_SOURCE = f"{DEPLOYMENT}.rec-events"


@dataclass
class Running:
    """All of it, up."""

    deployment: Deployment
    brokers: Brokers
    node: Node
    logs: Path
    hooks: dict[tuple[str, str], Json] = field(default_factory=dict)
    pods: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)

    def get(self, kind: str, namespace: str, name: str) -> Json:
        """An object that is stored; a hook's own, which Helm has taken away again, as it would be stored."""
        manifest = self.hooks.get((namespace, f"{kind}/{name}".lower()))
        cluster = self.deployment.cluster
        return cluster.get(kind, namespace, name) if manifest is None else cluster.stored(manifest)

    def read_hooks(self, namespace: str) -> None:
        """Take in the hooks of a domain's release."""
        for found in self.deployment.hooks(namespace):
            self.hooks[namespace, f"{found['kind']}/{found['metadata']['name']}".lower()] = found

    def job(self, namespace: str, name: str, **extra: str) -> tuple[int, str]:
        """Run a Job of a hook to its end: its status, and what it said."""
        template = self.get("job", namespace, name)["spec"]["template"]
        return self._to_its_end(Container(namespace, template["metadata"], template["spec"]), name, extra)

    def test_pod(self, namespace: str, name: str) -> tuple[int, str]:
        """Run a Pod of `helm test` to its end."""
        pod = self.get("pod", namespace, name)
        addresses = {f"{DEPLOYMENT}-evenstream-{worker.replace('.', '-')}": port for worker, port in self.ports.items()}
        spec = pod["spec"]
        spec["containers"][0]["args"] = [_here(word, addresses) for word in spec["containers"][0]["args"]]
        return self._to_its_end(Container(namespace, pod["metadata"], spec), name, {})

    def _to_its_end(self, container: Container, name: str, extra: Mapping[str, str]) -> tuple[int, str]:
        log = self.logs / f"{name}-{time.monotonic_ns()}.log"
        process = self.node.start(container, free_port(), extra=extra, log=log)
        try:
            status = process.wait(_SECONDS)
        finally:
            _end(process)
        return status, log.read_text()

    def start(self, namespace: str, worker: str) -> None:
        """Start a role's pod, such as "attach.1", as it is stored."""
        role, _, number = worker.partition(".")
        name = f"{DEPLOYMENT}-evenstream-{role}"
        if role == "retention":
            (pod,) = [
                one for one in self.deployment.cluster.all_of("pods", namespace)
                if one["metadata"]["labels"].get("app.kubernetes.io/component") == role
            ]  # fmt: skip
        else:
            pod = self.get("pod", namespace, f"{name}-{number or 0}")
        self.ports[f"{role}.{number or 0}"] = free_port()
        port = self.ports[f"{role}.{number or 0}"]
        container = Container(namespace, pod["metadata"], pod["spec"])
        self.pods[f"{role}.{number or 0}"] = self.node.start(container, port, log=self.logs / f"{worker}.log")

    def ask(self, worker: str, path: str) -> str:
        """What a pod answers; nothing where it does not."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[worker]}{path}", timeout=5) as answer:
                return str(answer.read().decode())
        except OSError:
            return ""

    def await_series(self, worker: str, beginning: str, seconds: float = _SECONDS) -> list[str]:
        """Lines of a pod's metrics that begin so, once there are any."""
        deadline = time.monotonic() + seconds
        while True:
            found = [line for line in self.ask(worker, "/metrics").splitlines() if line.startswith(beginning)]
            if found:
                return found
            self.check()
            told = {name: self.ask(name, "/readyz").strip() for name in self.pods}
            assert time.monotonic() < deadline, f"{worker} shows no {beginning}; {told}"
            time.sleep(0.5)

    def check(self) -> None:
        """No pod has ended."""
        for worker, process in self.pods.items():
            name = worker.removesuffix(".0")
            assert process.poll() is None, (worker, (self.logs / f"{name}.log").read_text()[-3000:])


def _here(word: str, addresses: dict[str, int]) -> str:
    """A pod's name in the cluster's DNS, as an address of this machine."""
    role, _, address = word.partition("=")
    pod = address.partition(".")[0]
    return f"{role}=127.0.0.1:{addresses[pod]}" if pod in addresses else word


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A cluster, a broker, five releases; every pod of them runs."""
    folder = tmp_path_factory.mktemp("pods")
    for path in (folder, *folder.parents):
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    broker = DevBroker(folder / "kafka", secure=True)
    with clusters.running(folder / "cluster") as cluster:
        try:
            process = broker.start(progress=print)
            assert broker.security is not None
            brokers = Brokers(
                process, broker.security, folder, [f"deployment={DEPLOYMENT}", f"topics.sources=[{_SOURCE}]", *_SIZES]
            )
            further = tuple(f"settings.{size}" for size in _SIZES)
            deployment = Deployment(cluster, folder, process.bootstrap, broker.security.authority.read_bytes(), further)
            running = Running(
                deployment, brokers, Node(lambda *which: running.get(*which), cluster.token, folder / "node"), folder
            )
            try:
                _deploy(running)
                yield running
            finally:
                for pod in reversed(running.pods.values()):
                    _end(pod)
        finally:
            broker.stop()


def _deploy(running: Running) -> None:
    """docs/deploy.md, from beginning to end."""
    deployment, brokers, cluster = running.deployment, running.brokers, running.deployment.cluster
    running.node.folder.mkdir(mode=0o755)
    deployment.make_namespaces()
    deployment.make_keys()
    deployment.keep_keys()
    deployment.install("kafka")
    brokers.make_users(cluster.all_of("kafkausers.kafka.strimzi.io", "kafka"))
    brokers.make_inputs()
    for namespace, roles in {**DOMAINS, "kafka": ("operator",)}.items():
        for role in roles:
            user = f"{DEPLOYMENT}-{role}"
            cluster.make_secret(namespace, user, password=brokers.password(user))
    running.read_hooks("kafka")
    status, said = running.job("kafka", f"{DEPLOYMENT}-evenstream-operator-topics")
    assert status == 0, said
    running.said["topics"] = said
    for namespace, roles in DOMAINS.items():
        deployment.install(namespace, *(["roles.attach.accessModes={ReadWriteMany}"] if "attach" in roles else []))
        running.read_hooks(namespace)
        for role in roles:
            status, running.said[role] = running.job(namespace, f"{DEPLOYMENT}-evenstream-{role}-doctor")
            assert status == 0, running.said[role]
    for namespace, roles in DOMAINS.items():
        for role in roles:
            running.start(namespace, role)
    _approve(running)


def _approve(running: Running) -> None:
    """A reviewer signs a measurement of windows of ten seconds."""
    spec = yaml.safe_load((REPOSITORY / "examples" / "simulated-feed" / "measurement.yaml").read_text())
    spec["source"]["topic"] = _SOURCE
    spec["windows"] = {"base": "10s", "lateness": "1s", "max_future": "1s"}
    del spec["privacy"]["level_shares"]
    path = running.logs / "measurement.yaml"
    path.write_text(yaml.safe_dump(spec))
    keys = running.logs / "keys" / "governance"
    (keys / "governance" / "trusted.json").write_text(running.deployment.trusted.read_text())
    config = str(running.brokers.config_of(f"{DEPLOYMENT}-governance", f"keys.dir={keys}"))
    key = str(next((keys / "governance").glob("*.key")))
    evenstream("--config", config, "measurement", "propose", str(path), "--days", "1", "--key", key)
    evenstream("--config", config, "measurement", "approve", spec["id"], "--yes", "--key", key)


@pytest.fixture(scope="module")
def traffic(up: Running) -> Iterator[None]:
    """A recommender at work, as the company's own principal."""
    config = str(up.brokers.config_of(f"{DEPLOYMENT}-company"))
    words = ["simulate", "--topic", _SOURCE, "--members", "100000", "--rate", "1000", "--duration", "900"]
    command = [str(Path(sys.prefix) / "bin" / "evenstream"), "--config", config, *words]
    with (up.logs / "simulate.log").open("wb") as out:
        process = subprocess.Popen([*command, "--truth", str(up.logs / "truth.npz")], stdout=out, stderr=out)
    yield
    _end(process)


def test_jobs_say_what_they_did(up: Running) -> None:
    """The Job of topics makes them all; each role's doctor has looked at Kafka, its ACLs, topics and keys."""
    assert "16 created" in up.said["topics"]
    for role in ("seal", "attach", "a", "b", "publish"):
        assert "WRONG" not in up.said[role], up.said[role]
        assert f"{DEPLOYMENT}-{role}" in up.said[role]


def test_pods_run_as_they_are_declared(up: Running) -> None:
    """Each process: the pod's user, no capability, no new privileges, no core dump, no password in its environment."""
    for worker, process in up.pods.items():
        found = _status(process.pid)
        assert found["Uid"].split()[0] == "10001", worker
        assert set(found["Groups"].split()) == {"10001"}
        assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
        assert found["NoNewPrivs"] == "1"
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if "core file" in line).split()[4:6] == ["0", "0"]
        variables = Path(f"/proc/{process.pid}/environ").read_bytes().decode()
        for role in ("seal", "attach", "a", "b", "publish", "retention", "operator"):
            assert up.brokers.password(f"{DEPLOYMENT}-{role}") not in variables


def _status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_nothing_stored_holds_another_roles_secret(up: Running) -> None:
    """No password in a ConfigMap, and in each namespace only the Secrets of its own roles."""
    for namespace, roles in DOMAINS.items():
        shown = str(up.deployment.cluster.all_of("configmaps", namespace))
        names = {found["metadata"]["name"] for found in up.deployment.cluster.all_of("secrets", namespace)}
        for role in ("seal", "attach", "a", "b", "publish", "retention", "operator"):
            assert up.brokers.password(f"{DEPLOYMENT}-{role}") not in shown
            assert (f"{DEPLOYMENT}-{role}" in names) == (role in roles)


def test_traffic_becomes_metrics(up: Running, traffic: None) -> None:
    """Events at one end, differentially private numbers at the other, through five pods that share nothing."""
    values = up.await_series("publish.0", "evenstream_group_value_ratio{")
    assert any('group="white"' in line and 'metric="recommendation_rate"' in line for line in values)
    published = up.await_series("publish.0", "evenstream_windows_total{")
    assert any('status="published"' in line for line in published), published


def test_helm_test_sees_each_role_move(up: Running, traffic: None) -> None:
    """The Pods of `helm test`, each as its role and in its role's namespace, end with 0 while windows are published."""
    up.await_series("publish.0", "evenstream_group_value_ratio{")
    for namespace, roles in DOMAINS.items():
        for role in roles:
            status, said = up.test_pod(namespace, f"{DEPLOYMENT}-evenstream-{role}-test")
            assert status == 0, said


def test_another_roles_password_is_noticed(up: Running) -> None:
    """A Secret that holds another role's password stops the Job before an install, which names whose it is."""
    namespace, name = "party-b", f"{DEPLOYMENT}-b"
    up.deployment.cluster.make_secret(namespace, name, password="guessed")
    try:
        status, said = up.job(namespace, f"{DEPLOYMENT}-evenstream-b-doctor")
    finally:
        up.deployment.cluster.make_secret(namespace, name, password=up.brokers.password(name))
    assert status == 1
    assert f"{DEPLOYMENT}-b" in said
    assert "guessed" not in said


def test_attach_goes_from_one_worker_to_two_and_back(up: Running, traffic: None) -> None:
    """`helm upgrade` with more replicas, its Job, and a pod that takes its number from its label; and fewer again."""
    modes = "roles.attach.accessModes={ReadWriteMany}"
    up.deployment.upgrade("estimator", "roles.attach.replicas=2", modes)
    up.read_hooks("estimator")
    up.start("estimator", "attach.1")
    up.await_series("attach.1", "evenstream_layout_shard{")
    status, said = up.job("estimator", f"{DEPLOYMENT}-evenstream-attach-scale-up")
    assert status == 0, said
    _await_shards(up, {"attach.0", "attach.1"}, 2)
    before = _windows(up)
    up.deployment.upgrade("estimator", modes)
    up.read_hooks("estimator")
    status, said = up.job("estimator", f"{DEPLOYMENT}-evenstream-attach-scale-down")
    assert status == 0, said
    _end(up.pods.pop("attach.1"))
    _await_shards(up, {"attach.0"}, 1)
    deadline = time.monotonic() + _SECONDS
    while _windows(up) < before + 3:
        up.check()
        told = {name: up.ask(name, "/readyz").strip() for name in up.pods}
        assert time.monotonic() < deadline, f"no window is out after the hand-over: {told}"
        time.sleep(1)
    void = [line for line in up.ask("publish.0", "/metrics").splitlines() if 'status="void"' in line]
    assert all(line.endswith(" 0.0") for line in void), void


def _windows(up: Running) -> float:
    """How many are out. Once every member has given as many rows as a day takes, no group says anything in a window."""
    lines = up.await_series("publish.0", "evenstream_windows_total{")
    out = ('status="published"', 'status="suppressed"')
    return sum(float(line.rpartition(" ")[2]) for line in lines if any(status in line for status in out))


def _await_shards(up: Running, workers: set[str], count: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        shown = {worker: up.await_series(worker, "evenstream_layout_shards{") for worker in workers}
        if all(line.endswith(f" {count}.0") for lines in shown.values() for line in lines):
            return
        up.check()
        assert time.monotonic() < deadline, shown
        time.sleep(0.5)


def test_a_trials_keys_are_made_by_their_job(up: Running) -> None:
    """With a token that may create Secrets and nothing else: one for each role, by the name at which its pod looks."""
    cluster, namespace = up.deployment.cluster, "trial"
    cluster.make_namespace(namespace)
    values = [part for name in ("common", "trial") for part in ("--values", str(EXAMPLES / f"{name}.yaml"))]
    # No Job of Helm's is awaited: what it would make is not there, for no container has run.
    cluster.helm("install", "trial", str(CHART), "--namespace", namespace, *values, "--no-hooks")
    hooks = [one for one in up.deployment.hooks(namespace, "trial") if one["metadata"]["name"] == _TRIAL_KEYS]
    cluster.apply(*(one for one in hooks if one["kind"] in ("ServiceAccount", "Role", "RoleBinding")))
    up.hooks |= {(namespace, f"job/{_TRIAL_KEYS}"): one for one in hooks if one["kind"] == "Job"}
    said = [up.job(namespace, _TRIAL_KEYS, **cluster.api_server()) for _ in range(2)]
    assert [status for status, _ in said] == [0, 0], said
    made = {found["metadata"]["name"] for found in cluster.all_of("secrets", namespace)}
    wanted = {
        source["secret"]["name"]
        for found in cluster.all_of("statefulsets", namespace)
        for volume in found["spec"]["template"]["spec"]["volumes"] if volume["name"] == "keys"
        for source in volume["projected"]["sources"]
    }  # fmt: skip
    assert len(wanted) == 5
    assert wanted <= made
    cluster.helm("uninstall", "trial", "--namespace", namespace)


def test_pods_end_in_time(up: Running) -> None:
    """SIGTERM ends each of them with 0, well within its grace period."""
    grace: dict[str, Any] = {}
    for worker, process in up.pods.items():
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0, worker
        grace[worker] = time.monotonic() - begun
    up.pods.clear()
    assert max(grace.values()) < 20, grace
