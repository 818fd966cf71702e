"""What passed, what failed, and how long each phase took."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

PROBLEMS_SHOWN_MAX = 10
PROBLEM_LENGTH_MAX = 400


class Abandoned(Exception):
    """A step failed and what follows depends on it; it has been counted already."""


class Report:
    """Counts steps and prints one line for each; several threads may."""

    def __init__(self) -> None:
        self.passed = 0
        self.failed = 0
        self.phases: list[tuple[str, float]] = []
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """One step of a scenario: an exception fails it and abandons the scenario."""
        try:
            yield
        except Exception as error:  # whatever went wrong is the result
            self.fail(name, f"{type(error).__name__}: {error}")
            raise Abandoned(name) from error
        self.ok(name)

    def ok(self, name: str) -> None:
        with self._lock:
            self.passed += 1
            print(f"ok {name}", flush=True)

    def fail(self, name: str, reason: str) -> None:
        with self._lock:
            self.failed += 1
            print(f"FAILED {name}\n       {reason}", flush=True)

    def check(self, name: str, problems: list[str]) -> None:
        """A step whose problems have been collected: none means it passed."""
        if problems:
            shown = [problem[:PROBLEM_LENGTH_MAX] for problem in problems[:PROBLEMS_SHOWN_MAX]]
            if len(problems) > len(shown):
                shown.append(f"and {len(problems) - len(shown)} more")
            self.fail(name, "\n       ".join(shown))
        else:
            self.ok(name)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """A timed part of the run; a failed step within ends it, not the run."""
        start = time.monotonic()
        try:
            yield
        except Abandoned:
            pass
        finally:
            self.phases.append((name, time.monotonic() - start))

    def summary(self) -> str:
        timings = [f"{seconds:7.1f} s  {name}" for name, seconds in self.phases]
        return "\n".join([*timings, f"{self.passed} passed, {self.failed} failed"])
