"""docs/deploy.md, run: its commands as they stand there, in a shell, against a real API server.

Helm, kubectl and evenstream are the real ones. Three things are done here that a cluster would do by itself: Strimzi
makes a password for each KafkaUser, its ACLs, and its own authority; containers of Jobs run (kwok pretends them, so
the trial's keys are made outside); and pods answer. Lines that the page marks ``# live`` need that: what people type in
the trial's desk runs as that pod is stored, against a Kafka with TLS, SCRAM and the release's own ACLs; the rest of
them is counted.
"""

from __future__ import annotations

import base64
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from chart import cluster as clusters
from chart.cluster import Cluster
from chart.domains import CRDS, DEPLOYMENT, DOMAINS, WITH_KEYS, Brokers, evenstream
from chart.pod_process import REPOSITORY, Container, Node, is_possible

from streams.free_ports import free_port
from streams.kafka.dev_broker import DevBroker

PAGE = (REPOSITORY / "docs" / "deploy.md").read_text()
LIVE = re.compile(r"\s+# live$")
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ELSEWHERE = ("kubectl -n trial exec -i desk -- tee ", "kubectl -n trial port-forward ", "curl ")
_BROKERS = "my-kafka-kafka-bootstrap.kafka.svc:9093"
_SECONDS = 120

needs_cluster = [
    pytest.mark.chart,
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not clusters.is_built(), reason="no control plane: `make chart-live` builds it, once"),
]


