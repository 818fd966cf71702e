"""What needs no signature, and what no signature opens."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from urllib.parse import quote

from client import Client
from forgeries import Cast
from report import Report
from wire import Answer, BrokenConnection, Connection, Message, Request


@dataclass(frozen=True)
class ClosedRoute:
    """A target that is refused although the request is signed well."""

    name: str
    target: str
    status: int
    errcode: str


def _closed(name: str, target: str, status: int = 400, errcode: str = "M_UNKNOWN") -> ClosedRoute:
    return ClosedRoute(name, target, status, errcode)


# `{}` is the marker that must not appear in the homeserver's log.
PROFILE = "/_matrix/federation/v1/query/profile?user_id=%40bob%3Ax&marker={}"
CLOSED = (
    _closed("client API", "/_matrix/client/versions?{}", 404, "M_UNRECOGNIZED"),
    _closed("media of clients", "/_matrix/media/v3/download/x/{}", 404, "M_UNRECOGNIZED"),
    _closed("admin API", "/_synapse/admin/v1/register?{}", 404, "M_UNRECOGNIZED"),
    _closed("root", "/?{}", 404, "M_UNRECOGNIZED"),
    _closed("way out by dots", "/_matrix/federation/v1/../../../_synapse/admin/v1/register?{}"),
    _closed("way out by escaped dots", "/_matrix/federation/%2e%2e/client/versions?{}"),
    _closed("way in by dots", "/_matrix/client/../federation/v1/event/%24{}"),
    _closed("doubled slash", "/" + PROFILE),
    _closed("doubled slash within", PROFILE.replace("/v1/", "//v1/")),
    _closed("backslash", PROFILE.replace("/v1/", "\\v1\\")),
    _closed("escaped slash", PROFILE.replace("federation/v1", "federation%2Fv1")),
    _closed("escaped letter", PROFILE.replace("federation", "%66ederation")),
    _closed("fragment", PROFILE + "#/_matrix/federation/v1/version"),
    _closed("absolute form", "https://localhost" + PROFILE),
)


@dataclass
class Routes:
    """Requests to routes that are open to everybody, and to routes that are open to nobody."""

    report: Report
    cast: Cast
    bob: Client
    connection: Connection

    def run_open(self) -> None:
        """The operations that the specification leaves unsigned reach the homeserver."""
        with self.report.step("unsigned: version"):
            body = self._get("/_matrix/federation/v1/version")
            if body["server"]["name"] != "Synapse":
                raise ValueError(body)
        with self.report.step("unsigned: the homeserver's keys"):
            body = self._get("/_matrix/key/v2/server")
            if body["server_name"] != self.cast.victim:
                raise ValueError(body)
        with self.report.step("unsigned: another server's key, by POST"):
            # Naming the key makes the homeserver fetch what it does not have yet.
            criteria = {self.cast.known_key_id: {"minimum_valid_until_ts": 0}}
            wanted = json.dumps({"server_keys": {self.cast.known: criteria}}).encode()
            self._check_known_keys(self._ask("POST", "/_matrix/key/v2/query", wanted))
        with self.report.step("unsigned: another server's keys, by GET"):
            path = f"/_matrix/key/v2/query/{quote(self.cast.known, safe='')}"
            self._check_known_keys(self._get(path))
        with self.report.step("unsigned: OpenID user information"):
            user = quote(self.bob.user_id, safe="")
            token = self.bob.call(
                "POST", f"/_matrix/client/v3/user/{user}/openid/request_token", {}
            )["access_token"]
            path = f"/_matrix/federation/v1/openid/userinfo?access_token={token}"
            if self._get(path)["sub"] != self.bob.user_id:
                raise ValueError(path)

    def run_gated(self) -> None:
        """What only fedgate does."""
        self._run_closed()
        with self.report.step("the homeserver learns who the client and the origin are"):
            self._check_client()

    def _check_client(self) -> None:
        """The address is the connection's, whatever a stranger's headers say."""
        marker = f"client{secrets.token_hex(4)}"
        request = Request("GET", f"/_matrix/federation/v1/event/%24{marker}")
        spoofed = [
            (name, "203.0.113.9")
            for name in ("X-Forwarded-For", "X-Real-IP", "X-Forwarded-Host", "Forwarded")
        ]
        message = self.cast.message(request, self.cast.honest).but(headers=spoofed)
        self.connection.exchange(message)
        self.bob.homeserver.wait_access(marker)
        lines = self.bob.homeserver.access_lines()
        seen = [(line.client, line.requester) for line in lines if marker in line.target]
        wanted = [(self.connection.source_address, self.cast.honest.server_name)]
        if seen != wanted:
            raise ValueError(f"{seen}, not {wanted}")

    def _run_closed(self) -> None:
        """Signed well, and yet refused; the homeserver logs none of them."""
        run = f"closed{secrets.token_hex(4)}"
        for route in CLOSED:
            request = Request("GET", route.target.format(f"{run}{secrets.token_hex(4)}"))
            message = self.cast.message(request, self.cast.honest)
            try:
                problems = _problems(self.connection.exchange(message), route)
            except BrokenConnection as error:
                problems = [str(error)]
            self.report.check(f"closed: {route.name}", problems)
        # When this one is in the log, everything before it would be.
        with self.report.step("closed: an honest request afterwards"):
            request = Request("GET", f"/_matrix/federation/v1/event/%24honest{run}")
            self.connection.exchange(self.cast.message(request, self.cast.honest))
            if not self.bob.homeserver.wait_access(f"honest{run}"):
                raise TimeoutError("it is not in the homeserver's log")
        lines = self.bob.homeserver.process.lines()
        problems = [line for line in lines if run in line and f"honest{run}" not in line]
        self.report.check("closed: the homeserver logs none of them", problems)

    def _check_known_keys(self, body: dict) -> None:
        [document] = body["server_keys"]
        if document["server_name"] != self.cast.known:
            raise ValueError(body)
        if self.cast.known_key_id not in document["verify_keys"]:
            raise ValueError(body)

    def _get(self, target: str) -> dict:
        return self._ask("GET", target)

    def _ask(self, method: str, target: str, body: bytes = b"") -> dict:
        answer = self.connection.exchange(Message(method, target, [], body))
        if answer.status != 200:
            raise ValueError(f"{answer.status} {answer.body[:300]!r}")
        return json.loads(answer.body)


def _problems(answer: Answer, route: ClosedRoute) -> list[str]:
    if (answer.status, answer.errcode) == (route.status, route.errcode):
        return []
    return [f"{answer.status} {answer.errcode!r}, not {route.status} {route.errcode!r}"]
