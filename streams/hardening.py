"""What a process that holds keys or members' data does first: close its memory to others, and its mouth to values.

It costs nothing and needs nothing but the standard library, so that every command can begin with it, before it has
read a setting, let alone a key. Not done, on purpose: `mlock`, which would need a limit that few installations grant
(turn swap off, or encrypt it); MADV_DONTDUMP, since nothing is dumped at all.
"""

from __future__ import annotations

import ctypes
import logging
import resource

from streams.tracebacks import hide_values

log = logging.getLogger(__name__)

_PR_SET_DUMPABLE = 4


def harden() -> None:
    """No core dumps, no other process of this user may read this one's memory (Linux), and tracebacks hold no values.

    Both the limit and the flag: a kernel whose core_pattern is a pipe starts it whatever the limit says, but not for a
    process that is not dumpable. The flag also gives the files of /proc/PID to root, so that memory and environment,
    where a broker's password may be, are closed to the user who runs the role.
    """
    hide_values()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    except (OSError, AttributeError):
        log.warning("this system has no prctl: the process stays dumpable")
