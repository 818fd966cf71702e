"""How Synapse checks that a request is signed, without its HTTP server and its keyring.

The steps and the libraries are those of its `Authenticator.authenticate_request`: the body becomes
objects, the header is taken apart, and signedjson verifies an object made of both. It is told what to do
by lines of JSON on its standard input, and answers each with one: `server` names the server that
requests are for and the keys there are, `request` is one to judge, and `slice_ns` asks how many
nanoseconds of processor time judging it takes, over as long a time.
"""

from __future__ import annotations

import json
import platform
import re
import sys
import time
from dataclasses import dataclass
from importlib.metadata import version

from signedjson.key import decode_verify_key_bytes
from signedjson.sign import SignatureVerifyException, signature_ids, verify_signed_json
from signedjson.types import VerifyKey
from unpaddedbase64 import decode_base64

LIBRARIES = ("signedjson", "canonicaljson", "PyNaCl")
SCHEME = "X-Matrix "
COMMA = re.compile(r"[ \t]*,[ \t]*")
ESCAPED = re.compile(r"\\(.)")
HOST = re.compile(r"[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*")
CALLS_MIN = 4


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


# The decoder that Synapse has: NaN and its like are no JSON.
DECODER = json.JSONDecoder(parse_constant=_no_constant)


@dataclass(frozen=True)
class Request:
    """What the HTTP server hands on."""

    method: bytes
    target: bytes
    authorization: bytes
    body: bytes


@dataclass(frozen=True)
class Claim:
    """What an Authorization header says."""

    origin: str
    destination: str | None
    key_id: str
    signature: str

    @classmethod
    def parse(cls, header: bytes) -> Claim:
        text = header.decode("utf-8")
        if not text.startswith(SCHEME):
            raise ValueError("another scheme")
        said = {}
        for part in COMMA.split(text[len(SCHEME) :].lstrip(" ")):
            name, value = part.split("=", 1)
            said[name.lower()] = _unquoted(value)
        claim = cls(said["origin"], said.get("destination"), said["key"], said["sig"])
        host, _, port = claim.origin.partition(":")
        if not HOST.fullmatch(host) or not (port or "0").isdigit():
            raise ValueError("no server has that name")
        return claim


def _unquoted(value: str) -> str:
    return ESCAPED.sub(r"\1", value[1:-1]) if value.startswith('"') else value


class Server:
    """One that requests are sent to, and the keys it knows of other servers."""

    def __init__(self, name: str, keys: dict[str, dict[str, str]]) -> None:
        self._name = name
        self._keys = {
            origin: {key_id: _verify_key(key_id, key) for key_id, key in known.items()}
            for origin, known in keys.items()
        }

    def authenticate(self, request: Request) -> str:
        """Who has signed it."""
        signed = {
            "method": request.method.decode("ascii"),
            "uri": request.target.decode("ascii"),
            "destination": self._name,
        }
        if request.method in (b"PUT", b"POST"):
            signed["content"] = DECODER.decode(request.body.decode("utf-8"))
        claim = Claim.parse(request.authorization)
        if claim.destination not in (None, self._name):
            raise ValueError("for another server")
        signed["origin"] = claim.origin
        signed["signatures"] = {claim.origin: {claim.key_id: claim.signature}}
        (key_id,) = signature_ids(signed, claim.origin)
        verify_signed_json(signed, claim.origin, self._keys[claim.origin][key_id])
        return claim.origin

    def accepts(self, request: Request) -> bool:
        try:
            self.authenticate(request)
        except SignatureVerifyException:
            return False
        return True

    def time(self, request: Request, slice_ns: int) -> float:
        """Nanoseconds of one call, over a slice of time."""
        calls, spent, started = 0, 0, time.thread_time_ns()
        while calls < CALLS_MIN or spent < slice_ns:
            self.authenticate(request)
            calls += 1
            spent = time.thread_time_ns() - started
        return spent / calls


def _verify_key(key_id: str, key: str) -> VerifyKey:
    return decode_verify_key_bytes(key_id, decode_base64(key))


def main() -> None:
    server, request = Server("", {}), Request(b"", b"", b"", b"")
    for line in sys.stdin.buffer:
        order = json.loads(line)
        if "server" in order:
            server = Server(order["server"], order["keys"])
            libraries = [f"{name} {version(name)}" for name in LIBRARIES]
            answer = ", ".join([f"Python {platform.python_version()}", *libraries])
        elif "request" in order:
            request = Request(*(part.encode() for part in order["request"]))
            answer = server.accepts(request)
        else:
            answer = server.time(request, order["slice_ns"])
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
