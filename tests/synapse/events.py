"""Whether fedgate judges events as real homeservers mean them, in every kind of room."""

from __future__ import annotations

import json
import secrets
import ssl
import urllib.request
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from alterations import Sample, send_altered
from client import Client
from enforcement import check_enforced
from gate import Gate, Placing
from homeserver import Homeserver
from outage import check_outage
from peers import Peer
from report import Report
from sessions import Session

if TYPE_CHECKING:
    from main import World

# Each shape of event and each way of redacting it, and whatever else is in use.
SESSION_VERSIONS = ("1", "3", "6", "8", "9", "10", "11", "12")
# At one time: what one waits for, another works on.
SESSIONS_AT_ONCE = 4
ANSWER_SECONDS = 60
EVENT_CHECKS = ("format", "signatures", "content_hash")
# Synapse waits for so long after a failure, and if it is longer than this it catches up afterwards.
CATCHUP_MS = 60 * 60 * 1000
SETTINGS = {
    "presence": {"enabled": True},
    "gc_thresholds": [100_000, 10, 10],
    "federation": {
        "max_long_retries": 2,
        "max_long_retry_delay": 500,
        "destination_min_retry_interval": CATCHUP_MS + 1,
    },
}


def check_events(report: Report, world: World, versions: Sequence[str]) -> None:
    """Sessions of two homeservers, each behind a gate, with a third that talks for itself."""
    with report.phase("events: start"):
        pair = Pair(world)
        sessions = pair.sessions(report, versions)
    with report.phase("events: sessions"):
        with ThreadPoolExecutor(SESSIONS_AT_ONCE) as pool:
            list(pool.map(lambda session: _run(report, session), sessions))
    if world.binary:
        with report.phase("events: verdicts"):
            _check_verdicts(report, pair, sessions)
        with report.phase("events: alterations"):
            send_altered(report, pair, _samples(pair, sessions))
        with report.phase("events: an outage"):
            check_outage(report, pair)
        with report.phase("events: enforced"):
            check_enforced(report, pair, _samples(pair, sessions))


def _run(report: Report, session: Session) -> None:
    name = f"  a session in room version {session.version} on {session.host.homeserver.name}"
    with report.phase(name):
        session.run()


class Pair:
    """C and D, each behind a gate, and A, which they both know and which talks for itself."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.c, self.gate_c, self.placing_c = self._start("c", 7)
        self.d, self.gate_d, self.placing_d = self._start("d", 8)
        for server in (self.c, self.d, self.gate_c, self.gate_d):
            if server:
                server.process.wait_ready()

    def _start(self, name: str, host: int) -> tuple[Homeserver, Gate | None, Placing | None]:
        address = self.world.addresses.address(host)
        server_name = f"{address}:{self.world.addresses.free_port(address)}"
        return self.world.fronted(name, server_name, SETTINGS)

    def stop_gate_c(self) -> None:
        self.world.stop(self.gate_c.process)

    def start_gate_c(self, folder: str, more: str) -> Gate:
        """Another gate where C's was, which has been stopped; it remembers nothing."""
        self.gate_c = self.world.start_gate(folder, replace(self.placing_c, more=more))
        self.gate_c.process.wait_ready()
        return self.gate_c

    def sessions(self, report: Report, versions: Sequence[str]) -> list[Session]:
        """One for each room version and side."""
        sides = ((self.c, self.d), (self.d, self.c))
        return [
            self._session(report, version, host, guest)
            for version in versions
            for host, guest in sides
        ]

    def _session(
        self, report: Report, version: str, host: Homeserver, guest: Homeserver
    ) -> Session:
        run = f"{version}-{secrets.token_hex(4)}"
        return Session(
            report,
            version,
            Client(host, f"host-{run}"),
            Client(guest, f"guest-{run}"),
            Client(guest, f"second-{run}"),
            Client(self.world.a, f"outsider-{run}"),
            host is self.d,
            lambda body: self._bind(guest, body),
            lambda event_id: self.peer(host, guest).event(event_id),
        )

    def peer(self, homeserver: Homeserver, other: Homeserver) -> Peer:
        return Peer(homeserver, other, self.world.authority.ca_file)

    def _bind(self, homeserver: Homeserver, body: dict) -> None:
        request = urllib.request.Request(
            f"https://{homeserver.server_name}/_matrix/federation/v1/3pid/onbind",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method="POST",
        )
        tls = ssl.create_default_context(cafile=str(self.world.authority.ca_file))
        with urllib.request.urlopen(request, timeout=ANSWER_SECONDS, context=tls) as answer:
            # Who goes away before the answer has come is counted as refused.
            answer.read()


def _check_verdicts(report: Report, pair: Pair, sessions: list[Session]) -> None:
    """Nothing is refused or bad, all is judged, and it is at least what the sessions saw arrive."""
    for homeserver, gate in ((pair.c, pair.gate_c), (pair.d, pair.gate_d)):
        counted = gate.events_counted()
        problems = [json.dumps(line) for line in gate.bad_events_logged()]
        if set(requests := gate.requests_counted()) != {"allowed"}:
            problems.append(f"{dict(requests)}")
        problems += [
            f"{check} {outcome} in room version {version!r}: {count}"
            for (check, outcome, version), count in sorted(counted.items())
            if outcome != "good" and count
        ]
        wanted = sum(session.crossed[homeserver.name] for session in sessions)
        for check in EVENT_CHECKS:
            good = sum(_good(counted, check).values())
            if good < wanted:
                problems.append(f"{good} events with good {check}, of {wanted} sent")
        shared = sum(session.shared[homeserver.name] for session in sessions)
        if (good := sum(_good(counted, "edu_origin").values())) < shared:
            problems.append(f"{good} good EDUs, of {shared} sent")
        by_version = _good(counted, "signatures")
        problems += [
            f"no event of room version {session.version} was known to be one"
            for session in sessions
            if not by_version[session.version]
        ]
        report.check(f"the gate of {homeserver.name} finds all events good", problems)
        known = sum(by_version.values()) - by_version["unknown"]
        print(
            f"   {sum(by_version.values())} good events (of {wanted} that were waited for), "
            f"{known} in rooms of known version, {good} EDUs; by version: {dict(by_version)}"
        )


def _samples(pair: Pair, sessions: list[Session]) -> list[Sample]:
    """What D's users have said in rooms of C's."""
    return [
        Sample(session.sample, session.version, pair.d)
        for session in sessions
        if session.sample and session.host.homeserver is pair.c
    ]


def _good(counted: Counter, wanted_check: str) -> Counter[str]:
    """The good ones, by room version."""
    found: Counter[str] = Counter()
    for (check, outcome, version), count in counted.items():
        if (check, outcome) == (wanted_check, "good"):
            found[version] += count
    return found
