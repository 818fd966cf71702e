//! One byte more, of every kind, at every place where framing is decided: nothing passes but what
//! means the signed request to everybody (threats B1, B2, B5).

use super::Kind;
use super::case::Case;
use super::lane::{BEHIND, Lane, good};
use crate::support::{Client, within};

/// Where a byte is put (at `@`), and which may pass there: the others are refused, all of them with
/// nothing sent to the homeserver.
type Place = (&'static str, &'static str, fn(u8) -> bool);

const LENGTH: &str = "Content-Length: 12\\r\\n\\r\\n{\"pdus\": []}";
const CHUNKS: &str = "\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0\\r\\n\\r\\n";

const fn never(_: u8) -> bool {
    false
}

/// White space around a value.
const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// A byte of another name.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A byte of another value.
const fn is_value(byte: u8) -> bool {
    is_space(byte) || (byte > b' ' && byte != 0x7f)
}

const fn is_zero(byte: u8) -> bool {
    byte == b'0'
}

const fn is_extension(byte: u8) -> bool {
    byte == b';'
}

/// What stands behind the fields that every input has. With a length and a coding only an input
/// whose coding has become another field may pass.
const PLACES: &[Place] = &[
    ("before a length", "@Content-Length: 12\\r\\n\\r\\n{\"pdus\": []}", never),
    ("in the name of a length", "Content@-Length: 12\\r\\n\\r\\n{\"pdus\": []}", never),
    ("before the colon of a length", "Content-Length@: 12\\r\\n\\r\\n{\"pdus\": []}", never),
    ("behind the colon of a length", "Content-Length:@ 12\\r\\n\\r\\n{\"pdus\": []}", is_space),
    ("before a number", "Content-Length: @12\\r\\n\\r\\n{\"pdus\": []}", is_space),
    ("in a number", "Content-Length: 1@2\\r\\n\\r\\n{\"pdus\": []}", never),
    ("behind a number", "Content-Length: 12@\\r\\n\\r\\n{\"pdus\": []}", is_space),
    ("in the line end of a length", "Content-Length: 12\\r@\\n\\r\\n{\"pdus\": []}", never),
    ("in the line end of a head", "Content-Length: 12\\r\\n\\r@\\n{\"pdus\": []}", never),
    ("before the line end of a head", "Content-Length: 12\\r\\n@\\r\\n{\"pdus\": []}", never),
    ("before a coding", "@Transfer-Encoding: chunked\\r\\nLENGTH", is_token),
    ("in the name of a coding", "Transfer@-Encoding: chunked\\r\\nLENGTH", is_field),
    ("before the colon of a coding", "Transfer-Encoding@: chunked\\r\\nLENGTH", is_token),
    ("behind the colon of a coding", "Transfer-Encoding:@ chunked\\r\\nLENGTH", never),
    ("before chunked", "Transfer-Encoding: @chunked\\r\\nLENGTH", never),
    ("in chunked", "Transfer-Encoding: chu@nked\\r\\nLENGTH", never),
    ("behind chunked", "Transfer-Encoding: chunked@\\r\\nLENGTH", never),
    ("in the line end of a coding", "Transfer-Encoding: chunked\\r@\\nLENGTH", never),
    ("behind the colon of the only coding", "Transfer-Encoding:@ chunked\\r\\nCHUNKS", is_space),
    ("behind chunked alone", "Transfer-Encoding: chunked@\\r\\nCHUNKS", is_space),
    ("in the value of another field", "X: y@\\r\\nLENGTH", is_value),
    ("in the line end of another field", "X: y\\r@\\nLENGTH", never),
    ("in the name of another field", "X@Y: z\\r\\nLENGTH", is_field),
    (
        "before a size",
        "Transfer-Encoding: chunked\\r\\n\\r\\n@c\\r\\n{\"pdus\": []}\\r\\n0\\r\\n\\r\\n",
        is_zero,
    ),
    (
        "behind a size",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc@\\r\\n{\"pdus\": []}\\r\\n0\\r\\n\\r\\n",
        is_extension,
    ),
    (
        "in the line end of a size",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r@\\n{\"pdus\": []}\\r\\n0\\r\\n\\r\\n",
        never,
    ),
    (
        "in an extension",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc;a@\\r\\n{\"pdus\": []}\\r\\n0\\r\\n\\r\\n",
        is_ascii_value,
    ),
    (
        "behind a chunk",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}@\\r\\n0\\r\\n\\r\\n",
        never,
    ),
    (
        "in the line end of a chunk",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r@\\n0\\r\\n\\r\\n",
        never,
    ),
    (
        "before the last size",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n@0\\r\\n\\r\\n",
        is_zero,
    ),
    (
        "behind the last size",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0@\\r\\n\\r\\n",
        is_last,
    ),
    (
        "before the last line end",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0\\r\\n@\\r\\n",
        never,
    ),
    (
        "in the name of a trailer",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0\\r\\nX@Y: z\\r\\n\\r\\n",
        is_field,
    ),
    (
        "in the value of a trailer",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0\\r\\nX: y@\\r\\n\\r\\n",
        is_value,
    ),
    (
        "in the last line end",
        "Transfer-Encoding: chunked\\r\\n\\r\\nc\\r\\n{\"pdus\": []}\\r\\n0\\r\\n\\r@\\n",
        is_line_feed,
    ),
];

/// A byte of another name, or what ends the name there.
fn is_field(byte: u8) -> bool {
    is_token(byte) || byte == b':'
}

const fn is_ascii_value(byte: u8) -> bool {
    is_value(byte) && byte.is_ascii()
}

/// The body has ended before it.
const fn is_line_feed(byte: u8) -> bool {
    byte == b'\n'
}

/// One more zero, or an extension.
const fn is_last(byte: u8) -> bool {
    matches!(byte, b'0' | b';')
}

/// Every byte but most letters, digits and bytes beyond ASCII, which are alike.
const fn is_of_interest(byte: u8) -> bool {
    let alike = byte.is_ascii_alphanumeric() || byte > 0x80;
    !alike || matches!(byte, b'0' | b'1' | b'9' | b'a' | b'f' | b'g' | b'X' | 0x85 | 0xa0 | 0xff)
}

fn case(name: &str, text: &str, byte: u8) -> Case {
    let text = text.replace("LENGTH", LENGTH).replace("CHUNKS", CHUNKS);
    let text = text.replace('@', &format!("\\x{byte:02x}"));
    let file = format!(
        "why: generated\nexpect: 200\nsigned: PUT /_matrix/federation/v1/send/1 {{\"pdus\":[]}}\n\n\
         PUT /_matrix/federation/v1/send/1 HTTP/1.1\\r\\nHost: gate.example\\r\\n\
         Authorization: <auth>\\r\\n{text}"
    );
    Case::parse(name, "http1", &file).unwrap()
}

/// A good request that is long enough to be the rest of any body that one digit more announces.
fn behind() -> Vec<u8> {
    let mut request = good(BEHIND);
    request.truncate(request.len() - 2);
    request.extend_from_slice(b"X: ");
    request.extend_from_slice(&[b'x'; 2_000]);
    request.extend_from_slice(b"\r\n\r\n");
    request
}

/// Whether the input passes, as the one request that was signed.
async fn passes(lane: &mut Lane, case: &Case) -> bool {
    let variant = &case.variants()[0];
    let mut client = Client::plain(lane.gate(Kind::Http1).address).await;
    client.send(&[case.raw(variant).unwrap(), behind()].concat()).await;
    let answer = within(&case.name, client.answer()).await;
    let status = answer.map_or(0, |answer| answer.status);
    assert!(within(&case.name, client.is_closed()).await, "{}: not closed", case.name);
    let arrived = match status {
        200 => lane.check_forwarded(case, variant, Kind::Http1),
        _ => lane.check_silence(),
    };
    arrived.unwrap_or_else(|error| panic!("{}: {status}: {error}", case.name));
    status == 200
}

#[tokio::test]
async fn b1_one_byte_more_is_refused_or_means_the_same() {
    let mut lane = Lane::start().await;
    let (mut refused, mut wrong) = (0, Vec::new());
    for (place, text, may_pass) in PLACES {
        for byte in (0..=u8::MAX).filter(|byte| is_of_interest(*byte)) {
            let name = format!("byte 0x{byte:02x} {place}");
            let passed = passes(&mut lane, &case(&name, text, byte)).await;
            refused += usize::from(!passed);
            if passed != may_pass(byte) {
                wrong.push(format!("{name}: passed is {passed}"));
            }
        }
    }
    println!("{refused} refused");
    assert!(refused > 2_000, "{refused}");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    lane.stop().await.unwrap();
}
