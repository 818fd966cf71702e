#!/usr/bin/env python3
"""Makes the files of this folder with Synapse's own code: see README.md."""

import hashlib
import json
import random
from pathlib import Path

from canonicaljson import encode_canonical_json
from signedjson.key import decode_signing_key_base64, decode_verify_key_bytes
from signedjson.key import encode_verify_key_base64
from signedjson.sign import sign_json
from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import (
    add_hashes_and_signatures,
    check_event_content_hash,
    compute_content_hash,
    compute_event_reference_hash,
    compute_event_signature,
)
from synapse.crypto.keyring import Keyring
from synapse.federation.federation_base import (
    InvalidEventSignatureError,
    _check_sigs_on_pdu,
    event_from_pdu_json,
)
from synapse.storage.keys import FetchKeyResult
from synapse.synapse_rust.events import redact_event_dict
from unpaddedbase64 import encode_base64

NOW = 1_795_255_200_000
DAY = 24 * 60 * 60 * 1_000

# File, and how many events of which room versions.
FILES = {
    "versions-1-to-5.json": {"1": 12, "2": 10, "3": 10, "4": 10, "5": 12},
    "versions-6-to-7.json": {"6": 24, "7": 24},
    "version-8.json": {"8": 48},
    "versions-9-to-10.json": {"9": 24, "10": 24},
    "versions-11-to-12.json": {"11": 26, "12": 26},
}

# Server, key ID, and what its document says: valid_until_ts of current keys, expired_ts of old ones.
KEYS = [
    ("one.example", "ed25519:a_1", {"valid_until_ts": NOW + DAY}),
    ("one.example", "ed25519:old", {"expired_ts": NOW - 100 * DAY}),
    ("two.example:8448", "ed25519:b", {"valid_until_ts": NOW + DAY}),
    ("[2001:db8::3]", "ed25519:c+d", {"valid_until_ts": NOW - 10 * DAY}),
]


def signing_key(server, key_id):
    algorithm, version = key_id.split(":", 1)
    seed = hashlib.sha256(f"fedgate event vectors: {server} {key_id}".encode()).digest()
    return decode_signing_key_base64(algorithm, version, encode_base64(seed))


class Queue:
    """What gets keys for Synapse's keyring: the table above."""

    async def add_to_queue(self, request, key):
        found = {}
        for server, key_id, times in KEYS:
            if server == request.server_name and key_id in request.key_ids:
                until = times.get("valid_until_ts", times.get("expired_ts"))
                verify_key = signing_key(server, key_id).verify_key.encode()
                found[key_id] = FetchKeyResult(
                    verify_key=decode_verify_key_bytes(key_id, verify_key), valid_until_ts=until
                )
        return {request.server_name: found}


def keyring():
    ring = Keyring.__new__(Keyring)
    ring._is_mine_server_name = lambda name: False
    ring._fetch_keys_queue = Queue()
    return ring


def wait_for(coroutine):
    try:
        coroutine.send(None)
    except StopIteration:
        return
    raise AssertionError("nothing here waits")


