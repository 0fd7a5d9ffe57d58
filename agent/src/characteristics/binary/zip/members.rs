//! What the members of an archive are, added up.

use forebay_shared::{Compression, DataComplexity, DataType};

use super::super::{Detail, Facts};
use crate::characteristics::Finding;

pub(super) struct Members {
    room: usize,
    /// The type of all so far; inner nothing once they differ or one can't be known.
    data_type: Option<Option<DataType>>,
    looked_into: u64,
    seen: u64,
    records: Option<u64>,
    /// The last member's last line has no end, and how many before it had none.
    open_line: bool,
    joined: u64,
    parts: DataComplexity,
    detail: Detail,
    missing: bool,
    estimated: bool,
    problem: Option<String>,
}

impl Members {
    /// Of an archive whose members may unpack to so many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self {
            room,
            data_type: None,
            looked_into: 0,
            seen: 0,
            records: Some(0),
            open_line: false,
            joined: 0,
            parts: DataComplexity::default(),
            detail: Detail::default(),
            missing: false,
            estimated: false,
            problem: None,
        }
    }

    /// Bytes that may still be unpacked.
    pub(super) fn room(&self) -> usize {
        self.room
    }

    /// Takes from the room for unpacking what was read in vain.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.room = self.room.saturating_sub(bytes);
    }

    /// A member that was examined, from these first bytes of it.
    pub(super) fn add(&mut self, found: Finding, unpacked: &[u8]) {
        let Finding { characteristics: vector, problem, detail } = found;
        self.room -= unpacked.len();
        self.joined += u64::from(self.open_line && !unpacked.is_empty());
        self.open_line = !vector.estimated && unpacked.last().is_some_and(|byte| *byte != b'\n');
        self.seen = self.seen.saturating_add(vector.data_volume.bytes);
        // Without a byte, as job markers are, a member is of no type.
        if vector.data_type == DataType::Empty {
            return;
        }
        self.looked_into += 1;
        let same = self.data_type.is_none_or(|before| before == Some(vector.data_type));
        self.data_type = Some(same.then_some(vector.data_type));
        self.records = self.records.zip(vector.data_volume.records).and_then(|(sum, more)| sum.checked_add(more));
        self.estimated |= vector.estimated;
        self.problem = self.problem.take().or(problem);
        if vector.compression == Compression::Zip {
            self.problem("a member of the zip is an archive itself, which is left packed");
        }
        let (parts, more) = (&mut self.parts, vector.data_complexity);
        parts.max_depth = parts.max_depth.max(more.max_depth);
        parts.columns = parts.columns.max(more.columns);
        parts.distinct_keys = parts.distinct_keys.max(more.distinct_keys);
        (parts.width, parts.height) = (parts.width.max(more.width), parts.height.max(more.height));
        parts.joins = sum(parts.joins, more.joins);
        // What a batch starts with stands for it.
        parts.entropy = parts.entropy.or(more.entropy);
        // The shares of several members would need their weights.
        let alone = self.looked_into == 1;
        parts.null_share = more.null_share.filter(|_| alone);
        let fan_out = detail.fan_out.filter(|_| alone);
        self.detail = Detail { fan_out, ..joined(self.detail, detail) };
    }

    /// A member that nobody can look into.
    pub(super) fn sealed(&mut self, why: &'static str) {
        self.data_type = Some(None);
        self.problem(why);
    }

    /// A member that is not at hand, or past the budget: taken to be as the others. `expected` if that is no fault.
    pub(super) fn missing(&mut self, expected: bool) {
        self.missing = true;
        if !expected {
            self.problem("a member of the zip is missing");
        }
    }

    pub(super) fn problem(&mut self, what: &'static str) {
        self.problem.get_or_insert_with(|| what.to_owned());
    }

    /// The archive's type and facts; `unpacked` is what all members unpack to.
    pub(super) fn facts(self, unpacked: Option<u64>, incomplete: bool) -> (DataType, Facts) {
        let missing = self.missing || incomplete;
        let estimated = Some(missing || self.estimated);
        let data_type = self.data_type.flatten().unwrap_or(DataType::Binary);
        let entropy = self.parts.entropy;
        let facts = Facts { unpacked_bytes: unpacked, entropy, estimated, problem: self.problem, ..Facts::default() };
        if data_type == DataType::Binary {
            return (data_type, facts);
        }
        // Parts of one text follow one another: a line that has no end goes on in the next part.
        let lines = matches!(data_type, DataType::Csv | DataType::Tsv);
        let joined = if lines { self.joined } else { 0 };
        let records = self.records.map(|records| records.saturating_sub(joined)).map(|records| match unpacked {
            Some(all) if missing && self.seen > 0 => scaled(records, all, self.seen),
            _ => records,
        });
        let DataComplexity { max_depth, columns, distinct_keys, null_share, joins, width, height, .. } = self.parts;
        let detail = self.detail;
        (
            data_type,
            Facts { records, max_depth, columns, distinct_keys, null_share, joins, width, height, detail, ..facts },
        )
    }
}

/// Parts of two members: what is counted adds up, of the rest the most stands for both.
fn joined(one: Detail, more: Detail) -> Detail {
    Detail {
        subqueries: sum(one.subqueries, more.subqueries),
        aggregates: sum(one.aggregates, more.aggregates),
        set_operations: sum(one.set_operations, more.set_operations),
        fan_out: None,
        row_groups: sum(one.row_groups, more.row_groups),
        encodings: one.encodings.max(more.encodings),
        channels: one.channels.max(more.channels),
        bit_depth: one.bit_depth.max(more.bit_depth),
        sample_rate: one.sample_rate.max(more.sample_rate),
        seconds: one.seconds.zip(more.seconds).map(|(one, more)| one + more).or(one.seconds).or(more.seconds),
    }
}

/// What is told of both, or of either.
fn sum(one: Option<u32>, more: Option<u32>) -> Option<u32> {
    one.zip(more).map(|(one, more)| one.saturating_add(more)).or(one).or(more)
}

fn scaled(records: u64, all: u64, seen: u64) -> u64 {
    let scaled = u128::from(records) * u128::from(all.max(seen)) / u128::from(seen);
    u64::try_from(scaled).unwrap_or(u64::MAX)
}
