"""
A separate instance of Postfix, beside any Postfix that the machine already runs.

Its settings are its defaults, which sync each message before 250, except for its address, its
relayhost, its trusted networks and the certificate. It logs to syslog. Without a syslog, as in a
container, its log goes nowhere, which favours it. If it is missing, it is installed with apt,
without a configuration, so that no service starts.
"""

import asyncio
import os
import shutil
import subprocess
from pathlib import Path

from postroad.testing.peers.certificates import tls_pair
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.bench.processes import command_name
from postroad_harness.bench.servers.interface import Unavailable

_MAIN = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
myhostname = postfix.example
mydestination =
local_recipient_maps =
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
relayhost = [127.0.0.1]:{next_hop}
alias_maps =
smtpd_tls_security_level = may
smtpd_tls_chain_files = {folder}/tls.pem
"""
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
local unix - n n - - local
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
"""
_APT = 300  # seconds
_START = 30


class PostfixServer:
    """An instance of Postfix."""

    name = "postfix"
    settings = "its defaults (each message synced), relayhost"

    def __init__(self) -> None:
        self._port = 0
        self._pid = 0
        self._config = Path()

    async def start(self, folder: Path, next_hop: int) -> None:
        """Install it when it is missing, and start an instance in `folder`."""
        await asyncio.to_thread(self._start, folder, next_hop)

    def _start(self, folder: Path, next_hop: int) -> None:
        if os.getuid() != 0:
            raise Unavailable("an instance of Postfix is started by root")
        if not Path("/usr/sbin/postfix").exists():
            install()
        (self._port,) = free_ports(1)
        self._config = folder / "config"
        for name, mode in (("config", 0o755), ("queue", 0o755), ("data", 0o700)):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name).chmod(mode)
        shutil.chown(folder / "data", "postfix")
        certificate, key = tls_pair("postfix.example", "bench")
        (folder / "tls.pem").write_text(key + certificate)
        said = {"folder": folder, "next_hop": next_hop, "port": self._port}
        (self._config / "main.cf").write_text(_MAIN.format(**said))
        (self._config / "master.cf").write_text(_MASTER.format(**said))
        self._run("start")
        self._pid = int((folder / "queue/pid/master.pid").read_text())

    def _run(self, what: str) -> None:
        ran = subprocess.run(
            ["/usr/sbin/postfix", "-c", str(self._config), what],
            capture_output=True,
            timeout=_START,
            check=False,
        )
        if ran.returncode != 0:
            said = (ran.stderr or ran.stdout).decode(errors="replace").strip()
            raise Unavailable(f"postfix {what} failed: {said.splitlines()[-1] if said else ''}")

    def version(self) -> str:
        """Return what postconf says."""
        said = subprocess.run(
            ["/usr/sbin/postconf", "-c", str(self._config), "-h", "mail_version"],
            capture_output=True,
            check=True,
        )
        return said.stdout.decode().strip()

    @property
    def port(self) -> int:
        """Where its smtpd listens."""
        return self._port

    @property
    def pid(self) -> int:
        """Its master."""
        return self._pid

    def called(self, pid: int) -> str:
        """Return smtpd, cleanup, qmgr …"""
        return command_name(pid)

    async def stop(self) -> None:
        """End this instance at once."""
        if self._pid:
            await asyncio.to_thread(self._run, "abort")
            self._pid = 0


def install() -> None:
    """Install Postfix and its smtp-source and smtp-sink; Unavailable when that fails."""
    apt = shutil.which("apt-get")
    if apt is None:
        raise Unavailable("Postfix is not installed, and there is no apt-get to install it with")
    selection = b"postfix postfix/main_mailer_type select No configuration\n"
    steps = (
        (["debconf-set-selections"], selection),
        ([apt, "update"], b""),
        ([apt, "install", "--yes", "--no-install-recommends", "postfix"], b""),
    )
    for command, given in steps:
        try:
            subprocess.run(
                command,
                input=given,
                capture_output=True,
                check=True,
                timeout=_APT,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"Postfix cannot be installed: {error}") from error
