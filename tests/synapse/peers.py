"""Speaking to a homeserver, through its gate, as another one and by that one's real key."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import quote

from homeserver import Homeserver
from wire import Connection, Credentials, Message, Request


class Peer:
    """One homeserver, as another one knows it."""

    def __init__(self, homeserver: Homeserver, other: Homeserver, ca_file: Path) -> None:
        self.homeserver = homeserver
        self.other = other
        self._ca_file = ca_file

    def event(self, event_id: str) -> dict:
        """An event as the other one has it."""
        target = f"/_matrix/federation/v1/event/{quote(event_id, safe='')}"
        return self.ask("GET", target)["pdus"][0]

    def send(self, transaction: str, pdus: list[dict], edus: list[dict] | None = None) -> dict:
        """What the answer to a transaction says of each event."""
        content = {
            "origin": self.homeserver.server_name,
            "origin_server_ts": int(time.time() * 1000),
            "pdus": pdus,
            "edus": edus or [],
        }
        return self.ask("PUT", f"/_matrix/federation/v1/send/{transaction}", content)["pdus"]

    def ask(self, method: str, target: str, content: dict | None = None) -> dict:
        """The answer to a request that is signed well."""
        name, destination = self.homeserver.server_name, self.other.server_name
        request = Request(method, target, content)
        signature = request.signature(name, destination, self.homeserver.signing_key)
        credentials = Credentials(name, self.homeserver.key_id, signature, destination)
        message = Message(method, target, [credentials.header()], request.body())
        connection = Connection(destination, self._ca_file, name.rsplit(":", 1)[0])
        try:
            answer = connection.exchange(message)
        finally:
            connection.close()
        if answer.status != 200:
            raise AssertionError(f"{method} {target}: {answer.status} {answer.body[:300]!r}")
        return json.loads(answer.body)
