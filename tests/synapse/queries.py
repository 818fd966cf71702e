"""Federation beside rooms: profiles, directories, media, device keys, knocking."""

from __future__ import annotations

import json
import os
import secrets
import struct
import zlib
from dataclasses import dataclass
from urllib.parse import quote

from client import Client, NotSeen
from report import Report
from sharing import random_key, tell_device, upload_device_keys

MEDIA_BYTES = 3 * 1024 * 1024
ONE_TIME_KEYS = 2


class Wrong(Exception):
    """An answer is not what it should be."""


@dataclass
class Queries:
    """A user of one homeserver asking the other about its user, rooms and media."""

    report: Report
    asker: Client
    answerer: Client
    room_id: str = ""
    alias: str = ""

    def step(self, what: str):
        names = f"{self.asker.homeserver.name} asking {self.answerer.homeserver.name}"
        return self.report.step(f"{names}: {what}")

    def run(self) -> None:
        with self.step("profile"):
            self._profile()
        with self.step("device keys"):
            self._device_keys()
        with self.step("one-time key claim"):
            self._one_time_keys()
        with self.step("to-device message"):
            tell_device(self.asker, self.answerer)
        with self.step("media download"):
            self._media()
        with self.step("media thumbnail"):
            self._thumbnail()
        with self.step("room alias"):
            self._alias()
        with self.step("public rooms"):
            self._public_rooms()
        with self.step("space hierarchy"):
            self._hierarchy()
        with self.step("joining a public room by its alias"):
            self._join_by_alias()
        with self.step("knocking"):
            self._knock()

    @property
    def _remote(self) -> str:
        return self.answerer.homeserver.server_name

    def _profile(self) -> None:
        name = f"name {secrets.token_hex(4)}"
        who = quote(self.answerer.user_id, safe="")
        path = f"/_matrix/client/v3/profile/{who}"
        self.answerer.call("PUT", f"{path}/displayname", {"displayname": name})
        _equal(self.asker.call("GET", path)["displayname"], name)

    def _device_keys(self) -> None:
        user, device = self.answerer.user_id, self.answerer.device_id
        keys = upload_device_keys(self.answerer)
        answer = self.asker.call(
            "POST", "/_matrix/client/v3/keys/query", {"device_keys": {user: []}}
        )
        _equal(answer["device_keys"][user][device]["keys"], keys["keys"])

    def _one_time_keys(self) -> None:
        user, device = self.answerer.user_id, self.answerer.device_id
        algorithm = "signed_curve25519"
        keys = {
            f"{algorithm}:{number}": {
                "key": random_key(),
                "signatures": {user: {f"ed25519:{device}": random_key() + random_key()}},
            }
            for number in range(ONE_TIME_KEYS)
        }
        self.answerer.call("POST", "/_matrix/client/v3/keys/upload", {"one_time_keys": keys})
        answer = self.asker.call(
            "POST",
            "/_matrix/client/v3/keys/claim",
            {"one_time_keys": {user: {device: algorithm}}},
        )
        [(key_id, key)] = answer["one_time_keys"][user][device].items()
        _equal(key, keys[key_id])

    def _upload(self, data: bytes, content_type: str) -> str:
        _, answer = self.answerer.raw("POST", "/_matrix/media/v3/upload", data, content_type)
        return json.loads(answer)["content_uri"][len("mxc://") :]

    def _media(self) -> None:
        data = os.urandom(MEDIA_BYTES)
        media = self._upload(data, "application/octet-stream")
        path = f"/_matrix/client/v1/media/download/{media}"
        content_type, got = self.asker.raw("GET", path, None, "")
        _equal(content_type, "application/octet-stream")
        if got != data:
            raise Wrong(f"{len(got)} bytes of media came back, not the {len(data)} uploaded")

    def _thumbnail(self) -> None:
        media = self._upload(_png(256), "image/png")
        path = f"/_matrix/client/v1/media/thumbnail/{media}"
        content_type, got = self.asker.raw("GET", path, None, "", width="32", height="32")
        _equal(content_type, "image/png")
        if not got.startswith(b"\x89PNG"):
            raise Wrong(f"the thumbnail begins with {got[:8]!r}")

    def _alias(self) -> None:
        localpart = f"r\u00e9sum\u00e9-{secrets.token_hex(4)}"
        self.alias = f"#{localpart}:{self._remote}"
        self.room_id = self.answerer.create_room(
            preset="public_chat", visibility="public", room_alias_name=localpart
        )
        path = f"/_matrix/client/v3/directory/room/{quote(self.alias, safe='')}"
        answer = self.asker.call("GET", path)
        _equal(answer["room_id"], self.room_id)
        _equal(answer["servers"], [self._remote])

    def _public_rooms(self) -> None:
        path = "/_matrix/client/v3/publicRooms"
        listed = self.asker.call("GET", path, server=self._remote)
        searched = self.asker.call(
            "POST", path, {"filter": {"generic_search_term": self.alias}}, server=self._remote
        )
        for answer in (listed, searched):
            if self.room_id not in [room["room_id"] for room in answer["chunk"]]:
                raise NotSeen(f"{self.room_id} is not in the list of public rooms")

    def _hierarchy(self) -> None:
        space = self.asker.create_room(creation_content={"type": "m.space"})
        path = f"/_matrix/client/v3/rooms/{quote(space, safe='')}/state/m.space.child"
        child = quote(self.room_id, safe="")
        self.asker.call("PUT", f"{path}/{child}", {"via": [self._remote]})
        answer = self.asker.call(
            "GET", f"/_matrix/client/v1/rooms/{quote(space, safe='')}/hierarchy"
        )
        _equal([room["room_id"] for room in answer["rooms"]], [space, self.room_id])

    def _join_by_alias(self) -> None:
        mark = self.answerer.mark()
        _equal(self.asker.join(self.alias, self._remote), self.room_id)
        self.answerer.wait_member(self.room_id, self.asker.user_id, "join", mark)

    def _knock(self) -> None:
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        room_id = self.answerer.create_room(room_version="10", initial_state=[rules])
        mark = self.answerer.mark()
        self.asker.knock(room_id, self._remote)
        self.answerer.wait_member(room_id, self.asker.user_id, "knock", mark)


def _equal(got: object, wanted: object) -> None:
    if got != wanted:
        raise Wrong(f"got {got!r}, not {wanted!r}")


def _png(side: int) -> bytes:
    """A grey square."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x7f" * side) * side)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks
