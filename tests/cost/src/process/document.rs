//! Processors of office documents.

use std::io::Cursor;

use anyhow::Result;
use calamine::{Data, Reader, Xlsx};

use crate::tally::Tally;

/// Words of each page's text.
pub(super) fn pdf(content: &[u8]) -> Result<f64> {
    let document = lopdf::Document::load_mem(content)?;
    let mut tally = Tally::<String>::default();
    for page in document.get_pages().keys() {
        let text = document.extract_text(&[*page])?;
        text.split_whitespace().for_each(|word| tally.text(word, word.len()));
    }
    Ok(tally.digest())
}

pub(super) fn xlsx(content: &[u8]) -> Result<f64> {
    let mut book: Xlsx<_> = calamine::open_workbook_from_rs(Cursor::new(content))?;
    let mut tally = Tally::default();
    for name in book.sheet_names() {
        for row in book.worksheet_range(&name)?.rows() {
            for (at, cell) in row.iter().enumerate() {
                match cell {
                    Data::Float(number) => tally.number(&at, *number),
                    Data::Int(number) => tally.number(&at, *number as f64),
                    Data::String(text) => tally.text(&at, text.len()),
                    _ => tally.text(&at, 0),
                }
            }
        }
    }
    Ok(tally.digest())
}
