//! Formats of blocks one after another, walked as they pass: nothing is kept of them but the block's head in hand.
//!
//! ```text
//! bytes ─► taken or skipped, as the format asks ─► its next step ─► …
//! ```
//!
//! What the first and last bytes of a long batch can only estimate, a walk to its end counts.

use super::{arrow, avro};
use crate::characteristics::Facts;

/// What the next step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Take(usize),
    Skip(u64),
    /// The format's end, or where it can't be followed any further.
    Nothing,
}

/// One format's steps.
pub(super) trait Steps: Send {
    /// Looks at the bytes that it asked for, none after a skip.
    fn step(&mut self, bytes: &[u8]) -> Need;

    /// What was found, if the batch may end here.
    fn end(self: Box<Self>) -> Option<Walked>;
}

/// What a walk to the end counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::characteristics) struct Walked {
    pub(super) records: u64,
    pub(super) row_groups: Option<u32>,
    pub(super) max_depth: Option<u32>,
}

pub(in crate::characteristics) struct Walk {
    steps: Box<dyn Steps>,
    need: Need,
    gathered: Vec<u8>,
}

impl Walk {
    /// The walk of a batch that starts so, if its format is one of blocks.
    pub(in crate::characteristics) fn begin(head: &[u8]) -> Option<Self> {
        let (steps, need): (Box<dyn Steps>, _) = match head {
            [b'O', b'b', b'j', 1, ..] => {
                let (steps, need) = avro::Stream::begin(head)?;
                (Box::new(steps), need)
            }
            [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => (Box::new(arrow::Stream::default()), Need::Skip(8)),
            _ if arrow::starts(head) => (Box::new(arrow::Stream::default()), Need::Skip(0)),
            _ => return None,
        };
        Some(Self { steps, need, gathered: Vec::new() })
    }

    pub(in crate::characteristics) fn push(&mut self, mut bytes: &[u8]) {
        loop {
            match self.need {
                Need::Nothing => return,
                Need::Skip(left) => {
                    let skipped = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes = &bytes[skipped..];
                    self.need = Need::Skip(left - skipped as u64);
                    if self.need != Need::Skip(0) {
                        return;
                    }
                    self.need = self.steps.step(&[]);
                }
                Need::Take(wanted) => {
                    let (more, rest) = bytes.split_at(bytes.len().min(wanted - self.gathered.len()));
                    self.gathered.extend_from_slice(more);
                    bytes = rest;
                    if self.gathered.len() < wanted {
                        return;
                    }
                    self.need = self.steps.step(&self.gathered);
                    self.gathered.clear();
                }
            }
        }
    }

    /// Of the next bytes, how many are of no use.
    pub(in crate::characteristics) fn skippable(&self) -> u64 {
        match self.need {
            Need::Nothing => u64::MAX,
            Need::Skip(left) => left,
            Need::Take(_) => 0,
        }
    }

    /// Leaves out bytes that are of no use.
    pub(in crate::characteristics) fn skip(&mut self, bytes: u64) {
        if let Need::Skip(left) = &mut self.need {
            *left = left.saturating_sub(bytes);
        }
        self.push(&[]);
    }

    /// Puts what was counted in the place of what was estimated, if the walk came to the batch's end.
    pub(in crate::characteristics) fn complete(mut self, facts: &mut Facts) {
        self.push(&[]);
        let ended = self.gathered.is_empty() && !matches!(self.need, Need::Skip(1..));
        let Some(walked) = ended.then(|| self.steps.end()).flatten() else { return };
        if facts.estimated == Some(true) && facts.problem.is_none() {
            facts.records = Some(walked.records);
            facts.max_depth = walked.max_depth.or(facts.max_depth);
            facts.detail.row_groups = walked.row_groups.or(facts.detail.row_groups);
            facts.estimated = Some(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::arrow::tests::{rows, schema_message};
    use super::super::avro::tests::{NESTED, file, zigzag};
    use crate::characteristics::{DEFAULT_BUDGET, Inspector};
    use forebay_shared::DataCharacteristics;

    fn look(bytes: &[u8], size: usize) -> DataCharacteristics {
        let mut inspector = Inspector::new(None, DEFAULT_BUDGET);
        bytes.chunks(size).for_each(|chunk| inspector.push(chunk));
        inspector.finish().characteristics
    }

    /// Some 600 KiB: 200 blocks of 1,000 records; one of them has a list.
    fn avro() -> Vec<u8> {
        let row = |id: i64| [zigzag(id), zigzag(0)].concat();
        let block = (0..999).flat_map(row).collect::<Vec<_>>();
        let list = [zigzag(7), zigzag(1), zigzag(0)].concat();
        let blocks: Vec<_> = (0..200)
            .map(|at| (1000, [block.clone(), if at == 190 { list.clone() } else { row(0) }].concat()))
            .collect();
        file(NESTED, "null", &blocks)
    }

    fn arrow() -> Vec<u8> {
        [schema_message(true), rows(70, true).repeat(5_000)].concat()
    }

    #[test]
    fn blocks_are_counted_to_the_end_though_only_the_first_and_last_bytes_are_kept() {
        for size in [1000, 1 << 20] {
            let found = look(&avro(), size);
            assert_eq!((found.data_volume.records, found.estimated), (Some(200_000), false));
            assert_eq!(found.data_complexity.max_depth, Some(2), "of the one list");
            let found = look(&arrow(), size);
            assert_eq!((found.data_volume.records, found.estimated), (Some(350_000), false));
        }
    }

    #[test]
    fn what_can_not_be_walked_to_its_end_stays_an_estimate() {
        for bytes in [avro(), arrow()] {
            let found = look(&bytes[..bytes.len() - 3], 5000);
            assert!(found.estimated);
            let mut damaged = bytes.clone();
            let at = bytes.len() / 2;
            damaged[at..at + 400].fill(0xee);
            assert!(look(&damaged, 5000).estimated);
            let mut inspector = Inspector::new(None, bytes.len() / 2);
            inspector.push(&bytes);
            assert!(inspector.finish().characteristics.estimated);
        }
    }

    #[test]
    fn bodies_are_left_out_where_nothing_keeps_them() {
        let bytes = [schema_message(true), rows(70, true).repeat(50_000)].concat();
        let (mut inspector, mut at, mut skipped) = (Inspector::exact(None), 0, 0);
        while at < bytes.len() {
            let end = (at + 4096).min(bytes.len());
            inspector.push(&bytes[at..end]);
            let skip = inspector.skippable((bytes.len() - end) as u64);
            inspector.skip(skip);
            (at, skipped) = (end + skip as usize, skipped + skip);
        }
        let found = inspector.finish().characteristics;
        assert_eq!((found.data_volume.records, found.estimated), (Some(3_500_000), false));
        assert!(skipped > 0);
    }
}
