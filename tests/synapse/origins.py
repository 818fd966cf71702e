"""Made-up origins: servers that have nothing but a key document, served over TLS."""

from __future__ import annotations

import http.server
import json
import ssl
import threading
import time
from dataclasses import dataclass, field

from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json

from pki import Authority
from processes import Addresses

DAY_MS = 24 * 60 * 60 * 1000
KEY_PATH = "/_matrix/key/v2/server"


@dataclass(frozen=True)
class Origin:
    """A server name, the keys it signs with, and the key document it publishes."""

    server_name: str
    key: object = field(repr=False)
    second_key: object = field(repr=False)
    document: dict = field(repr=False)


def honest(server_name: str) -> Origin:
    key, second = generate_signing_key("k1"), generate_signing_key("k2")
    document = key_document(server_name, [key, second])
    return Origin(server_name, key, second, document)


def expired(server_name: str) -> Origin:
    """Its keys were valid until yesterday, and it publishes nothing newer."""
    key = generate_signing_key("k1")
    return Origin(server_name, key, key, key_document(server_name, [key], valid_for_ms=-DAY_MS))


def retired(server_name: str) -> Origin:
    """It signs with a key that it says it has given up."""
    key, current = generate_signing_key("k1"), generate_signing_key("k2")
    document = key_document(server_name, [current], retired=[key])
    return Origin(server_name, key, current, document)


def misnamed(server_name: str) -> Origin:
    """Its document, well signed, is that of another server."""
    key = generate_signing_key("k1")
    return Origin(server_name, key, key, key_document("elsewhere.example", [key]))


def unsigned(server_name: str) -> Origin:
    """Its document is signed with a key that the document does not list."""
    key, stranger = generate_signing_key("k1"), generate_signing_key("k1")
    document = key_document(server_name, [key], signers=[stranger])
    return Origin(server_name, key, key, document)


def key_document(
    server_name: str,
    current: list,
    retired: list = (),
    signers: list | None = None,
    valid_for_ms: int = DAY_MS,
) -> dict:
    """A server's key document, signed with its current keys unless other signers are named."""
    now = int(time.time() * 1000)
    document = {
        "server_name": server_name,
        "valid_until_ts": now + valid_for_ms,
        "verify_keys": {key_id(key): {"key": public_key(key)} for key in current},
        "old_verify_keys": {
            key_id(key): {"key": public_key(key), "expired_ts": now - DAY_MS} for key in retired
        },
    }
    for key in current if signers is None else signers:
        document = sign_json(document, server_name, key)
    return document


def key_id(key: object) -> str:
    return f"{key.alg}:{key.version}"


def public_key(key: object) -> str:
    return encode_verify_key_base64(get_verify_key(key))


class KeyServers:
    """Serves origins' key documents, each on a port of its own."""

    def __init__(self, addresses: Addresses, address: str, authority: Authority) -> None:
        self._addresses = addresses
        self._address = address
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(*authority.issue(address))
        self._servers: list[http.server.HTTPServer] = []

    def name(self) -> str:
        """A server name that nobody answers for, until `serve`."""
        return f"{self._address}:{self._addresses.free_port(self._address)}"

    def serve(self, origin: Origin) -> Origin:
        address, port = origin.server_name.rsplit(":", 1)
        answer = json.dumps(origin.document).encode()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = self.path.startswith(KEY_PATH)
                body = answer if found else b'{"errcode":"M_UNRECOGNIZED","error":"no"}'
                self.send_response(200 if found else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
        server.daemon_threads = True
        # The handshake happens in the connection's own thread, not in the one that accepts.
        server.socket = self._tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server)
        return origin

    def close(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
