"""What two users of two homeservers do in a room, from its creation to leaving it."""

from __future__ import annotations

from dataclasses import dataclass

from client import Client, NotSeen
from report import Report
from sharing import read, type_and_stop

# Oldest; the first with integer-only JSON; the two most common; the newest, whose room IDs are
# hashes and whose events have another shape again.
ROOM_VERSIONS = ("1", "6", "10", "11", "12")
MESSAGES_BEFORE_JOIN = 3
HISTORY_PAGES_MAX = 10


@dataclass
class Room:
    """A room hosted on one server, with a guest from the other."""

    report: Report
    host: Client
    guest: Client
    version: str
    room_id: str = ""

    def step(self, what: str):
        where = f"hosted on {self.host.homeserver.name}"
        return self.report.step(f"room version {self.version} {where}: {what}")

    def run(self) -> None:
        with self.step("create"):
            options = {"room_version": self.version, "preset": "private_chat"}
            self.room_id = self.host.create_room(**options)
        with self.step("messages before anybody joins"):
            for number in range(MESSAGES_BEFORE_JOIN):
                self.host.send_text(self.room_id, f"before {number}")
        with self.step("invite"):
            self._invite()
        with self.step("declining the invite"):
            mark = self.host.mark()
            self.guest.leave(self.room_id)
            self.host.wait_member(self.room_id, self.guest.user_id, "leave", mark)
        with self.step("invite again"):
            self._invite()
        with self.step("join"):
            self._join()
        with self.step("message from host to guest"):
            from_host = self._message(self.host, self.guest)
        with self.step("message from guest to host"):
            from_guest = self._message(self.guest, self.host)
        with self.step("read receipt of the guest"):
            read(self.host, self.guest, self.room_id, from_host)
        with self.step("read receipt of the host"):
            read(self.guest, self.host, self.room_id, from_guest)
        with self.step("typing of the guest"):
            type_and_stop(self.guest, self.host, self.room_id)
        with self.step("typing of the host"):
            type_and_stop(self.host, self.guest, self.room_id)
        with self.step("history from before the join"):
            self._backfill()
        with self.step("leave"):
            mark = self.host.mark()
            self.guest.leave(self.room_id)
            self.host.wait_member(self.room_id, self.guest.user_id, "leave", mark)

    def _invite(self) -> None:
        mark = self.guest.mark()
        self.host.invite(self.room_id, self.guest.user_id)
        seen = self.guest.wait_member(self.room_id, self.guest.user_id, "invite", mark)
        if seen.section != "invite":
            raise NotSeen(f"the invite came down /sync under {seen.section!r}")

    def _join(self) -> None:
        host_mark, guest_mark = self.host.mark(), self.guest.mark()
        self.guest.join(self.room_id, self.host.homeserver.server_name)
        self.host.wait_member(self.room_id, self.guest.user_id, "join", host_mark)
        # The guest's own server answers /sync with the room once it has its state.
        self.guest.wait_member(self.room_id, self.guest.user_id, "join", guest_mark)

    def _message(self, sender: Client, reader: Client) -> str:
        text = f"hello from {sender.user_id} \u00e9\u2028\U0001f680 \\ \" </script>"
        event_id = sender.send_text(self.room_id, text, **odd_content(self.version))
        reader.wait_text(self.room_id, event_id, text)
        return event_id

    def _backfill(self) -> None:
        """The guest's server has no event from before its join: it has to ask the host's."""
        wanted = {f"before {number}" for number in range(MESSAGES_BEFORE_JOIN)}
        start = None
        for _ in range(HISTORY_PAGES_MAX):
            events, start = self.guest.messages_before(self.room_id, start)
            wanted -= {event["content"].get("body") for event in events}
            if not wanted or start is None:
                break
        if wanted:
            raise NotSeen(f"history lacks {sorted(wanted)}")


def odd_content(room_version: str) -> dict:
    """Content whose signed form is easy to get wrong; floats only where rooms allow them."""
    odd = {"big": 2**53 - 1, "small": -(2**53 - 1), "\U0001f680": 1, "\uffff": 2, "nested": {}}
    if int(room_version) < 6:
        # 63 bits: beyond them Synapse's own push rules answer 500.
        odd.update(float=1.0, exponent=1e-5, large=1e16, negative=-0.0, wide=2**62)
    return {"org.example.odd": odd}
