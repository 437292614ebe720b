"""Makes Kubernetes Secrets through the cluster's API, from inside a pod, with the right to create them and no other.

For a trial's keys (`evenstream keys init --as-secrets`): whoever can only create can read no key that is there already,
its own included, and overwrite none. So that no half of a set is left where another half was, every Secret is first
asked for with ``dryRun=All``, which the API server answers as it would the real request, and keeps nothing of. Its
admission webhooks and its audit log see that request too, so it names the files, with nothing in them.

What a pod is given for this (Kubernetes: Accessing the API from a Pod): the server's address in two variables, and a
folder with a token, the authority of the server's certificate, and the pod's namespace.
"""

from __future__ import annotations

import base64
import http.client
import json
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from streams.errors import EvenstreamError, InputError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
LABELS = {"app.kubernetes.io/managed-by": "evenstream-keys", "app.kubernetes.io/part-of": "evenstream"}

_SECONDS = 15.0
_MOST_ANSWER = 65_536
_MOST_MESSAGE = 500
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_SECRET = re.compile(r"[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?")


@dataclass(frozen=True)
class ApiServer:
    """The cluster's API, and as whom it is asked.

    Attributes:
        token: the service account's. tls: believes the cluster's own authority alone.
        namespace: where Secrets are made.
    """

    host: str
    port: int
    namespace: str
    token: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)

    @classmethod
    def of_pod(cls, environment: Mapping[str, str], folder: Path, namespace: str | None = None) -> ApiServer:
        """As a pod finds it.

        Args:
            environment: with KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT.
            folder: holds token, ca.crt and namespace.
            namespace: where it is not the pod's own.

        Raises:
            InputError: this is no pod, or one without a token.
        """
        host, port = (environment.get(f"KUBERNETES_SERVICE_{name}", "") for name in ("HOST", "PORT"))
        if not host or not port.isdecimal():
            raise InputError(
                "KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT are not set, as Kubernetes sets them in each pod: "
                "Secrets are made from inside the cluster. Elsewhere: evenstream keys init"
            )
        authority = folder / "ca.crt"
        try:
            tls = ssl.create_default_context(cafile=str(authority))
        except OSError as error:  # SSLError is one
            why = "it is no PEM certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise InputError(f"{authority} cannot be used: {why}; {_MOUNT_IT}") from None
        return cls(
            host=host,
            port=int(port),
            namespace=_named("the namespace", namespace or _word(folder / "namespace"), _NAMESPACE),
            token=_word(folder / "token"),
            tls=tls,
        )

    def create(self, name: str, files: Mapping[str, bytes], *, dry_run: bool) -> bool:
        """Make one Secret, or ask whether it could be; False where one of its name is there already.

        Args:
            dry_run: only ask, with the names of the files and none of their contents.

        Raises:
            EvenstreamError: it is refused, or nobody answers.
        """
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "labels": LABELS},
            "type": "Opaque",
            "data": {file: "" if dry_run else base64.b64encode(content).decode() for file, content in files.items()},
        }
        path = f"/api/v1/namespaces/{self.namespace}/secrets?fieldManager=evenstream-keys"
        status, answer = self._post(f"{path}&dryRun=All" if dry_run else path, json.dumps(body).encode())
        if status == 409 and answer.get("reason") == "AlreadyExists":
            return False
        if status not in (200, 201, 202):
            raise EvenstreamError(self._refusal(name, status, answer))
        return True

    def _post(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        headers = {
            "Authorization": f"Bearer {self.token}",
            "Content-Type": "application/json",
            "Accept": "application/json",
        }
        connection = http.client.HTTPSConnection(self.host, self.port, timeout=_SECONDS, context=self.tls)
        try:
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read(_MOST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            why = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else type(error).__name__
            told = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else why
            raise EvenstreamError(
                f"the Kubernetes API at {self.host}:{self.port} does not answer: {told or why}; look whether a "
                "NetworkPolicy is in the way"
            ) from None
        finally:
            connection.close()
        try:
            content = json.loads(answer)
        except ValueError:  # a proxy's page, say
            content = {}
        return response.status, content if isinstance(content, dict) else {}

    def _refusal(self, name: str, status: int, answer: Mapping[str, Any]) -> str:
        if status == 401:
            what = "the token of this pod's service account is not taken; mount a new one"
        elif status == 403 and "cannot create resource" in str(answer.get("message")):
            what = f'its service account may not; it needs verbs ["create"] on secrets in namespace {self.namespace}'
        elif status == 404:
            what = f"there is no namespace {self.namespace}"
        else:
            what = " ".join(str(answer.get("message", "without a reason")).split())[:_MOST_MESSAGE]
        return f"the Kubernetes API refuses to make Secret {name} ({status}): {what}"


_MOUNT_IT = "the pod needs its service account's token (automountServiceAccountToken, or a projected volume)"


def _word(path: Path) -> str:
    try:
        text = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no ASCII text"
        raise InputError(f"{path} cannot be read: {why}; {_MOUNT_IT}") from None
    if not text or not text.isprintable() or " " in text:
        raise InputError(f"{path} must hold one word; {_MOUNT_IT}")
    return text


def _named(what: str, name: str, pattern: re.Pattern[str]) -> str:
    if pattern.fullmatch(name) is None:
        raise InputError(f"{what} is {name!r}, expected a DNS name: lower-case letters, digits and -, not too long")
    return name


def make_set(server: ApiServer, prefix: str, files: Mapping[str, Mapping[str, bytes]]) -> tuple[list[str], bool]:
    """Make a Secret PREFIX-HOLDER for each holder of keys: all of them, or none where all are there.

    Args:
        files: by holder and name of the file.

    Returns:
        The Secrets' names, and whether they were made now.

    Raises:
        InputError: the prefix makes no names.
        EvenstreamError: some are there and some are not, one is refused, or the server is lost half-way; what was made
            is named.
    """
    names = {_named("a Secret's name", f"{prefix}-{holder}", _SECRET): content for holder, content in files.items()}
    free = [name for name, content in names.items() if server.create(name, content, dry_run=True)]
    if not free:
        return list(names), False
    there = [name for name in names if name not in free]
    if there:
        raise EvenstreamError(
            f"namespace {server.namespace} has a part of a set: {', '.join(there)}, and not {', '.join(free)}. Nothing "
            "was made, since keys of two sets do not work together. Restore those that are missing; or, if no role has "
            f"run with them yet, delete those that are there: {_deletion(server, there)}"
        )
    made: list[str] = []
    for name, content in names.items():
        try:
            is_ours = server.create(name, content, dry_run=False)
        except EvenstreamError as error:  # it may have been made all the same, where the answer was lost
            raise _half_way(server, str(error), [*made, name]) from None
        if not is_ours:
            raise _half_way(server, f"somebody else has made Secret {name} at the same time", made)
        made.append(name)
    return made, True


def _half_way(server: ApiServer, why: str, made: list[str]) -> EvenstreamError:
    if not made:
        return EvenstreamError(f"{why}. Nothing was made; try again")
    return EvenstreamError(
        f"{why}. What was made before that is of no use alone; delete it before the next try: {_deletion(server, made)}"
    )


def _deletion(server: ApiServer, names: list[str]) -> str:
    return f"kubectl -n {server.namespace} delete secret --ignore-not-found {' '.join(names)}"
