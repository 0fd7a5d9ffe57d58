//! Many frames as one block of columns, and back: exactly as they were.
//!
//! ```text
//! dictionaries     pods (uid, name), boots, ways to sample
//! a row a frame    pod, boot, sequence, closed at, sampling, numbers of samples, arrivals, progress
//! a row a sample, an arrival, a progress   their fields, in the order of the frames
//! ```
//!
//! Frames lie by pod, boot and sequence, so that what changes slowly lies side by side. A pod is a value in a column:
//! a thousand short-lived ones make no more columns than one.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use forebay_shared::{BatchArrival, BatchProgress, BootId, Content, ResourceSample, Timestamp};

use super::StoredContent;
use super::codec;
use super::columns::{As, Columns, Packer};
use super::fields::{self, Field};

/// How much time packing may take: pco's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effort {
    /// Of a block that is merged within the hour.
    Quick = 3,
    /// Of one that stays: pco's default, and the knee of size over time on resource samples.
    Full = 8,
}

const DICTIONARIES: u16 = 0;
const POD: u16 = 1;
const BOOT: u16 = 2;
const SEQUENCE: u16 = 3;
const CLOSED_AT: u16 = 4;
const SAMPLING: u16 = 5;
const SAMPLES: u16 = 6;
const ARRIVALS: u16 = 7;
const PROGRESS: u16 = 8;

/// The dictionaries: pods by uid and name, boots, ways to sample.
type Dictionaries = (Vec<(String, String)>, Vec<[u8; 16]>, Vec<String>);

/// How much a block holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) frames: usize,
    pub(super) samples: usize,
    pub(super) arrivals: usize,
    pub(super) progress: usize,
}

impl Counts {
    pub(super) fn of(frames: &[StoredContent]) -> Self {
        let mut counts = Self { frames: frames.len(), ..Self::default() };
        for StoredContent { content, .. } in frames {
            counts.samples += content.samples.len();
            counts.arrivals += content.arrivals.len();
            counts.progress += content.progress.len();
        }
        counts
    }
}

/// Packs frames; puts them in the order of the block.
pub(super) fn pack(frames: &mut [StoredContent], effort: Effort) -> Result<Vec<u8>, String> {
    frames.sort_by(|a, b| (&a.pod_uid, a.boot, a.sequence).cmp(&(&b.pod_uid, b.boot, b.sequence)));
    let mut packer = Packer::new(effort as usize);
    let (mut pods, mut boots, mut ways) = (Dictionary::default(), Dictionary::default(), Dictionary::default());
    let mut columns: [Vec<u64>; 8] = Default::default();
    for StoredContent { pod_uid, pod, boot, sequence, content } in frames.iter() {
        let cells = [
            pods.index((pod_uid.clone(), pod.clone())),
            boots.index(boot.0.to_be_bytes()),
            *sequence,
            content.closed_at.0.wrapping_sub(promised_close(content)),
            ways.index(content.sampling.as_str()),
            content.samples.len() as u64,
            content.arrivals.len() as u64,
            content.progress.len() as u64,
        ];
        for (column, cell) in columns.iter_mut().zip(cells) {
            column.push(cell);
        }
    }
    let dictionaries: Dictionaries = (
        pods.values.iter().map(|(uid, name)| (uid.to_string(), name.to_string())).collect(),
        boots.values,
        ways.values.into_iter().map(str::to_owned).collect(),
    );
    let packed = codec::pack(&dictionaries)?;
    packer.bytes(DICTIONARIES, &[&[packed.codec], &packed.data[..]].concat())?;
    for (id, column) in (POD..).zip(&columns) {
        packer.all(id, if id == CLOSED_AT { As::Signed } else { As::Unsigned }, column)?;
    }
    pack_samples(&mut packer, frames)?;
    pack_rows(&mut packer, fields::ARRIVAL, frames.iter().flat_map(|frame| &frame.content.arrivals))?;
    pack_rows(&mut packer, fields::PROGRESS, frames.iter().flat_map(|frame| &frame.content.progress))?;
    Ok(packer.finish())
}

/// A frame is closed when its last sample is taken.
fn promised_close(content: &Content) -> u64 {
    content.samples.last().map_or(0, |sample| sample.at.0)
}

