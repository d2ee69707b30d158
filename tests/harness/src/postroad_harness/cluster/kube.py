"""
Runs `kubectl` and `helm` against the current KUBECONFIG, as a user at a terminal does.

The tests run the same commands that users type, and do not use the API directly. If kubectl cannot
wait for something, `until` polls for it.
"""

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

Object = dict[str, Any]
T = TypeVar("T")

_LOOK = 0.5  # seconds between two polls


class CommandFailed(AssertionError):
    """A command ended with another code than 0, or not in time."""


@dataclass(frozen=True, slots=True)
class Output:
    """The output of a command."""

    code: int
    out: str
    err: str


async def run(
    *words: str, stdin: str | None = None, seconds: float = 60, check: bool = True
) -> Output:
    """Run a command and return its output; CommandFailed, with the output, if it failed."""
    process = await asyncio.create_subprocess_exec(
        *words,
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate(stdin.encode() if stdin is not None else None)
    except TimeoutError as error:
        raise CommandFailed(f"{' '.join(words)}: not done in {seconds:.0f} s") from error
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    output = Output(process.returncode or 0, out.decode(), err.decode())
    if check and output.code:
        raise CommandFailed(f"{' '.join(words)}: exit code {output.code}: {output.err}{output.out}")
    return output


async def kubectl(
    *words: str, stdin: str | None = None, seconds: float = 60, check: bool = True
) -> Output:
    """Run kubectl."""
    return await run("kubectl", *words, stdin=stdin, seconds=seconds, check=check)


async def helm(*words: str, stdin: str | None = None, seconds: float = 300) -> Output:
    """Run the helm that $POSTROAD_E2E_HELM names, else the one on PATH."""
    return await run(
        os.environ.get("POSTROAD_E2E_HELM", "helm"), *words, stdin=stdin, seconds=seconds
    )


async def apply(*objects: Mapping[str, Any], seconds: float = 60) -> None:
    """Apply objects as `kubectl apply -f` does; CommandFailed says what was refused."""
    await kubectl("apply", "-f", "-", stdin=listed(objects), seconds=seconds)


def listed(objects: Sequence[Mapping[str, Any]]) -> str:
    """Return objects as one document."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})


async def get(*words: str, seconds: float = 60) -> Object:
    """Return what `kubectl get … -o json` says."""
    output = await kubectl("get", *words, "-o", "json", seconds=seconds)
    found: Object = json.loads(output.out)
    return found


async def items(*words: str, seconds: float = 60) -> list[Object]:
    """Return the objects of a `kubectl get` of several."""
    found: list[Object] = (await get(*words, seconds=seconds))["items"]
    return found


async def raw(path: str, *, seconds: float = 10) -> str:
    """Return a page of the API server, which also leads to the HTTP ports of pods."""
    return (await kubectl("get", "--raw", path, seconds=seconds)).out


def pod_page(namespace: str, pod: str, port: int, page: str) -> str:
    """Return the path of a pod's HTTP page, for `raw`."""
    return f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/{page}"


async def until(
    what: str, look: Callable[[], Awaitable[T | None]], *, seconds: float, every: float = _LOOK
) -> T:
    """Poll until the result is neither None nor False, and return it."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = await look()
                if found is not None and found is not False:
                    return found
                await asyncio.sleep(every)
    except TimeoutError as error:
        raise CommandFailed(f"{what}: not within {seconds:.0f} s") from error


def condition(thing: Object, kind: str) -> Object:
    """Return one of an object's conditions, {} when it has none of that type."""
    for each in thing.get("status", {}).get("conditions", []):
        if each["type"] == kind:
            found: Object = each
            return found
    return {}


def is_ready(pod: Object) -> bool:
    """Return whether a pod is ready and not being deleted."""
    leaving = "deletionTimestamp" in pod["metadata"]
    return not leaving and condition(pod, "Ready").get("status") == "True"
