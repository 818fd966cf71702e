"""fedgate as the only key server of a Synapse: what is down, rotated, or pinned wrong.

A is behind a gate of its own that publishes A's keys and answers for those of others. A trusts it
alone, by the key that `fedgate notary keygen` made. B talks for itself. C is a third server, which
trusts the gate as well.
"""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from signedjson.key import generate_signing_key, get_verify_key
from signedjson.sign import SignatureVerifyException, verify_signed_json

from client import Client, NotSeen
from gate import Gate, Placing
from homeserver import FederationListener, Homeserver
from origins import KEY_PATH, key_id, public_key
from report import Report
from wire import Connection, Credentials, Message, Request

if TYPE_CHECKING:
    from main import World

ANSWER_SECONDS = 30
LOG_SECONDS = 20
HISTORY_PAGES_MAX = 10

# Where a Synapse on loopback connects from.
OWN_CLIENTS = ["127.0.0.1/32"]


def check_key_server(report: Report, world: World) -> None:
    KeyServerCase(report, world).run()


class KeyServerCase:
    """Each step builds on those before."""

    def __init__(self, report: Report, world: World) -> None:
        self.report = report
        self.world = world

    def run(self) -> None:
        step = self.report.step
        with step("A, whose only key server is its gate, and B and C start"):
            self._start()
        with step("A and B talk in a room of B's"):
            self._talk()
        with step("B speaks in a room of C's"):
            self._speak_before_a_comes()
        with step("B's key document was fetched once, for A, for C and for the gate"):
            self._expect_one_fetch(self.gate)
            self._expect_givers(self.a)
        with step("B has a new key: A takes it from the gate, which fetched it once"):
            self._rotate()
        with step("B is gone, and A, which forgot its keys, still verifies what B has said"):
            self._verify_old_events()
        with step("C with a wrong key pinned for the gate refuses its answers"):
            self._pin_wrong()
        with step("C with the right key pinned believes them"):
            self._pin_right()
        with step("the gate publishes for A what A itself would"):
            self._compare_documents()
        with step("with A gone, one gate publishes what it has kept, another what it signs"):
            self._publish_without_a()
        with step("B, which forgot its keys, verifies A while A is gone"):
            self._verify_a()

    # -- the servers -------------------------------------------------------------------------

    def _start(self) -> None:
        world = self.world
        a_address, b_address, c_address = (world.addresses.address(host) for host in (4, 5, 6))
        a_name = f"{a_address}:{world.addresses.free_port(a_address)}"
        self.notary_key_file = world.folder / "notary.key"
        self.keys = keygen(world.binary, self.notary_key_file, a_name)
        self.trusted = self.keys["settings"]["synapse"]
        # The key before the one A has, of which both A and its gate know.
        self.gone = generate_signing_key("a_gone")
        gone = {key_id(self.gone): {"key": public_key(self.gone), "expired_ts": 1}}
        listener = FederationListener(
            address=a_address, port=world.addresses.free_port(a_address)
        )
        self.a_url = f"http://{a_address}:{listener.port}"
        more = {**self.trusted, "old_signing_keys": gone}
        self.a = world.homeserver("key-a", a_name, listener, more)
        self.b = self._with_tls("key-b", b_address, {})
        self.c = self._with_tls("key-c", c_address, self.trusted)
        certificate, private_key = world.authority.issue(a_address)
        self.placing = Placing(
            a_name,
            self.a_url,
            certificate,
            private_key,
            world.authority.ca_file,
            f"{a_address}:{world.addresses.free_port(a_address)}",
            sources=("origin",),
            more=self._own_settings(),
        )
        self.gate = world.start_gate("gate-key-a", self.placing)
        for server in (self.a, self.b, self.c, self.gate):
            server.process.wait_ready()
        users = ((self.a, "alice"), (self.b, "bob"), (self.c, "carol"))
        with ThreadPoolExecutor(len(users)) as pool:
            self.alice, self.bob, self.carol = pool.map(lambda user: Client(*user), users)

    def _with_tls(self, name: str, address: str, more: dict) -> Homeserver:
        port = self.world.addresses.free_port(address)
        return self.world.homeserver(
            name, f"{address}:{port}", self.world.tls(address, port), more
        )

    def _own_settings(self) -> str:
        old = f"{public_key(self.gone)} 1"
        return f"""
[key_server]
publish = "own"
queries = "answer"
signing_key_file = {json.dumps(str(self.a.signing_key_file))}
notary_key_file = {json.dumps(str(self.notary_key_file))}
old_verify_keys = {{ {json.dumps(key_id(self.gone))} = {json.dumps(old)} }}
own_clients = {json.dumps(OWN_CLIENTS)}
"""

    # -- the steps ---------------------------------------------------------------------------

    def _talk(self) -> None:
        self.room = self.bob.create_room(preset="public_chat")
        self.alice.join(self.room, self.b.server_name)
        self.bob.wait_member(self.room, self.alice.user_id, "join")
        self.alice.wait_member(self.room, self.alice.user_id, "join")
        _say(self.bob, "from B", self.room, self.alice)
        _say(self.alice, "from A", self.room, self.bob)

    def _speak_before_a_comes(self) -> None:
        self.old_room = self.carol.create_room(preset="public_chat")
        self.bob.join(self.old_room, self.c.server_name)
        self.carol.wait_member(self.old_room, self.bob.user_id, "join")
        _say(self.bob, "before A came", self.old_room, self.carol)

    def _expect_one_fetch(self, gate: Gate) -> None:
        """By the log of B, since it started, and by what the gate has answered."""
        agents = [
            line.agent for line in self.b.access_lines() if line.target.startswith(KEY_PATH)
        ]
        if len(agents) != 1 or not agents[0].startswith("fedgate"):
            raise AssertionError(f"B was asked for its keys by {agents}")
        if gate.metric("fedgate_notary_documents_total") < 1:
            raise AssertionError("nobody was given a document by the gate")

    def _expect_givers(self, homeserver: Homeserver) -> None:
        givers = homeserver.key_givers(self.b.server_name)
        if givers != {self.a.server_name}:
            raise AssertionError(f"{homeserver.name} has B's keys from {givers}")

    def _rotate(self) -> None:
        self.world.stop(self.b.process)
        self.world.restart(self.b, self.b.rotate())
        _say(self.bob, "signed with the new key", self.room, self.alice)
        _say(self.alice, "to the new key", self.room, self.bob)
        self._expect_one_fetch(self.gate)
        self._expect_givers(self.a)

    def _verify_old_events(self) -> None:
        """A learns from C of B's being in the room, and of what it said there."""
        self.world.stop(self.b.process)
        self.world.stop(self.a.process)
        self.a.forget_keys()
        self.world.restart(self.a, {})
        if givers := self.a.key_givers(self.b.server_name):
            raise AssertionError(f"A has kept keys of {givers}")
        self.alice.join(self.old_room, self.c.server_name)
        _find_in_history(self.alice, self.old_room, "before A came")
        self._expect_givers(self.a)

    def _pin_wrong(self) -> None:
        wrong = public_key(generate_signing_key("any"))
        notary = self.trusted["trusted_key_servers"][0]
        pinned = {**notary, "verify_keys": {id: wrong for id in notary["verify_keys"]}}
        self._restart_c({"trusted_key_servers": [pinned]})
        self._expect_status(self.c, self.b, 401)
        said = f"SignatureVerifyException Unable to verify signature for {self.a.server_name}"
        if not self.c.process.wait_line(lambda line: said in line, LOG_SECONDS):
            raise AssertionError("C's log does not say that the notary's signature is wrong")
        if givers := self.c.key_givers(self.b.server_name):
            raise AssertionError(f"C has B's keys from {givers}")

    def _pin_right(self) -> None:
        self._restart_c(self.trusted)
        self._expect_status(self.c, self.b, 200)
        self._expect_givers(self.c)

    def _restart_c(self, changes: dict) -> None:
        self.world.stop(self.c.process)
        self.c.forget_keys()
        self.world.restart(self.c, changes)

    def _compare_documents(self) -> None:
        own, published = self._document(self.a_url), self._published(self.a.server_name)
        for document in (own, published):
            document.pop("valid_until_ts")
            document.pop("signatures")
        if own != published:
            raise AssertionError(f"A has {own}, the gate {published}")

    def _publish_without_a(self) -> None:
        address = self.world.addresses.address(4)
        listen, admin = (f"{address}:{self.world.addresses.free_port(address)}" for _ in range(2))
        placing = replace(
            self.placing, listen=listen, admin=admin, more='[key_server]\npublish = "cached"\n'
        )
        cached = self.world.start_gate("gate-key-a-cached", placing)
        cached.process.wait_ready()
        before = self._published(listen)
        self.world.stop(self.a.process)
        if (after := self._published(listen)) != before:
            raise AssertionError(f"published {before}, and then {after}")
        self._published(self.a.server_name)

    def _verify_a(self) -> None:
        self.b.forget_keys()
        self.world.restart(self.b, {})
        self._expect_status(self.b, self.a, 200)
        if (givers := self.b.key_givers(self.a.server_name)) != {self.a.server_name}:
            raise AssertionError(f"B has A's keys from {givers}")

    # -- requests ----------------------------------------------------------------------------

    def _expect_status(self, destination: Homeserver, origin: Homeserver, wanted: int) -> None:
        """What `destination` answers to a question signed with the key of `origin`."""
        user = {"key-b": self.bob, "key-c": self.carol}[destination.name].user_id
        target = f"/_matrix/federation/v1/query/profile?user_id={quote(user, safe='')}"
        signature = Request("GET", target).signature(
            origin.server_name, destination.server_name, origin.signing_key
        )
        credentials = Credentials(
            origin.server_name, origin.key_id, signature, destination.server_name
        )
        connection = Connection(
            destination.server_name, self.world.authority.ca_file, self.world.addresses.address(3)
        )
        try:
            answer = connection.exchange(Message("GET", target, [credentials.header()]))
        finally:
            connection.close()
        if answer.status != wanted:
            raise AssertionError(f"answered {answer.status}, not {wanted}: {answer.body!r}")

    def _published(self, name: str) -> dict:
        """The document published at `name`, which must be signed with A's key."""
        document = self._document(f"https://{name}")
        try:
            verify_signed_json(
                document, self.a.server_name, get_verify_key(self.a.signing_key)
            )
        except SignatureVerifyException as error:
            raise AssertionError(f"{document}: {error}") from error
        return document

    def _document(self, url: str) -> dict:
        tls = ssl.create_default_context(cafile=str(self.world.authority.ca_file))
        with urllib.request.urlopen(url + KEY_PATH, timeout=ANSWER_SECONDS, context=tls) as answer:
            return json.load(answer)


def keygen(binary: Path, file: Path, server_name: str) -> dict:
    """Makes a notary's key as an operator does; what others need to trust it."""
    argv = [binary, "notary", "keygen", "--out", file, "--server-name", server_name, "--json"]
    made = subprocess.run(argv, check=True, stdout=subprocess.PIPE)
    return json.loads(made.stdout)


def _say(sender: Client, text: str, room: str, reader: Client) -> None:
    reader.wait_text(room, sender.send_text(room, text), text)


def _find_in_history(reader: Client, room: str, wanted: str) -> None:
    start = None
    for _ in range(HISTORY_PAGES_MAX):
        events, start = reader.messages_before(room, start)
        if any(event["content"].get("body") == wanted for event in events):
            return
        if start is None:
            break
    raise NotSeen(f"history lacks {wanted!r}")
