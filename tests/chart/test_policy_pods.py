"""What every pod of the chart is held to, roles, hooks and tests alike: Pod Security's `restricted`, and more.

The rules of `restricted` are written out here, from the Pod Security Standards, and not asked of an API server: so that
they hold for each entry of the matrix, and in seconds. The live tests ask a real admission controller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from chart.matrix import CHECKED, MATRIX, Pod, release

pytestmark = pytest.mark.chart
everywhere = pytest.mark.parametrize("name", MATRIX)

_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
"""What `restricted` allows."""


def restricted(pod: Pod) -> Iterator[str]:
    """What the Pod Security Standard `restricted` would refuse a pod for, with its container's own word set."""
    spec, of_pod = pod.spec, pod.spec.get("securityContext", {})
    of_container = pod.container.get("securityContext", {})
    yield from (f"{name} is true" for name in ("hostNetwork", "hostPID", "hostIPC") if spec.get(name))
    for name, volume in pod.volumes.items():
        yield from (f"volume {name} is a {kind}" for kind in volume.keys() - {"name"} - _VOLUMES)
    yield from (f"hostPort {port['hostPort']}" for port in pod.container.get("ports", ()) if port.get("hostPort"))
    if of_pod.get("runAsNonRoot") is not True or of_container.get("runAsNonRoot") is False:
        yield "runAsNonRoot is not true"
    if 0 in (of_pod.get("runAsUser"), of_container.get("runAsUser")):
        yield "runAsUser is root"
    if of_pod.get("seccompProfile") != {"type": "RuntimeDefault"} or "seccompProfile" in of_container:
        yield "seccompProfile is not RuntimeDefault"
    if of_container.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation is not false"
    if of_container.get("privileged"):
        yield "privileged"
    if of_container.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are not just drop: [ALL]"
    for context in (of_pod, of_container):
        odd = context.keys() & {"seLinuxOptions", "windowsOptions", "appArmorProfile", "procMount", "sysctls"}
        yield from (f"{name} is set" for name in odd)


@everywhere
def test_pods_are_restricted(name: str) -> None:
    """Each pod would be admitted by a namespace that enforces `restricted`."""
    assert [f"{pod}: {fault}" for pod in release(name).pods() for fault in restricted(pod)] == []


@everywhere
def test_more_than_restricted(name: str) -> None:
    """The root file system is read-only; volumes belong to the group of the pod, not of root."""
    for pod in release(name).pods():
        assert pod.container["securityContext"]["readOnlyRootFilesystem"] is True, pod
        context = pod.spec["securityContext"]
        if name == "OpenShift":
            assert context.keys().isdisjoint({"runAsUser", "runAsGroup", "fsGroup"}), pod
        else:
            assert {context["runAsUser"], context["runAsGroup"], context["fsGroup"]} == {10001}, pod


@everywhere
def test_no_token_is_mounted(name: str) -> None:
    """Neither by the pod nor by its account; but for the Job that makes keys, for which one lasts ten minutes."""
    for pod in release(name).pods():
        assert pod.spec["automountServiceAccountToken"] is False, pod
        tokens = [
            source["serviceAccountToken"]
            for volume in pod.volumes.values()
            for source in volume.get("projected", {}).get("sources", ())
            if "serviceAccountToken" in source
        ]
        if (pod.kind, pod.component) == ("Job", "keys"):
            (token,) = tokens
            assert token["expirationSeconds"] <= 3600
        else:
            assert tokens == [], pod
    for account in release(name).of("ServiceAccount"):
        assert account["automountServiceAccountToken"] is False, account["metadata"]["name"]
        assert account.keys() <= {"apiVersion", "kind", "metadata", "automountServiceAccountToken"}


@everywhere
def test_no_address_of_another_service_is_told(name: str) -> None:
    """The environment has no addresses of the namespace's other Services."""
    assert [str(pod) for pod in release(name).pods() if pod.spec["enableServiceLinks"] is not False] == []


@everywhere
def test_images_are_named_by_digest(name: str) -> None:
    """Every container runs the one image, by its digest."""
    images = {pod.container["image"] for pod in release(name).pods()}
    assert len(images) <= 1
    assert all(re.fullmatch(r"[a-z0-9./:-]+@sha256:[0-9a-f]{64}", image) for image in images)


@everywhere
def test_resources(name: str) -> None:
    """Memory is limited and asked for, the processor asked for; a limit is no less than what is asked for."""
    for pod in release(name).pods():
        resources = pod.container["resources"]
        assert resources["requests"].keys() >= {"cpu", "memory"}, pod
        assert _bytes(resources["limits"]["memory"]) >= _bytes(resources["requests"]["memory"]), pod


def _bytes(quantity: str) -> int:
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", quantity).groups()  # type: ignore[union-attr]
    return int(number) << {"Mi": 20, "Gi": 30}[unit]


@everywhere
def test_secrets_are_read_by_the_pod_s_group_only(name: str) -> None:
    """Files of Secrets have mode 0440, and are mounted read-only; the brokers' authority, which is public, has 0444."""
    for pod in release(name).pods():
        mounts = {mount["name"]: mount for mount in pod.container["volumeMounts"]}
        assert mounts.keys() == pod.volumes.keys(), f"{pod}: a volume is not mounted, or a mount is of none"
        for volume in _of_secrets(pod):
            mode = volume.get("secret", volume.get("projected"))["defaultMode"]
            public = [item["path"] for item in volume.get("secret", {}).get("items", ())] == ["ca.crt"]
            assert mode == (0o444 if public else 0o440), f"{pod}: {volume['name']}"
            assert mounts[volume["name"]]["readOnly"] is True, f"{pod}: {volume['name']}"
            assert "subPath" not in mounts[volume["name"]], f"{pod}: a subPath is never renewed"


