//! Numbers column by column: how a block's data is laid out, whatever the columns mean.
//!
//! ```text
//! u8 layout (1) · columns: u16 id, u32 length, then as many bytes:
//!     presence   0 all rows │ 1 a bit a row │ 2 runs, present first, as varints
//!     encoding   0 one value for all │ 1 2 3 pco of u64 i64 f64 │ 4 varints of the differences
//!     payload
//! ```
//!
//! A column of which no row has a value is left out. Encoding is lossless to the bit, also of floats. Whole columns can
//! be skipped: a reader unpacks those that it asks for. Decoding is total, and takes memory for the rows told by the
//! block's key only, never for what the data claims.

mod varint;

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::standalone::{simple_compress, simple_decompress_into};

const LAYOUT: u8 = 1;

const ALL: u8 = 0;
const BITS: u8 = 1;
const RUNS: u8 = 2;

const ONE: u8 = 0;
const PCO_UNSIGNED: u8 = 1;
const PCO_SIGNED: u8 = 2;
const PCO_FLOAT: u8 = 3;
const DIFFERENCES: u8 = 4;
/// The dictionaries: bytes that are no numbers.
const BYTES: u8 = 5;

/// Columns up to this length are also tried as varints: pco's tables take some 30 bytes a column.
const SHORT: usize = 256;

/// How the numbers of a column lie: what pco takes them for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum As {
    /// Counts, times.
    Unsigned,
    /// Differences that may be below zero, as two's complement.
    Signed,
    /// IEEE doubles, as their bits.
    Float,
}

/// Packs columns.
pub(super) struct Packer {
    out: Vec<u8>,
    level: usize,
}

/// Finds columns in a block's data.
pub(super) struct Columns<'a> {
    columns: Vec<(u16, &'a [u8])>,
}

/// A column unpacked: the values of the rows that have one.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Column {
    rows: usize,
    /// `None` if every row has a value.
    present: Option<Vec<bool>>,
    values: Vec<u64>,
}

// === impl Packer ===

impl Packer {
    /// `level` is pco's, 0 to 12.
    pub(super) fn new(level: usize) -> Self {
        Self { out: vec![LAYOUT], level }
    }

    /// A column that every row has a value of.
    pub(super) fn all(&mut self, id: u16, of: As, values: &[u64]) -> Result<(), String> {
        self.put(id, |out, level| {
            out.push(ALL);
            numbers(out, of, values, level)
        })
    }

    /// A column that some rows have a value of.
    pub(super) fn some(&mut self, id: u16, of: As, cells: &[Option<u64>]) -> Result<(), String> {
        let values: Vec<u64> = cells.iter().copied().flatten().collect();
        if values.len() == cells.len() {
            return self.all(id, of, &values);
        }
        self.put(id, |out, level| {
            presence(out, cells);
            numbers(out, of, &values, level)
        })
    }

    /// Bytes that are no numbers.
    pub(super) fn bytes(&mut self, id: u16, bytes: &[u8]) -> Result<(), String> {
        self.put(id, |out, _| {
            out.extend([ALL, BYTES]);
            out.extend(bytes);
            Ok(!bytes.is_empty())
        })
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.out
    }

    /// Writes a column behind its id and length; takes it back if it has nothing.
    fn put(&mut self, id: u16, write: impl FnOnce(&mut Vec<u8>, usize) -> Result<bool, String>) -> Result<(), String> {
        let start = self.out.len();
        self.out.extend(id.to_le_bytes());
        self.out.extend([0; 4]);
        if !write(&mut self.out, self.level)? {
            self.out.truncate(start);
            return Ok(());
        }
        let length = u32::try_from(self.out.len() - start - 6).map_err(|_| "a column is longer than 4 GiB")?;
        self.out[start + 2..start + 6].copy_from_slice(&length.to_le_bytes());
        Ok(())
    }
}

fn presence(out: &mut Vec<u8>, cells: &[Option<u64>]) {
    let mut runs = Vec::new();
    let (mut present, mut run) = (true, 0);
    for cell in cells {
        if cell.is_some() != present {
            varint::put(&mut runs, run);
            (present, run) = (!present, 0);
        }
        run += 1;
    }
    varint::put(&mut runs, run);
    if runs.len() <= cells.len().div_ceil(8) {
        out.push(RUNS);
        out.extend(runs);
    } else {
        out.push(BITS);
        let bits =
            |cells: &[Option<u64>]| cells.iter().rev().fold(0, |bits, cell| bits << 1 | u8::from(cell.is_some()));
        out.extend(cells.chunks(8).map(bits));
    }
}

