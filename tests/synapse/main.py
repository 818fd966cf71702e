"""Two real Synapse servers, A and B, with fedgate in front of B. Run through `run`."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import traceback
from pathlib import Path

from client import Client
from events import SESSION_VERSIONS, check_events
from forgeries import Cast, Forgers
from gate import Gate, Placing, find_binary
from homeserver import FederationListener, Homeserver
from key_server import check_key_server
from notary import check_notary
from origins import KeyServers
from pki import Authority
from processes import Addresses, Process
from queries import Queries
from report import Report
from rooms import ROOM_VERSIONS, Room
from routes import Routes
from wire import Connection

PARTS = ("queries", "rooms", "forgeries", "events", "notary", "key_server")


def main() -> int:
    options = _options()
    # A run that is told to end must still end what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    folder = Path(tempfile.mkdtemp(prefix="fedgate-"))
    processes: list[Process] = []
    try:
        binary = None if options.without_fedgate else find_binary(options.fedgate)
        _run(options, report, folder, binary, processes)
    except BaseException:
        # Also for an interrupt: what was under way, and in what state, is the useful part.
        traceback.print_exc()
        report.fail("the run", "it ended early, see above")
    finally:
        with report.phase("stop"):
            _stop(report, processes)
        if report.failed:
            for process in processes:
                print(process.tail(), flush=True)
        if options.keep:
            print(f"kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(report.summary(), flush=True)
    return 1 if report.failed or not report.passed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument(
        "--fedgate",
        metavar="PATH",
        help="the binary to test; default: FEDGATE_BIN, else one built with cargo",
    )
    parser.add_argument(
        "--without-fedgate",
        action="store_true",
        help="let A and B talk directly: shows what Synapse itself does",
    )
    parser.add_argument(
        "--unix-socket",
        action="store_true",
        help="connect fedgate and B over a unix socket instead of TCP",
    )
    parser.add_argument(
        "--room-versions",
        metavar="V,V",
        help=f"default: {','.join(ROOM_VERSIONS)}; for events {','.join(SESSION_VERSIONS)}",
    )
    parser.add_argument(
        "--only",
        metavar="PART,PART",
        default=",".join(PARTS),
        help="which parts to run; default: %(default)s",
    )
    parser.add_argument("--keep", action="store_true", help="keep the logs and databases")
    return parser.parse_args()


def _run(
    options: argparse.Namespace,
    report: Report,
    folder: Path,
    binary: Path | None,
    processes: list[Process],
) -> None:
    parts = options.only.split(",")
    versions = options.room_versions.split(",") if options.room_versions else None
    with report.phase("start"):
        world = World(folder, binary, options.unix_socket, processes)
        alice, bob = Client(world.a, "alice"), Client(world.b, "bob")
    if "queries" in parts:
        # Before the rooms: servers that share a room answer some of these from what they have.
        for asker, answerer in ((alice, bob), (bob, alice)):
            with report.phase(f"queries of {asker.homeserver.name}"):
                Queries(report, asker, answerer).run()
    if "rooms" in parts:
        for version in versions or ROOM_VERSIONS:
            for host, guest in ((alice, bob), (bob, alice)):
                with report.phase(f"room version {version} hosted on {host.homeserver.name}"):
                    Room(report, host, guest, version).run()
    if world.gate and {"queries", "rooms"} & set(parts):
        with report.phase("nothing refused"):
            _check_nothing_refused(report, world.gate)
    if "forgeries" in parts:
        _forge(report, world, bob)
    if "events" in parts:
        check_events(report, world, versions or SESSION_VERSIONS)
    if "notary" in parts and world.gate:
        with report.phase("notary"):
            check_notary(report, world)
    if "key_server" in parts and world.gate:
        with report.phase("key server"):
            check_key_server(report, world)


def _check_nothing_refused(report: Report, gate: Gate) -> None:
    """A retried request could hide a refusal from everything that users see."""
    counted = gate.requests_counted()
    problems = [f"{dict(counted)}"] if set(counted) != {"allowed"} else []
    report.check("fedgate forwarded all that the homeservers sent", problems)


def _forge(report: Report, world: World, bob: Client) -> None:
    """A third server sends honest and forged requests to B, some in A's name."""
    servers = KeyServers(world.addresses, world.addresses.address(3), world.authority)
    connection = Connection(
        world.b.server_name, world.authority.ca_file, world.addresses.address(3)
    )
    try:
        cast = Cast.gather(servers, world.a, world.b)
        routes = Routes(report, cast, bob, connection)
        with report.phase("open routes"):
            routes.run_open()
        if world.gate:
            with report.phase("closed routes"):
                routes.run_gated()
        with report.phase("forgeries"):
            Forgers(report, cast, world.b, connection, world.gate).run()
    finally:
        connection.close()
        servers.close()


