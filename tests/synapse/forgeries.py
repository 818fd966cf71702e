"""Forged requests of every shape: each is refused, and the homeserver behind never hears of it."""

from __future__ import annotations

import json
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import Callable

from signedjson.key import generate_signing_key

import origins
from gate import Gate
from homeserver import Homeserver
from origins import KeyServers, Origin, key_id
from report import Report
from shapes import SHAPES, Shape
from wire import USER_AGENT, Answer, BrokenConnection, Connection, Credentials, Message, Request


@dataclass(frozen=True)
class Cast:
    """Everybody a forged request may speak of."""

    victim: str
    # A real server whose name is forged, and the ID of its real key.
    known: str
    known_key_id: str
    honest: Origin
    expired: Origin
    retired: Origin
    misnamed: Origin
    unsigned: Origin
    unreachable: Origin

    @staticmethod
    def gather(servers: KeyServers, known: Homeserver, victim: Homeserver) -> Cast:
        made_up = {
            kind.__name__: servers.serve(kind(servers.name()))
            for kind in (
                origins.honest,
                origins.expired,
                origins.retired,
                origins.misnamed,
                origins.unsigned,
            )
        }
        # Never served: its port is closed.
        unreachable = origins.honest(servers.name())
        return Cast(
            victim.server_name,
            known.server_name,
            known.key_id,
            unreachable=unreachable,
            **made_up,
        )

    def credentials(
        self, request: Request, origin: Origin, key: object = None, destination: str = ""
    ) -> Credentials:
        """What an honest sender's header says."""
        key, destination = key or origin.key, destination or self.victim
        signature = request.signature(origin.server_name, destination, key)
        return Credentials(origin.server_name, key_id(key), signature, destination)

    def message(self, request: Request, origin: Origin) -> Message:
        """What an honest sender sends."""
        header = self.credentials(request, origin).header()
        return Message(request.method, request.target, [header], request.body())


Forge = Callable[[Cast, Request], Message]


@dataclass(frozen=True)
class Forgery:
    """A way of forging a request, and what it is answered with."""

    name: str
    forge: Forge
    status: int
    errcode: str
    needs_body: bool = False
    # Synapse takes it: refusing it is fedgate's own decision.
    synapse_accepts: bool = False

    def applies_to(self, shape: Shape) -> bool:
        return shape.content is not None or not self.needs_body


# -- forged headers ------------------------------------------------------------------------------


def no_header(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.honest).but(authorization=[])


def bearer_token(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.honest).but(authorization=["Bearer syt_abc"])


def header_without_sig(cast: Cast, request: Request) -> Message:
    header = cast.credentials(request, cast.honest).header()
    start, end = header.index(",sig="), header.index(",destination=")
    return cast.message(request, cast.honest).but(authorization=[header[:start] + header[end:]])


def other_destination(cast: Cast, request: Request) -> Message:
    """Meant for another server, and played to us."""
    header = cast.credentials(request, cast.honest, destination=cast.known).header()
    return cast.message(request, cast.honest).but(authorization=[header])


def hidden_destination(cast: Cast, request: Request) -> Message:
    """Meant for another server, which the header no longer says."""
    credentials = cast.credentials(request, cast.honest, destination=cast.known)
    header = credentials.but(destination=None).header()
    return cast.message(request, cast.honest).but(authorization=[header])


def replaced_destination(cast: Cast, request: Request) -> Message:
    """Meant for another server, with our name in the header."""
    credentials = cast.credentials(request, cast.honest, destination=cast.known)
    header = credentials.but(destination=cast.victim).header()
    return cast.message(request, cast.honest).but(authorization=[header])


# -- forged signatures ---------------------------------------------------------------------------


def _with(cast: Cast, request: Request, *credentials: Credentials) -> Message:
    headers = [one.header() for one in credentials]
    return cast.message(request, cast.honest).but(authorization=headers)


def wrong_key(cast: Cast, request: Request) -> Message:
    stranger = generate_signing_key(cast.honest.key.version)
    return _with(cast, request, cast.credentials(request, cast.honest, stranger))


def unknown_key_id(cast: Cast, request: Request) -> Message:
    stranger = generate_signing_key("never_published")
    return _with(cast, request, cast.credentials(request, cast.honest, stranger))


