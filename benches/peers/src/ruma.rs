//! ruma's check of a request.

use std::collections::BTreeMap;

use bytes::Bytes;
use ruma_common::OwnedServerName;
use ruma_common::serde::Base64;
use ruma_federation_api::authentication::XMatrix;
use ruma_signatures::PublicKeyMap;

use crate::workload::{ORIGIN, SEED, Workload, names};

/// A request as ruma takes it, and the keys it is checked with.
pub struct Ruma {
    request: http::Request<Bytes>,
    own: OwnedServerName,
    keys: PublicKeyMap,
}

impl Ruma {
    /// The request, sent to any target.
    pub fn new(work: &Workload, target: &str) -> Self {
        let mut request = http::Request::new(work.body.clone());
        *request.method_mut() = work.method.clone();
        *request.uri_mut() = target.parse().unwrap();
        *request.headers_mut() = work.headers.clone();
        let (own, key_id) = names();
        let key = ed25519_dalek::SigningKey::from_bytes(&SEED).verifying_key();
        let key = Base64::new(key.to_bytes().to_vec());
        let keys = BTreeMap::from([(key_id.as_str().to_owned(), key)]);
        Self {
            request,
            own: own.as_str().try_into().unwrap(),
            keys: BTreeMap::from([(ORIGIN.to_owned(), keys)]),
        }
    }

    /// From the head to the verdict.
    pub fn accepts(&self) -> bool {
        let claim = XMatrix::extract_from_http_headers(self.request.headers()).unwrap();
        claim.verify_http_request(&self.request, &self.own, &self.keys).is_ok()
    }
}
