//! Workbooks: rows and columns of the sheets, whose XML is unpacked piece by piece and never kept.
//!
//! As spreadsheet programs count: up to the last row and column that has a cell, over all sheets.

use super::super::unpack::inflate_to;
use super::directory::Directory;
use super::{Facts, Held, MOST_UNPACKED};

/// A tag that is longer is left out: those asked for are short.
const MOST_TAG: usize = 4 << 10;
const MOST_SHEETS: usize = 1_000;
/// Bytes that each byte of a workbook may unpack to; spreadsheet programs' sheets reach 20.
const MOST_SHEET_RATIO: usize = 32;

pub(super) fn facts(held: &Held<'_>, directory: &Directory<'_>) -> Facts {
    let (mut rows, mut columns, mut estimated, mut problem) = (0_u64, 0, false, None);
    // Sheets are not kept: they may be as much longer than what is held as other batches that are unpacked.
    let mut room = MOST_UNPACKED.max(held.head().len().saturating_mul(MOST_SHEET_RATIO));
    let is_sheet = |name: &[u8]| name.starts_with(b"xl/worksheets/") && name.ends_with(b".xml");
    for member in directory.members().filter(|member| is_sheet(member.name)).take(MOST_SHEETS) {
        let Some(packed) = member.packed(held).filter(|_| !member.encrypted) else {
            estimated = true;
            continue;
        };
        let mut sheet = Sheet::default();
        let (used, complete) = match member.method {
            0 => {
                let plain = &packed[..packed.len().min(room)];
                sheet.piece(plain);
                room -= plain.len();
                (plain.len(), plain.len() == packed.len())
            }
            8 => inflate_to(&packed[..packed.len().min(room)], false, |piece| {
                sheet.piece(piece);
                room = room.saturating_sub(piece.len());
                room > 0
            }),
            _ => (0, false),
        };
        room = room.saturating_sub(used / 16);
        let all = member.packed_len.unwrap_or_default();
        if !complete && used > 0 {
            sheet.extrapolate(all, used as u64);
        }
        if !complete && room > 0 && packed.len() as u64 == all {
            problem = Some("a sheet of the workbook is malformed");
        }
        estimated |= !complete;
        rows = rows.saturating_add(sheet.rows);
        columns = columns.max(sheet.columns);
    }
    Facts {
        records: Some(rows),
        columns: (columns > 0).then(|| u32::try_from(columns).unwrap_or(u32::MAX)),
        max_depth: Some(1),
        estimated: Some(estimated && problem.is_none()),
        ..Facts::maybe(problem.or(directory.problem()))
    }
}

/// One sheet's tags, as they come.
#[derive(Default)]
struct Sheet {
    /// A tag that the last piece cut; without its `<`.
    tag: Option<Vec<u8>>,
    /// The row that is open.
    row: u64,
    /// The last cell's column in it.
    column: u64,
    rows: u64,
    columns: u64,
    /// The last row, as the sheet tells it at its start.
    told: u64,
}

impl Sheet {
    /// To `all` of the packed bytes, from the first `used`: as told, if that is near.
    fn extrapolate(&mut self, all: u64, used: u64) {
        let rows = u128::from(self.rows) * u128::from(all.max(used)) / u128::from(used);
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        let near = self.told >= self.rows && (rows / 2..=rows.saturating_mul(2)).contains(&self.told);
        self.rows = if near { self.told } else { rows };
    }

    fn piece(&mut self, mut piece: &[u8]) {
        if let Some(mut tag) = self.tag.take() {
            let end = memchr::memchr(b'>', piece);
            let more = &piece[..end.unwrap_or(piece.len())];
            tag.extend_from_slice(&more[..more.len().min(MOST_TAG.saturating_sub(tag.len()))]);
            match end {
                Some(end) => {
                    self.tag(&tag);
                    piece = &piece[end + 1..];
                }
                None => {
                    self.tag = Some(tag);
                    return;
                }
            }
        }
        while let Some(start) = memchr::memchr(b'<', piece) {
            piece = &piece[start + 1..];
            match memchr::memchr(b'>', piece) {
                Some(end) => {
                    self.tag(&piece[..end]);
                    piece = &piece[end + 1..];
                }
                None => {
                    self.tag = Some(piece[..piece.len().min(MOST_TAG)].to_vec());
                    return;
                }
            }
        }
    }

