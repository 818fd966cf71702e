"""fedgate: finding the binary, writing its settings, starting it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from processes import Process

REPOSITORY = Path(__file__).resolve().parents[2]


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


def start(
    binary: Path,
    server_name: str,
    homeserver: str,
    certificate: Path,
    private_key: Path,
    ca_file: Path,
    admin: str,
    folder: Path,
) -> Process:
    """Starts fedgate on the address its server name says, in front of `homeserver`."""
    folder.mkdir()
    config = folder / "fedgate.toml"
    # JSON strings are TOML basic strings.
    quoted = json.dumps
    config.write_text(
        f"""\
server_name = {quoted(server_name)}
homeserver = {quoted(homeserver)}

[listen]
address = {quoted(server_name)}
tls_certificate = {quoted(str(certificate))}
tls_private_key = {quoted(str(private_key))}

[outbound]
ca_file = {quoted(str(ca_file))}
allowed_ranges = ["127.0.0.0/8"]

[keys]
sources = ["homeserver", "origin"]

[admin]
address = {quoted(admin)}
"""
    )
    return Process("fedgate", [str(binary), "run", "--config", str(config)], folder, {})
