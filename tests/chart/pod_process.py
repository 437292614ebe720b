"""The container of a pod as the API server stored it, run as a process of this machine.

What a kubelet and a container runtime would do with it is done here, in a mount namespace of its own: a root that
cannot be written, with the image's part of it (Python, and this checkout) and nothing else of evenstream's; each
volume made from the ConfigMaps and Secrets that are stored, with their modes and owners; the environment that the pod
names and no other; its user, its group, no capability, no new privileges. So command lines, variables, paths, modes
and the contents of Secrets are what is tried, not a copy of them.

Not as in a cluster: all pods share this machine's network, so a pod's port is another one, on 127.0.0.1 (two variables
more), and no memory limit is set. It needs root, and Linux.
"""

from __future__ import annotations

import base64
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
_HOST_FOLDERS = ("bin", "lib", "lib32", "lib64", "sbin", "usr", "dev", "proc")
_HOST_FILES = ("group", "hosts", "ld.so.cache", "localtime", "nsswitch.conf", "passwd", "resolv.conf", "ssl")
_FOR_THIS_PROCESSOR = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
_LABEL = re.compile(r"metadata\.labels\['(.+)'\]")

Json = dict[str, Any]


def is_possible() -> bool:
    """Whether this machine lets such a process be made."""
    return os.geteuid() == 0 and shutil.which("unshare") is not None and shutil.which("setpriv") is not None


@dataclass(frozen=True)
class Container:
    """One container of a pod, ready to run.

    Attributes:
        namespace: where its ConfigMaps and Secrets are. metadata: the pod's. spec: the pod's, as it is stored.
    """

    namespace: str
    metadata: Json
    spec: Json

    @property
    def it(self) -> Json:
        """The pod's only container."""
        (found,) = self.spec["containers"]
        return dict(found)

    @property
    def user(self) -> int:
        """Its uid: of the pod, or, as OpenShift would choose, one of its own."""
        return int(self.spec["securityContext"].get("runAsUser", 1_000_670_000))

    @property
    def group(self) -> int:
        """The group of its volumes."""
        return int(self.spec["securityContext"].get("fsGroup", 1_000_670_000))

    def environment(self) -> dict[str, str]:
        """What the pod says, and no more."""
        found = {}
        for variable in self.it.get("env", ()):
            if "value" in variable:
                found[variable["name"]] = variable["value"]
                continue
            label = _LABEL.fullmatch(variable["valueFrom"]["fieldRef"]["fieldPath"])
            assert label is not None, variable
            found[variable["name"]] = self.metadata["labels"][label[1]]
        return found


