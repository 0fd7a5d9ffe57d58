//! Page objects, counted where the cross-references are missing.

use super::super::cursor::find;
use super::super::unpack::{Codec, unpack};
use super::MOST_UNPACKED;

/// Objects that say they are a page, in the bytes and in the object streams among them.
pub(super) fn pages(bytes: &[u8]) -> u64 {
    let mut pages = named_pages(bytes);
    let mut left = MOST_UNPACKED;
    for at in memchr::memmem::find_iter(bytes, b"/ObjStm") {
        let after = &bytes[at..];
        // The dictionary's end is near.
        let Some(start) = find(&after[..after.len().min(1024)], b"stream") else { continue };
        let packed = after[start + 6..].trim_ascii_start();
        let plain = unpack(Codec::Zlib, packed, left).bytes;
        left -= plain.len();
        pages += named_pages(&plain);
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