class Maker:
    def __init__(self, version, seed):
        self.version = version
        self.number = int(version)
        self.rules = KNOWN_ROOM_VERSIONS[version]
        self.random = random.Random(seed)

    def hash(self):
        return encode_base64(self.random.randbytes(32), urlsafe=self.number >= 4)

    def reference(self):
        if self.number < 3:
            return [f"${self.random.randrange(10**12)}:one.example", {"sha256": self.hash()}]
        return "$" + self.hash()

    def word(self):
        alphabet = "abcxyz 0189_-./\\\"\n\t\x01\x1f\x7f\u00e9\u20ac\ufb33\U0001f600"
        return "".join(self.random.choice(alphabet) for _ in range(self.random.randrange(12)))

    def value(self, depth=0):
        kind = self.random.randrange(8 if depth < 3 else 5)
        if kind == 0:
            return self.random.choice([True, False, None])
        if kind == 1:
            return self.random.choice([0, -1, 1, 50, 2**53 - 1, -(2**53) + 1])
        if kind == 2 and self.number < 6:
            # Room versions before 6 have them.
            return self.random.choice([1.5, 1e20, -0.25, 2**53, -(2**60), 1e-7, 100.0])
        if kind <= 4:
            return self.word()
        if kind == 5:
            return [self.value(depth + 1) for _ in range(self.random.randrange(4))]
        return self.members(depth + 1)

    def members(self, depth=0):
        return {self.word(): self.value(depth) for _ in range(self.random.randrange(5))}

    def content(self, event_type):
        user = "@admin:two.example:8448"
        known = {
            "m.room.aliases": {"aliases": ["#a:one.example"]},
            "m.room.create": {"creator": "@u:one.example", "room_version": self.version},
            "m.room.history_visibility": {"history_visibility": "shared"},
            "m.room.join_rules": {
                "join_rule": "restricted",
                "allow": [{"type": "m.room_membership", "room_id": "!other:one.example"}],
            },
            "m.room.member": {"membership": "join", "displayname": self.word()},
            "restricted": {"membership": "join", "join_authorised_via_users_server": user},
            "not a join": {"membership": "leave", "join_authorised_via_users_server": user},
            "third party": {
                "membership": "invite",
                "third_party_invite": self.random.choice(
                    [
                        {"display_name": "b...", "signed": {"token": "x", "mxid": user}},
                        {"display_name": "b..."},
                        {},
                    ]
                ),
            },
            "third party oddity": {"membership": "invite", "third_party_invite": [1]},
            "m.room.message": {"msgtype": "m.text", "body": self.word()},
            "m.room.name": {"name": self.word()},
            "m.room.power_levels": {
                "ban": 50,
                "events": {"m.room.name": 50, "a": 0},
                "events_default": 0,
                "invite": 0,
                "kick": 50,
                "notifications": {"room": 50},
                "redact": 50,
                "state_default": 50,
                "users": {"@u:one.example": 100, user: 50},
                "users_default": 0,
            },
            "m.room.redaction": {"redacts": "$" + self.hash(), "reason": self.word()},
        }[event_type]
        return {**known, **{f"+{key}": value for key, value in self.members().items()}}

    def event(self, kind):
        event_type = "m.room.member" if kind in MEMBERSHIPS else kind
        server = self.random.choice(["one.example", "two.example:8448", "one.example"])
        event = {
            "auth_events": [self.reference() for _ in range(self.random.randrange(4))],
            "content": self.content(kind),
            "depth": self.random.randrange(1, 10_000),
            "origin_server_ts": NOW - self.random.randrange(50 * DAY),
            "prev_events": [self.reference() for _ in range(1 + self.random.randrange(3))],
            "room_id": "!room:one.example" if self.number < 12 else "!" + self.hash(),
            "sender": f"@u:{server}",
            "type": event_type,
        }
        if self.number < 3:
            event["event_id"] = f"${self.random.randrange(10**12)}:{server}"
        if kind == "m.room.create":
            event["auth_events"] = []
            event["prev_events"] = []
            event["state_key"] = ""
            if self.number >= 12:
                del event["room_id"]
        elif event_type == "m.room.member":
            event["state_key"] = event["sender"]
        elif event_type not in ("m.room.message", "m.room.redaction"):
            event["state_key"] = ""
        extra = {
            "origin": server,
            "membership": "join",
            "prev_state": [],
            "redacts": "$" + self.hash(),
            "unsigned": {"age": 5, "prev_content": self.members()},
            "org.example.\u00e9": self.value(),
        }
        for key, value in extra.items():
            if self.random.random() < 0.5:
                event[key] = value
        return event, server

    def sign(self, event, server, key_id):
        made = compute_event_signature(self.rules, event, server, signing_key(server, key_id))
        event.setdefault("signatures", {}).setdefault(server, {}).update(made[server])


MEMBERSHIPS = ["m.room.member", "restricted", "not a join", "third party", "third party oddity"]
KINDS = [
    "m.room.message",
    "m.room.member",
    "m.room.create",
    "restricted",
    "m.room.power_levels",
    "third party",
    "m.room.join_rules",
    "m.room.redaction",
    "m.room.aliases",
    "not a join",
    "m.room.history_visibility",
    "third party oddity",
    "m.room.name",
]

DEFAULT_KEYS = {server: key_id for server, key_id, _ in reversed(KEYS)}


def broken(signature):
    return ("B" if signature[0] != "B" else "C") + signature[1:]


def make(version, at):
    """One event, as a dictionary, and what was done to it."""
    maker = Maker(version, f"{version} {at}")
    kind = KINDS[at % len(KINDS)]
    event, server = maker.event(kind)
    flaw = maker.random.choice(FLAWS)
    if flaw == "later than the old key" and maker.number < 5:
        # Synapse looks at no times before version 5.
        flaw = "by an old key"
    if flaw == "by an old key":
        event["sender"] = event["sender"].replace(server, "one.example")
        if "event_id" in event:
            event["event_id"] = event["event_id"].replace(server, "one.example")
        server = "one.example"
        event["origin_server_ts"] = NOW - 100 * DAY
    if flaw == "later than the old key":
        event["sender"] = "@u:one.example"
        server = "one.example"
        event["origin_server_ts"] = NOW - 100 * DAY + 1
    if flaw == "a copy that ends too early":
        event["sender"] = "@u:[2001:db8::3]"
        server = "[2001:db8::3]"
        if "event_id" in event:
            event["event_id"] = "$x:[2001:db8::3]"
        event["origin_server_ts"] = NOW - 10 * DAY + maker.random.randrange(2)
    if flaw == "the ID of another server" and "event_id" in event:
        event["event_id"] = "$x:two.example:8448"
    key_id = DEFAULT_KEYS[server]
    if flaw in ("by an old key", "later than the old key"):
        key_id = "ed25519:old"
    add_hashes_and_signatures(maker.rules, event, server, signing_key(server, key_id))
    if kind == "restricted" and flaw != "unsigned":
        maker.sign(event, "two.example:8448", "ed25519:b")
    if flaw == "the ID of another server" and maker.random.random() < 0.5:
        maker.sign(event, "two.example:8448", "ed25519:b")
    mine = event["signatures"][server]
    if flaw == "altered content":
        event["content"]["+altered"] = 1
    elif flaw == "altered elsewhere":
        event["depth"] += 1
    elif flaw == "broken signature":
        mine[key_id] = broken(mine[key_id])
    elif flaw == "short signature":
        mine[key_id] = mine[key_id][:-3]
    elif flaw == "unsigned":
        del event["signatures"][server]
    elif flaw == "an unknown key too":
        mine["ed25519:nobody"] = mine[key_id]
        mine["ed25519:policy_server"] = broken(mine[key_id])
        mine["rsa:1"] = "abc"
    elif flaw == "an unknown key only":
        event["signatures"][server] = {"ed25519:nobody": mine[key_id]}
    elif flaw == "others too":
        event["signatures"]["three.example"] = {"ed25519:1": broken(mine[key_id])}
    elif flaw == "another hash":
        event["hashes"]["sha256"] = encode_base64(b"\x00" * 32)
    return maker, f"{kind}, {flaw}", event


