"""A Matrix client over the client-server API: just what the scenarios need."""

from __future__ import annotations

import hashlib
import hmac
import itertools
import json
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any, Callable
from urllib.parse import quote, urlencode

from homeserver import Homeserver

WAIT_SECONDS = 30
# How long one long poll may last; the wait above goes on over several.
POLL_MILLISECONDS = 10_000
REQUEST_SECONDS = 60
# More than happens in a room between two looks: what is cut off would be taken for not sent.
SYNC_FILTER = json.dumps({"room": {"timeline": {"limit": 100}}})


class ClientError(Exception):
    """The homeserver refused a client's request."""


class NotSeen(Exception):
    """Something that should have come down /sync did not, in time."""


@dataclass(frozen=True)
class Seen:
    """One thing that came down /sync: where (`join`, `invite`, `presence` …), and what."""

    section: str
    room_id: str
    event: dict[str, Any]

    def is_member(self, user_id: str, membership: str) -> bool:
        return (
            self.event.get("type") == "m.room.member"
            and self.event.get("state_key") == user_id
            and self.event["content"].get("membership") == membership
        )


class Client:
    """A user of one homeserver, logged in on one device."""

    def __init__(self, homeserver: Homeserver, localpart: str) -> None:
        self.homeserver = homeserver
        self._token = ""
        self._since = ""
        self._seen: list[Seen] = []
        self._transactions = itertools.count()
        answer = self._register(localpart)
        self.user_id: str = answer["user_id"]
        self.device_id: str = answer["device_id"]
        self._token = answer["access_token"]

    def _register(self, localpart: str) -> dict:
        """Through the admin API, which a shared secret opens."""
        path = "/_synapse/admin/v1/register"
        nonce = self.call("GET", path)["nonce"]
        password = localpart
        message = "\0".join([nonce, localpart, password, "notadmin"])
        mac = hmac.new(self.homeserver.shared_secret.encode(), message.encode(), hashlib.sha1)
        body = {
            "nonce": nonce,
            "username": localpart,
            "displayname": f"{localpart} of {self.homeserver.name}",
            "password": password,
            "admin": False,
            "mac": mac.hexdigest(),
        }
        return self.call("POST", path, body)

    # -- calls -------------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        """A JSON request with a JSON answer."""
        data = None if body is None else json.dumps(body).encode()
        _, answer = self.raw(method, path, data, "application/json", **query)
        return json.loads(answer)

    def raw(
        self, method: str, path: str, data: bytes | None, content_type: str, **query: Any
    ) -> tuple[str, bytes]:
        """Any request; the answer's content type and bytes."""
        url = self.homeserver.client_url + path + ("?" + urlencode(query) if query else "")
        headers = {"Content-Type": content_type}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        request = urllib.request.Request(url, data, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
                return response.headers.get("Content-Type", ""), response.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")[:500]
            raise ClientError(f"{method} {path}: {error.code} {text}") from None

    def transaction(self) -> str:
        return f"t{next(self._transactions)}"

    # -- rooms -------------------------------------------------------------------------------

    def create_room(self, **options: Any) -> str:
        return self.call("POST", "/_matrix/client/v3/createRoom", options)["room_id"]

    def invite(self, room_id: str, user_id: str) -> None:
        self.call("POST", self._room(room_id, "invite"), {"user_id": user_id})

    def join(self, room: str, via: str) -> str:
        path = f"/_matrix/client/v3/join/{quote(room, safe='')}"
        # Synapse reads the parameter under its old and its new name, by release.
        return self.call("POST", path, {}, server_name=via, via=via)["room_id"]

    def knock(self, room: str, via: str) -> None:
        path = f"/_matrix/client/v3/knock/{quote(room, safe='')}"
        self.call("POST", path, {}, server_name=via, via=via)

    def leave(self, room_id: str) -> None:
        self.call("POST", self._room(room_id, "leave"), {})

    def moderate(self, room_id: str, action: str, user_id: str) -> None:
        """Does `kick`, `ban` or `unban` to somebody."""
        body = {"user_id": user_id, "reason": f"the {action}"}
        self.call("POST", self._room(room_id, action), body)

    def send_text(self, room_id: str, text: str, **extra: Any) -> str:
        """Sends a message; its event ID."""
        content = {"msgtype": "m.text", "body": text, **extra}
        return self.send(room_id, "m.room.message", content)

    def send(self, room_id: str, event_type: str, content: dict) -> str:
        """Sends an event that is no state; its event ID."""
        path = self._room(room_id, f"send/{event_type}/{self.transaction()}")
        return self.call("PUT", path, content)["event_id"]

    def set_state(self, room_id: str, event_type: str, content: dict, key: str = "") -> str:
        path = self._room(room_id, f"state/{event_type}/{quote(key, safe='')}")
        return self.call("PUT", path, content)["event_id"]

    def state(self, room_id: str, event_type: str, key: str = "") -> dict:
        return self.call("GET", self._room(room_id, f"state/{event_type}/{quote(key, safe='')}"))

    def redact(self, room_id: str, event_id: str) -> str:
        event = quote(event_id, safe="")
        path = self._room(room_id, f"redact/{event}/{self.transaction()}")
        return self.call("PUT", path, {"reason": "to see it gone"})["event_id"]

    def send_receipt(self, room_id: str, event_id: str) -> None:
        self.call("POST", self._room(room_id, f"receipt/m.read/{quote(event_id, safe='')}"), {})

    def send_typing(self, room_id: str, typing: bool) -> None:
        body = {"typing": True, "timeout": 60_000} if typing else {"typing": False}
        self.call("PUT", self._room(room_id, f"typing/{quote(self.user_id, safe='')}"), body)

    def messages_before(self, room_id: str, start: str | None) -> tuple[list[dict], str | None]:
        """One page of history, newest first, and where the next one starts."""
        query = {"dir": "b", "limit": "20"}
        if start:
            query["from"] = start
        answer = self.call("GET", self._room(room_id, "messages"), **query)
        return answer["chunk"], answer.get("end")

    @staticmethod
    def _room(room_id: str, rest: str) -> str:
        return f"/_matrix/client/v3/rooms/{quote(room_id, safe='')}/{rest}"

    # -- sync --------------------------------------------------------------------------------

    def wait(self, what: str, wanted: Callable[[Seen], bool], since: int = 0) -> Seen:
        """Long-polls /sync until something wanted has been seen (`since`: see `mark`)."""
        deadline = time.monotonic() + WAIT_SECONDS
        looked_at = since
        while True:
            for seen in self._seen[looked_at:]:
                if wanted(seen):
                    return seen
            looked_at = len(self._seen)
            remaining = int((deadline - time.monotonic()) * 1000)
            if remaining <= 0:
                raise NotSeen(f"{self.user_id} did not see {what} within {WAIT_SECONDS} s")
            self._sync(min(remaining, POLL_MILLISECONDS))

    def mark(self) -> int:
        """A place in what has been seen, for waiting for things that come after it."""
        return len(self._seen)

    def wait_text(self, room_id: str, event_id: str, text: str) -> None:
        self.wait(
            f"the message {text!r}",
            lambda seen: seen.room_id == room_id
            and seen.event.get("event_id") == event_id
            and seen.event["content"].get("body") == text,
        )

    def wait_events(self, room_id: str, event_ids: list[str]) -> None:
        for event_id in event_ids:
            self.wait(
                f"the event {event_id}",
                lambda seen: seen.room_id == room_id and seen.event.get("event_id") == event_id,
            )

    def wait_member(
        self, room_id: str, user_id: str, membership: str, since: int = 0
    ) -> Seen:
        return self.wait(
            f"{user_id} being {membership} in {room_id}",
            lambda seen: seen.room_id == room_id and seen.is_member(user_id, membership),
            since,
        )

    def _sync(self, timeout: int) -> None:
        # Looking says nothing of being there: presence is set by hand, by those who show it.
        query = {"timeout": str(timeout), "filter": SYNC_FILTER, "set_presence": "offline"}
        if self._since:
            query["since"] = self._since
        answer = self.call("GET", "/_matrix/client/v3/sync", **query)
        self._since = answer["next_batch"]
        for section in ("to_device", "presence"):
            for event in answer.get(section, {}).get("events", []):
                self._seen.append(Seen(section, "", event))
        for user_id in answer.get("device_lists", {}).get("changed", []):
            self._seen.append(Seen("device_lists", "", {"user_id": user_id}))
        for section, rooms in answer.get("rooms", {}).items():
            for room_id, room in rooms.items():
                for part in room.values():
                    if isinstance(part, dict):
                        for event in part.get("events", []):
                            self._seen.append(Seen(section, room_id, event))
