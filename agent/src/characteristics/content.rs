//! Content, unpacked: what it is, decided on its first bytes, and one pass with that format's scanner.

use forebay_shared::{Compression, DataType, DataVolume};

use super::ends::{Ends, Room};
use super::entropy::Entropy;
use super::held::Held;
use super::inspector::finding;
use super::scanner::{End, Scanner};
use super::utf8::Utf8;
use super::{Facts, Finding, Hint, binary, sniff};

const BOM: &[u8] = b"\xef\xbb\xbf";

pub(super) struct Content {
    hint: Hint,
    /// Archives are looked into: not where they are packed once more.
    archives: bool,
    kind: Kind,
    /// The first and last bytes: until the type is decided, and for what is not text to the end.
    ends: Ends,
    entropy: Entropy,
    seen: u64,
}

enum Kind {
    Undecided,
    Text(Text),
    Opaque,
}

struct Text {
    scanner: Box<dyn Scanner>,
    utf8: Utf8,
    /// Length of the byte order mark that was left out.
    bom: u64,
}

/// What content was.
pub(super) struct Found {
    pub(super) data_type: DataType,
    /// The archive that it is; none of what is none.
    pub(super) archive: Compression,
    pub(super) facts: Facts,
    pub(super) entropy: Option<f64>,
    pub(super) ends: Ends,
}

impl Content {
    /// Of a batch as it comes.
    pub(super) fn of_batch(hint: Hint, room: Room) -> Self {
        Self { archives: true, ends: Ends::new(room), ..Self::unpacked(hint) }
    }

    /// Of what was unpacked: archives in it stay packed.
    pub(super) fn unpacked(hint: Hint) -> Self {
        let ends = Ends::new(Room::PASSING);
        Self { hint, archives: false, kind: Kind::Undecided, ends, entropy: Entropy::default(), seen: 0 }
    }

    /// Bytes looked at so far.
    pub(super) fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.seen += bytes.len() as u64;
        self.entropy.push(bytes);
        let mut rest = bytes;
        if matches!(self.kind, Kind::Undecided) {
            let (first, later) = bytes.split_at(bytes.len().min(sniff::SAMPLE - self.ends.head().len()));
            self.ends.push(first);
            if self.ends.head().len() == sniff::SAMPLE {
                self.decide(false);
            }
            rest = later;
        }
        match &mut self.kind {
            Kind::Text(text) => text.push(rest),
            Kind::Opaque => self.ends.push(rest),
            Kind::Undecided => {}
        }
    }

    /// Of the next `bytes`, how many are of no use: of what is no text, all but the first and last ones; of text, those
    /// that are past the budget.
    pub(super) fn skippable(&self, bytes: u64, past: bool) -> u64 {
        match self.kind {
            Kind::Text(_) if past => bytes,
            Kind::Opaque if past || self.ends.head_is_full() => bytes.saturating_sub(self.ends.tail_room()),
            Kind::Undecided if past => bytes.saturating_sub(self.ends.tail_room()),
            _ => 0,
        }
    }

    /// Bytes that are of no use and were left out.
    pub(super) fn leave_out(&mut self, bytes: u64) {
        self.seen += bytes;
    }

    /// Bytes past the budget: they are not looked at, but a footer is at the end.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        if !matches!(self.kind, Kind::Text(_)) {
            self.ends.push(bytes);
        }
    }

    /// Bytes are not at hand: those before them are not the last ones.
    pub(super) fn gap(&mut self) {
        self.ends.gap();
    }

    /// Decides on the bytes so far; the same ones however they came.
    fn decide(&mut self, whole: bool) {
        let head = &self.ends.head()[..self.ends.head().len().min(self.seen as usize)];
        // A binary format may look like text; its readers are asked again once all is there.
        let more = u64::from(!whole);
        let held = Held::new(head, &[], head.len() as u64 + more);
        if !sniff::is_text(head) || binary::facts(&held, self.hint, None).is_some() {
            self.kind = Kind::Opaque;
            return;
        }
        let text = head.strip_prefix(BOM).unwrap_or(head);
        let scanner = sniff::scanner(text, whole, self.hint);
        let mut kind = Text { scanner, utf8: Utf8::default(), bom: (head.len() - text.len()) as u64 };
        kind.push(text);
        self.kind = Kind::Text(kind);
        self.ends = Ends::new(Room::PASSING);
    }

    /// What it was, of `total` bytes.
    pub(super) fn finish(mut self, total: u64) -> Found {
        let cut = self.seen < total;
        if matches!(self.kind, Kind::Undecided) && self.seen > 0 {
            self.decide(!cut);
        }
        let mut archive = Compression::None;
        let (data_type, facts) = match self.kind {
            Kind::Text(text) => text.finish(self.seen, total),
            Kind::Undecided if total == 0 => (DataType::Empty, Facts::default()),
            Kind::Undecided | Kind::Opaque => {
                let held = Held::new(self.ends.head(), self.ends.tail(), total);
                let examine: Option<binary::Examine<'_>> = if self.archives { Some(&member) } else { None };
                let found = binary::facts(&held, self.hint, examine);
                let (data_type, compression, facts) =
                    found.unwrap_or((DataType::Binary, Compression::None, Facts::default()));
                archive = compression;
                (data_type, facts)
            }
        };
        Found { data_type, archive, facts, entropy: self.entropy.bits_a_byte(), ends: self.ends }
    }
}

/// A member of an archive: as content that was unpacked.
pub(super) fn member(bytes: &[u8], total: u64, extension: &str) -> Finding {
    let mut content = Content::unpacked(Hint::of(Hint::content_type(extension)));
    content.push(bytes);
    let cut = content.seen() < total;
    finding(content.finish(total), Compression::None, DataVolume { bytes: total, ..DataVolume::default() }, cut)
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        self.utf8.push(bytes);
        self.scanner.push(bytes);
    }

    fn finish(self, seen: u64, total: u64) -> (DataType, Facts) {
        let end = End { seen: seen - self.bom, total: total - self.bom };
        let (data_type, mut facts) = self.scanner.finish(end);
        let bad = self.utf8.bad_at(end.cut()).map(|at| format!("not UTF-8 from byte {} on", at + self.bom));
        facts.problem = facts.problem.or(bad);
        (data_type, facts)
    }
}
