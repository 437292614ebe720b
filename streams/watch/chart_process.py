"""The process that draws the live page's charts: frames in, frames out (``streams.watch.charts``).

It ends when its input does, and when it has had nothing to draw for some minutes. In the first case nobody is there
any more to remove the folder that it was given, so it does. What it cannot draw it answers with an empty frame.
"""

from __future__ import annotations

import io
import os
import selectors
import shutil
import sys
from contextlib import suppress

import msgspec

from streams.hardening import harden
from streams.watch.chart_request import HEAD, Drawing

_IDLE_SECONDS = 600.0


def main() -> None:
    """Serve until the input ends."""
    harden()
    os.nice(int(sys.argv[1]))
    # Whatever a library prints must not come between the frames.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    from streams.watch.drawing import draw  # loads matplotlib, which takes a second

    decoder = msgspec.msgpack.Decoder(Drawing)
    pipe = io.FileIO(0, "rb")
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while selector.select(_IDLE_SECONDS):
            head = _exactly(pipe, HEAD)
            if head is None:
                shutil.rmtree(os.environ["MPLCONFIGDIR"], ignore_errors=True)
                return
            frame = _exactly(pipe, int.from_bytes(head, "big"))
            if frame is None:
                return
            try:
                answer = draw(decoder.decode(frame))
            except Exception:  # one picture that fails is not the end of the others
                answer = b""
            out.write(len(answer).to_bytes(HEAD, "big") + answer)
            out.flush()


def _exactly(pipe: io.FileIO, size: int) -> bytes | None:
    found = bytearray()
    while len(found) < size:
        part = pipe.read(size - len(found))
        if not part:
            return None
        found += part
    return bytes(found)


if __name__ == "__main__":
    with suppress(BrokenPipeError, KeyboardInterrupt):
        main()
    sys.stderr.flush()