def flipped_bit(cast: Cast, request: Request) -> Message:
    credentials = cast.credentials(request, cast.honest)
    first = "B" if credentials.signature[0] == "A" else "A"
    return _with(cast, request, credentials.but(signature=first + credentials.signature[1:]))


def signature_of_another_request(cast: Cast, request: Request) -> Message:
    other = Request("GET", "/_matrix/federation/v1/version")
    return _with(cast, request, cast.credentials(other, cast.honest))


def forged_name(cast: Cast, request: Request) -> Message:
    """The name and key ID of a server that is known here, and a key of the forger's."""
    key = generate_signing_key(cast.known_key_id.split(":")[1])
    signature = request.signature(cast.known, cast.victim, key)
    return _with(
        cast, request, Credentials(cast.known, cast.known_key_id, signature, cast.victim)
    )


def forged_name_own_key(cast: Cast, request: Request) -> Message:
    """The name of a server that is known here, and the forger's own published key."""
    signature = request.signature(cast.known, cast.victim, cast.honest.key)
    return _with(
        cast, request, Credentials(cast.known, key_id(cast.honest.key), signature, cast.victim)
    )


def renamed(cast: Cast, request: Request) -> Message:
    """Signed well, with the origin in the header replaced."""
    return _with(cast, request, cast.credentials(request, cast.honest).but(origin=cast.known))


def our_own_name(cast: Cast, request: Request) -> Message:
    signature = request.signature(cast.victim, cast.victim, cast.honest.key)
    return _with(
        cast, request, Credentials(cast.victim, key_id(cast.honest.key), signature, cast.victim)
    )


def second_header_bad(cast: Cast, request: Request) -> Message:
    """One signature is good, the other, by another key of the same server, is not."""
    good = cast.credentials(request, cast.honest)
    bad = cast.credentials(request, cast.honest, cast.honest.second_key)
    return _with(cast, request, good, bad.but(signature=good.signature))


def second_header_names_another(cast: Cast, request: Request) -> Message:
    """A good header, and one that claims to be somebody else."""
    good = cast.credentials(request, cast.honest)
    return _with(cast, request, good.but(origin=cast.known), good)


def expired_key(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.expired)


def retired_key(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.retired)


def key_of_a_misnamed_document(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.misnamed)


def key_of_an_unsigned_document(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.unsigned)


def unreachable_origin(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.unreachable)


# -- forged contents -----------------------------------------------------------------------------


def altered_target(cast: Cast, request: Request) -> Message:
    joint = "&" if "?" in request.target else "?"
    message = cast.message(request, cast.honest)
    return message.but(target=f"{request.target}{joint}extra=1")


def reencoded_target(cast: Cast, request: Request) -> Message:
    """The same path to a router, other bytes than were signed."""
    message = cast.message(request, cast.honest)
    return message.but(target=request.target.replace("/v", "/%76", 1).replace("uns", "%75ns", 1))


def altered_method(cast: Cast, request: Request) -> Message:
    method = {"GET": "HEAD", "PUT": "POST", "POST": "PUT"}[request.method]
    return cast.message(request, cast.honest).but(method=method)


def altered_body(cast: Cast, request: Request) -> Message:
    body = json.dumps({**request.content, "extra": 1}).encode()
    return cast.message(request, cast.honest).but(body=body)


def removed_body(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.honest).but(body=b"")


def emptied_body(cast: Cast, request: Request) -> Message:
    return cast.message(request, cast.honest).but(body=b"{}")


def broken_body(cast: Cast, request: Request) -> Message:
    message = cast.message(request, cast.honest)
    return message.but(body=message.body[:-1])


def array_body(cast: Cast, request: Request) -> Message:
    message = cast.message(request, cast.honest)
    return message.but(body=b"[" + message.body + b"]")


def repeated_member(cast: Cast, request: Request) -> Message:
    """Parsers that take the last of two members see exactly what was signed."""
    message = cast.message(request, cast.honest)
    name = json.dumps(next(iter(json.loads(message.body))))
    return message.but(body=b"{" + name.encode() + b":null," + message.body[1:])


def two_lengths(cast: Cast, request: Request) -> Message:
    message = cast.message(request, cast.honest)
    return message.but(headers=[("Transfer-Encoding", "chunked")], ends_connection=True)