def _of_secrets(pod: Pod) -> list[Mapping[str, Any]]:
    return [
        volume
        for volume in pod.volumes.values()
        if "secret" in volume
        or any(one.keys() & {"secret", "serviceAccountToken"} for one in volume.get("projected", {}).get("sources", ()))
    ]


@everywhere
def test_secrets_are_taken_key_by_key(name: str) -> None:
    """A pod sees the keys of a Secret that it needs, and not what else may lie there."""
    for pod in release(name).pods():
        for volume in _of_secrets(pod):
            sources = [volume["secret"]] if "secret" in volume else volume["projected"]["sources"]
            for source in sources:
                of_secret = source if "secretName" in source else source.get("secret", {"items": [{}]})
                assert of_secret["items"], f"{pod}: {volume['name']}"
                # What has its release made is waited for; of what people bring, the doctor says that it is not there.
                says = pod.container["args"][0] == "doctor" and (pod.hook or "").startswith("pre-install")
                if "items" in of_secret and of_secret.get("name") != "kube-root-ca.crt" and of_secret["items"] != [{}]:
                    assert of_secret.get("optional", False) == says, f"{pod}: a role without its Secret must not start"


@everywhere
def test_what_is_written_to_memory_only(name: str) -> None:
    """What a pod may write that is no claim is memory, of a size that is limited; nothing is on the node's disk."""
    for pod in release(name).pods():
        for volume in pod.volumes.values():
            if "emptyDir" in volume:
                assert volume["emptyDir"]["medium"] == "Memory", f"{pod}: {volume['name']}"
                assert _bytes(volume["emptyDir"]["sizeLimit"]) <= 64 << 20, f"{pod}: {volume['name']}"


@everywhere
def test_probes(name: str) -> None:
    """Roles say that they live by /healthz, also while they begin, and that they do their work by /readyz."""
    scheme = "HTTPS" if name in ("everything", "HTTP by TLS and token", "ServiceMonitor") else "HTTP"
    for pod in release(name).pods():
        probes = {kind: pod.container.get(f"{kind}Probe") for kind in ("startup", "liveness", "readiness")}
        if pod.hook or pod.component not in CHECKED:
            assert not any(probes.values()), pod
            continue
        asked = {kind: probe["httpGet"] for kind, probe in probes.items() if probe}
        assert {kind: get["path"] for kind, get in asked.items()} == {
            "startup": "/healthz",
            "liveness": "/healthz",
            "readiness": "/readyz",
        }
        assert {get["port"] for get in asked.values()} == {"http"}
        assert {get["scheme"] for get in asked.values()} == {scheme}
        assert pod.container["ports"] == [{"name": "http", "containerPort": 9100}]


def test_a_start_may_wait_for_kafka() -> None:
    """A role asks for Kafka for a minute before it gives up; the start-up probe has three times that."""
    for pod in release("everything").roles():
        probe = pod.container.get("startupProbe")
        assert probe is None or probe["periodSeconds"] * probe["failureThreshold"] == 180
        assert (probe is None) == (pod.component == "retention")


@everywhere
def test_time_to_end(name: str) -> None:
    """A role has at least the 15 seconds that it needs to end its transaction, and some more."""
    for pod in release(name).roles():
        assert pod.spec["terminationGracePeriodSeconds"] >= 20, pod


@everywhere
def test_jobs_end(name: str) -> None:
    """A Job is given up after a time, and is not tried for ever; its pods are not restarted in place."""
    for job in release(name).of("Job"):
        assert 0 < job["spec"]["activeDeadlineSeconds"] <= 3600
        assert job["spec"]["backoffLimit"] <= 3
    for pod in release(name).pods():
        assert pod.spec.get("restartPolicy") == ("Never" if pod.hook else None), pod


def test_operators_additions_reach_every_role() -> None:
    """podDefaults are in each role's pod, and a role's own over them."""
    for pod in release("everything").roles():
        own = pod.component == "attach"
        assert pod.annotations["example.org/team"] == "fairness"
        assert pod.annotations.get("example.org/role") == ("attach" if own else None)
        assert pod.labels["example.org/cost"] == "7"
        assert pod.spec["nodeSelector"] == {"kubernetes.io/os": "linux"}
        assert pod.spec["tolerations"][0]["key"] == "only"
        assert "nodeAffinity" in pod.spec["affinity"]
        assert pod.spec["imagePullSecrets"] == [{"name": "registry"}]
        assert pod.spec["priorityClassName"] == ("highest" if own else "high")
        assert pod.spec["terminationGracePeriodSeconds"] == 45
        variables = {one["name"]: one.get("value") for one in pod.container["env"]}
        assert variables["TZ"] == "UTC"
        assert variables.get("MALLOC_ARENA_MAX") == ("2" if own else None)
        assert pod.volumes["more"]["emptyDir"]["medium"] == "Memory"
        assert {"name": "more", "mountPath": "/more"} in pod.container["volumeMounts"]
