"""Opens listening sockets, or takes inherited ones. Errors say what to do."""

import errno
import os
import socket

from postroad.process.errors import StartupError
from postroad.units.addresses import ListenAddress

BACKLOG = 1024


def listen(address: ListenAddress, *, reuse_port: bool = False) -> socket.socket:
    """
    Return a non-blocking socket that listens on `address`; StartupError says why it cannot.

    With `reuse_port` several processes share the port, and the kernel spreads connections over
    them. An IPv6 wildcard takes IPv4 connections too.
    """
    if address.fd is not None:
        return _inherited(address.fd)
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind((address.host, address.port))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartupError(f"cannot listen on {address}: {_why(error)}") from error
    listener.setblocking(False)
    return listener


def bound_address(listener: socket.socket) -> str:
    """Return where a socket listens as ADDR:PORT, with the port the kernel chose for port 0."""
    host, port = listener.getsockname()[:2]
    return str(ListenAddress(host, port))


def is_shared(listener: socket.socket) -> bool:
    """Whether other sockets listen on its port too (SO_REUSEPORT)."""
    return bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def _inherited(fd: int) -> socket.socket:
    try:
        listener = socket.socket(fileno=fd)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if not listens and not is_shared(listener):  # a shared socket listens once it is served
            listener.detach()
            raise StartupError(f"cannot listen on fd:{fd}: it is a socket that does not listen")
    except OSError as error:
        raise StartupError(f"cannot listen on fd:{fd}: {os.strerror(error.errno or 0)}") from error
    listener.setblocking(False)
    return listener


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there; stop it or choose another port"
    if error.errno == errno.EACCES:
        return "ports below 1024 need root or the capability CAP_NET_BIND_SERVICE"
    if error.errno == errno.EADDRNOTAVAIL:
        return "this machine does not have that address"
    return os.strerror(error.errno) if error.errno else str(error)