@dataclass
class Node:
    """Makes containers' volumes, and starts them.

    Args:
        get: an object of the cluster by kind, namespace and name.
        token: of an account, by namespace, its name, and for how many seconds.
        folder: what belongs to pods lies below it; claims outlive their pods.
    """

    get: Callable[[str, str, str], Json]
    token: Callable[[str, str, int], str]
    folder: Path
    started: int = field(default=0, init=False)

    def start(
        self, container: Container, port: int, *, extra: Mapping[str, str] | None = None, log: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """Start it; whoever asks ends it."""
        self.started += 1
        own = self.folder / f"pod-{self.started}"
        own.mkdir(parents=True)
        own.chmod(0o755)
        script = own / "start.sh"
        script.write_text(self._script(container, own, port, extra or {}))
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-eu", str(script)]
        with (log or own / "log").open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)

    def _script(self, container: Container, own: Path, port: int, extra: Mapping[str, str]) -> str:
        root = own / "root"
        root.mkdir()
        lines = [f"mount -t tmpfs -o mode=0755 image {root}"]
        for name in _HOST_FOLDERS:
            if Path("/", name).is_symlink():
                lines.append(f"cp -a /{name} {root}/{name}")
            elif Path("/", name).is_dir():
                lines += [f"mkdir {root}/{name}", f"mount --rbind /{name} {root}/{name}"]
        lines += [
            f"mkdir {root}/etc",
            f"cp -a /etc/passwd /etc/group /etc/hosts /etc/ssl /etc/localtime {root}/etc/ || true",
        ]
        lines += [f"cp -aL /etc/resolv.conf /etc/nsswitch.conf /etc/ld.so.cache {root}/etc/ || true"]
        for path in _image():
            lines += [f"mkdir -p {root}{path}", f"mount --rbind {path} {root}{path}"]
        volumes = {volume["name"]: volume for volume in container.spec.get("volumes", ())}
        for mount in container.it.get("volumeMounts", ()):
            where = f"{root}{mount['mountPath']}"
            lines.append(f"mkdir -p {where}")
            lines += self._mounted(container, own, volumes[mount["name"]], where)
            if mount.get("readOnly"):
                lines.append(f"mount -o remount,bind,ro {where}")
        security = container.it["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        if security["readOnlyRootFilesystem"]:
            lines.append(f"mount -o remount,ro {root}")
        lines.append("exec " + shlex.join(self._command(container, root, port, extra)))
        return "\n".join(lines) + "\n"

    def _command(self, container: Container, root: Path, port: int, extra: Mapping[str, str]) -> list[str]:
        hardware = {name: os.environ[name] for name in _FOR_THIS_PROCESSOR if name in os.environ}
        here = {"EVENSTREAM_HTTP__HOST": "127.0.0.1", "EVENSTREAM_HTTP__PORT": str(port), "PATH": "/usr/bin:/bin"}
        variables = hardware | here | dict(extra) | container.environment()
        user, group = str(container.user), str(container.group)
        return [
            "chroot", str(root), "setpriv", "--reuid", user, "--regid", group, "--groups", group,
            "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all",
            "env", "-i", *(f"{name}={value}" for name, value in variables.items()),
            str(Path(sys.prefix) / "bin" / "evenstream"), *container.it["args"],
        ]  # fmt: skip

    def _mounted(self, container: Container, own: Path, volume: Json, where: str) -> list[str]:
        if "emptyDir" in volume:
            size = volume["emptyDir"].get("sizeLimit", "64Mi").removesuffix("i").lower()
            owner = f"uid=0,gid={container.group},mode=2770,size={size}"
            return [f"mount -t tmpfs -o {owner} {volume['name']} {where}"]
        if "persistentVolumeClaim" in volume:
            claim = self.folder / "claims" / container.namespace / volume["persistentVolumeClaim"]["claimName"]
            claim.mkdir(parents=True, exist_ok=True)
            os.chown(claim, 0, container.group)
            claim.chmod(0o2770)
            return [f"mount --bind {claim} {where}"]
        made = own / "volumes" / volume["name"]
        made.mkdir(parents=True)
        made.chmod(0o755)
        sources, mode = _sources(volume)
        for source in sources:
            for path, content in self._files(container, source).items():
                (made / path).write_bytes(content)
                os.chown(made / path, 0, container.group)
                # With fsGroup, a kubelet lets the group read whatever the mode says.
                (made / path).chmod(mode | 0o040)
        return [f"mount --bind {made} {where}"]

    def _files(self, container: Container, source: Json) -> dict[str, bytes]:
        ((kind, reference),) = source.items()
        namespace = container.namespace
        if kind == "serviceAccountToken":
            seconds = int(reference["expirationSeconds"])
            return {reference["path"]: self.token(namespace, container.spec["serviceAccountName"], seconds).encode()}
        if kind == "downwardAPI":
            (item,) = reference["items"]
            assert item["fieldRef"]["fieldPath"] == "metadata.namespace"
            return {item["path"]: namespace.encode()}
        found = self.get(kind, namespace, reference.get("name") or reference["secretName"])
        if kind == "secret":
            data = {key: base64.b64decode(value) for key, value in found["data"].items()}
        else:
            data = {key: value.encode() for key, value in found["data"].items()}
        items = reference.get("items")
        return data if items is None else {item["path"]: data[item["key"]] for item in items}


def _sources(volume: Json) -> tuple[list[Json], int]:
    for kind in ("secret", "configMap"):
        if kind in volume:
            return [{kind: volume[kind]}], int(volume[kind]["defaultMode"])
    return volume["projected"]["sources"], int(volume["projected"]["defaultMode"])


def _image() -> list[str]:
    """What an image would hold: Python, its packages, and evenstream."""
    wanted = [Path(path).resolve() for path in (sys.base_prefix, sys.prefix, REPOSITORY)]
    kept = [path for path in wanted if not any(other != path and path.is_relative_to(other) for other in wanted)]
    return sorted({str(path) for path in kept if not path.is_relative_to("/usr")})
