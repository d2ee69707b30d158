"""
Whether a nats-server should go on running: the liveness probe of the chart's NATS pods.

A server that could not write keeps its stream frozen until it is restarted, and so does one whose
stream has lost what follows its replicas, as was seen after a SIGKILL. Only the whole of /healthz
tells of either. But that page is also bad while a server catches up with the others or a
stream has no leader, when a restart would make things worse. So the page's words decide, not its
status. A server that does not answer at all is not alive.

It runs in an image without Postroad: it needs Python's standard library and nothing else.
"""

import sys
import urllib.error
import urllib.request

_TIMEOUT = 5.0  # seconds
# What does not mend by itself. The second is also said for a moment while a stream begins.
_FOR_GOOD = ("write error", "monitor goroutine not running")


def why_restart(url: str) -> str | None:
    """Return why the server whose health page this is should be restarted, None if not."""
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT):  # noqa: S310 - a URL of the chart's
            return None
    except urllib.error.HTTPError as error:
        with error:
            said = error.read().decode(errors="replace")
        return said if any(words in said for words in _FOR_GOOD) else None
    except OSError as error:
        return f"no answer: {error}"


def main() -> int:
    """Look at the page named by the only argument; 0 when the server may go on."""
    reason = why_restart(sys.argv[1])
    if reason is not None:
        print(reason, file=sys.stderr)
    return 0 if reason is None else 1


if __name__ == "__main__":
    sys.exit(main())
