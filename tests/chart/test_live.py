"""Five releases on a real API server: installed, upgraded, rolled back, tested, removed, and nothing left.

Each has a namespace of its own that enforces Pod Security `restricted`. Nodes and containers are pretended (the control
plane's README), so what is shown here is what the API server, its admission and its controllers do with the chart;
``test_pods_for_real`` shows what the pods do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import yaml
from chart import cluster as clusters
from chart.cluster import Cluster
from chart.domains import DEPLOYMENT, DOMAINS, EXAMPLES, Deployment
from chart.pod_process import Json

pytestmark = [
    pytest.mark.chart,
    pytest.mark.cluster,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not clusters.is_built(), reason="no control plane: `make chart-live` builds it, once"),
]

_EVERYTHING = (
    "pods,services,statefulsets,deployments,replicasets,controllerrevisions,jobs,configmaps,secrets,serviceaccounts,"
    "persistentvolumeclaims,networkpolicies,poddisruptionbudgets,roles,rolebindings,endpointslices,"
    "podmonitors,prometheusrules,kafkausers,kafkatopics"
)
_RELEASE = "sh.helm.release.v1."
_NAME = f"{DEPLOYMENT}-evenstream"
_NAMESPACES = ("kafka", *DOMAINS)


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """A cluster with the five namespaces, keys in each, and what was there before any release."""
    folder = tmp_path_factory.mktemp("live")
    with clusters.running(folder / "cluster") as cluster:
        found = Deployment(cluster, folder, "broker-0.example:9093,broker-1.example:9093", b"an authority",
                           ("persistence.keep=false",))  # fmt: skip
        found.make_namespaces()
        found.make_keys()
        found.keep_keys()
        yield found


def _names(cluster: Cluster, namespace: str) -> set[str]:
    """Kind and name of everything in a namespace, but for what Kubernetes and Helm keep for themselves."""
    return {
        f"{found['kind']}/{found['metadata']['name']}"
        for found in cluster.all_of(_EVERYTHING, namespace)
        if found["metadata"]["name"] not in ("kube-root-ca.crt", "default")
        and not found["metadata"]["name"].startswith(_RELEASE)
    }


def _pods(cluster: Cluster) -> dict[str, str]:
    """Namespace and name of each pod that is to stay, with its uid: another one is another start."""
    return {
        f"{namespace}/{pod['metadata']['labels']['app.kubernetes.io/component']}": pod["metadata"]["uid"]
        for namespace in DOMAINS
        for pod in cluster.all_of("pods", namespace)
    }


def _ready(cluster: Cluster) -> dict[str, bool]:
    """Each workload, and whether all its pods are there and up to date."""
    return {
        f"{namespace}/{found['metadata']['name']}": found["status"].get("readyReplicas") == found["spec"]["replicas"]
        and found["status"].get("updatedReplicas") == found["spec"]["replicas"]
        for namespace in DOMAINS
        for found in cluster.all_of("statefulsets,deployments", namespace)
    }


def test_five_releases_come_and_go(deployment: Deployment) -> None:
    """What is installed becomes ready; an upgrade restarts what it changes and no more; at the end nothing is left."""
    cluster = deployment.cluster
    before = {namespace: _names(cluster, namespace) for namespace in _NAMESPACES}

    notes = {namespace: deployment.install(namespace) for namespace in _NAMESPACES}
    ready = _ready(cluster)
    assert {name.rpartition("-")[2] for name in ready} == {role for roles in DOMAINS.values() for role in roles}
    assert all(ready.values()), ready
    assert all("WARNING" not in text for text in notes.values()), notes
    # Hooks that went well have left nothing.
    for namespace in _NAMESPACES:
        assert not [name for name in _names(cluster, namespace) if name.startswith("Job/") or name.endswith("-hook")]

    first = _pods(cluster)
    deployment.upgrade("publisher", "roles.publish.settings.publish.page_windows=120")
    second = _pods(cluster)
    assert {name for name in first if first[name] != second[name]} == {"publisher/publish"}

    # The same values again change nothing, and so does a label of the chart's version.
    deployment.upgrade("publisher", "roles.publish.settings.publish.page_windows=120")
    assert _pods(cluster) == second

    settings = cluster.get("configmap", "publisher", f"{_NAME}-publish")["data"]["settings.yaml"]
    assert "page_windows: 120" in settings
    cluster.helm("rollback", DEPLOYMENT, "1", "--namespace", "publisher", "--wait", "--timeout", "120s")
    assert "page_windows" not in cluster.get("configmap", "publisher", f"{_NAME}-publish")["data"]["settings.yaml"]
    third = _pods(cluster)
    assert {name for name in second if second[name] != third[name]} == {"publisher/publish"}
    assert all(_ready(cluster).values())

    for namespace, roles in DOMAINS.items():
        said = cluster.helm("test", DEPLOYMENT, "--namespace", namespace, "--timeout", "60s")
        assert said.count("Phase:          Succeeded") == len(roles), said

    for namespace in _NAMESPACES:
        cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "120s")
    for namespace in _NAMESPACES:
        assert _names(cluster, namespace) == before[namespace]


def test_claims_outlive_a_release_unless_told_otherwise(deployment: Deployment) -> None:
    """By default the keys of state stay when a release is removed, and the next release of that name takes them."""
    cluster, namespace = deployment.cluster, "recommender"
    deployment.install(namespace, "persistence.keep=true")
    claim = cluster.get("pvc", namespace, f"{_NAME}-seal")["metadata"]["uid"]
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")
    assert cluster.get("pvc", namespace, f"{_NAME}-seal")["metadata"]["uid"] == claim
    deployment.install(namespace, "persistence.keep=true")
    assert cluster.get("pvc", namespace, f"{_NAME}-seal")["metadata"]["uid"] == claim
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")
    cluster.kubectl("delete", "pvc", f"{_NAME}-seal", "--namespace", namespace)


def test_workers_come_and_go_in_order(deployment: Deployment) -> None:
    """Of a role with three workers each pod has its number; scaling one role restarts no other pod of it."""
    cluster, namespace = deployment.cluster, "estimator"
    modes = "roles.attach.accessModes={ReadWriteMany}"
    deployment.install(namespace, "roles.attach.replicas=3", modes)
    pods = {pod["metadata"]["name"]: pod for pod in cluster.all_of("pods", namespace)}
    for number in range(3):
        labels = pods[f"{_NAME}-attach-{number}"]["metadata"]["labels"]
        assert labels["apps.kubernetes.io/pod-index"] == str(number)
    deployment.upgrade(namespace, "roles.attach.replicas=2", modes)
    left = {pod["metadata"]["name"]: pod["metadata"]["uid"] for pod in cluster.all_of("pods", namespace)
            if "deletionTimestamp" not in pod["metadata"]}  # fmt: skip
    kept = {f"{_NAME}-attach-{number}" for number in range(2)}
    assert set(left) == kept
    assert all(left[name] == pods[name]["metadata"]["uid"] for name in kept)
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")


def test_a_drain_takes_one_worker_at_a_time(deployment: Deployment) -> None:
    """The budget lets the only pod of a party go, and of several workers one; the API server itself is asked."""
    cluster, namespace = deployment.cluster, "party-a"
    deployment.install(namespace)
    eviction = {
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": {"name": f"{_NAME}-a-0", "namespace": namespace},
    }
    path = f"/api/v1/namespaces/{namespace}/pods/{_NAME}-a-0/eviction"
    cluster.kubectl("create", "--raw", path, "--filename", "-", feed=json.dumps(eviction))
    budget = cluster.get("pdb", namespace, f"{_NAME}-a")
    assert budget["spec"]["maxUnavailable"] == 1
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")


def _refused(deployment: Deployment, verb: str, release: str, namespace: str, values: str, *further: str) -> str:
    """What Helm says of an install or an upgrade that the chart refuses."""
    words = [verb, release, *deployment.arguments(values, *further)[1:]]
    words[words.index("--namespace") + 1] = namespace
    told = deployment.cluster.run("helm", *words, check=False)
    assert "Error:" in told, told
    return told


def test_both_parties_in_one_namespace_are_refused(deployment: Deployment) -> None:
    """Two releases would do by accident what one may not: the other party's pods are noticed, and its Secrets alone."""
    cluster, namespace = deployment.cluster, "party-b"
    deployment.install(namespace)
    told = _refused(deployment, "install", "other", namespace, "party-a")
    assert f"party b of deployment {DEPLOYMENT} runs in namespace {namespace} already" in told
    assert {found["metadata"]["name"] for found in cluster.all_of("statefulsets", namespace)} == {f"{_NAME}-b"}
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")
    told = _refused(deployment, "install", DEPLOYMENT, namespace, "party-a")
    assert f"Secret {DEPLOYMENT}-keys-b of party b lies in namespace {namespace}" in told


