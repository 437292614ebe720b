"""Which Host is answered."""

from __future__ import annotations

import pytest

from streams.watch.host_names import HostNames


@pytest.mark.parametrize(
    ("host", "taken"),
    [
        ("localhost", True),
        ("LOCALHOST:9100", True),
        ("127.0.0.1", True),
        ("127.0.0.1:9100", True),
        ("127.1.2.3:1", True),
        ("[::1]", True),
        ("[::1]:9100", True),
        ("[::ffff:127.0.0.1]:9100", True),
        ("fair.example", True),
        ("Fair.Example:443", True),
        ("[2001:db8::1]:443", True),
        ("fair.example.evil", False),
        ("localhost.evil", False),
        ("127.0.0.1.evil", False),
        ("127.0.0.1@evil", False),
        ("10.0.0.1", False),
        ("[::2]", False),
        ("::1", False),
        ("", False),
        (":9100", False),
        ("localhost:9100:1", False),
        ("localhost evil", False),
    ],
)
def test_on_a_loopback_address_only_own_names(host: str, taken: bool) -> None:
    """Loopback addresses, localhost and what a setting names, with any port."""
    for address in ("127.0.0.1", "::1", "127.0.0.5"):
        assert HostNames(address, ("FAIR.example", "[2001:db8::1]")).take(host) == taken


def test_for_others_any_name() -> None:
    """A server that listens for others is asked by addresses that it does not know."""
    for address in ("0.0.0.0", "::", "10.0.0.1"):
        assert HostNames(address).take("rebound.example")
