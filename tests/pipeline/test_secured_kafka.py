"""The whole pipeline on a secured Kafka: exact with one principal a role, and a clear end where one is refused."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import scenario as scenarios
from click.testing import CliRunner
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from secured import SecuredScenario

from streams import acl, acl_matrix
from streams.cli import main
from streams.errors import AccessRefused, KafkaUnavailable
from streams.kafka import acls
from streams.kafka.clients import broker_count, shared_admin, wait_for_kafka
from streams.kafka.dev_broker import BrokerProcess, DevBroker
from streams.kafka.dev_security import BrokerSecurity
from streams.roles.supervisor import COMMANDS, Supervisor
from streams.scaling import present
from streams.settings import PRINCIPALS, load_settings

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
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[BrokerProcess, BrokerSecurity]]:
    """A secured broker."""
    found = DevBroker(tmp_path_factory.mktemp("broker") / "kafka", secure=True)
    try:
        process = found.start(progress=print)
        assert found.security is not None
        yield process, found.security
    finally:
        found.stop()


@pytest.fixture(scope="module")
def secured(
    broker: tuple[BrokerProcess, BrokerSecurity], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SecuredScenario]:
    """The scenario, ready to run."""
    process, security = broker
    found = SecuredScenario.prepare(tmp_path_factory.mktemp("secured"), process.bootstrap, security)
    yield found
    found.trial.stop()


# -- the broker -------------------------------------------------------------------------------------------------------


def listener_ports(folder: Path) -> dict[str, int]:
    """Of each listener, as the broker's own file has them."""
    lines = (folder / "server.properties").read_text().splitlines()
    (listeners,) = (line.partition("=")[2] for line in lines if line.startswith("listeners="))
    return {part.partition(":")[0]: int(part.rpartition(":")[2]) for part in listeners.split(",")}


def test_nobody_reaches_the_broker_without_credentials(broker: tuple[BrokerProcess, BrokerSecurity]) -> None:
    """Neither clear text, nor a wrong password, nor a certificate of one's own opens any of the three listeners."""
    process, security = broker
    ports = listener_ports(process.folder)
    assert set(ports) == {"CLIENTS", "BROKER", "CONTROLLER"}
    with pytest.raises(KafkaException):
        AdminClient({"bootstrap.servers": process.bootstrap, "log_level": 0}).list_topics(timeout=3)
    stranger = BrokerSecurity.create(process.folder / "stranger")
    for name in ("BROKER", "CONTROLLER"):
        for certificate in (None, stranger.folder / "broker.pem"):
            with pytest.raises(ssl.SSLError, match=r"certificate|alert"):
                talk(ports[name], security.authority, certificate)
    # The same words with the broker's own certificate are answered by silence, not by an alert: the eyes see.
    with pytest.raises(TimeoutError):
        talk(ports["CONTROLLER"], security.authority, security.folder / "broker.pem")


def talk(port: int, authority: Path, certificate: Path | None) -> bytes:
    """Begin TLS with a listener, and hear what it says within 2 s."""
    context = ssl.create_default_context(cafile=str(authority))
    if certificate is not None:
        context.load_cert_chain(certificate)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.settimeout(2)
        return secured.recv(1)


def test_a_wrong_password_is_told_at_once(broker: tuple[BrokerProcess, BrokerSecurity]) -> None:
    """Not after a minute of trying, and with the principal's name."""
    process, security = broker
    properties = security.properties("admin") | {"sasl.password": "guessed"}
    overrides = [f"kafka.properties.{name}={value}" for name, value in properties.items()]
    settings = load_settings(None, [f"kafka.bootstrap={process.bootstrap}", *overrides], environment={})
    begun = time.monotonic()
    with pytest.raises(AccessRefused, match="does not take the credentials of User:admin") as told:
        wait_for_kafka(settings, 60)
    assert time.monotonic() - begun < 30
    assert "guessed" not in str(told.value)


def test_a_password_in_a_file_is_taken_and_so_is_its_successor(
    broker: tuple[BrokerProcess, BrokerSecurity], tmp_path: Path
) -> None:
    """The broker lets in who has it from a file; of one that changed, the next client has the new content."""
    process, security = broker
    properties = security.properties("admin")
    file = tmp_path / "password"
    file.write_text(properties.pop("sasl.password") + "\n")
    overrides = [f"kafka.properties.{name}={value}" for name, value in properties.items()]
    overrides += [f"kafka.bootstrap={process.bootstrap}", f"kafka.property_files.sasl.password={file}"]
    settings = load_settings(None, overrides, environment={})
    wait_for_kafka(settings, 30)
    asked = shared_admin(settings)
    assert shared_admin(settings) is asked
    right = file.read_text()
    file.write_text("guessed\n")
    with pytest.raises(AccessRefused, match="does not take the credentials of User:admin") as told:
        wait_for_kafka(settings, 60)
    assert "guessed" not in str(told.value)
    assert shared_admin(settings) is not asked
    file.write_text(right)
    assert broker_count(settings) == 1


def test_the_brokers_secrets_are_its_own(broker: tuple[BrokerProcess, BrokerSecurity]) -> None:
    """Every file of its security has mode 0600, and no authority's key is among them."""
    _, security = broker
    files = {file.name: file for file in security.folder.iterdir()}
    assert set(files) == {"ca.pem", "broker.pem", "passwords.json"}
    assert {file.stat().st_mode & 0o777 for file in files.values()} == {0o600}
    assert b"PRIVATE KEY" not in files["ca.pem"].read_bytes()
    assert files["broker.pem"].read_bytes().count(b"PRIVATE KEY") == 2


