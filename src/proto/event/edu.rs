//! For whom an EDU claims to speak (server-server API, EDUs; R92).
//!
//! EDUs are not signed: that a user is on the server which sent the transaction is all there is to
//! check. Users are read as Synapse reads them: their server is what follows the first colon, and
//! only `m.typing` asks for the sigil. Synapse drops what claims another server's user, but for
//! `m.direct_to_device`, where it logs that it does and takes the message; Dendrite drops that, too.

use std::borrow::Cow;
use std::iter;

use crate::proto::ServerName;
use crate::proto::json::{array_values, object_member, object_members, string_value};
use crate::proto::limits::EVENT_FIELD_BYTES_MAX;

/// What an EDU's claims are worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EduVerdict {
    /// Every user it claims to speak for, if any, is on the server that sent it.
    Good,
    /// It claims to speak for a user of another server.
    Foreign {
        /// The first such user, cut at `EVENT_FIELD_BYTES_MAX` characters. A stranger's text: to be
        /// escaped.
        user: String,
        /// Whether it speaks for users of the server that sent it, too: a homeserver takes that part.
        is_mixed: bool,
    },
    /// For whom it speaks cannot be read in one place at least, and nobody foreign is named in the
    /// others. Synapse drops what stands there, mostly by failing the whole transaction.
    Malformed,
    /// Its type is none whose claims are known.
    NotJudged,
}

/// Judges one entry of a transaction's `edus` by the users it claims to speak for. Only those are
/// looked at, nothing else of the content.
///
/// `edu` is a text within a scanned one; each byte of it is passed a fixed number of times.
pub fn edu_claims(edu: &[u8], origin: &ServerName) -> EduVerdict {
    let (mut edu_type, mut content) = (None, &[][..]);
    for (name, value) in object_members(edu).into_iter().flatten() {
        match name.as_ref() {
            "content" => content = value,
            "edu_type" => edu_type = string_value(value),
            _ => {}
        }
    }
    let field = |name| object_member(content, name).and_then(string_value);
    match edu_type.as_deref() {
        // The last is what Synapse called the one before, and still sends beside it.
        Some("m.device_list_update" | "m.signing_key_update" | "org.matrix.signing_key_update") => {
            judge(iter::once(field("user_id")), origin)
        }
        Some("m.direct_to_device") => judge(iter::once(field("sender")), origin),
        Some("m.presence") => judge(presence_users(content), origin),
        Some("m.receipt") => judge(receipt_users(content), origin),
        Some("m.typing") => {
            judge(iter::once(field("user_id").filter(|user| user.starts_with('@'))), origin)
        }
        Some(_) => EduVerdict::NotJudged,
        None => EduVerdict::Malformed,
    }
}

/// A user ID; none where one should be and is not.
type Claim<'c> = Option<Cow<'c, str>>;

fn judge<'c>(claims: impl Iterator<Item = Claim<'c>>, origin: &ServerName) -> EduVerdict {
    let (mut is_any_own, mut is_malformed, mut foreign) = (false, false, None);
    for claim in claims {
        let user = claim.as_deref();
        match user.and_then(|user| Some((user, user.split_once(':')?.1))) {
            Some((_, server)) if server == origin.as_str() => is_any_own = true,
            Some((user, _)) if foreign.is_none() => {
                foreign = Some(user.chars().take(EVENT_FIELD_BYTES_MAX).collect());
            }
            Some(_) => {}
            None => is_malformed = true,
        }
    }
    match foreign {
        Some(user) => EduVerdict::Foreign { user, is_mixed: is_any_own },
        None if is_malformed => EduVerdict::Malformed,
        None => EduVerdict::Good,
    }
}

/// The users of `content.push[].user_id`. No `push` is an empty one.
fn presence_users(content: &[u8]) -> impl Iterator<Item = Claim<'_>> {
    let is_object = content.starts_with(b"{");
    let push = is_object.then(|| object_member(content, "push").unwrap_or(b"[]"));
    each(push.and_then(array_values))
        .map(|entry| object_member(entry?, "user_id").and_then(string_value))
}

/// The users of `content.{room}.{receipt type}.{user}`.
fn receipt_users(content: &[u8]) -> impl Iterator<Item = Claim<'_>> {
    members(content)
        .flat_map(|room| members(value(room)))
        .flat_map(|receipts| members(value(receipts)))
        .map(|user| Some(user?.0))
}

type Member<'v> = Option<(Cow<'v, str>, &'v [u8])>;

fn members(text: &[u8]) -> impl Iterator<Item = Member<'_>> {
    each(object_members(text))
}

/// The text of the member's value; one that is nothing at all for what is not there.
fn value(member: Member<'_>) -> &[u8] {
    member.map(|(_, value)| value).unwrap_or_default()
}

/// The items, or a single none in their place.
fn each<T>(items: Option<impl Iterator<Item = T>>) -> impl Iterator<Item = Option<T>> {
    let missing = items.is_none().then_some(None);
    items.into_iter().flatten().map(Some).chain(missing)
}