/// The time of a sample is stored as what it differs from the time before and the interval.
fn pack_samples(packer: &mut Packer, frames: &[StoredContent]) -> Result<(), String> {
    let samples = || frames.iter().flat_map(|frame| &frame.content.samples);
    let mut before = 0_u64;
    let at = |sample: &ResourceSample| {
        let late = sample.at.0.wrapping_sub(before).wrapping_sub(u64::from(sample.interval_ms));
        before = sample.at.0;
        late
    };
    let at: Vec<u64> = samples().map(at).collect();
    packer.all(fields::SAMPLE[0].id, As::Signed, &at)?;
    pack_rows(packer, &fields::SAMPLE[1..], samples())
}

fn pack_rows<'a, T: 'a>(
    packer: &mut Packer,
    fields: &[Field<T>],
    rows: impl Iterator<Item = &'a T> + Clone,
) -> Result<(), String> {
    for field in fields {
        let cell = |row| {
            let value = (field.get)(row)?;
            Some(field.base.map_or(value, |base| value.wrapping_sub(base(row))))
        };
        let cells: Vec<_> = rows.clone().map(cell).collect();
        packer.some(field.id, field.pack_as(), &cells)?;
    }
    Ok(())
}

/// Which fields of samples are unpacked; the others stay empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    All,
    /// What [`features`](crate::features) and roll-ups are made of.
    Features,
    /// Nothing of samples but their times: for what only needs batches.
    Batches,
}

/// Fields that features and roll-ups are made of, with those that they rest on.
const FEATURES: [&str; 18] = [
    "intervalMs",
    "cpuUserUs",
    "cpuSystemUs",
    "cpuUs",
    "cpuPeriods",
    "cpuThrottledPeriods",
    "cpuThrottledUs",
    "memoryBytes",
    "memoryWorkingSetBytes",
    "ioReadBytes",
    "ioWriteBytes",
    "netRxBytes",
    "netTxBytes",
    "oomKills",
    "backlogWaiting",
    "backlogWaitingBytes",
    "backlogOldestWaitMs",
    "backlogInService",
];

/// Unpacks frames; total on any input, in the memory that `counts` tells.
pub(super) fn unpack(data: &[u8], counts: &Counts, wanted: Wanted) -> Result<Vec<StoredContent>, String> {
    let columns = Columns::parse(data)?;
    let (&codec, packed) = columns.bytes(DICTIONARIES)?.split_first().ok_or("there are no dictionaries")?;
    let (pods, boots, ways): Dictionaries = codec::unpack(codec, packed)?;
    let pods: Vec<(Arc<str>, Arc<str>)> = pods.into_iter().map(|(uid, name)| (uid.into(), name.into())).collect();
    let whole = |id| columns.whole(id, counts.frames);
    let [pod, boot, sequence, closed_at] = [whole(POD)?, whole(BOOT)?, whole(SEQUENCE)?, whole(CLOSED_AT)?];
    let [sampling, of_samples, of_arrivals, of_progress] =
        [whole(SAMPLING)?, whole(SAMPLES)?, whole(ARRIVALS)?, whole(PROGRESS)?];
    for (numbers, total) in
        [(&of_samples, counts.samples), (&of_arrivals, counts.arrivals), (&of_progress, counts.progress)]
    {
        if numbers.iter().try_fold(0, |sum: u64, number| sum.checked_add(*number)) != Some(total as u64) {
            return Err(format!("its frames do not hold the {total} rows told"));
        }
    }
    let mut samples = unpack_samples(&columns, counts.samples, wanted)?.into_iter();
    let mut arrivals =
        unpack_rows(&columns, fields::ARRIVAL.iter(), vec![fields::empty_arrival(); counts.arrivals])?.into_iter();
    let mut progress =
        unpack_rows(&columns, fields::PROGRESS.iter(), vec![fields::empty_progress(); counts.progress])?.into_iter();
    let mut frames = Vec::with_capacity(counts.frames);
    for at in 0..counts.frames {
        let known = "an index beyond its dictionary";
        let (pod_uid, pod) = pods.get(pod[at] as usize).ok_or(known)?.clone();
        let mut content = Content {
            closed_at: Timestamp(0),
            sampling: ways.get(sampling[at] as usize).ok_or(known)?.clone(),
            samples: samples.by_ref().take(of_samples[at] as usize).collect::<Vec<ResourceSample>>(),
            arrivals: arrivals.by_ref().take(of_arrivals[at] as usize).collect::<Vec<BatchArrival>>(),
            progress: progress.by_ref().take(of_progress[at] as usize).collect::<Vec<BatchProgress>>(),
        };
        content.closed_at = Timestamp(closed_at[at].wrapping_add(promised_close(&content)));
        let boot = BootId(u128::from_be_bytes(*boots.get(boot[at] as usize).ok_or(known)?));
        frames.push(StoredContent { pod_uid, pod, boot, sequence: sequence[at], content });
    }
    Ok(frames)
}

