//! The fields of samples, arrivals and progress as columns: one list for blocks, exports and imports.
//!
//! An id is for good: blocks hold it. A field that rests on others of its row is stored as the difference to what they
//! promise, which is nearly always the same; it stands behind them in its list.

use forebay_shared::{
    BatchArrival, BatchProgress, Bytes, Compression, DataCharacteristics, DataComplexity, DataType, DataVolume,
    Millicores, Outcome, ResourceSample, Timestamp,
};

use super::columns::As;

/// One field of `T`.
pub(super) struct Field<T> {
    pub(super) id: u16,
    /// As in JSON, with `.` for `_` of nothing: unique in its list.
    pub(super) name: &'static str,
    pub(super) of: Is,
    pub(super) get: fn(&T) -> Option<u64>,
    /// `None` if the field can't have the value.
    pub(super) set: fn(&mut T, u64) -> Option<()>,
    /// What the fields before it promise.
    pub(super) base: Option<fn(&T) -> u64>,
}

/// What a value is, beyond its 64 bits.
#[derive(Clone, Copy)]
pub(super) enum Is {
    Integer,
    Float,
    /// One of a few, by index.
    Name(fn(u64) -> Option<&'static str>),
}

impl<T> Field<T> {
    pub(super) fn pack_as(&self) -> As {
        match (self.base, self.of) {
            (Some(_), _) => As::Signed,
            (None, Is::Float) => As::Float,
            (None, _) => As::Unsigned,
        }
    }
}

/// What a field's type is in 64 bits.
trait Cell: Sized {
    fn cell(self) -> u64;
    fn of(cell: u64) -> Option<Self>;
}

macro_rules! cells {
    ($($type:ty: |$value:ident| $cell:expr, |$from:ident| $of:expr;)*) => {
        $(impl Cell for $type {
            fn cell(self) -> u64 { let $value = self; $cell }
            fn of($from: u64) -> Option<Self> { $of }
        })*
    };
}

cells! {
    u64: |v| v, |c| Some(c);
    u32: |v| u64::from(v), |c| u32::try_from(c).ok();
    f64: |v| v.to_bits(), |c| Some(Self::from_bits(c));
    bool: |v| u64::from(v), |c| (c < 2).then_some(c == 1);
    Timestamp: |v| v.0, |c| Some(Self(c));
    Bytes: |v| v.0, |c| Some(Self(c));
    Millicores: |v| v.0, |c| Some(Self(c));
    DataType: |v| v as u64, |c| Self::ALL.get(usize::try_from(c).ok()?).copied();
    Compression: |v| v as u64, |c| Self::ALL.get(usize::try_from(c).ok()?).copied();
    Outcome: |v| v as u64, |c| OUTCOMES.get(usize::try_from(c).ok()?).map(|(outcome, _)| *outcome);
}

const OUTCOMES: [(Outcome, &str); 3] =
    [(Outcome::Pending, "pending"), (Outcome::Ok, "ok"), (Outcome::Failed, "failed")];

macro_rules! field {
    ($type:ty, $id:literal, $name:literal, $is:expr, some $($field:ident).+) => {
        field!($type, $id, $name, $is, some $($field).+, None)
    };
    ($type:ty, $id:literal, $name:literal, $is:expr, some $($field:ident).+, $base:expr) => {
        Field {
            id: $id, name: $name, of: $is, base: $base,
            get: |row: &$type| row.$($field).+.map(Cell::cell),
            set: |row: &mut $type, cell| { row.$($field).+ = Some(Cell::of(cell)?); Some(()) },
        }
    };
    ($type:ty, $id:literal, $name:literal, $is:expr, all $($field:ident).+) => {
        Field {
            id: $id, name: $name, of: $is, base: None,
            get: |row: &$type| Some(row.$($field).+.cell()),
            set: |row: &mut $type, cell| { row.$($field).+ = Cell::of(cell)?; Some(()) },
        }
    };
}

macro_rules! backlog {
    ($id:literal, $name:literal, $field:ident) => {
        Field {
            id: $id,
            name: $name,
            of: Is::Integer,
            base: None,
            get: |row: &ResourceSample| row.backlog.map(|backlog| backlog.$field),
            set: |row: &mut ResourceSample, cell| {
                row.backlog.get_or_insert_default().$field = cell;
                Some(())
            },
        }
    };
}

/// Of samples. The time is first, and the interval second.
pub(super) static SAMPLE: &[Field<ResourceSample>] = &[
    field!(ResourceSample, 0x100, "at", Is::Integer, all at),
    field!(ResourceSample, 0x101, "intervalMs", Is::Integer, all interval_ms),
    field!(ResourceSample, 0x103, "cpuUserUs", Is::Integer, some cpu_user_us),
    field!(ResourceSample, 0x104, "cpuSystemUs", Is::Integer, some cpu_system_us),
    // The kernel scales user and system time so that they add up to it, within a microsecond.
    field!(ResourceSample, 0x102, "cpuUs", Is::Integer, some cpu_us,
        Some(|row| row.cpu_user_us.unwrap_or(0).wrapping_add(row.cpu_system_us.unwrap_or(0)))),
    field!(ResourceSample, 0x105, "cpuPeriods", Is::Integer, some cpu_periods),
    field!(ResourceSample, 0x106, "cpuThrottledPeriods", Is::Integer, some cpu_throttled_periods),
    field!(ResourceSample, 0x107, "cpuThrottledUs", Is::Integer, some cpu_throttled_us),
    field!(ResourceSample, 0x108, "cpuQuotaMillicores", Is::Integer, some cpu_quota),
    field!(ResourceSample, 0x109, "memoryBytes", Is::Integer, some memory),
    // All but the inactive page cache, which moves seldom.
    field!(ResourceSample, 0x10a, "memoryWorkingSetBytes", Is::Integer, some memory_working_set,
        Some(|row| row.memory.unwrap_or_default().0)),
    field!(ResourceSample, 0x10b, "memoryAnonBytes", Is::Integer, some memory_anon),
    field!(ResourceSample, 0x10c, "memoryFileBytes", Is::Integer, some memory_file),
    field!(ResourceSample, 0x10d, "memoryPeakBytes", Is::Integer, some memory_peak),
    field!(ResourceSample, 0x10e, "memoryLimitBytes", Is::Integer, some memory_limit),
    field!(ResourceSample, 0x10f, "memoryHighEvents", Is::Integer, some memory_high_events),
    field!(ResourceSample, 0x110, "memoryMaxEvents", Is::Integer, some memory_max_events),
    field!(ResourceSample, 0x111, "oomEvents", Is::Integer, some oom_events),
    field!(ResourceSample, 0x112, "oomKills", Is::Integer, some oom_kills),
    field!(ResourceSample, 0x113, "ioReadBytes", Is::Integer, some io_read_bytes),
    field!(ResourceSample, 0x114, "ioWriteBytes", Is::Integer, some io_write_bytes),
    field!(ResourceSample, 0x115, "ioReadOps", Is::Integer, some io_read_ops),
    field!(ResourceSample, 0x116, "ioWriteOps", Is::Integer, some io_write_ops),
    field!(ResourceSample, 0x117, "pids", Is::Integer, some pids),
    field!(ResourceSample, 0x118, "netRxBytes", Is::Integer, some net_rx_bytes),
    field!(ResourceSample, 0x119, "netTxBytes", Is::Integer, some net_tx_bytes),
    field!(ResourceSample, 0x11a, "pressureCpuSomeUs", Is::Integer, some pressure.cpu_some_us),
    field!(ResourceSample, 0x11b, "pressureCpuFullUs", Is::Integer, some pressure.cpu_full_us),
    field!(ResourceSample, 0x11c, "pressureMemorySomeUs", Is::Integer, some pressure.memory_some_us),
    field!(ResourceSample, 0x11d, "pressureMemoryFullUs", Is::Integer, some pressure.memory_full_us),
    field!(ResourceSample, 0x11e, "pressureIoSomeUs", Is::Integer, some pressure.io_some_us),
    field!(ResourceSample, 0x11f, "pressureIoFullUs", Is::Integer, some pressure.io_full_us),
    backlog!(0x120, "backlogWaiting", waiting),
    backlog!(0x121, "backlogWaitingBytes", waiting_bytes),
    backlog!(0x122, "backlogOldestWaitMs", oldest_wait_ms),
    backlog!(0x123, "backlogInService", in_service),
];

/// Of arrivals.
pub(super) static ARRIVAL: &[Field<BatchArrival>] = &[
    field!(BatchArrival, 0x200, "batchId", Is::Integer, all batch_id),
    field!(BatchArrival, 0x201, "arrivedAt", Is::Integer, all arrived_at),
    field!(BatchArrival, 0x202, "bytes", Is::Integer, all characteristics.data_volume.bytes),
    field!(BatchArrival, 0x203, "unpackedBytes", Is::Integer, some characteristics.data_volume.unpacked_bytes),
    field!(BatchArrival, 0x204, "records", Is::Integer, some characteristics.data_volume.records),
    field!(BatchArrival, 0x205, "score", Is::Float, all characteristics.data_complexity.score),
    field!(BatchArrival, 0x206, "maxDepth", Is::Integer, some characteristics.data_complexity.max_depth),
    field!(BatchArrival, 0x207, "columns", Is::Integer, some characteristics.data_complexity.columns),
    field!(BatchArrival, 0x208, "distinctKeys", Is::Integer, some characteristics.data_complexity.distinct_keys),
    field!(BatchArrival, 0x209, "entropy", Is::Float, some characteristics.data_complexity.entropy),
    field!(BatchArrival, 0x20a, "nullShare", Is::Float, some characteristics.data_complexity.null_share),
    field!(BatchArrival, 0x20b, "joins", Is::Integer, some characteristics.data_complexity.joins),
    field!(BatchArrival, 0x20c, "width", Is::Integer, some characteristics.data_complexity.width),
    field!(BatchArrival, 0x20d, "height", Is::Integer, some characteristics.data_complexity.height),
    field!(BatchArrival, 0x20e, "dataType", Is::Name(|c| DataType::of(c).map(DataType::as_str)), all characteristics.data_type),
    field!(BatchArrival, 0x20f, "compression", Is::Name(|c| Compression::of(c).map(Compression::as_str)), all characteristics.compression),
    field!(BatchArrival, 0x210, "estimated", Is::Integer, all characteristics.estimated),
];

/// Of progress.
pub(super) static PROGRESS: &[Field<BatchProgress>] = &[
    field!(BatchProgress, 0x300, "batchId", Is::Integer, all batch_id),
    field!(BatchProgress, 0x301, "startedAt", Is::Integer, some started_at),
    field!(BatchProgress, 0x302, "finishedAt", Is::Integer, some finished_at,
        Some(|row| row.started_at.unwrap_or_default().0)),
    field!(BatchProgress, 0x303, "outcome", Is::Name(|c| OUTCOMES.get(usize::try_from(c).ok()?).map(|(_, name)| *name)), all outcome),
];

/// What fields are then set on.
pub(super) fn empty_arrival() -> BatchArrival {
    BatchArrival {
        batch_id: 0,
        arrived_at: Timestamp(0),
        characteristics: DataCharacteristics {
            data_volume: DataVolume::default(),
            data_complexity: DataComplexity::default(),
            data_type: DataType::Binary,
            compression: Compression::None,
            estimated: false,
        },
    }
}

/// What fields are then set on.
pub(super) fn empty_progress() -> BatchProgress {
    BatchProgress { batch_id: 0, started_at: None, finished_at: None, outcome: Outcome::Pending }
}