def test_a_folder_stays_secured_or_open(broker: tuple[BrokerProcess, BrokerSecurity]) -> None:
    """To start a secured folder's broker as an open one is an error, while it runs as well."""
    process, _ = broker
    with pytest.raises(KafkaUnavailable, match="was made secured"):
        DevBroker(process.folder).start()


def test_a_developer_gets_a_file_for_each_principal(
    broker: tuple[BrokerProcess, BrokerSecurity], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`evenstream dev kafka start --secure` makes users and files, with which the next commands work as it says."""
    process, _ = broker
    monkeypatch.delenv("KAFKA_BOOTSTRAP", raising=False)
    runner = CliRunner()
    start = ["--set", "deployment=mine", "dev", "kafka", "start", "--secure", "--dir", str(process.folder)]
    told = runner.invoke(main, start)
    assert told.exit_code == 0, told.output
    folder = process.folder / "principals"
    assert {file.stem for file in folder.iterdir()} == {*PRINCIPALS, "admin"}
    assert f"--configs {folder}" in told.output
    for principal, *command in (("admin", "acl", "apply"), ("operator", "topics", "create")):
        done = runner.invoke(main, ["--config", str(folder / f"{principal}.yaml"), *command])
        assert done.exit_code == 0, done.output
    refused = runner.invoke(main, ["--config", str(folder / "company.yaml"), "topics", "create"])
    assert refused.exit_code == 1
    assert "Kafka refuses the principal User:mine-company: it may not create topic mine." in refused.output


# -- the matrix -------------------------------------------------------------------------------------------------------


def test_precisely_the_documented_operations_succeed(
    broker: tuple[BrokerProcess, BrokerSecurity], tmp_path: Path
) -> None:
    """Every principal tries every operation; then an ACL too many and one too few are both seen, and nothing else."""
    process, security = broker
    trial, plans, foreign = acl_matrix.prepare(tmp_path, print, process.bootstrap, security)
    try:
        matrix = acl_matrix.examine(trial.settings_of, plans, foreign)
        assert matrix.differences() == []
        assert matrix.tries > 1500
        admin = trial.settings_of("admin")
        shares, ledger = trial.settings.topic("shares"), trial.settings.topic("ledger-a")
        found = acl.rules(admin)
        (too_few,) = (
            binding
            for binding in acls.bindings(rule for rule in found if rule.role == "a" and rule.name == ledger)
            if binding.operation.name == "WRITE"
        )
        (too_many,) = acls.bindings(
            [acl.Rule("publish", admin.principal("publish"), "topic", shares, False, ("Read",))]
        )
        acls.delete(admin, [too_few])
        acls.create(admin, [too_many])
        assert acls.differences(admin, found).lines() == [
            f"missing: {acls.told(too_few)}",
            f"undocumented: {acls.told(too_many)}",
        ]
        assert acl_matrix.examine(trial.settings_of, plans, foreign).differences() == [
            f"a: Write on topic {ledger} is documented, but refused",
            f"publish: Describe on topic {shares} is allowed, but not documented",
            f"publish: Read on topic {shares} is allowed, but not documented",
        ]
        command = ["--config", str(trial.config_of("admin")), "acl", "apply"]
        runner = CliRunner()
        assert runner.invoke(main, [*command, "--check"]).exit_code == 1
        pruned = runner.invoke(main, [*command, "--prune"])
        assert "1 ACLs added" in pruned.output
        assert f"taken away: {acls.told(too_many)}" in pruned.output
        assert runner.invoke(main, [*command, "--check"]).exit_code == 0
    finally:
        trial.stop()


def test_a_role_is_divided_under_its_own_principal(
    broker: tuple[BrokerProcess, BrokerSecurity], tmp_path: Path
) -> None:
    """By `evenstream scale` with the role's settings file; an operator's is refused, and so is another role's."""
    process, security = broker
    trial, _, _ = acl_matrix.prepare(tmp_path, print, process.bootstrap, security)
    try:
        runner = CliRunner()
        for role in ("seal", "attach"):
            for shards in ("2", "1"):
                scale = ["scale", role, shards]
                done = runner.invoke(main, ["--config", str(trial.config_of(role)), *scale])
                assert done.exit_code == 0, done.output
                assert f"{role}: generation" in done.output
        for other in ("operator", "attach"):
            refused = runner.invoke(main, ["--config", str(trial.config_of(other)), "scale", "seal", "3"])
            assert refused.exit_code == 1, refused.output
            assert f"Kafka refuses the principal {trial.settings.principal(other)}: it may not write under" in (
                refused.output
            )
        assert present(trial.settings_of("seal"), "seal").shards == 1
    finally:
        trial.stop()


# -- the pipeline -----------------------------------------------------------------------------------------------------


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
    supervisor = Supervisor([*trial.arguments, "--set", "http.port=0"], trial.folder / "logs", configs=configs)
    disguised = Supervisor(trial.arguments, trial.folder / "disguised", configs={"attach": trial.config_of("seal")})
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


def test_the_company_subscribes_to_results(secured: SecuredScenario) -> None:
    """As `company`, all that five processes published is in order and follows from its tables; `seal` reads none."""
    trial = secured.trial
    tail = ["tail", "--from", "beginning", "--no-follow", "--validate", "--json"]
    company, seal = (["--config", str(trial.config_of(name))] for name in ("company", "seal"))
    shown = CliRunner().invoke(main, [*company, *tail])
    assert shown.exit_code == 0, shown.stderr
    assert len(shown.stdout.splitlines()) == len(secured.windows())
    again = CliRunner().invoke(main, [*company, "recompute"])
    assert again.exit_code == 0, again.stderr
    refused = CliRunner().invoke(main, [*seal, *tail])
    assert refused.exit_code == 1
    assert f"Kafka refuses the principal {trial.settings.principal('seal')}" in refused.stderr


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
