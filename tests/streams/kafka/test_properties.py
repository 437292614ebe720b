"""Passwords from files: every client has them, each anew, and nothing that goes wrong shows one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from faust.transport.drivers.aiokafka import credentials_to_aiokafka_auth

from streams.errors import SettingsError
from streams.kafka.clients import admin_config, consumer_config, make_producer, producer_config
from streams.kafka.faust_credentials import credentials
from streams.kafka.properties import MOST_BYTES, client_properties
from streams.kafka.refusals import principal
from streams.settings import Settings, load_settings

MakeSettings = Callable[..., Settings]
SECURED = (
    "kafka.properties.security.protocol=SASL_SSL",
    "kafka.properties.sasl.mechanism=SCRAM-SHA-512",
)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with a user's name and password, as a Secret is mounted."""
    (tmp_path / "user").write_text("evenstream-seal\n")
    (tmp_path / "password").write_text("hunter2\n")
    return tmp_path


def secured(make_settings: MakeSettings, files: Path) -> Settings:
    named = (f"sasl.username={files / 'user'}", f"sasl.password={files / 'password'}")
    return make_settings("127.0.0.1:1", *SECURED, *(f"kafka.property_files.{one}" for one in named))


def test_every_client_has_what_files_hold(make_settings: MakeSettings, files: Path) -> None:
    """Consumers, producers, administration and Faust; a newline at the end is the editor's, and no part of it."""
    settings = secured(make_settings, files)
    for config in (consumer_config(settings, "g"), producer_config(settings, None), admin_config(settings)):
        assert (config["sasl.username"], config["sasl.password"]) == ("evenstream-seal", "hunter2")
    faust = credentials_to_aiokafka_auth(credentials(client_properties(settings.kafka)))
    assert (faust["sasl_plain_username"], faust["sasl_plain_password"]) == ("evenstream-seal", "hunter2")
    assert principal(settings) == "User:evenstream-seal"
    make_producer(settings, None)  # librdkafka takes them


@pytest.mark.parametrize(
    ("content", "value"), [("x", "x"), ("x\n", "x"), ("x\n\n", "x\n"), ("x\r\n", "x"), (" x ", " x "), ("x\r", "x\r")]
)
def test_one_newline_is_taken_off(make_settings: MakeSettings, files: Path, content: str, value: str) -> None:
    """And nothing else: a password may begin or end with a space."""
    (files / "password").write_text(content, newline="")
    assert client_properties(secured(make_settings, files).kafka)["sasl.password"] == value


def test_the_next_client_takes_a_changed_password(make_settings: MakeSettings, files: Path) -> None:
    """Files are read when a client is made, not when settings are."""
    settings = secured(make_settings, files)
    assert producer_config(settings, None)["sasl.password"] == "hunter2"
    (files / "password").write_text("hunter3\n")
    assert producer_config(settings, None)["sasl.password"] == "hunter3"


def test_properties_of_one_kind_of_client_win(make_settings: MakeSettings, files: Path) -> None:
    """As they do over those for every client."""
    settings = secured(make_settings, files)
    other = settings.model_copy(
        update={"kafka": settings.kafka.model_copy(update={"admin_properties": {"sasl.password": "admins"}})}
    )
    assert admin_config(other)["sasl.password"] == "admins"
    assert producer_config(other, None)["sasl.password"] == "hunter2"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: No such file"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2" * MOST_BYTES, "more than 65536 bytes"),
        (b"hunter2\xff", "must hold text"),
        (b"hunter2\0", "must hold text"),
    ],
)
def test_a_file_that_holds_no_value_is_an_error(
    make_settings: MakeSettings, files: Path, content: bytes | None, said: str
) -> None:
    """It names the property and the file, and shows nothing of what is in it; telling of a refusal goes on."""
    path = files / "password"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    settings = secured(make_settings, files)
    for make in (lambda: client_properties(settings.kafka), lambda: make_producer(settings, None)):
        with pytest.raises(SettingsError, match=said) as caught:
            make()
        assert f"kafka.property_files.sasl.password: the file {path}" in str(caught.value)
        assert "hunter2" not in str(caught.value)
    assert principal(settings) == "of this client"


def test_a_property_has_one_value(make_settings: MakeSettings) -> None:
    """Named in both tables it would have two, and which of them counts would be a guess."""
    with pytest.raises(SettingsError, match=r"sasl\.password: named in properties and in property_files"):
        make_settings("h:1", "kafka.properties.sasl.password=hunter2", "kafka.property_files.sasl.password=/x")


@pytest.mark.parametrize("name", ["ssl.ca.location", "security.protocol", "bootstrap.servers", "linger.ms"])
def test_files_are_for_credentials(make_settings: MakeSettings, name: str) -> None:
    """Where librdkafka does not like a value of another property, its error says it: a key's text would be shown."""
    with pytest.raises(SettingsError, match="cannot come from a file") as caught:
        make_settings("h:1", f"kafka.property_files.{name}=/x")
    assert name in str(caught.value)


def test_files_are_named_as_properties_are() -> None:
    """With dots in a file and in --set, with underscores in the environment."""
    given = {"EVENSTREAM_KAFKA__PROPERTY_FILES__SSL_KEY_PASSWORD": "/run/secrets/p"}
    settings = load_settings(None, ["kafka.property_files.sasl.password=/x"], given)
    assert settings.kafka.property_files == {
        "ssl.key.password": Path("/run/secrets/p"),
        "sasl.password": Path("/x"),
    }