    fn tag(&mut self, tag: &[u8]) {
        let length =
            tag.iter().position(|byte| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'/')).unwrap_or(tag.len());
        let (name, attributes) = tag.split_at(length);
        // Some writers put the namespace's prefix before each name.
        match name.rsplit(|byte| *byte == b':').next() {
            Some(b"dimension") => {
                let last = attributes.iter().rposition(|byte| *byte == b':').unwrap_or(0);
                self.told = cell(&attributes[last..]).map_or(0, |(_, row)| row);
            }
            Some(b"row") => {
                self.row = reference(attributes).map_or(self.row + 1, |(_, row)| row);
                self.column = 0;
            }
            Some(b"c") => {
                self.column = reference(attributes).map_or(self.column + 1, |(column, _)| column);
                self.rows = self.rows.max(self.row);
                self.columns = self.columns.max(self.column);
            }
            _ => {}
        }
    }
}

/// Column and row of the attribute `r`: `r="7"` of a row, `r="AB7"` of a cell.
fn reference(attributes: &[u8]) -> Option<(u64, u64)> {
    let found = |window: &[u8]| window[0].is_ascii_whitespace() && &window[1..] == b"r=";
    let at = attributes.windows(3).position(found)? + 1;
    matches!(attributes.get(at + 2)?, b'"' | b'\'').then_some(())?;
    cell(&attributes[at + 2..])
}

/// `AB7"…`, past the sign before it.
fn cell(reference: &[u8]) -> Option<(u64, u64)> {
    let (mut column, mut row) = (0_u64, 0_u64);
    for byte in reference.iter().skip(1) {
        match byte {
            b'A'..=b'Z' => column = column.saturating_mul(26).saturating_add(u64::from(byte - b'A') + 1),
            b'0'..=b'9' => row = row.saturating_mul(10).saturating_add(u64::from(byte - b'0')),
            _ => break,
        }
    }
    // A sheet has 2^20 rows and 2^14 columns at most.
    (row <= 1 << 20 && column <= 1 << 14).then_some((column, row))
}

#[cfg(test)]
mod tests {
    use super::*;

    const XML: &[u8] = b"<?xml version=\"1.0\"?><worksheet><sheetData>\
        <row r=\"1\" spans=\"1:3\"><c r=\"A1\"><v>1</v></c><c r=\"AB1\" t=\"s\"><v>2</v></c></row>\
        <row r=\"2\"/><x:row><x:c><v>3</v></x:c><x:c/></x:row>\
        <row hidden='1' r='5'><c r='B5'/></row><row r=\"9\" ht=\"3\"></row></sheetData><cols/></worksheet>";

    #[test]
    fn rows_and_columns_run_to_the_last_cell_however_the_bytes_are_cut() {
        for size in 1..XML.len() {
            let mut sheet = Sheet::default();
            XML.chunks(size).for_each(|piece| sheet.piece(piece));
            assert_eq!((sheet.rows, sheet.columns), (5, 28), "{size}");
        }
    }

    #[test]
    fn past_the_budget_rows_are_as_the_sheet_tells_them_if_that_may_be() {
        for (dimension, rows) in [("A1:C1000", 1000), ("A1", 900), ("A1:ZZ1048576", 900), ("A1:C7", 900)] {
            let mut sheet = Sheet::default();
            sheet.piece(format!("<dimension ref=\"{dimension}\"/><row r=\"90\"><c/></row>").as_bytes());
            sheet.extrapolate(1000, 100);
            assert_eq!(sheet.rows, rows, "{dimension}");
        }
    }

    #[test]
    fn a_tag_without_an_end_takes_no_memory() {
        let mut sheet = Sheet::default();
        for _ in 0..100 {
            sheet.piece(&[b'<'; 1000]);
        }
        assert!(sheet.tag.unwrap().len() <= MOST_TAG);
    }
}
