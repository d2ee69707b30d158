"""
What `helm test` runs: is everything of this release there, and does it answer?

Each argument is a URL: an http page that has to be good, or a port of ingress (smtp, submission,
smtps), whose greeting has to be 220, or 421 as long as no object is declared. Each is asked again
for a minute, since pods may still be starting. No mail is sent: nobody has said who may.
"""

import smtplib
import ssl
import sys
import time
import urllib.parse
import urllib.request

_PATIENCE = 60.0  # seconds for all of them together
_PAUSE = 1.0
_TIMEOUT = 5.0


def look(url: str) -> str:
    """Return what is there; OSError, or another exception of the libraries, when it is not good."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "http":
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 - ours
            return f"{answer.status}"
    try:
        with _session(parts) as session:
            session.quit()
        return "220"
    except smtplib.SMTPConnectError as error:
        code, text = error.smtp_code, error.smtp_error
    greeting = f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    if code != 421:
        raise OSError(f"greets with {greeting}")
    return greeting


def _session(parts: urllib.parse.SplitResult) -> smtplib.SMTP:
    host, port = parts.hostname or "", parts.port or 0
    if parts.scheme != "smtps":
        return smtplib.SMTP(host, port, timeout=_TIMEOUT)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return smtplib.SMTP_SSL(host, port, timeout=_TIMEOUT, context=context)


def main() -> int:
    """Look at every URL; 0 when all are good."""
    deadline = time.monotonic() + _PATIENCE
    failures = 0
    for url in sys.argv[1:]:
        while True:
            try:
                print(f"{url}: {look(url)}", flush=True)
            except (OSError, smtplib.SMTPException) as error:
                if time.monotonic() < deadline:
                    time.sleep(_PAUSE)
                    continue
                print(f"{url}: {error}", flush=True)
                failures += 1
            break
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
