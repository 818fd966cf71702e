"""One session: all that users of three homeservers do to each other in rooms of one version."""

from __future__ import annotations

import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Callable
from urllib.parse import quote

from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json

import sharing
from client import Client
from report import Report
from rooms import odd_content

# The first versions that have it.
KNOCKING = 7
RESTRICTED = 8
KNOCK_RESTRICTED = 10
# What goes to the other side beside events: typing and not, a receipt, presence, two changes of
# keys, a message to a device.
SHARED = 7

TEXT = "\u00e9\u2028\U0001f680 \\ \" </script>\u007f"
MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}


@dataclass
class Session:
    """A host, two guests of another homeserver, and an outsider of a third one.

    What the host sends goes to the guests' homeserver, and the other way round; what the outsider
    does without being in a room goes through the host's homeserver, which passes it on.
    """

    report: Report
    version: str
    host: Client
    guest: Client
    second: Client
    outsider: Client
    # Of what not all rooms have: whether it does knocks, else it does restricted joins.
    knocks: bool
    # Tells the guests' homeserver that an e-mail address has an owner.
    bind: Callable[[dict], None]
    # Asks the guests' homeserver for an event, as the host's.
    fetch: Callable[[str], dict]
    # How much must have gone to a homeserver, by its name. There may have been more.
    crossed: Counter[str] = field(default_factory=Counter)
    shared: Counter[str] = field(default_factory=Counter)
    room: str = ""
    # An event by the guest, as it travels.
    sample: dict = field(default_factory=dict)

    def step(self, what: str):
        where = f"hosted on {self.host.homeserver.name}"
        return self.report.step(f"session in room version {self.version} {where}: {what}")

    def run(self) -> None:
        with self.step("invites, declined, taken back, by an e-mail address; joins"):
            self._meet()
        with self.step("messages and state"):
            self._talk()
        if self.knocks and int(self.version) >= KNOCKING:
            with self.step("knocks, followed, taken back and refused"):
                self._knock()
        if not self.knocks and int(self.version) >= RESTRICTED:
            with self.step("restricted joins, authorised on either side"):
                self._join_restricted()
        with self.step("the third homeserver leaves"):
            self._leave(self.room, self.outsider, self.guest)
        with self.step("redactions"):
            self._redact()
        with self.step("an invite by an e-mail address that the host's homeserver does not make"):
            mailed = Client(self.guest.homeserver, f"mailed-{secrets.token_hex(4)}")
            self._invite_by_address(mailed, self.host, self.guest)
        with self.step("typing, receipts, presence, devices and their messages"):
            self._share()
        with self.step("kicks, bans, another name, an upgrade, leaving"):
            self._part()

    # -- the steps ---------------------------------------------------------------------------

    def _meet(self) -> None:
        host, guest = self.host, self.guest
        self.room = host.create_room(
            room_version=self.version, preset="private_chat", name="a session", topic="a topic"
        )
        host.send_text(self.room, "before anybody joins")
        self._invite(self.room, guest)
        self._leave(self.room, guest, host)
        self._invite(self.room, guest)
        self._moderate(self.room, "kick", guest, guest)
        self._invite_by_address(guest, guest)
        self._join(self.room, guest, host, host)
        # Synapse makes no good join of an invite that it has not seen in the room as well.
        self._invite(self.room, self.second, guest)
        self._join(self.room, self.second, host, host)
        self._invite(self.room, self.outsider)
        self._join(self.room, self.outsider, host, host, guest)

    def _talk(self) -> None:
        host, guest, outsider, room = self.host, self.guest, self.outsider, self.room
        self._set_level(room, guest, 50)
        odd = odd_content(self.version)
        # No client is shown it (MSC2432), but it travels.
        host.set_state(room, "m.room.aliases", {"aliases": []}, host.homeserver.server_name)
        first = host.send_text(room, TEXT, **odd)
        by_host = [first, *(host.set_state(room, *state) for state in self._state_of_host())]
        by_guest = [
            guest.send_text(room, TEXT, **odd),
            guest.set_state(room, "m.room.name", {"name": TEXT, "membership": "join"}),
            guest.set_state(room, "org.example.state", odd, "a key \U0001f680"),
            guest.set_state(room, "m.room.pinned_events", {"pinned": [first]}),
            guest.send(room, "m.room.encrypted", {**MEGOLM, "ciphertext": "abc"}),
            guest.send(room, "m.reaction", _annotation(first)),
        ]
        by_outsider = [outsider.send_text(room, TEXT)]
        self._delivered(room, host, by_host, guest)
        self._delivered(room, guest, by_guest, host)
        self.sample = self.fetch(by_guest[0])
        self._delivered(room, outsider, by_outsider, host)
        self._delivered(room, outsider, by_outsider, guest)

    @staticmethod
    def _state_of_host() -> list[tuple[str, dict]]:
        everybody = {"allow": ["*"], "deny": ["evil.example"], "allow_ip_literals": True}
        return [
            ("m.room.topic", {"topic": TEXT}),
            ("m.room.avatar", {"url": "mxc://example.org/avatar"}),
            ("m.room.guest_access", {"guest_access": "can_join"}),
            ("m.room.history_visibility", {"history_visibility": "joined"}),
            ("m.room.server_acl", everybody),
            ("m.room.encryption", MEGOLM),
        ]

    def _share(self) -> None:
        for sender, reader in ((self.host, self.guest), (self.guest, self.host)):
            event = sender.send_text(self.room, "to be read")
            self._delivered(self.room, sender, [event], reader)
            sharing.type_and_stop(reader, sender, self.room)
            sharing.read(sender, reader, self.room, event)
            sharing.show_presence(reader, sender)
            sharing.change_devices(reader, sender)
            sharing.tell_device(reader, sender)
            self.shared[sender.homeserver.name] += SHARED

    def _redact(self) -> None:
        host, guest, room = self.host, self.guest, self.room
        own, others = (guest.send_text(room, text) for text in ("own", "others"))
        state = guest.set_state(room, "org.example.state", {"to": "go"})
        self._delivered(room, guest, [own, others, state], host)
        self._delivered(room, guest, [guest.redact(room, own)], host)
        by_host = [host.redact(room, event) for event in (others, state)]
        self._delivered(room, host, by_host, guest)

    def _invite_by_address(self, who: Client, reader: Client, *members: Client) -> None:
        """The host knows an e-mail address, of which the guests' homeserver learns whose it is.

        If it has somebody in the room, who has to see what the host knows, it makes the invite
        itself, in the host's name, and signs it alone. Else it asks the host's homeserver to.
        """
        key, token = generate_signing_key("0"), secrets.token_hex(8)
        public = encode_verify_key_base64(get_verify_key(key))
        content = _third_party(public)
        event = self.host.set_state(self.room, "m.room.third_party_invite", content, token)
        for member in members:
            self._delivered(self.room, self.host, [event], member)
        signed = sign_json({"mxid": who.user_id, "token": token}, "example.org", key)
        bound = {"medium": "email", "address": "s@example.org", "mxid": who.user_id}
        invite = {**bound, "room_id": self.room, "sender": self.host.user_id, "signed": signed}
        tell = lambda: self.bind({**bound, "invites": [invite]})
        self._becomes("invite", who, self.room, tell, reader)

    def _knock(self) -> None:
        host, guest, second, outsider = self.host, self.guest, self.second, self.outsider
        is_restricted = int(self.version) >= KNOCK_RESTRICTED
        room = self._closed_room("knock_restricted" if is_restricted else "knock")
        self._knock_at(room, second, host)
        self._invite(room, second)
        self._join(room, second, host, host)
        # Synapse tells nobody of a knock taken back, unless its homeserver is in the room.
        self._knock_at(room, guest, host)
        self._leave(room, guest, host)
        for knocker in (guest, outsider):
            self._knock_at(room, knocker, host, second)
            self._moderate(room, "kick", knocker, second)
        self._leave(room, second, host)

    def _join_restricted(self) -> None:
        """The host's homeserver authorises, then the guests', in the end as the only one left."""
        host, guest, second, outsider = self.host, self.guest, self.second, self.outsider
        room = self._closed_room("restricted")
        self._join(room, guest, host, host)
        self._join(room, outsider, host, host, guest)
        self._set_level(room, guest, 100)
        self._join(room, second, guest, host)
        for leaver in (outsider, host):
            self._leave(room, leaver, guest)
        for joiner in (host, outsider):
            self._join(room, joiner, guest, guest)
        for joiner in (second, host, outsider):
            self._check_authorised(room, joiner)
        self._delivered(room, host, [host.send_text(room, "back again")], guest)
        self._delivered(room, guest, [guest.send_text(room, "good")], host)
        self._leave(room, outsider, guest)

    def _check_authorised(self, room: str, joiner: Client) -> None:
        """By somebody of the guests' homeserver, which is the one that has signed it."""
        content = self.guest.state(room, "m.room.member", joiner.user_id)
        authoriser = content.get("join_authorised_via_users_server", "")
        if not authoriser.endswith(f":{self.guest.homeserver.server_name}"):
            raise AssertionError(f"{joiner.user_id} has come with {content}")

    def _part(self) -> None:
        host, guest, second, room = self.host, self.guest, self.second, self.room
        self._moderate(room, "kick", second, guest)
        self._invite(room, second, guest)
        self._join(room, second, host, host)
        self._moderate(room, "ban", second, guest)
        self._moderate(room, "unban", second, guest)
        name = f"/_matrix/client/v3/profile/{quote(guest.user_id, safe='')}/displayname"
        rename = lambda: guest.call("PUT", name, {"displayname": "another"})
        self._becomes("join", guest, room, rename, host)
        upgrade = f"/_matrix/client/v3/rooms/{quote(room, safe='')}/upgrade"
        host.call("POST", upgrade, {"new_version": self.version})
        guest.wait(
            "the tombstone",
            lambda seen: seen.room_id == room and seen.event.get("type") == "m.room.tombstone",
        )
        self.crossed[guest.homeserver.name] += 1
        self._leave(room, guest, host)

    # -- what the steps are made of ------------------------------------------------------------

    def _closed_room(self, rule: str) -> str:
        """A room with this rule, which members of the session's room may join if any may."""
        content = {"join_rule": rule}
        if rule != "knock":
            content["allow"] = [{"type": "m.room_membership", "room_id": self.room}]
        rules = {"type": "m.room.join_rules", "content": content}
        return self.host.create_room(room_version=self.version, initial_state=[rules])

    def _invite(self, room: str, who: Client, *readers: Client) -> None:
        invite = lambda: self.host.invite(room, who.user_id)
        self._becomes("invite", who, room, invite, who, *readers)

    def _moderate(self, room: str, action: str, who: Client, *readers: Client) -> None:
        membership = "ban" if action == "ban" else "leave"
        moderate = lambda: self.host.moderate(room, action, who.user_id)
        self._becomes(membership, who, room, moderate, *readers)

    def _join(self, room: str, who: Client, resident: Client, *readers: Client) -> None:
        """By the homeserver of somebody who is there, unless its own has somebody there as well."""
        join = lambda: who.join(room, resident.homeserver.server_name)
        self._becomes("join", who, room, join, who, *readers)

    def _knock_at(self, room: str, who: Client, *readers: Client) -> None:
        knock = lambda: who.knock(room, self.host.homeserver.server_name)
        self._becomes("knock", who, room, knock, *readers)

    def _leave(self, room: str, who: Client, *readers: Client) -> None:
        self._becomes("leave", who, room, lambda: who.leave(room), *readers)

    def _becomes(
        self,
        membership: str,
        who: Client,
        room: str,
        act: Callable[[], object],
        *readers: Client,
    ) -> None:
        """Somebody gets this membership by this act, and these see it."""
        marks = [reader.mark() for reader in readers]
        act()
        for reader, mark in zip(readers, marks):
            seen = reader.wait_member(room, who.user_id, membership, mark)
            self._count(seen.event["sender"], reader, 1)

    def _set_level(self, room: str, who: Client, level: int) -> None:
        levels = self.host.state(room, "m.room.power_levels")
        levels["users"] = {**levels.get("users", {}), who.user_id: level}
        event = self.host.set_state(room, "m.room.power_levels", levels)
        self._delivered(room, self.host, [event], self.guest)

    def _delivered(self, room: str, sender: Client, events: list[str], reader: Client) -> None:
        reader.wait_events(room, events)
        self._count(sender.user_id, reader, len(events))

    def _count(self, sender: str, reader: Client, events: int) -> None:
        """What somebody elsewhere has sent came through the reader's gate."""
        if not sender.endswith(f":{reader.homeserver.server_name}"):
            self.crossed[reader.homeserver.name] += events


def _annotation(event_id: str) -> dict:
    return {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "+"}}


def _third_party(public_key: str) -> dict:
    return {
        "display_name": "s...@example.org",
        "key_validity_url": "https://example.org/valid",
        "public_key": public_key,
        "public_keys": [{"public_key": public_key}],
    }
