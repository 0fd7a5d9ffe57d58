//! PDF: pages by the page tree's own count, reached through the cross-reference table or stream at the end.
//!
//! ```text
//! startxref ─► xref table or stream ─► trailer /Root ─► catalog /Pages ─► /Count
//! ```
//!
//! A linearized file tells its pages at its start. Where neither is at hand, page objects are counted in what is.

mod object;
mod scan;
mod xref;

use self::object::{Dict, Lexer};
use self::xref::References;
use super::cursor::{find, find_last};
use super::{Facts, Held};

/// Unpacked bytes of cross-reference and object streams, all together.
const MOST_UNPACKED: usize = 4 << 20;
/// A dictionary that is longer is left unread.
const MOST_OBJECT: usize = 1 << 20;
/// `startxref` stands within the last KiB; some writers pad.
const MOST_END: usize = 4 << 10;
/// Bytes of objects that are read, all together.
const MOST_READ: usize = 4 << 20;
/// Bytes that are searched for page objects where the cross-references are missing.
const MOST_SCANNED: usize = 16 << 20;
const MOST_PAGES: i64 = 10_000_000;

pub(super) fn facts(held: &Held<'_>, base: u64) -> Facts {
    let mut references = startxref(held).map(|at| References::read(held, base, at));
    let counted = references.as_mut().and_then(References::pages);
    if let Some(pages) = counted.or_else(|| linearized(held, base)) {
        return Facts { records: Some(pages), estimated: Some(false), ..Facts::maybe(no_end(held)) };
    }
    if references.is_some_and(|references| references.encrypted()) {
        return Facts::problem("the PDF is encrypted, and its pages with it");
    }
    if held.is_cut() {
        return Facts { estimated: Some(true), ..Facts::default() };
    }
    let problem = no_end(held).unwrap_or("the PDF's cross-references are malformed");
    let pages = scan::pages(&held.head()[..held.head().len().min(MOST_SCANNED)]);
    Facts { records: (pages > 0).then_some(pages), estimated: Some(true), ..Facts::problem(problem) }
}

fn no_end(held: &Held<'_>) -> Option<&'static str> {
    let known = !held.end().is_empty();
    (known && startxref(held).is_none()).then_some("cut short: the PDF has no cross-references at its end")
}

fn startxref(held: &Held<'_>) -> Option<u64> {
    let end = held.end();
    let end = &end[end.len().saturating_sub(MOST_END)..];
    let after = end.get(find_last(end, b"startxref")? + 9..)?;
    Lexer::new(after).integer()?.try_into().ok()
}

/// The pages that a linearized file's first object tells, if the file is still as long as it says.
fn linearized(held: &Held<'_>, base: u64) -> Option<u64> {
    let start = held.onwards(base);
    let start = &start[..start.len().min(1024)];
    find(start, b"/Linearized")?;
    let dict = Dict::read(start.get(find(start, b"<<")?..)?)?;
    (u64::try_from(dict.integer(b"L")?).ok()? + base == held.total()).then_some(())?;
    sane(dict.integer(b"N")?)
}

fn sane(pages: i64) -> Option<u64> {
    (0..=MOST_PAGES).contains(&pages).then_some(pages as u64)
}

#[cfg(test)]
pub(super) mod tests;
