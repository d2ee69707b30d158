"""
How a command finds the cluster it talks to.

On one machine the running `postroad up` has left URL and token in its state folder, readable by
its owner alone. Elsewhere $POSTROAD_NATS_URL names the servers, with the settings every process
of the cluster takes.
"""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from postroad.cli.errors import Failure
from postroad.cli.state import StateFolder, default_state_folder
from postroad.spool.errors import SpoolUnavailable
from postroad.spool.interface import Spool
from postroad.spool.jetstream import SpoolOptions, connect


@asynccontextmanager
async def open_cluster(state_folder: object) -> AsyncIterator[Spool]:
    """Connect to the cluster for one command; Failure when it is not there."""
    options, hint = _options(state_folder)
    try:
        spool = await connect(options)
    except SpoolUnavailable as error:
        raise Failure(f"the cluster does not answer; {hint}") from error
    try:
        yield spool
    except SpoolUnavailable as error:
        raise Failure(f"the cluster stopped answering: {error}; try again") from error
    finally:
        await spool.close()


def _options(state_folder: object) -> tuple[SpoolOptions, str]:
    chosen = Path(str(state_folder)) if state_folder is not None else None
    url = os.environ.get("POSTROAD_NATS_URL")
    if chosen is None and url:
        token = os.environ.get("POSTROAD_NATS_TOKEN")
        options = SpoolOptions(servers=tuple(url.split(",")), token=token, role="command")
        return options, "is $POSTROAD_NATS_URL right?"
    state = StateFolder(chosen or default_state_folder())
    try:
        access = json.loads(state.access.read_text())
        options = SpoolOptions(servers=(access["url"],), token=access["token"], role="command")
    except (OSError, ValueError, KeyError) as error:
        raise Failure(
            f"no relay has run with the state folder {state.path};"
            " start one with `postroad up`, or name its folder with --state"
        ) from error
    return options, f"is `postroad up` running with the state folder {state.path}?"