def test_a_role_is_not_run_a_second_time_under_another_name(deployment: Deployment) -> None:
    """Neither beside its first release, nor by a changed name, nor on another claim than the one with its keys."""
    cluster, namespace = deployment.cluster, "party-b"
    deployment.install(namespace, "persistence.keep=true")
    already = f"StatefulSet {_NAME}-b runs b of deployment {DEPLOYMENT} in namespace {namespace} already"
    assert already in _refused(deployment, "install", "second", namespace, namespace)
    assert already in _refused(deployment, "upgrade", DEPLOYMENT, namespace, namespace, "fullnameOverride=renamed")
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")
    told = _refused(deployment, "install", "second", namespace, namespace)
    assert f"set roles.b.existingClaim={_NAME}-b" in told
    cluster.kubectl("delete", "pvc", f"{_NAME}-b", "--namespace", namespace)


def test_what_cannot_be_upgraded_is_refused_before_anything_changes(deployment: Deployment) -> None:
    """Other access modes of a claim that is there, and public keys that were given once and are forgotten now."""
    cluster, namespace = deployment.cluster, "estimator"
    deployment.install(namespace)
    modes = ("roles.attach.replicas=2", "roles.attach.accessModes={ReadWriteMany}")
    told = _refused(deployment, "upgrade", DEPLOYMENT, namespace, namespace, *modes)
    assert f'claim {_NAME}-attach is there with accessModes ["ReadWriteOnce"]' in told
    words = deployment.arguments(namespace)
    del words[words.index("--set-file") : words.index("--set-file") + 2]
    told = cluster.run("helm", "upgrade", *words, check=False)
    assert "keys.trusted was given before and is empty now" in told
    assert cluster.get("statefulset", namespace, f"{_NAME}-attach")["metadata"]["generation"] == 1
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")


