"""A real Synapse as notary: fedgate finds a key that only the notary still has."""

from __future__ import annotations

import json
import ssl
import urllib.request
from concurrent.futures import ThreadPoolExecutor
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

# Servers that are asked for at one time: more than have a query each, fewer than one client network
# may have looked up at once.
SEVERAL = 24

# A request that nobody need sign.
OPEN = Message("GET", "/_matrix/federation/v1/version", [])


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
        documents = _query(world, [origin])
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
            gate.expect_counted(verdict, 1)
    _check_several(report, world)


def _check_several(report: Report, world: World) -> None:
    """Many servers that only A still knows send a request at one time to a gate that has pinned A.

    B knows none of them, and what it answers is not the question.
    """
    servers = KeyServers(world.addresses, world.addresses.address(3), world.authority)
    several = [servers.serve(origins.honest(servers.name())) for _ in range(SEVERAL)]
    with report.step(f"the notary A answers for {SEVERAL} servers in one query"):
        documents = _query(world, several)
        answered = {document["server_name"] for document in documents}
        if answered != {origin.server_name for origin in several}:
            raise AssertionError(f"A answers for {sorted(answered)}")
    servers.close()
    with report.step(f"a gate asks A for {SEVERAL} servers in fewer queries"):
        gate, listen = _gate(world, "several", world.a.signing_key)
        connections = [_connection(world, listen) for _ in several]
        # Connected beforehand, so that the requests come at one time.
        for connection in connections:
            _expect(connection.exchange(OPEN).status, 200)
        messages = [_message(world, origin) for origin in several]
        with ThreadPoolExecutor(SEVERAL) as pool:
            list(pool.map(Connection.exchange, connections, messages))
        for connection in connections:
            connection.close()
        gate.expect_counted("allowed", 2 * SEVERAL)
        names = gate.metric('fedgate_key_query_names_total{source="notary"}')
        queries = gate.metric('fedgate_key_queries_total{result="answered",source="notary"}')
        if names != SEVERAL or not queries < SEVERAL:
            raise AssertionError(f"it asked for {names} names in {queries} queries")


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
    gate = world.start_gate(f"gate-{name}", placing)
    gate.process.wait_ready()
    return gate, listen


def _ask(world: World, origin: Origin, listen: str) -> int:
    """The status of a signed request for a profile, sent to `listen`."""
    connection = _connection(world, listen)
    try:
        return connection.exchange(_message(world, origin)).status
    finally:
        connection.close()


def _connection(world: World, listen: str) -> Connection:
    return Connection(listen, world.authority.ca_file, world.addresses.address(3))


def _message(world: World, origin: Origin) -> Message:
    """A signed request for a profile."""
    user = quote(f"@bob:{world.b.server_name}", safe="")
    request = Request("GET", f"/_matrix/federation/v1/query/profile?user_id={user}")
    signature = request.signature(origin.server_name, world.b.server_name, origin.key)
    credentials = Credentials(
        origin.server_name, key_id(origin.key), signature, world.b.server_name
    )
    return Message(request.method, request.target, [credentials.header()])


def _query(world: World, wanted: list[Origin]) -> list[dict]:
    """What A says of the keys of the servers `wanted` when it is asked as a notary."""
    criteria = {"minimum_valid_until_ts": 0}
    server_keys = {origin.server_name: {key_id(origin.key): criteria} for origin in wanted}
    request = urllib.request.Request(
        f"https://{world.a.server_name}/_matrix/key/v2/query",
        data=json.dumps({"server_keys": server_keys}).encode(),
        headers={"Content-Type": "application/json"},
    )
    tls = ssl.create_default_context(cafile=str(world.authority.ca_file))
    with urllib.request.urlopen(request, timeout=QUERY_SECONDS, context=tls) as response:
        return json.load(response)["server_keys"]


def _expect(status: int, wanted: int) -> None:
    if status != wanted:
        raise AssertionError(f"answered {status}, not {wanted}")
