"""Messages between a command and the warm server: JSON objects with their length before them, and file descriptors."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any

MOST_DESCRIPTORS = 200  # in one message; the kernel's limit is 253
_LENGTH = struct.Struct("!I")


def send(connection: socket.socket, message: dict[str, Any], descriptors: Sequence[int] = ()) -> None:
    """Sends a message. Raises OSError if the other end is gone."""
    content = json.dumps(message).encode()
    socket.send_fds(connection, [_LENGTH.pack(len(content))], descriptors)
    connection.sendall(content)


def receive(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next message and its descriptors, which programs that this process starts do not inherit; None at the end of the connection."""
    try:
        head, descriptors, *_ = socket.recv_fds(connection, _LENGTH.size, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        content = _exactly(connection, _LENGTH.size, head)
        if content is not None:
            content = _exactly(connection, _LENGTH.unpack(content)[0])
    except ConnectionError:
        return None
    if content is None:
        for descriptor in descriptors:
            os.close(descriptor)
        return None
    return json.loads(content), descriptors


def _exactly(connection: socket.socket, count: int, begun: bytes = b"") -> bytes | None:
    """Receives the rest of a message of `count` bytes; None if the connection closes first."""
    while len(begun) < count:
        more = connection.recv(count - len(begun))
        if not more:
            return None
        begun += more
    return begun
