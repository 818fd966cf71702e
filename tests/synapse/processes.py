"""Starting servers, knowing when they are ready, reading their logs, and ending them."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Callable

READY_SECONDS = 60
STOP_SECONDS = 15
LOG_TAIL_LINES = 40


class ProcessFailed(Exception):
    """A server ended, or did not get ready, when it should have been running."""


class Process:
    """A server in a process group of its own.

    Its output goes to a file and is kept in memory as well, so that a test can wait for a line
    instead of looking again and again. Readiness comes over systemd's notify socket, which both
    Synapse and fedgate speak.
    """

    def __init__(self, name: str, argv: list[str], folder: Path, env: dict[str, str]) -> None:
        self.name = name
        self.log_file = folder / f"{name}.log"
        self._lines: list[str] = []
        self._news = threading.Condition()
        self._notify_path = str(folder / f"{name}.notify")
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(self._notify_path)
        self._popen = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**_inherited_environment(), **env, "NOTIFY_SOCKET": self._notify_path},
        )
        self._reader = threading.Thread(target=self._read_output, daemon=True)
        self._reader.start()

    def _read_output(self) -> None:
        with self.log_file.open("w", encoding="utf-8") as log:
            for raw in self._popen.stdout:
                line = raw.decode("utf-8", "replace").rstrip("\n")
                log.write(line + "\n")
                log.flush()
                with self._news:
                    self._lines.append(line)
                    self._news.notify_all()
        # Whoever waits for readiness waits on the socket: the end has to be said there too.
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            with contextlib.suppress(OSError):
                sender.sendto(b"OUTPUT_ENDED=1", self._notify_path)

    def wait_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while True:
            self._notify.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                words = self._notify.recv(4096).split(b"\n")
            except socket.timeout:
                raise ProcessFailed(
                    f"{self.name} did not say READY=1 within {READY_SECONDS} s"
                ) from None
            if b"READY=1" in words:
                return
            if b"OUTPUT_ENDED=1" in words:
                raise ProcessFailed(f"{self.name} ended before it was ready")

    def lines(self) -> list[str]:
        with self._news:
            return list(self._lines)

    def panics(self) -> list[str]:
        """The lines in which fedgate tells of a panic."""
        return [line for line in self.lines() if '"fedgate::panics"' in line]

    def wait_line(self, wanted: Callable[[str], bool], seconds: float) -> bool:
        """Whether such a line was logged, before now or within this time."""
        deadline = time.monotonic() + seconds
        looked_at = 0
        with self._news:
            while True:
                fresh = self._lines[looked_at:]
                looked_at += len(fresh)
                if any(wanted(line) for line in fresh):
                    return True
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self._news.wait(remaining):
                    return False

    @property
    def pid(self) -> int:
        return self._popen.pid

    def running(self) -> bool:
        return self._popen.poll() is None

    def tail(self) -> str:
        lines = self.lines()[-LOG_TAIL_LINES:]
        return "\n".join([f"--- {self.name}: last {len(lines)} lines ---", *lines])

    def stop(self) -> int:
        """SIGTERM to the group, SIGKILL when that is not enough; the exit status."""
        self._signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._popen.wait(STOP_SECONDS)
        # What the server itself may have started and left.
        self._signal(signal.SIGKILL)
        self._popen.wait()
        self._reader.join(STOP_SECONDS)
        self._notify.close()
        return self._popen.returncode

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, number)


def _inherited_environment() -> dict[str, str]:
    # fedgate takes settings from such variables: ours are in its file, and FEDGATE_BIN is not one.
    return {name: value for name, value in os.environ.items() if not name.startswith("FEDGATE_")}


class Addresses:
    """Loopback addresses and free ports for one run.

    A random /24 of 127.0.0.0/8: nobody else listens there, so a port that is free now is still
    free when the server opens it, although nothing holds it in between.
    """

    def __init__(self) -> None:
        self._network = f"127.{random.randint(10, 250)}.{random.randint(1, 250)}"
        self._taken: set[tuple[str, int]] = set()

    def address(self, host: int) -> str:
        return f"{self._network}.{host}"

    def free_port(self, address: str) -> int:
        while True:
            with socket.socket() as probe:
                probe.bind((address, 0))
                port = probe.getsockname()[1]
            if (address, port) not in self._taken:
                self._taken.add((address, port))
                return port
