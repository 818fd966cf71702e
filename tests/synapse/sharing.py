"""What users of two homeservers share beside events: typing, receipts, presence, devices' keys."""

from __future__ import annotations

import base64
import os
import secrets
from urllib.parse import quote

from signedjson.key import encode_verify_key_base64, generate_signing_key, get_verify_key
from signedjson.sign import sign_json

from client import Client, Seen


def read(sender: Client, reader: Client, room_id: str, event_id: str) -> None:
    """The reader's receipt for an event reaches the event's sender."""
    mark = sender.mark()
    reader.send_receipt(room_id, event_id)

    def wanted(seen: Seen) -> bool:
        if seen.room_id != room_id or seen.event.get("type") != "m.receipt":
            return False
        readers = seen.event["content"].get(event_id, {}).get("m.read", {})
        return reader.user_id in readers

    sender.wait(f"the receipt of {reader.user_id}", wanted, mark)


def type_and_stop(sender: Client, reader: Client, room_id: str) -> None:
    for typing in (True, False):
        mark = reader.mark()
        sender.send_typing(room_id, typing)

        def wanted(seen: Seen, typing: bool = typing) -> bool:
            return (
                seen.room_id == room_id
                and seen.event.get("type") == "m.typing"
                and (sender.user_id in seen.event["content"]["user_ids"]) == typing
            )

        reader.wait(f"{sender.user_id} typing: {typing}", wanted, mark)


def show_presence(sender: Client, reader: Client) -> None:
    message = secrets.token_hex(8)
    path = f"/_matrix/client/v3/presence/{quote(sender.user_id, safe='')}/status"
    sender.call("PUT", path, {"presence": "unavailable", "status_msg": message})

    def wanted(seen: Seen) -> bool:
        shown = seen.section == "presence" and seen.event["sender"] == sender.user_id
        return shown and seen.event["content"].get("status_msg") == message

    reader.wait(f"the presence of {sender.user_id}", wanted)


def tell_device(sender: Client, reader: Client) -> None:
    content = {"marker": secrets.token_hex(8)}
    path = f"/_matrix/client/v3/sendToDevice/org.example.test/{sender.transaction()}"
    sender.call("PUT", path, {"messages": {reader.user_id: {reader.device_id: content}}})

    def wanted(seen: Seen) -> bool:
        return seen.section == "to_device" and seen.event["content"] == content

    reader.wait("the to-device message", wanted)


def upload_device_keys(client: Client) -> dict:
    """New keys of the device; those."""
    user, device = client.user_id, client.device_id
    keys = {
        "user_id": user,
        "device_id": device,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"ed25519:{device}": random_key(), f"curve25519:{device}": random_key()},
        "signatures": {user: {f"ed25519:{device}": random_key() + random_key()}},
    }
    client.call("POST", "/_matrix/client/v3/keys/upload", {"device_keys": keys})
    return keys


def upload_cross_signing_keys(client: Client) -> None:
    """The keys with which a user vouches for devices. Nobody has to log in anew for the first."""
    master = generate_signing_key("0")
    master.version = encode_verify_key_base64(get_verify_key(master))
    usages = {"master": master, "self_signing": generate_signing_key("0")}
    body = {}
    for usage, key in usages.items():
        public = encode_verify_key_base64(get_verify_key(key))
        document = {
            "user_id": client.user_id,
            "usage": [usage],
            "keys": {f"ed25519:{public}": public},
        }
        body[f"{usage}_key"] = sign_json(document, client.user_id, master)
    client.call("POST", "/_matrix/client/v3/keys/device_signing/upload", body)


def change_devices(sender: Client, reader: Client) -> None:
    """The reader hears of each change of the sender's devices."""
    for change in (upload_device_keys, upload_cross_signing_keys):
        mark = reader.mark()
        change(sender)
        reader.wait(
            f"that devices of {sender.user_id} have changed",
            lambda seen: seen.section == "device_lists"
            and seen.event["user_id"] == sender.user_id,
            mark,
        )


def random_key() -> str:
    return base64.b64encode(os.urandom(32)).decode().rstrip("=")
