"""A Synapse of our own: its configuration, its start, its access log."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from signedjson.key import generate_signing_key, write_signing_keys

from origins import key_id, public_key
from processes import Process

LOG_FORMAT = "%(asctime)s %(name)s %(levelname)s %(request)s %(message)s"
# One line per request: `<ip> - <tag> - {<origin>} Processed request: … 200 "GET / HTTP/1.1" "UA"`.
ACCESS_LINE = re.compile(
    r" (?P<client>\S+) - (?P<tag>\S+) - \{(?P<requester>[^}]*)\} Processed request: .*"
    r' (?P<status>\d{3})!? "(?P<method>\S+) (?P<target>\S+) \S+" "(?P<agent>[^"]*)"'
)
FEDERATION_TAG = "federation"
# Synapse calls every listener on a unix socket that, whatever its tag.
UNIX_TAG = "unix"
# Where Synapse keeps other servers' keys: the documents, and the keys in them.
KEY_TABLES = ("server_keys_json", "server_signature_keys")
NO_LIMIT = {"per_second": 10000, "burst_count": 10000}


@dataclass(frozen=True)
class FederationListener:
    """Where a homeserver takes federation requests: TLS, plain, or a unix socket."""

    address: str = ""
    port: int = 0
    socket_path: str = ""
    certificate: Path | None = None
    private_key: Path | None = None

    def as_synapse(self) -> dict:
        listener = {
            "type": "http",
            "resources": [{"names": ["federation"], "compress": False}],
            "tag": FEDERATION_TAG,
        }
        if self.socket_path:
            return {**listener, "path": self.socket_path, "mode": 0o600, "x_forwarded": True}
        listener.update(port=self.port, bind_addresses=[self.address])
        if self.certificate is None:
            return {**listener, "tls": False, "x_forwarded": True}
        return {**listener, "tls": True}


@dataclass(frozen=True)
class AccessLine:
    client: str
    requester: str
    status: int
    method: str
    target: str
    agent: str


class Homeserver:
    """One Synapse on SQLite, with a plain client listener of its own."""

    def __init__(
        self,
        name: str,
        server_name: str,
        client: tuple[str, int],
        federation: FederationListener,
        ca_file: Path,
        folder: Path,
        more: dict,
    ) -> None:
        self.name = name
        self.server_name = server_name
        self.client_url = f"http://{client[0]}:{client[1]}"
        self.shared_secret = secrets.token_hex(16)
        self._folder = folder
        self._starts = 0
        folder.mkdir()
        self._settings = {**self._config(client, federation, ca_file), **more}
        self.signing_key_file = Path(self._settings["signing_key_path"])
        self._use_signing_key(generate_signing_key(f"a_{name}"))
        _write_json(Path(self._settings["log_config"]), _log_config())
        self.start({})

    def start(self, changes: dict) -> None:
        """Starts it, also anew after its process has been stopped, with these settings changed."""
        self._settings.update(changes)
        config_file = self._folder / "homeserver.yaml"
        # JSON is YAML.
        _write_json(config_file, self._settings)
        argv = [sys.executable, "-m", "synapse.app.homeserver", "-c", str(config_file)]
        self._starts += 1
        name = f"synapse-{self.name}" + (f"-{self._starts}" if self._starts > 1 else "")
        self.process = Process(name, argv, self._folder, {"PYTHONUNBUFFERED": "1"})

    def rotate(self) -> dict:
        """While it is stopped: another signing key; the settings that tell of the one until now."""
        retired = {"key": public_key(self.signing_key), "expired_ts": int(time.time() * 1000)}
        old = {**self._settings.get("old_signing_keys", {}), self.key_id: retired}
        self._use_signing_key(generate_signing_key(f"{self.signing_key.version}_new"))
        return {"old_signing_keys": old}

    def forget_keys(self) -> None:
        """While it is stopped: all that it knows of other servers' keys is gone."""
        with contextlib.closing(sqlite3.connect(self._database)) as database, database:
            for table in KEY_TABLES:
                database.execute(f"DELETE FROM {table}")

    def key_givers(self, server_name: str) -> set[str]:
        """Which servers it has the keys of a server from."""
        query = "SELECT from_server FROM server_keys_json WHERE server_name = ?"
        with contextlib.closing(sqlite3.connect(self._database)) as database:
            return {giver for (giver,) in database.execute(query, (server_name,))}

    @property
    def _database(self) -> str:
        return self._settings["database"]["args"]["database"]

    def access_lines(self) -> list[AccessLine]:
        """The federation requests this Synapse has logged."""
        found = []
        for line in self.process.lines():
            match = ACCESS_LINE.search(line)
            if match and match["tag"] in (FEDERATION_TAG, UNIX_TAG):
                found.append(
                    AccessLine(
                        match["client"],
                        match["requester"],
                        int(match["status"]),
                        match["method"],
                        match["target"],
                        match["agent"],
                    )
                )
        return found

    def wait_access(self, text: str, seconds: float = 20) -> bool:
        """Whether a federation request with this text in its line gets logged."""

        def wanted(line: str) -> bool:
            match = ACCESS_LINE.search(line)
            return bool(match) and match["tag"] in (FEDERATION_TAG, UNIX_TAG) and text in line

        return self.process.wait_line(wanted, seconds)

    def _use_signing_key(self, key: object) -> None:
        self.signing_key = key
        self.key_id = key_id(key)
        self.signing_key_file.touch(mode=0o600)
        with self.signing_key_file.open("w") as file:
            write_signing_keys(file, [key])

    def _config(self, client: tuple[str, int], federation: FederationListener, ca: Path) -> dict:
        folder = self._folder
        tls = {}
        if federation.certificate:
            tls = {
                "tls_certificate_path": str(federation.certificate),
                "tls_private_key_path": str(federation.private_key),
            }
        return {
            "server_name": self.server_name,
            "public_baseurl": self.client_url + "/",
            "pid_file": str(folder / "pid"),
            "listeners": [
                {
                    "type": "http",
                    "port": client[1],
                    "bind_addresses": [client[0]],
                    "tls": False,
                    "resources": [{"names": ["client"], "compress": False}],
                    "tag": "client",
                },
                federation.as_synapse(),
            ],
            **tls,
            "database": {"name": "sqlite3", "args": {"database": str(folder / "db.sqlite")}},
            "log_config": str(folder / "log.config"),
            "media_store_path": str(folder / "media"),
            "signing_key_path": str(folder / "signing.key"),
            "registration_shared_secret": self.shared_secret,
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            # The least there is: passwords are not what is looked at.
            "bcrypt_rounds": 4,
            "report_stats": False,
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "federation_custom_ca_list": [str(ca)],
            # Loopback is forbidden by default, and this is where everything happens here.
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "federation_rr_transactions_per_room_per_second": 1000,
            # Presence is on nobody's list here and only makes the logs longer.
            "presence": {"enabled": False},
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            **_rate_limits(),
        }


