"""Cached answers as a notary, of fedgate and of the Synapse beside it, in one run. See `run`."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import urllib.request
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import origins
from gate import REPOSITORY, Gate, Placing
from homeserver import FederationListener, Homeserver
from key_server import keygen
from origins import KeyServers, Origin, key_id
from pki import Authority
from processes import Addresses

# What both have in their caches: each server with one document of two keys.
SERVERS = 100
QUERY_SECONDS = 60
CONNECTIONS = 4
KINDS = {
    "get": "GET of one server",
    "post": "POST of one server",
    "batch": f"POST of {SERVERS} servers",
}
CONTENDERS = ("Synapse", "fedgate")
RESULTS = REPOSITORY / "benches" / "RESULTS.md"
BEGIN, END = "<!-- notary:begin -->\n", "<!-- notary:end -->\n"
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass
class Load:
    """What one contender did with one kind of question, over all rounds."""

    answers: int = 0
    seconds: float = 0
    cpu_seconds: float = 0

    @property
    def per_second(self) -> float:
        return self.answers / self.seconds

    @property
    def per_core(self) -> float:
        """Answers for each second of processor time."""
        return self.answers / self.cpu_seconds


def main() -> int:
    options = _options()
    with tempfile.TemporaryDirectory(prefix="fedgate-") as folder:
        with Notaries(Path(folder), options.fedgate) as notaries:
            loads = _measure(options, notaries)
    section = _section(options, loads)
    print(section)
    if options.write:
        _write(section)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run", description=__doc__)
    parser.add_argument("--fedgate", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument(
        "--seconds", type=float, default=2, help="of each load in a round; default: %(default)s"
    )
    parser.add_argument("--write", action="store_true", help=f"also write {RESULTS.name}")
    return parser.parse_args()


class Notaries:
    """A Synapse and a fedgate that both know the same servers, which are gone."""

    def __init__(self, folder: Path, fedgate: Path) -> None:
        self._folder = folder
        self._fedgate = fedgate
        self._addresses = Addresses()
        self._authority = Authority(folder)

    def __enter__(self) -> Notaries:
        servers = KeyServers(self._addresses, self._addresses.address(3), self._authority)
        known = [servers.serve(origins.honest(servers.name())) for _ in range(SERVERS)]
        self.names_file = self._folder / "names"
        lines = [f"{origin.server_name} {key_id(origin.key)}\n" for origin in known]
        self.names_file.write_text("".join(lines))
        synapse, gate = self._synapse(), self._gate()
        self._processes = {"Synapse": synapse.process, "fedgate": gate.process}
        for name, process in self._processes.items():
            process.wait_ready()
            self._fill(name, known)
        servers.close()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.stop()

    def _synapse(self) -> Homeserver:
        address = self._addresses.address(1)
        listener = FederationListener(
            address=address, port=self._addresses.free_port(address)
        )
        self.address = {"Synapse": f"{address}:{listener.port}"}
        client = (address, self._addresses.free_port(address))
        ca_file, folder = self._authority.ca_file, self._folder / "synapse"
        return Homeserver("n", "synapse.example", client, listener, ca_file, folder, {})

    def _gate(self) -> Gate:
        address = self._addresses.address(2)
        listen, admin = (f"{address}:{self._addresses.free_port(address)}" for _ in range(2))
        self.address["fedgate"] = listen
        key_file = self._folder / "notary.key"
        keygen(self._fedgate, key_file, "fedgate.example")
        more = f"""
[key_server]
queries = "answer"
notary_key_file = {json.dumps(str(key_file))}
own_clients = ["127.0.0.0/8"]
"""
        placing = Placing(
            "fedgate.example",
            f"http://{self.address['Synapse']}",
            None,
            None,
            self._authority.ca_file,
            admin,
            listen=listen,
            sources=("origin",),
            more=more,
        )
        return Gate(self._fedgate, placing, self._folder / "gate")

    def _fill(self, name: str, known: list[Origin]) -> None:
        """It fetches the document of each server, and answers for all of them."""
        criteria = {"minimum_valid_until_ts": 0}
        wanted = {origin.server_name: {key_id(origin.key): criteria} for origin in known}
        request = urllib.request.Request(
            f"http://{self.address[name]}/_matrix/key/v2/query",
            data=json.dumps({"server_keys": wanted}).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=QUERY_SECONDS) as response:
            documents = json.load(response)["server_keys"]
        if {document["server_name"] for document in documents} != set(wanted):
            raise AssertionError(f"{name} knows {len(documents)} servers of {len(wanted)}")

    def cpu_seconds(self, name: str) -> float:
        """Processor time it has used, with all its threads (proc(5), utime and stime)."""
        stat = Path(f"/proc/{self._processes[name].pid}/stat").read_text()
        user, system = stat.rsplit(")", 1)[1].split()[11:13]
        return (int(user) + int(system)) / TICKS_PER_SECOND


def _measure(options: argparse.Namespace, notaries: Notaries) -> dict[tuple[str, str], Load]:
    """In turns, so that what else the machine does meets both; a first round is not counted."""
    loads: dict[tuple[str, str], Load] = defaultdict(Load)
    for number in range(options.rounds + 1):
        for kind in KINDS:
            for name in CONTENDERS:
                before = notaries.cpu_seconds(name)
                argv = [options.load, notaries.address[name], str(options.seconds)]
                argv += [str(CONNECTIONS), kind, notaries.names_file]
                done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
                answers, seconds = done.stdout.split()
                if number > 0:
                    load = loads[name, kind]
                    load.answers += int(answers)
                    load.seconds += float(seconds)
                    load.cpu_seconds += notaries.cpu_seconds(name) - before
    return loads


def _section(options: argparse.Namespace, loads: dict[tuple[str, str], Load]) -> str:
    rows = []
    for kind, what in KINDS.items():
        synapse, fedgate = (loads[name, kind] for name in CONTENDERS)
        rows.append(
            f"| {what} | {synapse.per_second:,.0f} | {fedgate.per_second:,.0f} "
            f"| {synapse.per_core:,.0f} | {fedgate.per_core:,.0f} "
            f"| {fedgate.per_core / synapse.per_core:,.0f} |"
        )
    table = "\n".join(rows)
    day = datetime.datetime.now(datetime.timezone.utc).date()
    return f"""\
## Cached answers as a notary, beside Synapse

`benches/notary/run --write`: {day}, commit {_commit()}, {_machine()}. Synapse \
{_synapse_version()}, one process with SQLite, and fedgate know the same {SERVERS} servers, which are \
gone. Both are asked in turns by the same client on {CONNECTIONS} kept connections, without TLS, \
{options.rounds} times {options.seconds:g} s for each row. Per core: answers for each second of \
processor time of the process that answers; the client shares the machine and is not counted.

| question | Synapse/s | fedgate/s | Synapse/s per core | fedgate/s per core | ratio per core |
|---|---:|---:|---:|---:|---:|
{table}
"""


def _commit() -> str:
    argv = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(
        argv, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def _machine() -> str:
    model = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return f"{model[1] if model else platform.machine()}, {os.cpu_count()} cores"


def _synapse_version() -> str:
    return version("matrix-synapse")


def _write(section: str) -> None:
    text = RESULTS.read_text() if RESULTS.exists() else f"# Benchmarks\n\n{BEGIN}{END}"
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    RESULTS.write_text(f"{before}{BEGIN}{section}{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
