//! The inspector: a batch chunk by chunk, in bounded memory and bounded work.
//!
//! ```text
//! chunk ─► compressed? ─no──► content ─► scanner
//!             └─yes─► unpacker, under a limit ─► content ─► scanner
//! ```
//!
//! Any chunking of a batch gives the same finding, but for how much of a damaged or unfinished stream was unpacked.

use forebay_shared::{Compression, DataCharacteristics, DataComplexity, DataType, DataVolume};

use super::content::{Content, Found};
use super::ends::Room;
use super::unpack::{self, Unpacking};
use super::{Finding, Hint, score};

/// Looks into one batch as it passes.
pub struct Inspector {
    hint: Hint,
    budget: u64,
    room: Room,
    total: u64,
    layer: Layer,
}

enum Layer {
    /// The first bytes, which tell a compression.
    Start(Vec<u8>),
    Plain(Box<Content>),
    Packed(Box<Unpacking>),
}

impl Inspector {
    /// An inspector of a batch with this Content-Type, which only breaks ties. Past `budget` bytes it only counts.
    pub fn new(content_type: Option<&str>, budget: usize) -> Self {
        let (hint, room) = (Hint::of(content_type), Room::PASSING);
        Self { hint, budget: budget as u64, room, total: 0, layer: Layer::Start(Vec::new()) }
    }

    /// As [`Self::new`], for a batch that is looked at whole, with some megabytes for its ends.
    pub fn exact(content_type: Option<&str>) -> Self {
        Self { room: Room::ALONE, ..Self::new(content_type, usize::MAX) }
    }

    /// Bytes so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Looks at the next bytes.
    pub fn push(&mut self, chunk: &[u8]) {
        let left = usize::try_from(self.budget.saturating_sub(self.total)).unwrap_or(usize::MAX);
        let (look, pass) = chunk.split_at(chunk.len().min(left));
        self.total += chunk.len() as u64;
        if !look.is_empty() {
            self.look(look);
        }
        if !pass.is_empty() {
            self.pass(pass);
        }
    }

    fn look(&mut self, bytes: &[u8]) {
        match &mut self.layer {
            Layer::Start(first) => {
                let (more, rest) = bytes.split_at(bytes.len().min(unpack::MAGIC - first.len()));
                first.extend_from_slice(more);
                if first.len() == unpack::MAGIC {
                    self.begin();
                    if !rest.is_empty() {
                        self.look(rest);
                    }
                }
            }
            Layer::Plain(content) => content.push(bytes),
            Layer::Packed(unpacking) => unpacking.push(bytes),
        }
    }

    fn pass(&mut self, bytes: &[u8]) {
        if let Layer::Start(_) = self.layer {
            self.begin();
        }
        match &mut self.layer {
            Layer::Plain(content) => content.pass(bytes),
            Layer::Packed(unpacking) => unpacking.pass(),
            Layer::Start(_) => {}
        }
    }

    /// Of the next `bytes`, how many are of no use: those of a footer's length at the end always are.
    pub fn skippable(&self, bytes: u64) -> u64 {
        match &self.layer {
            Layer::Start(_) => 0,
            Layer::Plain(content) => content.skippable(bytes, self.total >= self.budget),
            Layer::Packed(unpacking) if unpacking.wants_all() => 0,
            Layer::Packed(_) => bytes,
        }
    }

    /// Leaves out bytes that are of no use, as [`Self::skippable`] tells.
    pub fn skip(&mut self, bytes: u64) {
        if self.total >= self.budget {
            return self.pass_over(bytes);
        }
        self.total = self.total.saturating_add(bytes);
        if let Layer::Plain(content) = &mut self.layer {
            content.leave_out(bytes);
        }
    }

    /// Counts bytes that are not at hand.
    pub fn pass_over(&mut self, bytes: u64) {
        self.total = self.total.saturating_add(bytes);
        if bytes > 0 {
            self.pass(&[]);
            if let Layer::Plain(content) = &mut self.layer {
                content.gap();
            }
        }
    }

    /// Whether it unpacks what comes: then a chunk may make much more work than its length tells.
    pub(crate) fn is_packed(&self) -> bool {
        matches!(self.layer, Layer::Packed(_))
    }