fn unpack_samples(columns: &Columns<'_>, rows: usize, wanted: Wanted) -> Result<Vec<ResourceSample>, String> {
    let wanted = |field: &&Field<ResourceSample>| match wanted {
        Wanted::All => true,
        Wanted::Features => FEATURES.contains(&field.name),
        Wanted::Batches => field.name == "intervalMs",
    };
    let fields = fields::SAMPLE[1..].iter().filter(wanted);
    let mut samples = unpack_rows(columns, fields, vec![ResourceSample::default(); rows])?;
    let mut before = 0_u64;
    for (sample, late) in samples.iter_mut().zip(columns.whole(fields::SAMPLE[0].id, rows)?) {
        before = before.wrapping_add(u64::from(sample.interval_ms)).wrapping_add(late);
        sample.at = Timestamp(before);
    }
    Ok(samples)
}

fn unpack_rows<'a, T: 'static>(
    columns: &Columns<'_>,
    fields: impl Iterator<Item = &'a Field<T>>,
    mut rows: Vec<T>,
) -> Result<Vec<T>, String> {
    for field in fields {
        let column = columns.column(field.id, rows.len())?;
        if column.is_empty() {
            continue;
        }
        for (row, cell) in rows.iter_mut().zip(column.cells()) {
            if let Some(cell) = cell {
                let value = field.base.map_or(cell, |base| cell.wrapping_add(base(row)));
                (field.set)(row, value).ok_or_else(|| format!("{} cannot be {value}", field.name))?;
            }
        }
    }
    Ok(rows)
}

/// Values by the order in which they first came.
struct Dictionary<T> {
    values: Vec<T>,
    places: HashMap<T, u64>,
}