def commands(chapter: str) -> list[str]:
    """The commands of a chapter's console blocks, further lines and marks included."""
    (body,) = re.findall(rf"^## {re.escape(chapter)}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for block in _BLOCK.findall(body):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(line[2:])
            else:
                assert line.startswith("> "), f"neither a command nor its next line: {line}"
                found[-1] += "\n" + line[2:]
    return found


def in_the_desk(command: str) -> list[str] | None:
    """What evenstream is given by a command that is typed in the trial's desk; None of any other command."""
    words = shlex.split(LIVE.sub("", command))
    if words[:6] == ["kubectl", "-n", "trial", "exec", "desk", "--"]:
        return words[7:]
    if words[0] == "desk":
        return ["--config", *words[1:]]
    return None


def test_each_live_line_is_known() -> None:
    """Marked are five lines of the desk, which are run below, and three that need a kubelet, which are not."""
    chapters = ("One team alone", "Five domains", "Removal")
    live = [command for chapter in chapters for command in commands(chapter) if LIVE.search(command)]
    desk = [command for command in live if in_the_desk(command) is not None]
    other = [command for command in live if command not in desk]
    assert [next(name for name in _ELSEWHERE if command.startswith(name)) for command in other] == list(_ELSEWHERE)
    assert len(desk) == 5
    assert len(commands("One team alone")) > 20
    assert len(commands("Five domains")) > 35


class Shell:
    """One bash, in which commands follow one another as a person types them."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        """Start it in a folder."""
        self.out = folder / "said"
        self.process = subprocess.Popen(
            ["bash"], cwd=folder, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def run(self, command: str) -> str:
        """What it prints. A status other than 0 fails the test, with the command and its words."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        quoted = base64.b64encode(command.encode()).decode()
        line = f'eval "$(echo {quoted} | base64 -d)" </dev/null >{self.out} 2>&1; echo $?\n'
        self.process.stdin.write(line.encode())
        self.process.stdin.flush()
        status = self.process.stdout.readline().decode().strip()
        said = self.out.read_text()
        assert status == "0", f"$ {command}\n{said}"
        return said

    def end(self) -> None:
        """No more commands."""
        self.process.communicate(timeout=10)


@dataclass
class Place:
    """An empty cluster, a secured broker, and a folder that looks like the repository's root."""

    cluster: Cluster
    brokers: Brokers
    folder: Path
    shell: Shell

    def run(self, chapter: str, after: Callable[[str], None]) -> None:
        """Run the commands of a chapter, but for those that are live; ``after`` is told each of them, live or not."""
        for command in commands(chapter):
            if not LIVE.search(command):
                if "wait kafkauser" in command:
                    self.strimzi()
                self.shell.run(command)
            if command.startswith("cp -r examples/helm deploy"):
                self.fill_in()
            after(command)

    def fill_in(self) -> None:
        """Put this broker's address into the copied values, and the sizes of a cluster of one broker."""
        for name in ("common.yaml", "desk.yaml"):
            path = self.folder / "deploy" / name
            text = path.read_text()
            assert _BROKERS in text
            assert "topics: {partitions: 4, " in text
            sizes = "topics: {replication_factor: 1, min_insync_replicas: 1, partitions: 4, "
            path.write_text(
                text.replace(_BROKERS, self.brokers.process.bootstrap).replace("topics: {partitions: 4, ", sizes)
            )

    def strimzi(self) -> None:
        """What its user operator does: a user, ACLs and a Secret of each KafkaUser, and word that it is ready."""
        users = self.cluster.all_of("kafkausers.kafka.strimzi.io", "kafka")
        self.brokers.make_users(users)
        ready = json.dumps({"status": {"conditions": [{"type": "Ready", "status": "True"}]}})
        for user in users:
            name = user["metadata"]["name"]
            self.cluster.make_secret("kafka", name, password=self.brokers.password(name))
            patch = ["patch", "kafkauser", name, "--namespace", "kafka", "--subresource=status", "--type=merge"]
            self.cluster.kubectl(*patch, "--patch", ready)

    def secret(self, namespace: str, name: str) -> dict[str, bytes]:
        """A Secret's content."""
        data = self.cluster.get("secret", namespace, name)["data"]
        return {key: base64.b64decode(value) for key, value in data.items()}


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """With Strimzi's and prometheus-operator's kinds, and Strimzi's namespace with its authority."""
    folder = tmp_path_factory.mktemp("page")
    for path in (folder, *folder.parents):  # pods' processes are another user
        if path.stat().st_uid == os.geteuid() and path != Path("/"):
            path.chmod(path.stat().st_mode | 0o055)
    for name in ("helm", "examples"):
        (folder / name).symlink_to(REPOSITORY / name)
    broker = DevBroker(folder / "kafka", secure=True)
    with clusters.running(folder / "cluster") as cluster:
        shell = None
        try:
            process = broker.start(progress=print)
            assert broker.security is not None
            cluster.kubectl("apply", "--server-side", "--filename", str(CRDS))
            cluster.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=30s")
            cluster.make_namespace("kafka")
            cluster.make_secret("kafka", "my-kafka-cluster-ca-cert", ca__crt=broker.security.authority.read_bytes())
            own = {"PATH": f"{Path(sys.prefix) / 'bin'}:{cluster.environment['PATH']}"}
            shell = Shell(folder, cluster.environment | own)
            brokers = Brokers(process, broker.security, folder, [f"deployment={DEPLOYMENT}"])
            yield Place(cluster, brokers, folder, shell)
        finally:
            if shell is not None:
                shell.end()
            broker.stop()


class TestOneTeam:
    """The chapter *One team alone*."""

    pytestmark = needs_cluster

    def test_its_commands_run(self, place: Place) -> None:
        """From nothing to six roles in one namespace, a measurement approved at the desk, and events on their topic."""
        keys = place.folder / "made-by-the-job"
        desk = _Desk(place) if is_possible() else None
        said: list[str] = []

        def after(command: str) -> None:
            if command.startswith("helm install fair helm/evenstream --namespace trial"):
                evenstream("--set", f"deployment={DEPLOYMENT}", "--set", f"keys.dir={keys}", "keys", "init")
                for part in (*WITH_KEYS, "governance", "operator"):
                    made = ["create", "secret", "generic", f"{DEPLOYMENT}-keys-{part}", "--namespace", "trial"]
                    place.cluster.kubectl(*made, f"--from-file={keys / part}")
            if desk is not None and LIVE.search(command) and in_the_desk(command) is not None:
                said.append(desk.run(command))

        place.run("One team alone", after)
        sets = {found["metadata"]["name"] for found in place.cluster.all_of("statefulsets", "trial")}
        assert sets == {f"fair-evenstream-{role}" for role in WITH_KEYS}
        taken = place.folder / "keys-of-the-trial"
        assert (taken / "reviewer-3.key").read_bytes() == (keys / "governance" / "reviewer-3.key").read_bytes()
        assert (taken / "trusted.json").read_bytes() == (keys / "governance" / "trusted.json").read_bytes()
        for user in ("seal", "operator", "company"):
            expected = place.brokers.password(f"fair-{user}").encode()
            assert place.secret("trial", f"fair-{user}") == {"password": expected}
        if desk is None:
            pytest.skip("the desk's commands need root, unshare and setpriv; all others have run")
        made, proposed, first, second, fed = said
        assert "18 created" in made
        assert "is proposed as spec" in proposed
        assert "1 of 2 approvals" in first
        assert "is approved and on the topic" in second
        assert "events: 2,000 of 2,000" in fed


class _Desk:
    """The pod in which people type: its commands run as it is stored, but its /tmp outlives a command."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.node = Node(place.cluster.get, place.cluster.token, place.folder / "node")
        self.node.folder.mkdir(mode=0o755)
        self.tmp = self.node.folder / "claims" / "trial" / "desk-tmp"
        self.tmp.mkdir(parents=True)

    def run(self, command: str) -> str:
        """What evenstream prints; a status other than 0 fails the test."""
        words = [word.replace("$KEYS", "/etc/evenstream/keys/governance") for word in in_the_desk(command) or ()]
        if "simulate" in words:
            words[words.index("--duration") + 1] = "1"
        if (spec := self.place.folder / "measurement.yaml").exists():
            (self.tmp / "measurement.yaml").write_text(spec.read_text())  # by `tee`, on the page
        pod = self.place.cluster.get("pod", "trial", "desk")
        pod["spec"]["containers"][0]["args"] = words
        there = {found["metadata"]["name"] for found in self.place.cluster.all_of("secrets", "trial")}
        for volume in pod["spec"]["volumes"]:
            if volume["name"] == "tmp":
                del volume["emptyDir"]
                volume["persistentVolumeClaim"] = {"claimName": "desk-tmp"}
            elif volume.get("secret", {}).get("optional") and volume["secret"]["secretName"] not in there:
                del volume["secret"]
                volume["emptyDir"] = {}
        log = self.place.folder / "desk.log"
        log.unlink(missing_ok=True)
        process = self.node.start(Container("trial", pod["metadata"], pod["spec"]), free_port(), log=log)
        status = process.wait(_SECONDS)
        assert status == 0, f"$ {command}\n{log.read_text()}"
        return log.read_text()


class TestFiveDomains:
    """The chapters *Five domains* and *Removal*."""

    pytestmark = needs_cluster

    def test_their_commands_run(self, place: Place) -> None:
        """Five releases, each with the Secrets of the page's table; removed, they leave those, and claims."""
        place.run("Five domains", lambda command: None)
        for namespace, roles in DOMAINS.items():
            running = {
                found["metadata"]["labels"]["app.kubernetes.io/component"]
                for found in place.cluster.all_of("statefulsets,deployments", namespace)
            }
            assert running == set(roles)
            assert self._secrets(place, namespace) == _promised(namespace)
            for role in set(roles) & set(WITH_KEYS):
                kept = place.secret(namespace, f"fair-keys-{role}")
                assert kept == {
                    name: (place.folder / "keys" / role / name).read_bytes() for name in ("identity.key", "state.key")
                }
        place.run("Removal", lambda command: None)
        for namespace, roles in DOMAINS.items():
            assert self._secrets(place, namespace) == _promised(namespace)
            claims = {found["metadata"]["name"] for found in place.cluster.all_of("pvc", namespace)}
            assert claims == {f"fair-evenstream-{role}" for role in roles if role not in ("publish", "retention")}
            assert place.cluster.all_of("statefulsets,deployments,configmaps,services", namespace) == [
                found for found in place.cluster.all_of("configmaps", namespace)
                if found["metadata"]["name"] == "kube-root-ca.crt"
            ]  # fmt: skip

    def _secrets(self, place: Place, namespace: str) -> set[str]:
        found = place.cluster.all_of("secrets", namespace)
        return {one["metadata"]["name"] for one in found if one["type"] != "helm.sh/release.v1"}


def _promised(namespace: str) -> set[str]:
    """The Secrets of a namespace, as the page's table has them."""
    (row,) = re.findall(rf"^\| `{namespace}` \| (`fair-.*?) \|", PAGE, re.MULTILINE)
    return set(re.findall(r"`([\w.-]+)`", row))
