"""By which names a server that listens on its own machine alone is asked.

A web site can let its own name stand for 127.0.0.1 (DNS rebinding): a visitor's browser then takes what listens there
for a part of that site, and reads it. The browser still says the site's name, as Host, so only names are answered that
no other site can have. A server that listens for others is asked by any name or address, by probes among them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import ip_address

_HOST = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]+))(?::[0-9]*)?")

WHY_NOT = "this server answers to localhost, 127.0.0.1 and [::1] alone; add other names to its setting http.hosts"


class HostNames:
    """What may stand in Host.

    Args:
        address: that is listened on.
        names: further ones, without a port.
    """

    def __init__(self, address: str, names: Iterable[str] = ()) -> None:
        self._checked = _is_loopback(address)
        self._names = frozenset(("localhost", *(name.lower().strip("[]") for name in names)))

    def take(self, host: str) -> bool:
        """Whether a request for this host is answered."""
        if not self._checked:
            return True
        found = _HOST.fullmatch(host.strip())
        if found is None:
            return False
        name = (found["six"] or found["name"]).lower()
        return name in self._names or _is_loopback(name)


def _is_loopback(text: str) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if address.version == 6 else None
    return (mapped or address).is_loopback
