//! Zip archives: what their members are, and workbooks among them.
//!
//! ```text
//! (local header, packed bytes, (descriptor)?)… | central directory | end of it, with where it starts
//! ```
//!
//! An archive whose members are all of one type is of that type, their records added; another one is binary. Members
//! are unpacked within one budget for the whole archive, and never further than once: an archive in an archive is binary.

mod directory;
mod members;
mod sheet;

use forebay_shared::{Compression, DataType};

use self::directory::{Directory, Member};
use self::members::Members;
use super::unpack::{Codec, Unpacked, unpack};
use super::{Examine, Facts, Held};
use crate::characteristics::unpack::{FLOOR, RATIO};

/// Unpacked bytes, of all members; of a short archive fewer, as of other batches that are packed.
const MOST_UNPACKED: usize = 8 << 20;
/// Unpacked bytes of one member.
const MOST_OF_ONE: usize = 4 << 20;
/// Packed bytes that may be more than the unpacked ones: what cannot be packed takes some more.
const SLACK: usize = 64 << 10;
/// Members that are looked into.
const MOST_MEMBERS: usize = 5_000;
/// Deflate packs 1,032 bytes into one at best; a claim beyond is a lie.
const MOST_RATIO: u64 = 1_100;

/// The facts; without `examine`, members are left packed.
pub(super) fn facts(held: &Held<'_>, examine: Option<Examine<'_>>) -> (DataType, Compression, Facts) {
    let Some(directory) = Directory::read(held) else { return walked(held, examine) };
    if directory.is_workbook() {
        let facts = if examine.is_some() { sheet::facts(held, &directory) } else { Facts::default() };
        return (DataType::Xlsx, Compression::None, facts);
    }
    let Some(examine) = examine else { return (DataType::Binary, Compression::Zip, Facts::default()) };
    let mut members = Members::new(room(held));
    for member in directory.members().filter(|member| !member.is_directory()).take(MOST_MEMBERS) {
        match member.packed(held) {
            Some(packed) => drop(look(&mut members, &member, packed, examine)),
            None => members.missing(held.is_cut()),
        }
    }
    let left_out = directory.count() > MOST_MEMBERS as u64;
    let unpacked = directory.unpacked().filter(|bytes| *bytes <= held.total().saturating_mul(MOST_RATIO));
    let (data_type, facts) = members.facts(unpacked, left_out);
    let lie = unpacked.is_none().then_some("the zip claims to unpack to more than it can hold");
    let problem = facts.problem.or(directory.problem().or(lie).map(str::to_owned));
    (data_type, Compression::Zip, Facts { problem, ..facts })
}

/// Without a directory at hand, members are found one after the other.
fn walked(held: &Held<'_>, examine: Option<Examine<'_>>) -> (DataType, Compression, Facts) {
    let missing = !held.end().is_empty() && !directory::has_end(held);
    let problem = missing.then_some("cut short: the zip has no directory at its end");
    let mut members = Members::new(room(held));
    let mut at = 0;
    let mut names = directory::Names::default();
    for _ in 0..MOST_MEMBERS {
        let Some((member, packed)) = Member::local(held, at) else { break };
        names.add(member.name);
        if names.may_be_workbook() {
            let facts = Facts { estimated: Some(true), max_depth: Some(1), ..Facts::maybe(problem) };
            return (DataType::Xlsx, Compression::None, facts);
        }
        let Some(examine) = examine else { break };
        let start = member.offset.saturating_add(member.header);
        let used = if member.is_directory() { Some(0) } else { look(&mut members, &member, packed, examine) };
        match used.or(member.packed_len) {
            Some(used) => at = directory::past_descriptor(held, &member, start.saturating_add(used)),
            None => break,
        }
    }
    let (data_type, facts) = members.facts(None, true);
    let problem = facts.problem.or(problem.map(str::to_owned));
    (data_type, Compression::Zip, Facts { problem, ..facts })
}

/// Bytes that the members may unpack to, all together.
fn room(held: &Held<'_>) -> usize {
    let most = FLOOR.saturating_add(RATIO.saturating_mul(held.total()));
    MOST_UNPACKED.min(usize::try_from(most).unwrap_or(usize::MAX))
}

/// Unpacks a member as far as the budget goes, and examines it; how many bytes it is packed into, if it came to its end.
fn look(members: &mut Members, member: &Member<'_>, packed: &[u8], examine: Examine<'_>) -> Option<u64> {
    if member.encrypted {
        members.sealed("a member of the zip is encrypted");
        return member.packed_len;
    }
    let room = members.room().min(MOST_OF_ONE);
    if room == 0 {
        members.missing(true);
        return member.packed_len;
    }
    let claimed = member.packed_len.map_or(packed.len(), |length| packed.len().min(length as usize));
    let codec = match (member.method, member.packed_len) {
        (0, Some(length)) => {
            let plain = &packed[..claimed.min(room)];
            members.add(examine(plain, length, member.extension()), plain);
            return member.packed_len;
        }
        (8, _) => Codec::Deflate,
        (12, Some(_)) => Codec::Bzip2,
        (93, _) => Codec::Zstd,
        (95, Some(_)) => Codec::Xz,
        _ => {
            members.sealed("a member of the zip is packed in a way that is not looked into");
            return member.packed_len;
        }
    };
    let (unpacked, sound) = unpack_member(member, codec, &packed[..claimed], room / codec.cost());
    let length = unpacked.bytes.len() as u64;
    let total = match member.unpacked_len {
        _ if unpacked.complete => length,
        Some(claim) => claim.min(member.most_unpacked(packed)).max(length),
        None => length + 1,
    };
    members.add(examine(&unpacked.bytes, total, member.extension()), &unpacked.bytes);
    members.spend(unpacked.used.saturating_sub(unpacked.bytes.len()) + unpacked.bytes.len() * (codec.cost() - 1));
    if !sound {
        members.problem("a member of the zip is malformed, or not as long as it claims");
    }
    unpacked.complete.then_some(unpacked.used as u64).filter(|used| *used > 0).or(member.packed_len)
}

/// What a member unpacks to, and whether that is what it claims, as far as can be told.
fn unpack_member(member: &Member<'_>, codec: Codec, packed: &[u8], room: usize) -> (Unpacked, bool) {
    // Deflate makes at least as many bytes as it takes, but for empty blocks.
    let part = &packed[..packed.len().min(room + SLACK)];
    let unpacked = unpack(codec, part, room);
    let length = unpacked.bytes.len();
    let sound = if unpacked.complete {
        member.unpacked_len.is_none_or(|claim| claim == length as u64)
    } else {
        let all = part.len() == packed.len() && member.packed_len == Some(packed.len() as u64);
        length == room || !all
    };
    (unpacked, sound)
}

#[cfg(test)]
pub(super) mod tests;