FLAWS = [
    "as it should be",
    "as it should be",
    "as it should be",
    "altered content",
    "altered elsewhere",
    "broken signature",
    "short signature",
    "unsigned",
    "an unknown key too",
    "an unknown key only",
    "others too",
    "another hash",
    "by an old key",
    "later than the old key",
    "a copy that ends too early",
    "the ID of another server",
]


def respelt(maker, value):
    """The same JSON spelt another way: order of members, white space, escapes."""
    space = maker.random.choice(["", "", " ", "\n  ", "\t"])

    def spell(value):
        if isinstance(value, dict):
            entries = list(value.items())
            maker.random.shuffle(entries)
            inner = f",{space}".join(
                f"{spell(key)}{space}:{space}{spell(value)}" for key, value in entries
            )
            return "{" + space + inner + space + "}"
        if isinstance(value, list):
            return "[" + space + f",{space}".join(map(spell, value)) + space + "]"
        if value == 0 and type(value) is int:
            return maker.random.choice(["0", "-0"])
        return json.dumps(value, ensure_ascii=maker.random.random() < 0.3)

    return spell(value)


def judged(maker, event):
    """What Synapse makes of an event it receives."""
    try:
        received = event_from_pdu_json(json.loads(json.dumps(event)), maker.rules)
        wait_for(_check_sigs_on_pdu(keyring(), maker.rules, received))
    except InvalidEventSignatureError:
        return "refused"
    return "good" if check_event_content_hash(received) else "redacted"


def vector(version, at):
    maker, what, event = make(version, at)
    text = encode_canonical_json(event).decode()
    if at % 2:
        text = respelt(maker, event)
    parsed = json.loads(text)
    redacted = redact_event_dict(maker.rules, parsed)
    redacted.pop("unsigned", None)
    received = event_from_pdu_json(json.loads(text), maker.rules)
    return {
        "what": what,
        "room_version": version,
        "text": text,
        "content_hash": encode_base64(compute_content_hash(parsed, hashlib.sha256)[1]),
        "reference_hash": encode_base64(compute_event_reference_hash(received)[1]),
        "event_id": received.event_id,
        "room_id": received.room_id,
        "redacted": encode_canonical_json(redacted).decode(),
        "verdict": judged(maker, parsed),
    }


def documents():
    """The key documents of the servers."""
    made = {}
    for server, key_id, times in KEYS:
        key = signing_key(server, key_id)
        document = made.setdefault(
            server, {"server_name": server, "verify_keys": {}, "old_verify_keys": {}}
        )
        entry = {"key": encode_verify_key_base64(key.verify_key)}
        if "expired_ts" in times:
            document["old_verify_keys"][key_id] = {**entry, **times}
        else:
            document["verify_keys"][key_id] = entry
            document.update(times)
    for server, document in made.items():
        sign_json(document, server, signing_key(server, DEFAULT_KEYS[server]))
    return made


def main():
    folder = Path(__file__).parent
    (folder / "documents.json").write_text(json.dumps(documents(), indent=1) + "\n")
    keys = [
        {
            "server": server,
            "id": key_id,
            "key": encode_verify_key_base64(signing_key(server, key_id).verify_key),
            **times,
        }
        for server, key_id, times in KEYS
    ]
    for name, counts in FILES.items():
        events = []
        for version, count in counts.items():
            events.extend(vector(version, at) for at in range(count))
        document = {"now": NOW, "keys": keys, "events": events}
        (folder / name).write_text(json.dumps(document, indent=1, ensure_ascii=True) + "\n")
        verdicts = [event["verdict"] for event in events]
        print(name, {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))})


main()
