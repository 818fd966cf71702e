//! A request's body while it comes: what a canonical one still costs when its last byte is there does not
//! depend on its length.

use bytes::Bytes;

use super::FoundKeys;
use crate::proto::json::{GrowingText, JsonError, Object};
use crate::proto::verify::SignatureChecks;

/// What of a body must have come before it is looked at again, in bytes: it may come byte by byte.
const STEP_BYTES: usize = 4_096;

/// A body, as much of it as has come.
#[derive(Debug)]
pub struct Body<'k> {
    keys: &'k FoundKeys,
    text: GrowingText,
    /// The checks of the signatures, which hear it as it is scanned; none where nothing is signed, or what is
    /// signed is not these very bytes.
    heard: Option<SignatureChecks<'k>>,
    /// How much of it they have heard.
    heard_bytes: usize,
}

impl<'k> Body<'k> {
    /// One that is only kept: all that there is to do waits for the verdict.
    pub const fn kept(keys: &'k FoundKeys) -> Self {
        Self { keys, text: GrowingText::kept(), heard: None, heard_bytes: 0 }
    }

    /// One that should be an object, which the signatures by these keys are over. One that is bad in itself
    /// is left to the verdict.
    pub(super) fn heard_by(keys: &'k FoundKeys) -> Self {
        let heard = SignatureChecks::before_content(keys.signatures()).ok();
        Self { keys, text: GrowingText::scanned(STEP_BYTES), heard, heard_bytes: 0 }
    }

    /// The next piece; memory for `room` bytes is taken for all of them.
    pub fn push(&mut self, piece: Bytes, room: usize) {
        self.text.push(piece, room);
        self.hear_on();
    }

    /// Says that all of it is there.
    pub fn end(&mut self) {
        self.text.end();
        self.hear_on();
    }

    /// Lets the checks hear what has been scanned and may be canonical: no byte is hashed before.
    fn hear_on(&mut self) {
        if !self.text.may_be_canonical() {
            self.heard = None;
        }
        let scanned = self.text.scanned_bytes();
        if let Some(heard) = &mut self.heard {
            heard.hear(self.text.bytes().get(self.heard_bytes..scanned).unwrap_or_default());
            self.heard_bytes = scanned;
        }
    }

    /// What has come so far.
    pub fn bytes(&self) -> &[u8] {
        self.text.bytes()
    }

    /// How many bytes of it the verdict has yet to look at, once all of it is there.
    pub fn bytes_left(&self) -> usize {
        if self.heard.is_some() { 0 } else { self.text.len() }
    }

    /// All of it.
    pub fn into_bytes(self) -> Bytes {
        self.text.into_bytes()
    }

    /// The keys that the request is to be verified by, and its signatures.
    pub(super) const fn keys(&self) -> &'k FoundKeys {
        self.keys
    }

    pub(super) fn object(&self) -> Result<Object<'_>, JsonError> {
        self.text.object()
    }

    /// The checks of the signatures, if they have heard all bytes, which must be the object's canonical
    /// form.
    pub(super) fn heard(&self) -> Option<&SignatureChecks<'k>> {
        self.heard.as_ref().filter(|_| self.heard_bytes == self.text.len())
    }
}
