//! Page objects, counted where the cross-references are missing.

use super::super::cursor::find;
use super::super::unpack::{Codec, unpack};
use super::MOST_UNPACKED;
use super::object::past_line_end;

const NAME: &[u8] = b"/ObjStm";
/// Object streams that are looked into.
const MOST_STREAMS: usize = 500;

/// Objects that say they are a page, in the bytes and in the object streams among them.
pub(super) fn pages(bytes: &[u8]) -> u64 {
    let mut pages = named_pages(bytes);
    let (mut rest, mut left) = (bytes, MOST_UNPACKED);
    for _ in 0..MOST_STREAMS {
        let Some(at) = find(rest, NAME) else { break };
        rest = &rest[at + NAME.len()..];
        // The dictionary's end is near.
        let Some(start) = find(&rest[..rest.len().min(1024)], b"stream") else { continue };
        rest = &rest[start + 6..];
        let packed = past_line_end(rest).unwrap_or(rest);
        // Deflate makes at least as many bytes as it takes, but for empty blocks.
        let unpacked = unpack(Codec::Zlib, &packed[..packed.len().min(left)], left);
        left -= unpacked.bytes.len().max(unpacked.used).min(left);
        let plain = unpacked.bytes;
        pages += named_pages(&plain);
        // A stream is looked into once, whatever names it.
        rest = &packed[unpacked.used..];
        if left == 0 {
            break;
        }
    }
    pages
}

/// `/Type /Page`, but not `/Pages`.
fn named_pages(bytes: &[u8]) -> u64 {
    let page = |at: usize| {
        let name = bytes[at + 5..].trim_ascii_start().strip_prefix(b"/Page");
        name.is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_alphanumeric))
    };
    memchr::memmem::find_iter(bytes, b"/Type").filter(|at| page(*at)).count() as u64
}
