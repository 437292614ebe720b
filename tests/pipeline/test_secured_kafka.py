"""The whole pipeline on a secured Kafka: exact with one principal a role, and a clear end where one is refused."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import scenario as scenarios
from secured import SecuredScenario

from streams.kafka.dev_broker import DevBroker
from streams.roles.supervisor import COMMANDS, Supervisor

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(900)]

_SECONDS = 180
"""Long, since the machine that runs the tests may be busy; nothing waits for it when all is well."""

AT_START = {
    "seal": ("WRITE", "sealed"),
    "attach": ("WRITE", "keys"),
    "a": ("WRITE", "a."),
    "b": ("READ", "ledger-b"),
    "publish": ("READ", "publish."),
}
"""What each role lacks: an output, the keys that it announces, its transactional id, its own ledger, its group."""

HALF_WAY = {
    "seal": ("WRITE", "sealed"),
    "attach": ("READ", "sealed"),
    "a": ("READ", "measurements"),
    "b": ("READ", "shares"),
}


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredScenario]:
    """The scenario, ready to run, on a secured broker of its own."""
    folder = tmp_path_factory.mktemp("secured")
    broker = DevBroker(folder / "broker", secure=True)
    try:
        started = broker.start(progress=print)
        found = SecuredScenario.prepare(folder, started.bootstrap, broker.security)
        yield found
        found.trial.stop()
    finally:
        broker.stop()


def said(secured: SecuredScenario, role: str) -> str:
    """What a role has logged."""
    path = secured.trial.folder / "logs" / f"{role}.log"
    return path.read_text() if path.exists() else ""


def await_ends(supervisor: Supervisor, roles: tuple[str, ...]) -> dict[str, int | None]:
    """Exit codes of roles, without restarting them; None where one still runs when the time is over."""
    deadline = time.monotonic() + _SECONDS
    processes = {role: supervisor._children[role].process for role in roles}
    while time.monotonic() < deadline and any(process.poll() is None for process in processes.values()):
        time.sleep(0.1)
    return {role: process.returncode for role, process in processes.items()}


def check_refusals(secured: SecuredScenario, logs: dict[str, str], lacking: dict[str, tuple[str, str]]) -> None:
    """Each role has named its principal and what it lacks, and no traceback has frightened anyone."""
    settings = secured.trial.settings
    for role, (_, name) in lacking.items():
        assert f"Kafka refuses the principal {settings.principal(role)}: " in logs[role], (role, logs[role])
        assert settings.topic(name) in logs[role], (role, logs[role])
        assert "Traceback" not in logs[role], logs[role]


def test_a_role_that_lacks_something_ends_and_says_what(secured: SecuredScenario) -> None:
    """Whatever one of the five lacks at its start, it ends with 1 and one message; so does one with another's file."""
    trial = secured.trial
    secured.take_away(*((role, *what) for role, what in AT_START.items()))
    configs = {role: trial.config_of(role) for role in COMMANDS}
    supervisor = Supervisor([*trial.arguments, "--set", "http.port=0"], trial.folder / "logs", {}, configs)
    disguised = Supervisor(trial.arguments, trial.folder / "disguised", {}, {"attach": trial.config_of("seal")})
    try:
        supervisor.start()
        disguised.start(["attach"])
        assert await_ends(supervisor, tuple(COMMANDS)) == dict.fromkeys(COMMANDS, 1), {
            role: said(secured, role)[-1500:] for role in COMMANDS
        }
        assert await_ends(disguised, ("attach",)) == {"attach": 1}
    finally:
        supervisor.stop()
        disguised.stop()
        secured.give_back()
    check_refusals(secured, {role: said(secured, role) for role in COMMANDS}, AT_START)
    told = (trial.folder / "disguised" / "attach.log").read_text()
    assert f"Kafka refuses the principal {trial.settings.principal('seal')}: it may not" in told


def test_refused_half_way_each_role_ends_and_nothing_is_wrong_afterwards(secured: SecuredScenario) -> None:
    """Each role loses an ACL while it works, ends with a message, and goes on when it is given back: exact tables."""
    trial = secured.trial
    before = {role: len(said(secured, role)) for role in COMMANDS}
    trial.start_roles(ready_seconds=_SECONDS)
    secured.feed(0, 3)
    secured.await_windows(_SECONDS, count=1)
    secured.take_away(("publish", "WRITE", "fairness-metrics"))
    secured.feed(1, 3)
    assert await_ends(trial.supervisor, ("publish",)) == {"publish": 1}, said(secured, "publish")[-1500:]
    secured.take_away(*((role, *what) for role, what in HALF_WAY.items()))
    secured.feed(2, 3)
    assert await_ends(trial.supervisor, tuple(HALF_WAY)) == dict.fromkeys(HALF_WAY, 1), {
        role: said(secured, role)[-1500:] for role in HALF_WAY
    }
    logs = {role: said(secured, role)[before[role] :] for role in COMMANDS}
    check_refusals(secured, logs, HALF_WAY | {"publish": ("WRITE", "fairness-metrics")})
    secured.give_back()
    windows = secured.await_windows(_SECONDS)
    assert trial.restarts >= len(COMMANDS)
    scenarios.check(secured.scenario, windows)


def test_no_password_is_on_a_command_line_or_in_a_log(secured: SecuredScenario) -> None:
    """Passwords lie in files of mode 0600 only."""
    files = list((secured.trial.folder / "principals").iterdir())
    assert len(files) == 10
    assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
    passwords = [secured.trial.settings_of(file.stem).kafka.properties["sasl.password"].encode() for file in files]
    assert len(set(passwords)) == 10
    shown = b"".join(path.read_bytes() for path in (secured.trial.folder / "logs").iterdir())
    for role in COMMANDS:
        pid = secured.trial.supervisor.pid(role)
        shown += Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
    assert len(shown) > 2000
    assert [password for password in passwords if password in shown] == []
