//! Server names, key IDs and base64.

#![no_main]

use fedgate::proto::{KeyId, ServerName, base64};
use fedgate_fuzz::names;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    assert_eq!(base64::decode_array::<64>(data).ok(), text(data).and_then(names::base64));
    assert_eq!(base64::decode_array::<32>(data).ok(), text(data).and_then(names::base64));
    if let Ok(bytes) = base64::decode_array::<32>(data) {
        assert_eq!(base64::encode(&bytes), names::to_base64(&bytes, false));
        assert_eq!(base64::encode_url_safe(&bytes), names::to_base64(&bytes, true));
    }
    let Some(text) = text(data) else { return };
    assert_eq!(KeyId::parse(text).is_ok(), names::is_key_id(text));
    if let Ok(id) = KeyId::parse(text) {
        assert_eq!(id.as_str(), text);
        assert_eq!(id.is_ed25519(), names::is_ed25519_key_id(text));
    }
    let name = ServerName::parse(text);
    assert_eq!(name.is_ok(), names::server_name(text).is_some(), "{name:?}");
    if let (Ok(name), Some((host, port))) = (name, names::server_name(text)) {
        assert_eq!((name.as_str(), name.host_str(), name.port()), (text, host, port));
        let _host = name.host();
    }
});

fn text(data: &[u8]) -> Option<&str> {
    std::str::from_utf8(data).ok()
}
