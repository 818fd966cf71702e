"""fedgate: finding the binary, writing its settings, starting it, reading its counters."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import urllib.request
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from processes import Process

REPOSITORY = Path(__file__).resolve().parents[2]
METRICS_SECONDS = 10
REQUESTS_LINE = re.compile(r"fedgate_requests_total\{(?P<labels>.*)\} (?P<count>\d+)$")
EVENTS_LINE = re.compile(r"fedgate_events_total\{(?P<labels>.*)\} (?P<count>\d+)$")
LABEL = re.compile(r'(\w+)="(\w*)"')
# What a line of fedgate's log about an event says it comes from.
EVENTS_TARGET = "fedgate::events"


def find_binary(given: str | None) -> Path:
    """The binary named by the argument or FEDGATE_BIN, else one built here and now."""
    named = given or os.environ.get("FEDGATE_BIN")
    if named:
        return Path(named).resolve()
    subprocess.run(["cargo", "build", "--quiet", "--bin", "fedgate"], cwd=REPOSITORY, check=True)
    metadata = subprocess.run(
        ["cargo", "metadata", "--format-version", "1", "--no-deps"],
        cwd=REPOSITORY,
        check=True,
        stdout=subprocess.PIPE,
    )
    return Path(json.loads(metadata.stdout)["target_directory"]) / "debug" / "fedgate"


@dataclass(frozen=True)
class Placing:
    """Where fedgate stands: all that its settings need."""

    # Also the address it listens on, unless that is set.
    server_name: str
    homeserver: str
    # Plain HTTP without.
    certificate: Path | None
    private_key: Path | None
    ca_file: Path
    admin: str
    listen: str = ""
    sources: tuple[str, ...] = ("homeserver", "origin")
    # Further sections.
    more: str = ""


class Gate:
    """A running fedgate."""

    def __init__(self, binary: Path, placing: Placing, folder: Path) -> None:
        folder.mkdir()
        config = folder / "fedgate.toml"
        config.write_text(_settings(placing))
        self._metrics_url = f"http://{placing.admin}/metrics"
        argv = [str(binary), "run", "--config", str(config)]
        self.process = Process("fedgate", argv, folder, {})

    def requests_counted(self) -> Counter[str]:
        """How many requests fedgate has seen so far, by verdict.

        Without those for keys: homeservers ask for keys when they see fit.
        """
        counted: Counter[str] = Counter()
        for line in self._metrics():
            match = REQUESTS_LINE.match(line)
            labels = dict(LABEL.findall(match["labels"])) if match else {}
            if match and not labels["endpoint"].startswith("key_"):
                counted[labels["verdict"]] += int(match["count"])
        return counted

    def events_counted(self) -> Counter[tuple[str, str, str]]:
        """How often fedgate has checked events: by check, outcome, and version of the room."""
        counted: Counter[tuple[str, str, str]] = Counter()
        for line in self._metrics():
            if match := EVENTS_LINE.match(line):
                labels = dict(LABEL.findall(match["labels"]))
                key = (labels["check"], labels["outcome"], labels["room_version"])
                counted[key] += int(match["count"])
        return counted

    def bad_events_logged(self) -> list[dict]:
        """The fields of fedgate's lines about events."""
        lines = (line for line in self.process.lines() if f'"{EVENTS_TARGET}"' in line)
        return [line for line in map(json.loads, lines) if line["level"] == "WARN"]

    def expect_counted(self, verdict: str, requests: int) -> None:
        """Fedgate has seen so many requests, all of this verdict. The count follows the answer."""
        wanted = Counter({verdict: requests})
        deadline = time.monotonic() + METRICS_SECONDS
        while (counted := self.requests_counted()) != wanted:
            if time.monotonic() > deadline or counted.total() >= requests:
                raise AssertionError(f"it counted {dict(counted)}, not {dict(wanted)}")

    def metric(self, series: str) -> float:
        """The value of one series, as the metrics spell it."""
        for line in self._metrics():
            if line.startswith(f"{series} "):
                return float(line.rsplit(" ", 1)[1])
        raise AssertionError(f"there is no {series}")

    def _metrics(self) -> list[str]:
        with urllib.request.urlopen(self._metrics_url, timeout=METRICS_SECONDS) as response:
            return response.read().decode().splitlines()


def _settings(placing: Placing) -> str:
    # JSON strings are TOML basic strings.
    quoted = json.dumps
    tls = ""
    if placing.certificate:
        tls = f"""\
tls_certificate = {quoted(str(placing.certificate))}
tls_private_key = {quoted(str(placing.private_key))}
"""
    return f"""\
server_name = {quoted(placing.server_name)}
homeserver = {quoted(placing.homeserver)}

[listen]
address = {quoted(placing.listen or placing.server_name)}
{tls}\
# Everybody is on loopback here, and that is trusted unless we say otherwise.
trusted_proxies = []

[outbound]
ca_file = {quoted(str(placing.ca_file))}
allowed_ranges = ["127.0.0.0/8"]

[keys]
sources = {quoted(list(placing.sources))}
store = ""

[admin]
address = {quoted(placing.admin)}
{placing.more}
"""
