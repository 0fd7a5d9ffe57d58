//! Parquet's page headers, checked against the footer where they are at hand.

use super::super::thrift::{STRUCT, Thrift};
use super::Held;

/// Page headers looked at; each may be on a page of its own of a mapped file.
const MOST_PAGES: u32 = 2_000;
/// A page header that is longer, by its statistics, is left unchecked.
const MOST_HEADER: usize = 16 << 10;
/// Bytes of page headers that are read, all together: some ms of work.
const MOST_READ: usize = 1 << 20;

/// Where a column's pages are and what they hold, by the footer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Chunk {
    pub(super) values: i64,
    pub(super) packed: i64,
    pub(super) data: i64,
    pub(super) dictionary: Option<i64>,
}

pub(super) struct Check<'a> {
    held: &'a Held<'a>,
    left: u32,
    unread: usize,
    problem: Option<&'static str>,
}

impl<'a> Check<'a> {
    pub(super) fn new(held: &'a Held<'a>) -> Self {
        Self { held, left: MOST_PAGES, unread: MOST_READ, problem: None }
    }

    pub(super) fn problem(&self) -> Option<&'static str> {
        self.problem
    }

    pub(super) fn chunk(&mut self, chunk: &Chunk) {
        if self.problem.is_none() {
            self.problem = self.walk(chunk).err();
        }
    }

    fn walk(&mut self, chunk: &Chunk) -> Result<(), &'static str> {
        const OUTSIDE: &str = "a Parquet column lies outside the file";
        // Some writers leave the dictionary's offset at 0 where there is none.
        let start = chunk.dictionary.filter(|at| (1..chunk.data).contains(at)).unwrap_or(chunk.data);
        let (Ok(start), Ok(packed)) = (u64::try_from(start), u64::try_from(chunk.packed)) else { return Err(OUTSIDE) };
        let end = start.checked_add(packed).filter(|end| *end <= self.held.total()).ok_or(OUTSIDE)?;
        let (mut at, mut values) = (start, 0_i64);
        while at < end && values < chunk.values {
            if self.left == 0 || self.unread == 0 {
                return Ok(());
            }
            self.left -= 1;
            let bytes = self.held.onwards(at);
            let bytes = &bytes[..bytes.len().min(MOST_HEADER).min(self.unread).min((end - at) as usize)];
            let page = page(bytes);
            self.unread -= page.as_ref().map_or(bytes.len(), |page| page.header);
            let Some(page) = page else {
                let all = bytes.len() as u64 == end - at;
                return if all { Err("a Parquet page's header is malformed") } else { Ok(()) };
            };
            values = values.checked_add(page.values).ok_or("a Parquet page claims too many values")?;
            at = at.saturating_add(page.length);
        }
        if at > end || values != chunk.values {
            return Err("the pages of a Parquet column differ from what the footer says of them");
        }
        Ok(())
    }
}

struct Page {
    header: usize,
    /// Header and all.
    length: u64,
    values: i64,
}

fn page(bytes: &[u8]) -> Option<Page> {
    let mut thrift = Thrift::new(bytes);
    let (mut kind_of, mut packed, mut values) = (-1, None, 0);
    thrift.fields(|thrift, id, kind| {
        match (id, kind) {
            (1, 5) => kind_of = thrift.integer()?,
            (3, 5) => packed = Some(u64::try_from(thrift.integer()?).ok()?),
            // A page's values are the column's if its type and its header agree that it is one of data, of either
            // version; a dictionary's are not.
            (5 | 8, STRUCT) if (kind_of, id) == (0, 5) || (kind_of, id) == (3, 8) => {
                thrift.fields(|thrift, id, kind| match (id, kind) {
                    (1, 5) => {
                        values = thrift.integer()?;
                        Some(true)
                    }
                    _ => Some(false),
                })?
            }
            _ => return Some(false),
        }
        Some(true)
    })?;
    (values >= 0).then_some(())?;
    let header = thrift.cursor.at();
    Some(Page { header, length: packed?.checked_add(header as u64)?, values })
}

#[cfg(test)]
mod tests {
    use super::super::super::thrift::write::Value::{Int32, List, Struct};
    use super::*;

    #[test]
    fn headers_are_read_up_to_a_bound_and_the_rest_is_left_unchecked() {
        let data = || Struct(vec![(1, Int32(1)), (9, List((0..12_000).map(|_| Int32(0)).collect()))]);
        let header = Struct(vec![(1, Int32(0)), (2, Int32(1)), (3, Int32(1)), (5, data())]).bytes();
        let bytes = [b"PAR1", &header[..], b"x"].concat();
        let held = Held::new(&bytes, &[], bytes.len() as u64);
        let chunk = Chunk { values: 1, packed: header.len() as i64 + 1, data: 4, dictionary: None };
        let mut check = Check::new(&held);
        for times in 1..=MOST_READ / header.len() {
            check.chunk(&chunk);
            assert_eq!((check.unread, check.problem), (MOST_READ - times * header.len(), None));
        }
        check.chunk(&chunk);
        check.chunk(&Chunk { values: 2, ..chunk });
        assert_eq!((check.unread, check.problem), (0, None), "past the bound");
        let mut check = Check::new(&held);
        check.chunk(&Chunk { values: 2, ..chunk });
        assert!(check.problem.is_some(), "within it");
    }
}
