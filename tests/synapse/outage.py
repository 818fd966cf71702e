"""What a real homeserver sends when another one was away: the newest, and redacted."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from client import Client
from report import Report

if TYPE_CHECKING:
    from events import Pair

VERSION = "11"
LOG_SECONDS = 30
ONLY_FOR_MEMBERS = {
    "type": "m.room.history_visibility",
    "content": {"history_visibility": "joined"},
}
ENFORCED = '[events]\nmode = "enforce"\n'


def check_outage(report: Report, pair: Pair) -> None:
    """C is away, and comes back behind a gate that enforces.

    Of what D has said meanwhile it gets the last, which has been redacted by then. Where C may see
    a later event Synapse sends that instead: so the listener is kicked.
    """
    with report.step("an outage: three homeservers meet in a room of the third"):
        run = secrets.token_hex(4)
        moderator = Client(pair.world.a, f"moderator-{run}")
        speaker, listener = Client(pair.d, f"speaker-{run}"), Client(pair.c, f"listener-{run}")
        room = moderator.create_room(
            room_version=VERSION, preset="public_chat", initial_state=[ONLY_FOR_MEMBERS]
        )
        for guest in (listener, speaker):
            guest.join(room, pair.world.a.server_name)
            guest.wait_member(room, guest.user_id, "join")
        # Catching up begins after the last that has got through.
        listener.wait_events(room, [speaker.send_text(room, "before the outage")])
    with report.step("an outage: while C is away, D speaks and is redacted"):
        pair.stop_gate_c()
        speaker.send_text(room, "the first that does not get through")
        failed = f"TX [{pair.c.server_name}] Failed to send transaction"
        pair.d.process.wait_line(lambda line: failed in line, LOG_SECONDS)
        event = speaker.send_text(room, "what is to be redacted")
        moderator.wait_events(room, [event])
        moderator.moderate(room, "kick", listener.user_id)
        redaction = moderator.redact(room, event)
        speaker.wait_events(room, [redaction])
    with report.step("an outage: the redacted event that comes afterwards is not bad"):
        gate = pair.start_gate_c("gate-c-enforcing", ENFORCED)
        # D takes it for a sign that C is back.
        listener.send_text(room, "back")
        came = f"handling received PDU in room {room}: <Event event_id={event},"
        if not pair.c.process.wait_line(lambda line: came in line, LOG_SECONDS):
            raise AssertionError("the redacted event has not come to C")
        bad = {key: count for key, count in gate.events_counted().items() if key[1] == "bad"}
        if bad or gate.bad_events_logged():
            raise AssertionError(f"counted {bad}, logged {gate.bad_events_logged()}")