impl<T> Default for Dictionary<T> {
    fn default() -> Self {
        Self { values: Vec::new(), places: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Dictionary<T> {
    fn index(&mut self, value: T) -> u64 {
        if let Some(place) = self.places.get(&value) {
            return *place;
        }
        let place = self.values.len() as u64;
        self.values.push(value.clone());
        self.places.insert(value, place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use forebay_shared::{Backlog, Bytes, DataType, Outcome};
    use proptest::prelude::*;

    /// A frame with every field set or not, by the bits of `seed`.
    fn wild(seed: u64, pod: u8) -> StoredContent {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut samples = Vec::new();
        for _ in 0..random.usize(0..4) {
            let mut sample = ResourceSample::default();
            for field in fields::SAMPLE {
                if random.bool() || (field.get)(&sample).is_some() {
                    let value = if random.u8(0..8) == 0 { random.u64(..) } else { random.u64(0..100_000) };
                    let _ = (field.set)(&mut sample, value);
                }
            }
            samples.push(sample);
        }
        let mut arrivals = vec![fields::empty_arrival(); random.usize(0..3)];
        for arrival in &mut arrivals {
            for field in fields::ARRIVAL {
                if random.bool() {
                    let _ = (field.set)(arrival, random.u64(..));
                    let _ = (field.set)(arrival, random.u64(0..5));
                }
            }
            arrival.characteristics.data_complexity.score = f64::from_bits(random.u64(..));
        }
        let mut progress = vec![fields::empty_progress(); random.usize(0..3)];
        for progress in &mut progress {
            for field in fields::PROGRESS {
                if random.bool() {
                    let _ = (field.set)(progress, random.u64(0..3));
                }
            }
        }
        let content = Content {
            closed_at: Timestamp(random.u64(..)),
            sampling: format!("way-{}", seed % 2),
            samples,
            arrivals,
            progress,
        };
        StoredContent {
            pod_uid: format!("uid-{pod}").into(),
            pod: format!("pod-{pod}").into(),
            boot: BootId(u128::from(seed % 3)),
            sequence: seed,
            content,
        }
    }

    /// As text, since a NaN is not equal to itself; the scores' bits apart.
    fn exact(frames: &[StoredContent]) -> (String, Vec<u64>) {
        let arrivals = frames.iter().flat_map(|frame| &frame.content.arrivals);
        (
            format!("{frames:?}"),
            arrivals.map(|arrival| arrival.characteristics.data_complexity.score.to_bits()).collect(),
        )
    }

    #[test]
    fn a_field_is_told_once_and_rests_on_those_before_it() {
        let mut ids: Vec<_> = fields::SAMPLE.iter().map(|field| field.id).collect();
        ids.extend(fields::ARRIVAL.iter().map(|field| field.id));
        ids.extend(fields::PROGRESS.iter().map(|field| field.id));
        let all = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), all);
        // Every field of a sample is in the list: a full one has no empty cell, and none is set twice.
        let mut sample = ResourceSample::default();
        for (value, field) in (1..).zip(fields::SAMPLE) {
            (field.set)(&mut sample, value).unwrap();
        }
        for (value, field) in (1..).zip(fields::SAMPLE) {
            assert_eq!((field.get)(&sample), Some(value), "{}", field.name);
        }
        let json = serde_json::to_string(&sample).unwrap();
        assert!(!json.contains("null"), "{json}");
        assert_eq!(
            sample.backlog,
            Some(Backlog { waiting: 33, waiting_bytes: 34, oldest_wait_ms: 35, in_service: 36 })
        );
        assert_eq!(FEATURES.iter().filter(|name| fields::SAMPLE.iter().all(|field| field.name != **name)).count(), 0);
    }

    #[test]
    fn a_damaged_name_is_an_error() {
        let mut frames = [wild(1, 0)];
        frames[0].content.arrivals = vec![fields::empty_arrival()];
        frames[0].content.progress = Vec::new();
        let counts = Counts::of(&frames);
        let data = pack(&mut frames, Effort::Full).unwrap();
        assert!(unpack(&data, &Counts { arrivals: 2, ..counts }, Wanted::All).is_err());
        assert!(unpack(&data[..data.len() - 1], &counts, Wanted::All).is_err());
        assert_eq!(
            unpack(&data, &counts, Wanted::All).unwrap()[0].content.arrivals[0].characteristics.data_type,
            DataType::Binary
        );
        assert_eq!((fields::PROGRESS[3].set)(&mut fields::empty_progress(), 3), None);
        assert_eq!((fields::PROGRESS[3].get)(&fields::empty_progress()), Some(Outcome::Pending as u64));
    }

    #[test]
    fn features_alone_leave_the_rest_empty() {
        let mut frames = [wild(1, 0)];
        frames[0].content.samples =
            vec![ResourceSample { pids: Some(3), memory: Some(Bytes(7)), ..ResourceSample::default() }];
        let counts = Counts::of(&frames);
        let data = pack(&mut frames, Effort::Full).unwrap();
        let sample = unpack(&data, &counts, Wanted::Features).unwrap()[0].content.samples[0].clone();
        assert_eq!((sample.pids, sample.memory), (None, Some(Bytes(7))));
    }

    proptest! {
        #[test]
        fn frames_read_back_to_the_bit(seeds: Vec<(u64, u8)>) {
            let mut frames: Vec<_> = seeds.iter().map(|(seed, pod)| wild(*seed, pod % 3)).collect();
            let counts = Counts::of(&frames);
            let data = pack(&mut frames, Effort::Full).unwrap();
            prop_assert_eq!(exact(&unpack(&data, &counts, Wanted::All).unwrap()), exact(&frames));
        }

        #[test]
        fn unpacking_is_total(data: Vec<u8>, at in 0..400usize, flip: u8, frames in 0..9usize) {
            let mut whole: Vec<_> = (0..4).map(|seed| wild(seed, 1)).collect();
            let counts = Counts::of(&whole);
            let mut packed = pack(&mut whole, Effort::Quick).unwrap();
            let at = at % packed.len();
            packed[at] ^= flip;
            let _ = unpack(&packed, &counts, Wanted::All);
            let _ = unpack(&data, &Counts { frames, ..counts }, Wanted::All);
        }
    }
}
