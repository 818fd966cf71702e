"""The requests that forgers imitate: the shapes of what homeservers really send."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Callable
from urllib.parse import quote

from wire import Request


@dataclass(frozen=True)
class Shape:
    """A kind of request. `target` and `content` take the marker, the origin and the destination.

    The marker stands in the target, so that the access log of a homeserver shows it.
    """

    name: str
    method: str
    target: Callable[[str, str, str], str]
    # What Synapse answers to a request that is signed well and asks for what does not exist; some
    # answers differ by its release.
    statuses: tuple[int, ...]
    content: Callable[[str, str, str], dict] | None = None

    def request(self, marker: str, origin: str, destination: str) -> Request:
        names = (marker, origin, destination)
        content = self.content(*names) if self.content else None
        return Request(self.method, self.target(*names), content)


def _room(marker: str, server: str) -> str:
    return quote(f"!{marker}:{server}", safe="")


def _member_event(marker: str, origin: str, destination: str, membership: str) -> dict:
    """An event of the form that invites, joins and leaves have."""
    subject = f"@bob:{destination}" if membership == "invite" else f"@forger:{origin}"
    return {
        "auth_events": [],
        "content": {"membership": membership},
        "depth": 5,
        "hashes": {"sha256": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"},
        "origin": origin,
        "origin_server_ts": int(time.time() * 1000),
        "prev_events": [],
        "room_id": f"!{marker}:{destination}",
        "sender": f"@forger:{origin}",
        "signatures": {},
        "state_key": subject,
        "type": "m.room.member",
    }


def _path(rest: str) -> str:
    return f"/_matrix/federation/{rest}"


def _with_room(method: str, version: str, endpoint: str, rest: str, status: int) -> Shape:
    return Shape(
        f"{version}/{endpoint}",
        method,
        lambda m, o, d: _path(f"{version}/{endpoint}/{_room(m, d)}{rest}"),
        (status,),
    )


def _make(membership: str) -> Shape:
    return Shape(
        f"v1/make_{membership}",
        "GET",
        lambda m, o, d: _path(
            f"v1/make_{membership}/{_room(m, d)}/{quote(f'@forger:{o}', safe='')}?ver=1&ver=10"
        ),
        (404,),
    )


def _send(endpoint: str, membership: str, *statuses: int) -> Shape:
    def content(marker: str, origin: str, destination: str) -> dict:
        event = _member_event(marker, origin, destination, membership)
        if membership == "invite":
            return {"event": event, "invite_room_state": [], "room_version": "10"}
        return event

    return Shape(
        endpoint,
        "PUT",
        lambda m, o, d: _path(f"{endpoint}/{_room(m, d)}/%24{m}"),
        statuses,
        content,
    )


def _transaction(marker: str, origin: str, destination: str) -> dict:
    typing = {"room_id": f"!{marker}:{destination}", "user_id": f"@forger:{origin}", "typing": True}
    return {
        "origin": origin,
        "origin_server_ts": int(time.time() * 1000),
        "pdus": [],
        "edus": [{"edu_type": "m.typing", "content": typing}],
    }


def _query(name: str, query: Callable[[str, str, str], str], status: int) -> Shape:
    def target(marker: str, origin: str, destination: str) -> str:
        return _path(f"v1/{name}?{query(marker, origin, destination)}")

    return Shape(f"v1/{name}", "GET", target, (status,))


def _post(name: str, content: Callable[[str, str, str], dict]) -> Shape:
    return Shape(
        f"v1/{name}", "POST", lambda m, o, d: _path(f"v1/{name}?marker={m}"), (200,), content
    )


def _bob(destination: str) -> str:
    return quote(f"@bob:{destination}", safe="")


SHAPES = (
    _make("join"),
    _make("leave"),
    _make("knock"),
    _send("v2/invite", "invite", 400, 403),
    _send("v2/send_join", "join", 404),
    _send("v2/send_leave", "leave", 404),
    Shape("v1/send", "PUT", lambda m, o, d: _path(f"v1/send/{m}"), (200,), _transaction),
    _query("query/profile", lambda m, o, d: f"user_id={_bob(d)}&field=displayname&marker={m}", 200),
    _query("query/directory", lambda m, o, d: f"room_alias=%23{m}%3A{quote(d)}", 404),
    _with_room("GET", "v1", "backfill", "?v=%24none&limit=100", 403),
    _with_room("GET", "v1", "state_ids", "?event_id=%24none", 403),
    _with_room("GET", "v1", "hierarchy", "?suggested_only=false", 404),
    Shape("v1/event", "GET", lambda m, o, d: _path(f"v1/event/%24{m}"), (404,)),
    Shape(
        "v1/user/devices",
        "GET",
        lambda m, o, d: _path(f"v1/user/devices/{_bob(d)}?marker={m}"),
        (200,),
    ),
    Shape(
        "v1/media/download",
        "GET",
        lambda m, o, d: _path(f"v1/media/download/{m}?timeout_ms=20000"),
        (404,),
    ),
    _post("user/keys/query", lambda m, o, d: {"device_keys": {f"@bob:{d}": []}}),
    _post(
        "user/keys/claim",
        lambda m, o, d: {"one_time_keys": {f"@bob:{d}": {m: "signed_curve25519"}}},
    ),
    _post("publicRooms", lambda m, o, d: {"limit": 10, "filter": {"generic_search_term": m}}),
    # What no table of endpoints knows is signed like the rest.
    Shape(
        "unstable/org.example.unknown",
        "GET",
        lambda m, o, d: _path(f"unstable/org.example.unknown/{m}"),
        (404,),
    ),
    Shape(
        "policy/v1/sign",
        "POST",
        lambda m, o, d: f"/_matrix/policy/v1/sign?marker={m}",
        (404,),
        lambda m, o, d: _member_event(m, o, d, "join"),
    ),
)
