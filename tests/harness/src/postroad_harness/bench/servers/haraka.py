"""
Haraka, installed with npm into the build folder, which relays to one next hop.

npm compares each package with its hash in `haraka_npm`. For another version, change package.json
there and run `npm install --package-lock-only`.

Its settings are those that `haraka -i` writes, which sync each message. A plugin of ten lines
accepts all recipients and sets the next hop; it replaces the plugins that need a real domain.
"""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

from postroad.testing.peers.certificates import tls_pair
from postroad.testing.queue.nats_server import free_ports
from postroad_harness.bench.processes import command_name
from postroad_harness.bench.servers.interface import Unavailable

_PACKAGES = Path(__file__).parent / "haraka_npm"  # its version, and the hash of each package
_NPM = 300  # seconds
_START = 20
_PLUGIN = """\
exports.register = function () {{
    this.register_hook('rcpt', 'take_all')
    this.register_hook('get_mx', 'one_way_out')
}}
exports.take_all = function (next, connection) {{
    connection.relaying = true
    next(OK)
}}
exports.one_way_out = function (next) {{
    next(OK, {{ priority: 0, exchange: '127.0.0.1', port: {next_hop} }})
}}
"""


class HarakaServer:
    """One Haraka."""

    name = "haraka"
    settings = "its defaults, one process"

    def __init__(self, installed: Path) -> None:
        self._installed = installed
        self._port = 0
        self._process: asyncio.subprocess.Process | None = None

    async def start(self, folder: Path, next_hop: int) -> None:
        """Install it when it is missing, and start it in `folder`."""
        script = self._installed / "node_modules/Haraka/bin/haraka"
        if not script.exists():
            await asyncio.to_thread(self._install)
        node = shutil.which("node")
        if node is None:
            raise Unavailable("there is no node to run Haraka with")
        (self._port,) = free_ports(1)
        self._log = folder / "log"
        own = folder / "instance"
        await asyncio.to_thread(self._write, [node, str(script)], own, next_hop)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(node, str(script), "-c", str(own)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self._until_listening()

    def _install(self) -> None:
        npm = shutil.which("npm")
        if npm is None:
            raise Unavailable("Haraka is not installed, and there is no npm to install it with")
        self._installed.mkdir(parents=True, exist_ok=True)
        for path in _PACKAGES.iterdir():
            shutil.copy(path, self._installed)
        command = [npm, "ci", "--no-audit", "--no-fund", "--omit=optional"]
        try:
            subprocess.run(
                [*command, "--prefix", str(self._installed)],
                capture_output=True,
                check=True,
                timeout=_NPM,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"Haraka cannot be installed: {error}") from error

    def _write(self, haraka: list[str], folder: Path, next_hop: int) -> None:
        subprocess.run([*haraka, "-i", str(folder)], capture_output=True, check=True)
        for name in ("plugins", "queue"):
            (folder / name).mkdir(exist_ok=True)
        certificate, key = tls_pair("haraka.example", "bench")
        config = {
            "me": "haraka.example\n",
            "smtp.ini": f"listen=127.0.0.1:{self._port}\n",
            "outbound.ini": "local_mx_ok=true\n",
            "plugins": "tls\nbench\n",
            "tls_key.pem": key,
            "tls_cert.pem": certificate,
        }
        for name, text in config.items():
            (folder / "config" / name).write_text(text)
        (folder / "plugins/bench.js").write_text(_PLUGIN.format(next_hop=next_hop))

    async def _until_listening(self) -> None:
        assert self._process is not None
        for _ in range(_START * 10):
            if self._process.returncode is not None:
                break
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:
                await asyncio.sleep(0.1)
                continue
            writer.close()
            return
        said = self._log.read_text(errors="replace").strip().splitlines()
        await self.stop()
        raise Unavailable(f"Haraka does not start: {said[-1] if said else 'it says nothing'}")

    def version(self) -> str:
        """Return what its package says."""
        package = self._installed / "node_modules/Haraka/package.json"
        return str(json.loads(package.read_text())["version"])

    @property
    def port(self) -> int:
        """Where it listens."""
        return self._port

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def called(self, pid: int) -> str:
        """Return the name of the program: node."""
        return command_name(pid)

    async def stop(self) -> None:
        """End it."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()
