"""A real Synapse as notary: fedgate finds a key that only the notary still has."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import quote

import origins
from origins import KeyServers, Origin, key_id, public_key
from report import Report
from wire import Connection, Credentials, Message, Request

if TYPE_CHECKING:
    from main import World

QUERY_SECONDS = 30


def check_notary(report: Report, world: World) -> None:
    """A third server is known to A, and to B; then it goes away, and a new gate stands before B.

    The new gate asks the origin, which is gone, and A, whose key it has pinned. A gate that has
    pinned another key for A finds nobody to ask, and says 503.
    """
    address = world.addresses.address(3)
    servers = KeyServers(world.addresses, address, world.authority)
    origin = servers.serve(origins.honest(servers.name()))
    with report.step("B hears of the third server"):
        _expect(_ask(world, origin, world.b.server_name), 200)
    with report.step("the notary A has fetched its key"):
        documents = _query(world, origin)
        if not documents or world.a.server_name not in documents[0]["signatures"]:
            raise AssertionError(f"A answers with {documents}")
    servers.close()
    pinned = world.a.signing_key
    for name, key, status, verdict in (
        ("right", pinned, 200, "allowed"),
        ("wrong", origin.key, 503, "refused"),
    ):
        with report.step(f"a gate with the {name} pin for A answers {status}"):
            gate, listen = _gate(world, name, key)
            _expect(_ask(world, origin, listen), status)
            counted = gate.requests_counted()
            if counted != Counter({verdict: 1}):
                raise AssertionError(f"it counted {dict(counted)}")


def _gate(world: World, name: str, key: object):
    """A further gate before B, which has the notary A with `key` pinned and knows no keys."""
    address = world.addresses.address(2)
    listen = f"{address}:{world.addresses.free_port(address)}"
    quoted = json.dumps
    notary = f"""
[[notaries]]
server_name = {quoted(world.a.server_name)}
verify_keys = {{ {quoted(key_id(world.a.signing_key))} = {quoted(public_key(key))} }}
"""
    placing = replace(
        world.placing,
        listen=listen,
        admin=f"{address}:{world.addresses.free_port(address)}",
        sources=("origin", "notaries"),
        more=notary,
    )
    gate = world.start_gate(f"gate-{name}-pin", placing)
    gate.process.wait_ready()
    return gate, listen


def _ask(world: World, origin: Origin, listen: str) -> int:
    """The status of a signed request for a profile, sent to `listen`."""
    user = quote(f"@bob:{world.b.server_name}", safe="")
    request = Request("GET", f"/_matrix/federation/v1/query/profile?user_id={user}")
    signature = request.signature(origin.server_name, world.b.server_name, origin.key)
    credentials = Credentials(
        origin.server_name, key_id(origin.key), signature, world.b.server_name
    )
    message = Message(request.method, request.target, [credentials.header()])
    connection = Connection(listen, world.authority.ca_file, world.addresses.address(3))
    try:
        return connection.exchange(message).status
    finally:
        connection.close()


def _query(world: World, origin: Origin) -> list[dict]:
    """What A says of the keys of `origin` when it is asked as a notary."""
    wanted = {key_id(origin.key): {"minimum_valid_until_ts": 0}}
    request = urllib.request.Request(
        f"https://{world.a.server_name}/_matrix/key/v2/query",
        data=json.dumps({"server_keys": {origin.server_name: wanted}}).encode(),
        headers={"Content-Type": "application/json"},
    )
    tls = ssl.create_default_context(cafile=str(world.authority.ca_file))
    with urllib.request.urlopen(request, timeout=QUERY_SECONDS, context=tls) as response:
        return json.load(response)["server_keys"]


def _expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise AssertionError(f"answered {status}, not {wanted}")