class World:
    """A, B, and what is between them."""

    def __init__(
        self, folder: Path, binary: Path | None, unix_socket: bool, processes: list[Process]
    ) -> None:
        self.addresses = Addresses()
        self.authority = Authority(folder)
        self.folder = folder
        self._processes = processes
        a_address, b_address = self.addresses.address(1), self.addresses.address(2)
        a_port = self.addresses.free_port(a_address)
        b_port = self.addresses.free_port(b_address)
        self.a = self.homeserver("a", f"{a_address}:{a_port}", self.tls(a_address, a_port))
        self.binary = binary
        self.b, self.gate, self.placing = self.fronted(
            "b", f"{b_address}:{b_port}", unix_socket=unix_socket
        )
        for process in processes:
            process.wait_ready()

    def fronted(
        self, name: str, server_name: str, more: dict | None = None, unix_socket: bool = False
    ) -> tuple[Homeserver, Gate | None, Placing | None]:
        """A homeserver with a plain listener, and fedgate on the address its name says.

        Without fedgate it is a homeserver with TLS.
        """
        address, port = server_name.rsplit(":", 1)
        if self.binary is None:
            tls = self.tls(address, int(port))
            return self.homeserver(name, server_name, tls, more), None, None
        if unix_socket:
            path = str(self.folder / f"{name}.sock")
            listener, url = FederationListener(socket_path=path), f"unix:{path}"
        else:
            port = self.addresses.free_port(address)
            listener = FederationListener(address=address, port=port)
            url = f"http://{address}:{port}"
        homeserver = self.homeserver(name, server_name, listener, more)
        certificate, key = self.authority.issue(address)
        admin = f"{address}:{self.addresses.free_port(address)}"
        placing = Placing(server_name, url, certificate, key, self.authority.ca_file, admin)
        return homeserver, self.start_gate(f"gate-{name}", placing), placing

    def start_gate(self, folder: str, placing: Placing) -> Gate:
        gate = Gate(self.binary, placing, self.folder / folder)
        self._processes.append(gate.process)
        return gate

    def stop(self, process: Process) -> None:
        """Ends a server before the run does."""
        self._processes.remove(process)
        status = process.stop()
        if status != 0:
            raise AssertionError(f"{process.name} ended with status {status}")
        if panics := process.panics():
            raise AssertionError(f"{process.name} has panicked: {panics}")

    def restart(self, homeserver: Homeserver, changes: dict) -> None:
        """Starts a homeserver that was stopped, with these settings changed."""
        homeserver.start(changes)
        self._processes.append(homeserver.process)
        homeserver.process.wait_ready()

    def tls(self, address: str, port: int) -> FederationListener:
        certificate, key = self.authority.issue(address)
        return FederationListener(
            address=address, port=port, certificate=certificate, private_key=key
        )

    def homeserver(
        self, name: str, server_name: str, listener: FederationListener, more: dict | None = None
    ) -> Homeserver:
        address = server_name.rsplit(":", 1)[0]
        client = (address, self.addresses.free_port(address))
        folder = self.folder / name
        homeserver = Homeserver(
            name, server_name, client, listener, self.authority.ca_file, folder, more or {}
        )
        self._processes.append(homeserver.process)
        return homeserver


def _stop(report: Report, processes: list[Process]) -> None:
    """Ends every server; one that was gone already, or ends badly, is a failure."""
    problems = []
    for process in reversed(processes):
        if not process.running():
            problems.append(f"{process.name} had ended during the run")
        status = process.stop()
        if status != 0:
            problems.append(f"{process.name} ended with status {status}")
        problems += [f"{process.name} has panicked: {line}" for line in process.panics()]
    report.check("every server ran to the end and stopped cleanly", problems)


if __name__ == "__main__":
    sys.exit(main())