def _rate_limits() -> dict:
    """Synapse's limits, out of the way: one user does in a minute what others do in a day."""
    return {
        "rc_message": NO_LIMIT,
        "rc_registration": NO_LIMIT,
        "rc_login": {"address": NO_LIMIT, "account": NO_LIMIT, "failed_attempts": NO_LIMIT},
        "rc_joins": {"local": NO_LIMIT, "remote": NO_LIMIT},
        "rc_joins_per_room": NO_LIMIT,
        "rc_invites": {"per_room": NO_LIMIT, "per_user": NO_LIMIT, "per_issuer": NO_LIMIT},
        "rc_room_creation": NO_LIMIT,
        "rc_media_create": NO_LIMIT,
        "rc_presence": {"per_user": NO_LIMIT},
        "rc_federation": {
            "window_size": 1000,
            "sleep_limit": 10000,
            "sleep_delay": 1,
            "reject_limit": 10000,
            "concurrent": 100,
        },
    }


def _log_config() -> dict:
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"format": LOG_FORMAT}},
        "handlers": {
            "out": {
                "class": "logging.StreamHandler",
                "stream": "ext://sys.stdout",
                "formatter": "line",
            }
        },
        "root": {"level": "INFO", "handlers": ["out"]},
    }


def _write_json(path: Path, value: dict) -> None:
    path.write_text(json.dumps(value, indent=1))