FORGERIES = (
    Forgery("no header", no_header, 401, "M_UNAUTHORIZED"),
    Forgery("a client's token", bearer_token, 401, "M_UNAUTHORIZED"),
    Forgery("header without sig", header_without_sig, 400, "M_UNAUTHORIZED"),
    Forgery("other destination", other_destination, 401, "M_UNAUTHORIZED"),
    Forgery("hidden destination", hidden_destination, 401, "M_UNAUTHORIZED"),
    Forgery("replaced destination", replaced_destination, 401, "M_UNAUTHORIZED"),
    Forgery("wrong key", wrong_key, 401, "M_UNAUTHORIZED"),
    Forgery("unknown key ID", unknown_key_id, 401, "M_UNAUTHORIZED"),
    Forgery("flipped bit", flipped_bit, 401, "M_UNAUTHORIZED"),
    Forgery("signature of another", signature_of_another_request, 401, "M_UNAUTHORIZED"),
    Forgery("forged name", forged_name, 401, "M_UNAUTHORIZED"),
    Forgery("forged name, own key", forged_name_own_key, 401, "M_UNAUTHORIZED"),
    Forgery("replaced origin", renamed, 401, "M_UNAUTHORIZED"),
    Forgery("our own name", our_own_name, 401, "M_UNAUTHORIZED"),
    Forgery("one of two signatures bad", second_header_bad, 401, "M_UNAUTHORIZED"),
    Forgery(
        "headers of two origins",
        second_header_names_another,
        400,
        "M_UNAUTHORIZED",
        synapse_accepts=True,
    ),
    Forgery("expired key", expired_key, 401, "M_UNAUTHORIZED"),
    Forgery("retired key", retired_key, 401, "M_UNAUTHORIZED"),
    # A document that cannot be believed says nothing about the key either way.
    Forgery("misnamed document", key_of_a_misnamed_document, 503, "M_UNKNOWN"),
    Forgery("unsigned document", key_of_an_unsigned_document, 503, "M_UNKNOWN"),
    Forgery("unreachable origin", unreachable_origin, 503, "M_UNKNOWN"),
    Forgery("altered target", altered_target, 401, "M_UNAUTHORIZED"),
    Forgery("re-encoded target", reencoded_target, 400, "M_UNKNOWN"),
    Forgery("altered method", altered_method, 401, "M_UNAUTHORIZED"),
    Forgery("altered body", altered_body, 401, "M_UNAUTHORIZED", needs_body=True),
    Forgery("emptied body", emptied_body, 401, "M_UNAUTHORIZED", needs_body=True),
    Forgery("removed body", removed_body, 400, "M_NOT_JSON", needs_body=True),
    Forgery("broken body", broken_body, 400, "M_NOT_JSON", needs_body=True),
    Forgery("array for a body", array_body, 400, "M_BAD_JSON", needs_body=True),
    Forgery(
        "repeated member", repeated_member, 400, "M_BAD_JSON", needs_body=True, synapse_accepts=True
    ),
    Forgery("two lengths", two_lengths, 400, "M_UNKNOWN", needs_body=True),
)


# Sent before a new connection is made: from the 17th in a row on, fedgate has each one wait.
FORGERIES_PER_CONNECTION = 10


