//! Writes the canonical form of a part of an object.

use super::emit::Emitter;
use super::plan::Plan;
use super::string::write_string;
use super::walk::{self, MemberPlace};
use super::{RawMember, decoded_name};

/// How much of a member is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The member is left out.
    Nothing,
    /// All of it.
    Whole,
    /// Of an object these members, in any order; anything else than an object is left out.
    Members(&'static [(&'static str, Self)]),
}

impl Part {
    /// How much of the member `name` of an object is written of which these are.
    fn of(members: &'static [(&'static str, Self)], name: &str) -> Self {
        members.iter().find(|(found, _)| *found == name).map_or(Self::Nothing, |(_, part)| *part)
    }
}

/// Writes the parts of the object that the text is, member by member.
pub(super) fn write(
    text: &[u8],
    plan: &Plan,
    part: impl FnMut(&str) -> Part,
    sink: &mut impl FnMut(&[u8]),
) {
    let mut emitter = Emitter::new(text, plan, sink);
    write_members(text, plan, 0, part, &mut emitter);
}

/// The same for a canonical text whose members are known: what is written whole is not looked at.
pub(super) fn write_known(
    text: &[u8],
    members: &[RawMember<'_>],
    mut part: impl FnMut(&str) -> Part,
    sink: &mut impl FnMut(&[u8]),
) {
    let plan = Plan::default();
    let mut emitter = Emitter::new(text, &plan, sink);
    let mut is_first = true;
    for member in members {
        let end = member.start + member.text.len();
        let value = end - member.value.len();
        let part = part(&member.name);
        let (kept, listed) = match part {
            Part::Whole => (member.start..end, None),
            Part::Members(members) if member.value.starts_with(b"{") => {
                (member.start..value, Some(members))
            }
            Part::Members(_) | Part::Nothing => continue,
        };
        if is_first {
            emitter.put(b"{");
            emitter.keep(kept);
        } else {
            // The comma in front of it: most often it follows what is kept already.
            emitter.keep(kept.start - 1..kept.end);
        }
        is_first = false;
        if let Some(members) = listed {
            write_listed(text, &plan, value, members, &mut emitter);
        }
    }
    emitter.put(if is_first { b"{}" } else { b"}" });
}

/// Writes the parts of the object that opens at `open`. Calls itself as deep as [`Part`]s are nested.
fn write_members<F: FnMut(&[u8])>(
    text: &[u8],
    plan: &Plan,
    open: usize,
    mut part: impl FnMut(&str) -> Part,
    emitter: &mut Emitter<'_, F>,
) {
    let mut separator: &[u8] = b"{";
    let write = |member: MemberPlace| {
        let name = decoded_name(text, &member);
        let value = member.value.start;
        match part(&name) {
            Part::Whole => {
                emitter.put(separator);
                emitter.write(member.name.start..member.value.end);
            }
            Part::Members(members) if text.get(value) == Some(&b'{') => {
                emitter.put(separator);
                write_string(&name, &mut |piece: &[u8]| emitter.put(piece));
                emitter.put(b":");
                write_listed(text, plan, value, members, emitter);
            }
            Part::Members(_) | Part::Nothing => return,
        }
        separator = b",";
    };
    match plan.members_at(open) {
        Some(offsets) => offsets.filter_map(|at| walk::member_at(text, at)).for_each(write),
        None => walk::members(text, open).for_each(write),
    }
    emitter.put(if separator == b"{" { b"{}" } else { b"}" });
}

/// The same for members by name.
fn write_listed<F: FnMut(&[u8])>(
    text: &[u8],
    plan: &Plan,
    open: usize,
    members: &'static [(&'static str, Part)],
    emitter: &mut Emitter<'_, F>,
) {
    write_members(text, plan, open, |name: &str| Part::of(members, name), emitter);
}