def test_a_pod_beyond_restricted_would_be_refused(deployment: Deployment) -> None:
    """The namespaces enforce what they say: the chart's own pod, were it privileged, is not admitted."""
    cluster, namespace = deployment.cluster, "party-b"
    deployment.install(namespace)
    template = cluster.get("statefulset", namespace, f"{_NAME}-b")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "trial", "namespace": namespace},
           "spec": template["spec"]}  # fmt: skip
    cluster.stored(pod)
    pod["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True
    with pytest.raises(AssertionError, match="violates PodSecurity"):
        cluster.stored(pod)
    cluster.helm("uninstall", DEPLOYMENT, "--namespace", namespace, "--wait", "--timeout", "60s")


def test_a_trials_keys_are_made_with_the_right_to_create_alone(deployment: Deployment) -> None:
    """The account of the trial's Job may create Secrets in its namespace, and neither read, list, change nor delete."""
    cluster, namespace = deployment.cluster, "party-a"
    rules = [
        hook for hook in _hooks_of_a_trial(deployment) if hook["kind"] in ("Role", "RoleBinding", "ServiceAccount")
    ]
    assert len(rules) == 3
    cluster.apply(*rules)
    account = f"system:serviceaccount:{namespace}:trial-evenstream-keys"
    may = {
        verb: cluster.run(
            "kubectl", "auth", "can-i", verb, "secrets", "--namespace", namespace, "--as", account, check=False
        ).strip()
        for verb in ("create", "get", "list", "watch", "update", "patch", "delete")
    }
    assert may == {"create": "yes"} | dict.fromkeys(("get", "list", "watch", "update", "patch", "delete"), "no")
    elsewhere = ("kubectl", "auth", "can-i", "create", "secrets", "--namespace", "party-b", "--as", account)
    assert cluster.run(*elsewhere, check=False).strip() == "no"


def _hooks_of_a_trial(deployment: Deployment) -> list[Json]:
    text = deployment.cluster.helm(
        "template", "trial", str(clusters.CHART), "--namespace", "party-a", "--values", str(EXAMPLES / "common.yaml"),
        "--values", str(EXAMPLES / "trial.yaml"), "--kube-version", "1.34.0",
    )  # fmt: skip
    return [one for one in yaml.safe_load_all(text) if one and one["metadata"]["name"] == "trial-evenstream-keys"]