/// False if there are none.
fn numbers(out: &mut Vec<u8>, of: As, values: &[u64], level: usize) -> Result<bool, String> {
    let Some(&first) = values.first() else { return Ok(false) };
    if values.iter().all(|value| *value == first) {
        out.push(ONE);
        varint::put(out, first);
        return Ok(true);
    }
    let packed = match of {
        As::Unsigned => pco(values, level),
        As::Signed => pco(&values.iter().map(|value| *value as i64).collect::<Vec<_>>(), level),
        As::Float => pco(&values.iter().map(|value| f64::from_bits(*value)).collect::<Vec<_>>(), level),
    }?;
    if values.len() <= SHORT && of != As::Float {
        let mut differences = Vec::new();
        let mut before = 0_u64;
        for value in values {
            varint::put(&mut differences, varint::zigzag(value.wrapping_sub(before)));
            before = *value;
        }
        if differences.len() < packed.len() {
            out.push(DIFFERENCES);
            out.extend(differences);
            return Ok(true);
        }
    }
    out.push(match of {
        As::Unsigned => PCO_UNSIGNED,
        As::Signed => PCO_SIGNED,
        As::Float => PCO_FLOAT,
    });
    out.extend(packed);
    Ok(true)
}

fn pco<T: Number>(values: &[T], level: usize) -> Result<Vec<u8>, String> {
    simple_compress(values, &ChunkConfig::default().with_compression_level(level)).map_err(|error| error.to_string())
}

// === impl Columns ===

impl<'a> Columns<'a> {
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, String> {
        let Some((&LAYOUT, mut rest)) = data.split_first() else {
            return Err(format!("layout {:?} is unknown: expected {LAYOUT}", data.first()));
        };
        let mut columns = Vec::new();
        while let Some((&[a, b, c, d, e, f], after)) = rest.split_first_chunk::<6>() {
            let length = u32::from_le_bytes([c, d, e, f]) as usize;
            let (column, after) = after.split_at_checked(length).ok_or("a column is cut short")?;
            columns.push((u16::from_le_bytes([a, b]), column));
            rest = after;
        }
        if rest.is_empty() { Ok(Self { columns }) } else { Err("a column's head is cut short".into()) }
    }

    /// The column, of as many rows as the block has; all of them empty if it is not there.
    pub(super) fn column(&self, id: u16, rows: usize) -> Result<Column, String> {
        let Some(bytes) = self.find(id) else {
            return Ok(Column { rows, present: Some(vec![false; rows]), values: Vec::new() });
        };
        unpack(bytes, rows).map_err(|error| format!("column {id}: {error}"))
    }

    /// The values of a column that every row has one of.
    pub(super) fn whole(&self, id: u16, rows: usize) -> Result<Vec<u64>, String> {
        let column = self.column(id, rows)?;
        if column.values.len() == rows { Ok(column.values) } else { Err(format!("column {id}: a row lacks its value")) }
    }

    pub(super) fn bytes(&self, id: u16) -> Result<&'a [u8], String> {
        match self.find(id) {
            Some([ALL, BYTES, bytes @ ..]) => Ok(bytes),
            None => Ok(&[]),
            Some(_) => Err(format!("column {id}: expected bytes")),
        }
    }

    fn find(&self, id: u16) -> Option<&'a [u8]> {
        self.columns.iter().find(|(of, _)| *of == id).map(|(_, bytes)| *bytes)
    }
}

fn unpack(bytes: &[u8], rows: usize) -> Result<Column, String> {
    let (&tag, mut rest) = bytes.split_first().ok_or("it is empty")?;
    let present = match tag {
        ALL => None,
        BITS => {
            let (bits, after) = rest.split_at_checked(rows.div_ceil(8)).ok_or("its presence is cut short")?;
            rest = after;
            Some((0..rows).map(|row| bits[row / 8] >> (row % 8) & 1 == 1).collect())
        }
        RUNS => Some(runs(&mut rest, rows)?),
        tag => return Err(format!("presence {tag} is unknown")),
    };
    let count = present.as_ref().map_or(rows, |present: &Vec<bool>| present.iter().filter(|present| **present).count());
    let (&encoding, payload) = rest.split_first().ok_or("it has no values")?;
    let values = match encoding {
        ONE => {
            let mut payload = payload;
            vec![varint::take(&mut payload).ok_or("its value is cut short")?; count]
        }
        PCO_UNSIGNED => unpco::<u64>(payload, count)?,
        PCO_SIGNED => unpco::<i64>(payload, count)?.into_iter().map(|value| value as u64).collect(),
        PCO_FLOAT => unpco::<f64>(payload, count)?.into_iter().map(f64::to_bits).collect(),
        DIFFERENCES => differences(payload, count)?,
        encoding => return Err(format!("encoding {encoding} is unknown")),
    };
    Ok(Column { rows, present, values })
}

