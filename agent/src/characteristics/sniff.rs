//! What content is, from its first bytes: text or not, by well-known magics and the bytes themselves; and which text.

use forebay_shared::DataType;

use super::json::Json;
use super::lines::Lines;
use super::scanner::Scanner;
use super::sql::{self, Sql};
use super::table::{self, Table};
use super::xml::{self, Xml};
use super::yaml::{self, Yaml};
use super::{Hint, log};

/// Bytes that tell.
pub(super) const SAMPLE: usize = 64 << 10;

/// The scanner for text that starts so. `whole` if nothing follows.
///
/// The strictest grammar is asked first: what is JSON is YAML as well, and a log may be read as a table.
pub(super) fn scanner(head: &[u8], whole: bool, hint: Hint) -> Box<dyn Scanner> {
    // A document of YAML begins with it; no number does.
    if !head.starts_with(b"---")
        && let Some(json) = Json::begin(head, whole, hint)
    {
        return Box::new(json);
    }
    if xml::looks_like(head, whole, hint) {
        return Box::new(Xml::new());
    }
    let claimed_table = matches!(hint, Hint::Csv | Hint::Tsv);
    if !claimed_table && sql::looks_like(head, whole, hint) {
        return Box::new(Sql::new());
    }
    if hint == Hint::Yaml && yaml::looks_like(head, whole, hint) {
        return Box::new(Yaml::new());
    }
    let dialect = table::dialect(head, whole, hint);
    if !(claimed_table && dialect.is_some()) && log::looks_like(head, dialect, hint) {
        return Box::new(Lines::new(DataType::Log));
    }
    if let Some(dialect) = dialect {
        return Box::new(Table::new(dialect));
    }
    if hint != Hint::Text && yaml::looks_like(head, whole, hint) {
        return Box::new(Yaml::new());
    }
    Box::new(Lines::new(DataType::Text))
}

/// The first bytes of formats that are not text, though some of them start like it.
const MAGICS: [&[u8]; 26] = [
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"GIF87a",
    b"GIF89a",
    b"RIFF",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"%PDF-",
    b"PK\x03\x04",
    b"PK\x05\x06",
    b"\x1f\x8b",
    b"BZh",
    b"\x28\xb5\x2f\xfd",
    b"\xfd7zXZ\0",
    b"\x04\x22\x4d\x18",
    b"\xff\x06\0\0sNaPpY",
    b"PAR1",
    b"ORC",
    b"Obj\x01",
    b"ARROW1",
    b"\xff\xff\xff\xff",
    b"\x7fELF",
    b"SQLite format 3\0",
    b"\xfe\xff",
    b"\xff\xfe",
];

/// Letters alone do not make a file of these: text may start with them.
const NEEDS_BINARY: [&[u8]; 5] = [b"BM", b"RIFF", b"BZh", b"ORC", b"PAR1"];

/// Whether the content is text, in UTF-8 or an 8-bit encoding.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    let sample = &bytes[..bytes.len().min(SAMPLE)];
    let magic = MAGICS.iter().find(|magic| sample.starts_with(magic));
    if magic.is_some_and(|magic| !NEEDS_BINARY.contains(magic)) {
        return false;
    }
    if memchr::memchr(0, sample).is_some() {
        return false;
    }
    // Few enough at a time for a count of one byte: that is counted in vectors.
    let control: usize =
        sample.chunks(255).map(|few| usize::from(few.iter().map(|byte| u8::from(is_control(*byte))).sum::<u8>())).sum();
    match std::str::from_utf8(sample) {
        Ok(_) => control * 100 <= sample.len(),
        Err(error) if error.error_len().is_none() => control * 100 <= sample.len(),
        // An 8-bit encoding: no control bytes, and most letters are ASCII still.
        Err(_) => control == 0 && sample.iter().filter(|byte| **byte >= 0x80).count() * 10 <= sample.len() * 3,
    }
}

/// Without a branch, for vectors: 0 to 8, 11, 14 to 26, 28 to 31 and 127.
fn is_control(byte: u8) -> bool {
    let usual = (byte == b'\t') | (byte == b'\n') | (byte == 12) | (byte == b'\r') | (byte == 27);
    ((byte < 32) & !usual) | (byte == 127)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::characteristics::characterise;

    #[test]
    fn a_document_of_yaml_is_none_of_json() {
        let finding = characterise(b"---\nkind: a\nmetadata:\n  name: b\n", None, 1 << 20);
        assert_eq!((finding.data_type, finding.data_volume.records), (DataType::Yaml, Some(1)));
    }

    #[test]
    fn words_of_orc_are_no_text() {
        let words = [&b"ORC\x0a\x03"[..], &b"word and word ".repeat(10_000)].concat();
        assert_eq!(characterise(&words, None, 1 << 20).data_type, DataType::Orc);
    }

    #[test]
    fn text_may_start_as_a_magic_does_and_may_be_latin_1() {
        assert!(is_text(b"BMW,Audi\n"));
        assert!(is_text(b"M\xfcller;1\n"));
        assert!(is_text("naïve\n".as_bytes()));
        assert!(!is_text(b"BM\x36\0\0\0"));
        assert!(!is_text(b"%PDF-1.4 text"));
        assert!(!is_text(b"\x01\x02\x03\x04"));
    }
}
