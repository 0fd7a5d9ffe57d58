//! YAML: documents and depth, line by line, from indentation and from brackets.
//!
//! Aliases are counted, not followed: what they would expand to costs nothing here.

mod line;

use forebay_shared::DataType;

use super::keys::KeySet;
use super::scanner::{End, Scanner};
use super::{Facts, Hint, extrapolate};

/// Bytes of a line that are looked at.
const LINE: usize = 64 << 10;
/// Open levels that are told apart.
const LEVELS: usize = 4096;

/// A mapping or a sequence that is open, and the column that it stands in.
#[derive(Clone, Copy, Debug)]
struct Level {
    column: usize,
    sequence: bool,
}

/// What the lines so far leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Open {
    Nothing,
    /// A key or a dash whose value may stand in the next lines.
    Slot,
    /// A plain scalar, which goes on in lines that are indented by more than this; -1 is the document's own.
    Plain(isize),
    /// A block scalar, likewise.
    Block(isize),
    /// Brackets or quotes.
    Flow,
}

pub(super) struct Yaml {
    /// The start of the line in hand, and how much of it has come.
    carry: Vec<u8>,
    carried: u64,
    levels: Vec<Level>,
    open: Open,
    /// Brackets that are open, and the quote.
    brackets: u32,
    quote: Option<u8>,
    in_document: bool,
    documents: u64,
    max_depth: u32,
    keys: KeySet,
    fields: u32,
    columns: u32,
    leaves: u64,
    nulls: u64,
    /// Lines that are an entry of a mapping or sequence, and lines that cannot stand where they do.
    entries: u64,
    markers: u64,
    strays: u64,
    /// Keys of more words than keys have.
    wordy: u64,
    tab: bool,
    /// Where the line in hand starts, and where the last document did.
    line_start: u64,
    settled: u64,
}

/// Whether content that starts so is YAML.
pub(super) fn looks_like(head: &[u8], whole: bool, hint: Hint) -> bool {
    let mut yaml = Yaml::new();
    // The last line of a part may be cut: it tells nothing.
    let last = memchr::memrchr(b'\n', head).filter(|_| !whole);
    let end = last.map_or(head.len(), |at| at + 1);
    yaml.push(&head[..end]);
    yaml.flush();
    let claimed = hint == Hint::Yaml || yaml.markers > 0 && head.starts_with(b"---");
    let sound =
        if claimed { yaml.strays * 4 <= yaml.entries } else { yaml.strays == 0 && yaml.wordy * 4 <= yaml.entries };
    yaml.max_depth > 0 && sound && (yaml.entries > 0 || claimed)
}

impl Yaml {
    pub(super) fn new() -> Self {
        Self {
            carry: Vec::new(),
            carried: 0,
            levels: Vec::new(),
            open: Open::Nothing,
            brackets: 0,
            quote: None,
            in_document: false,
            documents: 0,
            max_depth: 0,
            keys: KeySet::new(),
            fields: 0,
            columns: 0,
            leaves: 0,
            nulls: 0,
            entries: 0,
            markers: 0,
            strays: 0,
            wordy: 0,
            tab: false,
            line_start: 0,
            settled: 0,
        }
    }

    fn carry(&mut self, bytes: &[u8]) {
        let room = LINE - self.carry.len();
        self.carry.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The last line may lack its newline.
    fn flush(&mut self) {
        let carry = std::mem::take(&mut self.carry);
        if !carry.is_empty() {
            self.line(&carry);
        }
        self.fill_slot();
    }

    /// A key or dash that got no value has null for one.
    fn fill_slot(&mut self) {
        if self.open == Open::Slot {
            self.leaf(true);
        }
        self.open = Open::Nothing;
    }

    fn leaf(&mut self, null: bool) {
        self.leaves += 1;
        self.nulls += u64::from(null);
        self.open = Open::Nothing;
    }

    fn deepen(&mut self) {
        let depth = u32::try_from(self.levels.len()).unwrap_or(u32::MAX).saturating_add(self.brackets);
        self.max_depth = self.max_depth.max(depth);
    }

    fn problem(&self) -> Option<String> {
        if self.brackets > 0 || self.quote.is_some() {
            return Some("cut short: a bracket or quote is not closed".into());
        }
        if self.tab {
            return Some("a tab indents a line, expected spaces".into());
        }
        (self.strays > 0).then(|| format!("{} lines are no entries of a mapping or sequence", self.strays))
    }
}

impl Scanner for Yaml {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            if self.carry.is_empty() {
                self.line(&rest[..at.min(LINE)]);
            } else {
                self.carry(&rest[..at]);
                let mut carry = std::mem::take(&mut self.carry);
                self.line(&carry);
                carry.clear();
                self.carry = carry;
            }
            rest = &rest[at + 1..];
            self.line_start += self.carried + at as u64 + 1;
            self.carried = 0;
        }
        self.carry(rest);
        self.carried += rest.len() as u64;
    }

    fn finish(mut self: Box<Self>, end: End) -> (DataType, Facts) {
        if !end.cut() {
            self.flush();
        }
        let records = if end.cut() && self.documents > 1 {
            extrapolate::records(self.documents - 1, self.settled, end.total)
        } else {
            self.documents
        };
        let facts = Facts {
            records: Some(records),
            max_depth: Some(self.max_depth),
            columns: (self.columns > 0).then_some(self.columns),
            distinct_keys: Some(self.keys.len() as u32),
            null_share: (self.leaves > 0).then(|| self.nulls as f64 / self.leaves as f64),
            problem: if end.cut() { None } else { self.problem() },
            ..Facts::default()
        };
        (DataType::Yaml, facts)
    }
}

#[cfg(test)]
mod tests;