    fn begin(&mut self) {
        let Layer::Start(first) = &mut self.layer else { return };
        let first = std::mem::take(first);
        self.layer = match Unpacking::begin(&first, self.hint, self.room, self.budget) {
            Some(unpacking) => Layer::Packed(Box::new(unpacking)),
            None => Layer::Plain(Box::new(Content::of_batch(self.hint, self.room))),
        };
        if !first.is_empty() {
            self.look(&first);
        }
    }

    /// What the batch was.
    pub fn finish(mut self) -> Finding {
        if let Layer::Start(_) = self.layer {
            self.begin();
        }
        let (hint, total) = (self.hint, self.total);
        match self.layer {
            Layer::Packed(unpacking) => packed(*unpacking, total),
            Layer::Plain(content) => plain(*content, hint, self.room, total),
            Layer::Start(_) => plain(Content::of_batch(hint, self.room), hint, self.room, total),
        }
    }
}

fn plain(content: Content, hint: Hint, room: Room, total: u64) -> Finding {
    let seen = content.seen();
    let found = content.finish(total);
    // Snappy's raw form has no magic: what is nothing else, and unpacks whole, is that.
    let raw = found.ends.whole(total).filter(|_| found.data_type == DataType::Binary).and_then(unpack::raw_snappy);
    if let Some(unpacked) = raw {
        let mut content = Content::unpacked(hint, room);
        content.push(&unpacked);
        let volume = DataVolume { bytes: total, unpacked_bytes: Some(content.seen()), records: None };
        return finding(content.finish(unpacked.len() as u64), Compression::Snappy, volume, false);
    }
    finding(found, Compression::None, DataVolume { bytes: total, ..DataVolume::default() }, seen < total)
}

fn packed(unpacking: Unpacking, total: u64) -> Finding {
    let compression = unpacking.compression();
    let unpacked = unpacking.finish(total);
    let volume = DataVolume { bytes: total, unpacked_bytes: Some(unpacked.bytes), records: None };
    let mut finding = finding(unpacked.found, compression, volume, unpacked.estimated);
    if finding.characteristics.data_type == DataType::Empty && unpacked.problem.is_some() {
        finding.characteristics.data_type = DataType::Binary;
    }
    // What is wrong with the wrapping explains what is wrong within.
    finding.problem = unpacked.problem.or(finding.problem);
    finding
}

/// The finding of what was found within `compression`; `cut` if it was not looked at whole.
pub(super) fn finding(found: Found, compression: Compression, volume: DataVolume, cut: bool) -> Finding {
    let Found { data_type, archive, facts, entropy, .. } = found;
    let compression = if compression == Compression::None { archive } else { compression };
    let estimated = match facts.estimated {
        Some(told) if volume.unpacked_bytes.is_none() => told,
        told => cut || told == Some(true),
    };
    let data_complexity = DataComplexity {
        score: 0.0,
        max_depth: facts.max_depth,
        columns: facts.columns,
        distinct_keys: facts.distinct_keys,
        entropy,
        null_share: facts.null_share,
        joins: facts.joins,
        width: facts.width,
        height: facts.height,
    };
    let unpacked_bytes = volume.unpacked_bytes.or(facts.unpacked_bytes);
    let data_volume = DataVolume { unpacked_bytes, records: facts.records, ..volume };
    let mut characteristics = DataCharacteristics { data_volume, data_complexity, data_type, compression, estimated };
    characteristics.data_complexity.score = score::of(&characteristics, &facts);
    Finding { characteristics, detail: facts.detail, problem: facts.problem }
}

/// The finding of a batch of which these bytes are at hand.
#[cfg(any(test, fuzzing))]
pub(super) fn examine_held(held: &super::held::Held<'_>, content_type: Option<&str>) -> Finding {
    let hint = Hint::of(content_type);
    let Some((data_type, archive, facts)) = super::binary::facts(held, hint, Some(&super::content::member)) else {
        return super::examine(held.head(), held.total(), content_type);
    };
    let ends = super::ends::Ends::new(Room::PASSING);
    let found = Found { data_type, archive, facts, entropy: None, ends };
    let volume = DataVolume { bytes: held.total(), ..DataVolume::default() };
    finding(found, Compression::None, volume, held.is_cut())
}
