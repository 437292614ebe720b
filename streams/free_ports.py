"""Ports of 127.0.0.1 for what this machine starts for itself: a demo's roles, a developer's broker.

Not the port that the system would give: those lie where it takes ports for outgoing connections too, so once whatever
listened is stopped, anybody's connection may have the port before it is started again.
"""

from __future__ import annotations

import errno
import secrets
import socket

_FIRST, _END = 18_000, 32_000
"""Below where Linux (32768) and IANA (49152) begin to give ports to clients."""

_TRIES = 200


def free_port() -> int:
    """A port that nobody has now.

    Raises:
        OSError: there is none to be found.
    """
    for _ in range(_TRIES):
        port = _FIRST + secrets.randbelow(_END - _FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(errno.EADDRINUSE, f"no port from {_FIRST} to {_END - 1} of 127.0.0.1 is free")
