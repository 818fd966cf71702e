//! One value of the `Authorization` header.

#![no_main]

use fedgate::proto::ed25519::Signature;
use fedgate::proto::x_matrix::{XMatrix, header_value};
use fedgate::proto::{KeyId, ServerName};
use fedgate_fuzz::x_matrix::{Header, Parameters, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let read = XMatrix::parse(data);
    let same = match &read {
        Ok(None) => Header::OtherScheme,
        Err(error) => {
            let _text = error.to_string();
            Header::Malformed
        }
        Ok(Some(header)) => Header::XMatrix(parameters(header)),
    };
    assert_eq!(parse(data), same, "{read:?}");
    if let Ok(Some(header)) = read {
        written_and_read_again(&header);
    }
});

fn parameters(header: &XMatrix<'_>) -> Parameters {
    Parameters {
        origin: header.origin.as_str().to_owned(),
        destination: header.destination.as_deref().map(str::to_owned),
        key: header.key.clone().into_owned(),
        sig: header.sig.clone().into_owned(),
    }
}

/// What is forwarded is read by anybody as what was verified.
fn written_and_read_again(header: &XMatrix<'_>) {
    let destination = header.destination.as_deref().map(ServerName::parse);
    let (Some(Ok(destination)), Ok(key), Some(signature)) =
        (destination, KeyId::parse(&header.key), Signature::from_base64(&header.sig))
    else {
        return;
    };
    let written = header_value(&header.origin, &destination, &key, &signature);
    let again = Parameters { sig: signature.to_base64(), ..parameters(header) };
    assert_eq!(parse(written.as_bytes()), Header::XMatrix(again));
}