class Forgers:
    """Sends every forgery of every shape, with honest requests in between."""

    def __init__(
        self,
        report: Report,
        cast: Cast,
        victim: Homeserver,
        connection: Connection,
        gate: Gate | None,
    ) -> None:
        self._report = report
        self._cast = cast
        self._victim = victim
        self._connection = connection
        self._gate = gate
        self._run = secrets.token_hex(4)
        self._count = 0
        self._sent_honestly: list[str] = []
        self._forged_count = 0

    def run(self) -> None:
        before = self._lines_of_others()
        counted = self._counted()
        for shape in SHAPES:
            self._honest(shape)
            for forgery in FORGERIES:
                if forgery.applies_to(shape):
                    self._forged(shape, forgery)
        # The same again: nothing of the above has harmed the honest one's standing.
        for shape in SHAPES:
            self._honest(shape)
        self._check_log(before)
        if self._gate:
            self._check_metrics(self._counted() - counted)

    def _marker(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._run}x{self._count}x"

    def _request(self, shape: Shape, marker: str) -> Request:
        return shape.request(marker, self._cast.honest.server_name, self._cast.victim)

    def _honest(self, shape: Shape) -> None:
        marker = self._marker("honest")
        message = self._cast.message(self._request(shape, marker), self._cast.honest)
        self._sent_honestly.append(marker)
        problems = self._send(message, shape.statuses, None)
        self._report.check(f"{shape.name}: honest", problems)

    def _forged(self, shape: Shape, forgery: Forgery) -> None:
        self._forged_count += 1
        if self._forged_count % FORGERIES_PER_CONNECTION == 0:
            self._connection.close()
        message = forgery.forge(self._cast, self._request(shape, self._marker("forged")))
        if self._gate:
            problems = self._send(message, (forgery.status,), forgery.errcode)
        else:
            problems = self._ask_synapse(message, forgery)
        self._report.check(f"{shape.name}: {forgery.name}", problems)

    def _send(
        self, message: Message, statuses: tuple[int, ...], errcode: str | None
    ) -> list[str]:
        try:
            answer = self._connection.exchange(message)
        except BrokenConnection as error:
            return [str(error)]
        problems = []
        if answer.status not in statuses:
            problems.append(f"status {answer.status}, not {statuses}: {answer.body[:300]!r}")
        # A HEAD is answered without a body.
        if errcode and message.method != "HEAD" and answer.errcode != errcode:
            problems.append(f"errcode {answer.errcode!r}, not {errcode!r}")
        if message.ends_connection and answer.headers.get("connection") != "close":
            problems.append("the end of the connection is not announced")
        if answer.status == 503 and "retry-after" not in answer.headers:
            problems.append("no Retry-After")
        return problems

    def _ask_synapse(self, message: Message, forgery: Forgery) -> list[str]:
        """Without fedgate: whether the homeserver itself refuses, and where it differs."""
        try:
            answer = self._connection.exchange(message)
        except BrokenConnection as error:
            answer = Answer(0, {}, str(error).encode())
        if (answer.status, answer.errcode) != (forgery.status, forgery.errcode):
            expected = f"{forgery.status} {forgery.errcode}"
            print(f"   Synapse: {answer.status} {answer.errcode}, fedgate: {expected}")
        if answer.status == 200 and not forgery.synapse_accepts:
            return ["Synapse accepts it"]
        return []

    def _check_log(self, before: int) -> None:
        """The access log of the homeserver holds the honest requests and nothing else of ours."""
        # A line is written when its request is done, so the last request's line is the last.
        self._victim.wait_access(self._sent_honestly[-1])
        log = "\n".join(line.target for line in self._victim.access_lines())
        missing = [marker for marker in self._sent_honestly if marker not in log]
        problems = [f"the honest request {marker} was not logged" for marker in missing]
        if self._gate:
            forged = f"forged{self._run}"
            problems += [line for line in self._victim.process.lines() if forged in line]
            logged = self._lines_of_others() - before
            if logged != len(self._sent_honestly):
                problems.append(f"{logged} requests logged, {len(self._sent_honestly)} honest ones")
        self._report.check("the homeserver logs every honest request and no forged one", problems)

    def _counted(self) -> Counter[str]:
        # A request is counted when it is over. On one connection that is before the next one
        # begins, so this one, which is not counted here, makes the counts complete.
        self._connection.exchange(Message("GET", origins.KEY_PATH, []))
        return self._gate.requests_counted() if self._gate else Counter()

    def _check_metrics(self, counted: Counter[str]) -> None:
        """fedgate has counted every request once."""
        wanted = Counter(allowed=len(self._sent_honestly), refused=self._forged_count)
        problems = [] if counted == wanted else [f"{dict(counted)}, not {dict(wanted)}"]
        self._report.check("fedgate counts every honest and every forged request", problems)

    def _lines_of_others(self) -> int:
        """Federation requests logged, without those of the servers that federate for real.

        Requests for keys are not counted either: fedgate asks its homeserver for those.
        """
        return sum(
            line.target.startswith("/_matrix/") and not line.target.startswith("/_matrix/key/")
            for line in self._victim.access_lines()
            if line.agent == USER_AGENT
        )
