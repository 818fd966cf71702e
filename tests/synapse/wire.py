"""Requests byte by byte: signing them as a homeserver does, and sending them over one connection.

A library would refuse, or mend, much of what has to be sent here.
"""

from __future__ import annotations

import json
import socket
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from canonicaljson import encode_canonical_json
from signedjson.sign import sign_json

from origins import key_id

ANSWER_SECONDS = 30
USER_AGENT = "forger"


@dataclass(frozen=True)
class Request:
    """What is signed, without the names."""

    method: str
    target: str
    content: dict | None = None

    def signature(self, origin: str, destination: str, key: object) -> str:
        signed = {
            "method": self.method,
            "uri": self.target,
            "origin": origin,
            "destination": destination,
        }
        if self.content is not None:
            signed["content"] = self.content
        return sign_json(signed, origin, key)["signatures"][origin][key_id(key)]

    def body(self) -> bytes:
        return b"" if self.content is None else encode_canonical_json(self.content)


@dataclass(frozen=True)
class Credentials:
    """What the Authorization header says."""

    origin: str
    key_id: str
    signature: str
    destination: str | None

    def header(self) -> str:
        # The order and the quotes are Synapse's.
        header = f'X-Matrix origin="{self.origin}",key="{self.key_id}",sig="{self.signature}"'
        if self.destination is not None:
            header += f',destination="{self.destination}"'
        return header

    def but(self, **changes: Any) -> Credentials:
        return replace(self, **changes)


@dataclass(frozen=True)
class Message:
    """An HTTP/1.1 request as it goes on the wire."""

    method: str
    target: str
    authorization: list[str]
    body: bytes = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    # The server cannot know where the next request would begin: it has to close.
    ends_connection: bool = False

    def but(self, **changes: Any) -> Message:
        return replace(self, **changes)

    def encode(self, host: str) -> bytes:
        headers = [("Host", host), ("User-Agent", USER_AGENT)]
        headers += [("Authorization", value) for value in self.authorization]
        if self.body or self.method in ("PUT", "POST"):
            headers += [("Content-Type", "application/json")]
            headers += [("Content-Length", str(len(self.body)))]
        headers += self.headers
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers]
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def errcode(self) -> str:
        try:
            return json.loads(self.body).get("errcode", "")
        except (ValueError, AttributeError):
            return ""


class BrokenConnection(Exception):
    """The connection ended, or what came over it is no HTTP answer."""


class Connection:
    """Requests one after the other over TLS, on one connection as long as the server keeps it.

    An answer that is longer or shorter than it says puts the next one out of step, which shows as
    a `BrokenConnection` there.
    """

    def __init__(self, server_name: str, ca_file: Path, source_address: str) -> None:
        self._name = server_name
        self.source_address = source_address
        self._tls = ssl.create_default_context(cafile=str(ca_file))
        self._socket: ssl.SSLSocket | None = None
        self._reader = None

    def exchange(self, message: Message) -> Answer:
        if self._socket is None:
            self._open()
        try:
            self._socket.sendall(message.encode(self._name))
            answer = self._read(message.method)
            if message.ends_connection and self._reader.read():
                raise BrokenConnection("the server goes on after an answer that must be the last")
        except (OSError, ValueError) as error:
            self.close()
            raise BrokenConnection(f"{type(error).__name__}: {error}") from error
        except BrokenConnection:
            self.close()
            raise
        announced = answer.headers.get("connection", "").lower() == "close"
        if announced or message.ends_connection:
            self.close()
        return answer

    def close(self) -> None:
        if self._socket is not None:
            self._reader.close()
            self._socket.close()
            self._socket = None

    def _open(self) -> None:
        address, port = self._name.rsplit(":", 1)
        plain = socket.create_connection(
            (address, int(port)), ANSWER_SECONDS, (self.source_address, 0)
        )
        self._socket = self._tls.wrap_socket(plain, server_hostname=address)
        self._reader = self._socket.makefile("rb")

    def _line(self) -> str:
        line = self._reader.readline()
        if not line.endswith(b"\r\n"):
            raise BrokenConnection(f"the server ended the connection after {line!r}")
        return line[:-2].decode("latin-1")

    def _read(self, method: str) -> Answer:
        version, status, *_ = self._line().split(" ", 2)
        if version not in ("HTTP/1.1", "HTTP/1.0"):
            raise BrokenConnection(f"an answer begins with {version!r}")
        headers = {}
        while line := self._line():
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        body = b"" if method == "HEAD" else self._body(headers)
        return Answer(int(status), headers, body)

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers["content-length"]) if "content-length" in headers else -1
            return self._reader.read(length)
        body = b""
        while size := int(self._line(), 16):
            body += self._reader.read(size)
            self._line()
        self._line()
        return body
