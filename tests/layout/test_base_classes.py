"""
What our classes have under a name of a class from outside: only what they mean to replace.

asyncio sets its `_task` to None when a connection is lost; an attribute of ours of that name was
lost with it. Where a library drops a private name that we replace, nobody uses ours any more.
"""

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages

import postroad

# By the class from outside. Each name has the meaning that the base gives it.
REPLACED = {
    "aiosmtpd.smtp.SMTP": {
        *("_handle_client", "connection_lost", "connection_made", "data_received"),
        *("eof_received", "loop", "pause_writing", "resume_writing", "transport"),
    },
    "asyncio.protocols.DatagramProtocol": {"connection_made", "datagram_received"},
    "asyncio.protocols.Protocol": {
        *("connection_lost", "connection_made", "data_received", "eof_received"),
        *("pause_writing", "resume_writing"),
    },
    # `_pending` and `_pending_data_size` are what is to be written, and how many octets it has.
    "nats.aio.client.Client": {
        *("_attempt_reconnect", "_connect_command", "_connect_to_server", "_nuid", "_pending"),
        *("_pending_data_size", "_process_connect_init", "_process_pong", "_ps"),
        *("_transport", "ssl_context"),
    },
    "nats.aio.transport.TcpTransport": {
        *("_bare_io_reader", "_bare_io_writer", "_io_reader", "_io_writer"),
        *("connect", "connect_tls", "wait_closed"),
    },
    "nats.nuid.NUID": {"next"},
    "nats.protocol.parser.Parser": {"parse"},
    "pydantic.json_schema.GenerateJsonSchema": {"encode_default"},
    "pydantic.main.BaseModel": {"model_config"},
    "ssl.SSLContext": {"wrap_bio"},
    "ssl.SSLObject": {"do_handshake", "read"},
    "typer.core.TyperCommand": {"get_params", "help"},
    "typer.core.TyperGroup": {"get_params", "resolve_command"},
    "typer.main.Typer": {"command"},
}
LANGUAGE = {"builtins", "typing", "enum", "abc"}  # what their bases do is part of the language
OF_ALL = {"_abc_impl"}  # Python gives each class its own


def our_classes() -> Iterator[type]:
    for found in walk_packages(postroad.__path__, "postroad."):
        if not found.name.endswith(("__main__", "_pb2")):
            inside = vars(import_module(found.name)).values()
            yield from (
                each for each in inside if isinstance(each, type) and each.__module__ == found.name
            )


@cache
def names_of(one: type) -> frozenset[str]:
    """Return what a class defines, declares and sets in its methods, without its bases."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(one)))
    except (OSError, TypeError):  # it is written in C
        return frozenset(vars(one))
    stored = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }
    return frozenset(stored | set(vars(one)) | set(vars(one).get("__annotations__", ())))


def is_outside(one: type) -> bool:
    return not one.__module__.startswith("postroad.") and one.__module__ not in LANGUAGE


# Some seconds: every module is imported.
def test_no_name_of_ours_is_one_of_a_base_class_by_accident() -> None:
    found: dict[str, set[str]] = {}
    for each in our_classes():
        outside = [base for base in each.__mro__ if is_outside(base)]
        if not outside:
            continue
        theirs = frozenset[str]().union(*map(names_of, outside))
        mine = frozenset[str]().union(
            *(names_of(base) for base in each.__mro__ if base.__module__.startswith("postroad."))
        )
        both = {name for name in (mine & theirs) - OF_ALL if not name.startswith("__")}
        found.setdefault(f"{outside[0].__module__}.{outside[0].__qualname__}", set()).update(both)
    assert {base: names for base, names in found.items() if names} == REPLACED