fn runs(rest: &mut &[u8], rows: usize) -> Result<Vec<bool>, String> {
    let mut present = Vec::with_capacity(rows);
    let mut run_is = true;
    while present.len() < rows {
        let run = varint::take(rest).ok_or("its presence is cut short")?;
        let run = usize::try_from(run).ok().filter(|run| *run <= rows - present.len());
        present.extend(std::iter::repeat_n(run_is, run.ok_or("its presence is longer than its rows")?));
        run_is = !run_is;
    }
    Ok(present)
}

fn unpco<T: Number>(payload: &[u8], count: usize) -> Result<Vec<T>, String> {
    let mut values = vec![T::default(); count];
    let progress = simple_decompress_into(payload, &mut values).map_err(|error| error.to_string())?;
    if progress.n_processed == count {
        Ok(values)
    } else {
        Err(format!("{} values where {count} were told", progress.n_processed))
    }
}

fn differences(mut payload: &[u8], count: usize) -> Result<Vec<u64>, String> {
    let mut value = 0_u64;
    let mut next = || {
        value = value.wrapping_add(varint::unzigzag(varint::take(&mut payload)?));
        Some(value)
    };
    (0..count).map(|_| next().ok_or_else(|| "its values are cut short".into())).collect()
}

// === impl Column ===

impl Column {
    /// The values, a cell a row.
    pub(super) fn cells(&self) -> impl Iterator<Item = Option<u64>> {
        let mut values = self.values.iter().copied();
        let present = self.present.as_deref();
        (0..self.rows).map(move |row| if present.is_none_or(|present| present[row]) { values.next() } else { None })
    }

    /// No row has a value.
    pub(super) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(of: As, cells: &[Option<u64>]) {
        let mut packer = Packer::new(8);
        packer.some(7, of, cells).unwrap();
        let data = packer.finish();
        let column = Columns::parse(&data).unwrap().column(7, cells.len()).unwrap();
        assert_eq!(column.cells().collect::<Vec<_>>(), cells);
    }

    #[test]
    fn every_bit_of_a_float_reads_back() {
        let odd =
            [f64::NAN, -f64::NAN, 0.0, -0.0, f64::INFINITY, f64::MIN_POSITIVE / 2.0, 0.1, 1e308].map(f64::to_bits);
        let signalling = 0x7ff0_0000_0000_0001;
        let cells: Vec<_> = (0..2000).map(|at| Some(odd[at % odd.len()])).chain([Some(signalling), None]).collect();
        round_trip(As::Float, &cells);
        for value in odd {
            round_trip(As::Float, &[Some(value); 5]);
        }
    }

    #[test]
    fn what_is_the_same_in_every_row_takes_a_few_bytes_and_what_is_nowhere_none() {
        let mut packer = Packer::new(8);
        packer.some(1, As::Unsigned, &[Some(100_000); 5000]).unwrap();
        let one = packer.out.len();
        packer.some(2, As::Unsigned, &[None; 5000]).unwrap();
        assert!(one < 16 && packer.out.len() == one, "{one}");
    }

    proptest! {
        #[test]
        fn any_cells_read_back(cells: Vec<Option<u64>>, many in 0..600usize) {
            for of in [As::Unsigned, As::Signed, As::Float] {
                round_trip(of, &cells);
                round_trip(of, &cells.iter().copied().cycle().take(if cells.is_empty() { 0 } else { many }).collect::<Vec<_>>());
            }
        }

        #[test]
        fn slow_series_read_back(steps: Vec<i8>, start: u64) {
            let mut value = start;
            let cells: Vec<_> = steps.iter().map(|step| { value = value.wrapping_add(*step as u64); Some(value) }).collect();
            round_trip(As::Unsigned, &cells);
            round_trip(As::Signed, &cells);
        }

        #[test]
        fn parsing_is_total(data: Vec<u8>, rows in 0..100usize, encoding in 0..7u8, presence in 0..4u8) {
            let mut whole = vec![LAYOUT, 7, 0];
            whole.extend((data.len() as u32 + 2).to_le_bytes());
            whole.extend([presence, encoding]);
            whole.extend(&data);
            for data in [&whole, &data] {
                if let Ok(columns) = Columns::parse(data) {
                    let _ = (columns.column(7, rows), columns.whole(7, rows), columns.bytes(7));
                }
            }
        }
    }
}
