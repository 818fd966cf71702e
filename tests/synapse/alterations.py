"""Events of real rooms, altered on their way: what fedgate says of each."""

from __future__ import annotations

import copy
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from synapse.api.room_versions import KNOWN_ROOM_VERSIONS
from synapse.crypto.event_signing import add_hashes_and_signatures
from synapse.events import make_event_from_dict

from gate import Gate
from homeserver import Homeserver
from peers import Peer
from report import Report

if TYPE_CHECKING:
    from events import Pair

LOG_SECONDS = 20
YEAR_MS = 365 * 24 * 60 * 60 * 1000
# The first version that holds the validity of a key against an event's time.
STRICT_KEY_VALIDITY = 5

Alter = Callable[[dict, str, Homeserver], None]


@dataclass(frozen=True)
class Alteration:
    """One change of an event, in place, and the check that sees it."""

    name: str
    alter: Alter
    check: str
    # The first room version in which it makes the event bad.
    since: int = 1


def alter_content(event: dict, *_: object) -> None:
    """In what a redaction removes: it is signed as well as before, and not what was hashed."""
    body = event["content"]["body"]
    event["content"]["body"] = ("a" if body[0] == "b" else "b") + body[1:]


def alter_depth(event: dict, *_: object) -> None:
    event["depth"] ^= 1


def alter_signature(event: dict, _: str, author: Homeserver) -> None:
    signatures = event["signatures"][author.server_name]
    signature = signatures[author.key_id]
    signatures[author.key_id] = ("B" if signature[0] == "A" else "A") + signature[1:]


def date_after_key(event: dict, version: str, author: Homeserver) -> None:
    """By its author, with a right hash and a right signature."""
    event["origin_server_ts"] = int(time.time() * 1000) + YEAR_MS
    del event["hashes"], event["signatures"]
    room_version, name = KNOWN_ROOM_VERSIONS[version], author.server_name
    add_hashes_and_signatures(room_version, event, name, author.signing_key)


CONTENT = Alteration("a letter of its text", alter_content, "content_hash")
DEPTH = Alteration("a bit of its depth", alter_depth, "signatures")
SIGNATURE = Alteration("a letter of its signature", alter_signature, "signatures")
DATE = Alteration("its date, past its key's", date_after_key, "signatures", STRICT_KEY_VALIDITY)
ALTERATIONS = (CONTENT, DEPTH, SIGNATURE, DATE)


@dataclass(frozen=True)
class Sample:
    """An event of a room of this version, as its author sends it."""

    event: dict
    version: str
    author: Homeserver

    def altered(self, alteration: Alteration) -> dict:
        event = copy.deepcopy(self.event)
        alteration.alter(event, self.version, self.author)
        return event

    def id_of(self, event: dict) -> str:
        """As the reference implementation makes it."""
        return make_event_from_dict(
            copy.deepcopy(event), KNOWN_ROOM_VERSIONS[self.version]
        ).event_id


def send_altered(report: Report, pair: Pair, samples: list[Sample]) -> None:
    """Each event as it was, and then altered in each way, goes to C in a good request."""
    for sample in samples:
        peer = pair.peer(sample.author, pair.c)
        what = f"an event of room version {sample.version}"
        with report.step(f"{what}, as it was, is good"):
            _expect(pair.gate_c, peer, sample, sample.event, "")
        for alteration in ALTERATIONS:
            check = alteration.check if int(sample.version) >= alteration.since else ""
            with report.step(f"{what}, altered in {alteration.name}, is {check or 'good'}"):
                _expect(pair.gate_c, peer, sample, sample.altered(alteration), check)


def _expect(gate: Gate, peer: Peer, sample: Sample, event: dict, bad_check: str) -> None:
    """It goes on to the homeserver; with one check failed, if any, which is told of."""
    before, told = gate.events_counted(), len(gate.bad_events_logged())
    peer.send(f"altered{secrets.token_hex(8)}", [event])
    counted = gate.events_counted() - before
    bad = {key[::2]: count for key, count in counted.items() if key[1] == "bad"}
    wanted = {(bad_check, sample.version): 1} if bad_check else {}
    if bad != wanted:
        raise AssertionError(f"counted {dict(counted)}, not {wanted} as bad")
    if not bad_check and counted["signatures", "good", sample.version] != 1:
        raise AssertionError(f"counted {dict(counted)}")
    if bad_check:
        gate.process.wait_line(lambda _: len(gate.bad_events_logged()) > told, LOG_SECONDS)
    lines = gate.bad_events_logged()[told:]
    fields = {
        "event_id": sample.id_of(event),
        "room_id": event["room_id"],
        "room_version": sample.version,
        "origin": sample.author.server_name,
        "check": bad_check,
    }
    found = [{name: line.get(name) for name in fields} for line in lines]
    if found != ([fields] if bad_check else []):
        raise AssertionError(f"logged {lines}, not {fields}")
