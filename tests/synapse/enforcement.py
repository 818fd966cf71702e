"""A gate that enforces what it finds of events, before a real homeserver."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from alterations import CONTENT, DEPTH, SIGNATURE, Sample
from client import Client
from gate import Gate
from peers import Peer
from report import Report

if TYPE_CHECKING:
    from events import Pair

VERSION = "11"


def check_enforced(report: Report, pair: Pair, samples: list[Sample]) -> None:
    """C is behind a gate that answers for it where nothing in a transaction is good."""
    with report.step("enforced: C and D talk"):
        sample = _talk(pair)
    case = Enforcement(pair, pair.gate_c, pair.peer(pair.d, pair.c))
    bad = [sample.altered(DEPTH), sample.altered(SIGNATURE)]
    with report.step("enforced: a transaction of bad events is answered, and C sees nothing of it"):
        case.expect_answered(sample, bad)
    with report.step("enforced: one with a good event as well goes on as it is"):
        case.expect_passed([sample.event, *bad])
    with report.step("enforced: so does one with a good EDU"):
        case.expect_passed(bad, [_receipt(sample)])
    with report.step("enforced: so does one whose event has a right signature and a wrong hash"):
        case.expect_passed([sample.altered(CONTENT)])
    for other in samples:
        # This gate has seen nothing of its room.
        what = f"enforced: a bad event of a room whose version, {other.version}, is not known"
        with report.step(f"{what}, is answered"):
            case.expect_answered(other, [other.altered(DEPTH)])
        with report.step(f"{what}, goes on with the event as it was"):
            case.expect_passed([other.altered(DEPTH), other.event])


def _talk(pair: Pair) -> Sample:
    """Something good that D's user says in a room of C's, seen to arrive."""
    run = secrets.token_hex(4)
    host, guest = Client(pair.c, f"enforced-host-{run}"), Client(pair.d, f"enforced-guest-{run}")
    room = host.create_room(room_version=VERSION, preset="public_chat")
    guest.join(room, pair.c.server_name)
    guest.wait_member(room, guest.user_id, "join")
    event_id = guest.send_text(room, "something good")
    host.wait_events(room, [event_id])
    return Sample(pair.peer(pair.c, pair.d).event(event_id), VERSION, pair.d)


def _receipt(sample: Sample) -> dict:
    read = {"event_ids": [sample.id_of(sample.event)], "data": {"ts": 1}}
    users = {sample.event["sender"]: read}
    return {"edu_type": "m.receipt", "content": {sample.event["room_id"]: {"m.read": users}}}


@dataclass
class Enforcement:
    """Transactions of D to C, whose gate enforces."""

    pair: Pair
    gate: Gate
    peer: Peer

    def expect_answered(self, sample: Sample, bad: list[dict]) -> None:
        transaction = self._name()
        answered = self.gate.requests_counted()["answered"]
        answer = self.peer.send(transaction, bad)
        if set(answer) != {sample.id_of(event) for event in bad}:
            raise AssertionError(f"answered {answer}")
        if not all(result.get("error") for result in answer.values()):
            raise AssertionError(f"answered {answer}")
        # What comes after it has arrived: so would have what came before.
        self.expect_passed([], [{"edu_type": "org.example.unknown", "content": {}}])
        if seen := [line for line in self.pair.c.process.lines() if transaction in line]:
            raise AssertionError(f"C has seen it: {seen}")
        if self.gate.requests_counted()["answered"] != answered + 1:
            raise AssertionError(f"counted {dict(self.gate.requests_counted())}")

    def expect_passed(self, pdus: list[dict], edus: list[dict] | None = None) -> None:
        """C checks the signature of the request anew: what it takes is what was sent."""
        transaction = self._name()
        self.peer.send(transaction, pdus, edus)
        if not self.pair.c.wait_access(transaction):
            raise AssertionError("C has not logged it")

    @staticmethod
    def _name() -> str:
        return f"enforced{secrets.token_hex(8)}"
