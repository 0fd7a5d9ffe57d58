//! Content, unpacked: what it is, decided on its first bytes, and one pass with that format's scanner.

use forebay_shared::{Compression, DataType, DataVolume};

use super::binary::{self, Walk};
use super::ends::{Ends, Room};
use super::entropy::Entropy;
use super::held::Held;
use super::inspector::finding;
use super::scanner::{End, Scanner};
use super::utf8::Utf8;
use super::utf16::Utf16;
use super::{Facts, Finding, Hint, sniff};

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
    /// No text, and whether a reader knows it by its first bytes.
    Opaque {
        known: bool,
        walk: Option<Walk>,
    },
}

struct Text {
    scanner: Box<dyn Scanner>,
    encoding: Encoding,
    /// Length of the byte order mark that was left out.
    bom: u64,
}

enum Encoding {
    /// Or an 8-bit one, which is told.
    Utf8(Utf8),
    Utf16(Utf16),
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
        Self { archives: true, ..Self::unpacked(hint, room) }
    }

    /// Of what was unpacked: archives in it stay packed.
    pub(super) fn unpacked(hint: Hint, room: Room) -> Self {
        let ends = Ends::new(room);
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
            Kind::Opaque { walk, .. } => {
                if let Some(walk) = walk {
                    walk.push(rest);
                }
                self.ends.push(rest);
            }
            Kind::Undecided => {}
        }
    }

    /// Of the next `bytes`, how many are of no use: of what is no text, all but the first and last ones; of text, those
    /// that are past the budget.
    pub(super) fn skippable(&self, bytes: u64, past: bool) -> u64 {
        let before_the_end = bytes.saturating_sub(self.ends.tail_room());
        match &self.kind {
            Kind::Text(_) if past => bytes,
            Kind::Opaque { .. } | Kind::Undecided if past => before_the_end,
            Kind::Opaque { walk, .. } if self.ends.head_is_full() => {
                before_the_end.min(walk.as_ref().map_or(u64::MAX, Walk::skippable))
            }
            _ => 0,
        }
    }

    /// It is neither text nor of a known format, and more of it would not make it so.
    pub(super) fn is_noise(&self) -> bool {
        matches!(self.kind, Kind::Opaque { known: false, .. })
    }

    /// Bytes that are of no use and were left out.
    pub(super) fn leave_out(&mut self, bytes: u64) {
        self.seen += bytes;
        if let Kind::Opaque { walk: Some(walk), .. } = &mut self.kind {
            walk.skip(bytes);
        }
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
        let wide = Utf16::begin(head);
        let known = binary::facts(&held, self.hint, None).is_some();
        if known || wide.is_none() && !sniff::is_text(head) {
            let mut walk = Walk::begin(head);
            if let Some(walk) = &mut walk {
                walk.push(head);
            }
            if walk.is_some() || head.starts_with(b"PAR1") || head.starts_with(b"ORC") {
                self.ends.narrow();
            }
            self.kind = Kind::Opaque { known, walk };
            return;
        }
        let text = head.strip_prefix(BOM).unwrap_or(head);
        let bom = (head.len() - text.len()) as u64;
        let mut kind = match wide {
            None => {
                Text { scanner: sniff::scanner(text, whole, self.hint), encoding: Encoding::Utf8(Utf8::default()), bom }
            }
            Some(utf16) => {
                let sample = utf16_sample(head);
                if !sniff::is_text(&sample) {
                    self.kind = Kind::Opaque { known: false, walk: None };
                    return;
                }
                Text { scanner: sniff::scanner(&sample, whole, self.hint), encoding: Encoding::Utf16(utf16), bom }
            }
        };
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
            kind @ (Kind::Undecided | Kind::Opaque { .. }) => {
                let held = Held::new(self.ends.head(), self.ends.tail(), total);
                let examine: Option<binary::Examine<'_>> = if self.archives { Some(&member) } else { None };
                let found = binary::facts(&held, self.hint, examine);
                let (data_type, compression, mut facts) =
                    found.unwrap_or((DataType::Binary, Compression::None, Facts::default()));
                archive = compression;
                if let Kind::Opaque { walk: Some(walk), .. } = kind
                    && !cut
                {
                    walk.complete(&mut facts);
                }
                (data_type, facts)
            }
        };
        let entropy = facts.entropy.or_else(|| self.entropy.bits_a_byte());
        Found { data_type, archive, facts, entropy, ends: self.ends }
    }
}

/// The text that starts so, as UTF-8.
fn utf16_sample(head: &[u8]) -> Vec<u8> {
    let mut sample = Vec::new();
    if let Some(mut utf16) = Utf16::begin(head) {
        utf16.push(head, |text| sample.extend_from_slice(text));
    }
    sample
}

/// A member of an archive: as content that was unpacked.
pub(super) fn member(bytes: &[u8], total: u64, extension: &str) -> Finding {
    let mut content = Content::unpacked(Hint::of(Hint::content_type(extension)), Room::PASSING);
    content.push(bytes);
    let cut = content.seen() < total;
    finding(content.finish(total), Compression::None, DataVolume { bytes: total, ..DataVolume::default() }, cut)
}

impl Text {
    fn push(&mut self, bytes: &[u8]) {
        match &mut self.encoding {
            Encoding::Utf8(utf8) => {
                utf8.push(bytes);
                self.scanner.push(bytes);
            }
            Encoding::Utf16(utf16) => utf16.push(bytes, |text| self.scanner.push(text)),
        }
    }

    fn finish(self, seen: u64, total: u64) -> (DataType, Facts) {
        let cut = seen < total;
        let (end, bad) = match &self.encoding {
            Encoding::Utf8(utf8) => {
                let bad = utf8.bad_at(cut).map(|at| format!("not UTF-8 from byte {} on", at + self.bom));
                (End { seen: seen - self.bom, total: total - self.bom }, bad)
            }
            Encoding::Utf16(utf16) => {
                let given = utf16.given();
                let total = if cut { utf16.of_total(total).max(given + 1) } else { given };
                let bad = utf16.bad_at(cut).map(|at| format!("not UTF-16 from byte {at} on"));
                (End { seen: given, total }, bad)
            }
        };
        let (data_type, mut facts) = self.scanner.finish(end);
        facts.problem = facts.problem.or(bad);
        (data_type, facts)
    }
}
