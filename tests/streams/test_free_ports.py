"""Ports for what is stopped and started again."""

from __future__ import annotations

import socket

import pytest

from streams import free_ports
from streams.free_ports import free_port


def test_no_outgoing_connection_can_have_it() -> None:
    """It lies below those that the system gives to clients, and can be listened on at once, and again."""
    for _ in range(20):
        port = free_port()
        assert 1024 < port < 32_768
        for _ in range(2):
            with socket.create_server(("127.0.0.1", port)):
                pass


def test_a_port_that_somebody_has_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """And where there is none, that is said."""
    port = free_port()
    monkeypatch.setattr(free_ports, "_FIRST", port)
    monkeypatch.setattr(free_ports, "_END", port + 1)
    assert free_port() == port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(OSError, match=f"no port from {port} to {port}"):
        free_port()
