use std::io::Write as _;

use forebay_shared::{DataCharacteristics, DataType};
use proptest::prelude::*;

use super::*;
use crate::characteristics::{DEFAULT_BUDGET, Finding, Inspector};

fn look(bytes: &[u8], size: usize, budget: usize) -> Finding {
    let mut inspector = Inspector::new(None, budget);
    bytes.chunks(size).for_each(|chunk| inspector.push(chunk));
    inspector.finish()
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::GzBuilder::new().filename("name").comment("note").extra(vec![1; 5]);
    encoder = encoder.mtime(1);
    let mut encoder = encoder.write(Vec::new(), flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn bzip2_of(content: &[u8]) -> Vec<u8> {
    let mut encoder = ::bzip2::write::BzEncoder::new(Vec::new(), ::bzip2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn xz_of(content: &[u8]) -> Vec<u8> {
    let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), lzma_rust2::XzOptions::with_preset(6)).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn zstd_of(content: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(content, ruzstd::encoding::CompressionLevel::Fastest)
}

fn snappy_framed(content: &[u8]) -> Vec<u8> {
    let mut encoder = snap::write::FrameEncoder::new(Vec::new());
    encoder.write_all(content).unwrap();
    encoder.into_inner().unwrap()
}

fn snappy_blocks(content: &[u8]) -> Vec<u8> {
    let mut bytes = [snappy::BLOCKS, &1_u32.to_be_bytes(), &1_u32.to_be_bytes()].concat();
    for block in content.chunks(32 << 10) {
        let packed = snap::raw::Encoder::new().compress_vec(block).unwrap();
        bytes.extend((packed.len() as u32).to_be_bytes());
        bytes.extend(packed);
    }
    bytes
}

/// Linked blocks with check sums on all that can have one.
fn lz4_of(content: &[u8]) -> Vec<u8> {
    let descriptor = [0b0101_0100_u8, 4 << 4];
    let mut bytes = [&0x184d_2204_u32.to_le_bytes()[..], &descriptor].concat();
    bytes.push((twox_hash::XxHash32::oneshot(0, &descriptor) >> 8) as u8);
    for (at, block) in content.chunks(64 << 10).enumerate() {
        let start = at * (64 << 10);
        let window = &content[start.saturating_sub(64 << 10)..start];
        let mut packed = vec![0; lz4_flex::block::get_maximum_output_size(block.len())];
        let length = lz4_flex::block::compress_into_with_dict(block, &mut packed, window).unwrap();
        let (block, flag) = if length < block.len() { (&packed[..length], 0) } else { (block, 1 << 31) };
        bytes.extend((block.len() as u32 | flag).to_le_bytes());
        bytes.extend(block);
        bytes.extend(twox_hash::XxHash32::oneshot(0, block).to_le_bytes());
    }
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend(twox_hash::XxHash32::oneshot(0, content).to_le_bytes());
    bytes
}

type Pack = fn(&[u8]) -> Vec<u8>;

const ALL: [(Compression, Pack); 7] = [
    (Compression::Gzip, gzip),
    (Compression::Bzip2, bzip2_of),
    (Compression::Xz, xz_of),
    (Compression::Zstd, zstd_of),
    (Compression::Snappy, snappy_framed),
    (Compression::Snappy, snappy_blocks),
    (Compression::Lz4, lz4_of),
];

fn rows(count: usize) -> Vec<u8> {
    (0..count).map(|n| format!("{n},{},name{}\n", n * 7919 % 1013, n % 97)).collect::<String>().into_bytes()
}

fn of_table(vector: &DataCharacteristics) -> (DataType, Compression, Option<u64>, Option<u64>, bool) {
    let volume = vector.data_volume;
    (vector.data_type, vector.compression, volume.records, volume.unpacked_bytes, vector.estimated)
}

#[test]
fn what_is_in_a_compressed_batch_is_told_however_it_comes() {
    let content = rows(20_000);
    for (compression, pack) in ALL {
        let packed = pack(&content);
        for size in [1, 17, 1000, 70_000, packed.len()] {
            let found = look(&packed, size, DEFAULT_BUDGET);
            let expected = (DataType::Csv, compression, Some(20_000), Some(content.len() as u64), false);
            assert_eq!(of_table(&found.characteristics), expected, "{compression}, {size} bytes at a time");
            assert_eq!(found.problem, None, "{compression}");
        }
    }
}

#[test]
fn raw_snappy_is_found_by_unpacking_it() {
    let content = rows(3000);
    let packed = snap::raw::Encoder::new().compress_vec(&content).unwrap();
    let found = look(&packed, 999, DEFAULT_BUDGET).characteristics;
    assert_eq!(of_table(&found), (DataType::Csv, Compression::Snappy, Some(3000), Some(content.len() as u64), false));
}

#[test]
fn streams_that_follow_one_another_are_one_batch() {
    for (compression, pack) in ALL.into_iter().filter(|(_, pack)| *pack as usize != snappy_blocks as Pack as usize) {
        let packed = [pack(&rows(100)), pack(&rows(50))].concat();
        for size in [3, packed.len()] {
            let found = look(&packed, size, DEFAULT_BUDGET);
            assert_eq!(found.characteristics.data_volume.records, Some(150), "{compression}");
            assert_eq!(found.problem, None, "{compression}");
        }
    }
}

/// MessagePack, of records whose lengths differ: what is not looked at can only be guessed.
fn messages(count: u32) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(9);
    let record = |n: u32| {
        let length = if n < count / 3 { random.usize(1..120) } else { 3 };
        let text: String = (0..length).map(|_| random.alphanumeric()).collect();
        [b"\x82\xa2id\xce", &n.to_be_bytes()[..], b"\xa1v\xd9", &[length as u8], text.as_bytes()].concat()
    };
    (0..count).flat_map(record).collect()
}

#[test]
fn what_is_not_looked_at_whole_within_a_compression_is_an_estimate_and_told_to_be() {
    let content = messages(60_000);
    for (compression, pack) in ALL {
        let packed = pack(&content);
        let passing = look(&packed, 1 << 16, DEFAULT_BUDGET).characteristics;
        assert_eq!((passing.data_type, passing.estimated), (DataType::Msgpack, true), "{compression}");
        assert_ne!(passing.data_volume.records, Some(60_000), "{compression}");
        let mut inspector = Inspector::exact(None);
        packed.chunks(1 << 16).for_each(|chunk| inspector.push(chunk));
        let exact = inspector.finish().characteristics;
        assert_eq!((exact.data_volume.records, exact.estimated), (Some(60_000), false), "{compression}");
    }
}

#[test]
fn a_stream_that_is_cut_is_told_with_what_it_held() {
    let content = rows(60_000);
    for (compression, pack) in ALL {
        let packed = pack(&content);
        let found = look(&packed[..packed.len() * 3 / 4], 5000, DEFAULT_BUDGET);
        assert_eq!((found.characteristics.compression, found.characteristics.data_type), (compression, DataType::Csv));
        assert!(!found.characteristics.estimated, "{compression}");
        let problem = found.problem.unwrap();
        assert!(problem.contains("cut short"), "{compression}: {problem}");
    }
}

#[test]
fn a_wrong_check_sum_is_told() {
    let content = rows(1000);
    for (compression, pack) in ALL.into_iter().filter(|(_, pack)| *pack as usize != snappy_blocks as Pack as usize) {
        let mut packed = pack(&content);
        // xz has an index and a footer behind the sum: of those any bit is checked as well.
        let at = packed.len() - 3;
        packed[if compression == Compression::Snappy { 16 } else { at }] ^= 1;
        let problem = look(&packed, 100, DEFAULT_BUDGET).problem.unwrap_or_default();
        assert!(problem.starts_with(compression.as_str()), "{compression}: {problem}");
    }
}

#[test]
fn past_the_budget_unpacked_bytes_and_records_are_estimated() {
    let content = rows(400_000);
    for (compression, pack) in ALL {
        let packed = pack(&content);
        let found = look(&packed, 1 << 16, 400_000).characteristics;
        assert!(found.estimated, "{compression}");
        let near = |estimate: Option<u64>, exact: usize| {
            let share = estimate.unwrap() as f64 / exact as f64;
            assert!((0.5..2.0).contains(&share), "{compression}: {estimate:?} for {exact}");
        };
        near(found.data_volume.unpacked_bytes, content.len());
        near(found.data_volume.records, 400_000);
    }
}

#[test]
fn a_bomb_stops_at_the_limit_and_is_told() {
    let zeros = vec![b'0'; 48 << 20];
    for (compression, pack) in [(Compression::Gzip, gzip as Pack), (Compression::Bzip2, bzip2_of)] {
        let packed = pack(&zeros);
        assert!(packed.len() < 100_000);
        let found = look(&packed, packed.len(), usize::MAX);
        assert!(found.characteristics.estimated && found.problem.unwrap().contains("32 times"), "{compression}");
        assert!(found.characteristics.data_volume.unpacked_bytes.unwrap() > FLOOR);
    }
}

#[test]
fn slow_decoders_stop_where_they_find_noise() {
    let mut random = fastrand::Rng::with_seed(11);
    let noise: Vec<u8> = (0..1_500_000).map(|_| random.u8(..)).collect();
    for packed in [bzip2_of(&noise), xz_of(&noise)] {
        let mut unpacking = Unpacking::begin(&packed, Hint::None, Room::PASSING, u64::MAX).unwrap();
        packed.chunks(64 << 10).for_each(|chunk| unpacking.push(chunk));
        assert!(!unpacking.wants_all() && unpacking.sink.taken < 1 << 20, "{}", unpacking.sink.taken);
        let unpacked = unpacking.finish(packed.len() as u64);
        assert!(unpacked.estimated && unpacked.problem.is_none());
        assert!((1_400_000..1_600_000).contains(&unpacked.bytes), "{}", unpacked.bytes);
    }
}

#[test]
fn streams_of_bzip2_without_content_stop_and_those_with_some_do_not() {
    let empty = look(&bzip2_of(b"").repeat(2000), 5000, DEFAULT_BUDGET);
    assert!(empty.characteristics.estimated && empty.problem.is_none());
    let short = look(&bzip2_of(&rows(200)).repeat(1000), 5000, DEFAULT_BUDGET).characteristics;
    assert_eq!((short.data_volume.records, short.estimated), (Some(200_000), false));
}

#[test]
fn a_frame_that_needs_a_dictionary_says_so_and_frames_of_pzstd_are_found() {
    let needs = [0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x58, 7, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    assert!(look(&needs, 99, 99).problem.unwrap().contains("dictionary"));
    let parallel = [&0x184d_2a50_u32.to_le_bytes()[..], &[4, 0, 0, 0, 9, 9, 0, 0], &zstd_of(&rows(500))].concat();
    let found = look(&parallel, 7, DEFAULT_BUDGET).characteristics;
    assert_eq!((found.compression, found.data_type), (Compression::Zstd, DataType::Csv));
    assert_eq!(found.data_volume.records, Some(500));
}

#[test]
fn a_zstd_window_wider_than_ours_costs_what_is_past_the_first_bytes_only() {
    let raw = |content: &[u8], last: bool| {
        let header = (content.len() as u32) << 3 | u32::from(last);
        [&header.to_le_bytes()[..3], content].concat()
    };
    // A window of 128 MiB.
    let start = [0x28, 0xb5, 0x2f, 0xfd, 0, 17 << 3].to_vec();
    let small = [start.clone(), raw(&rows(100), false), raw(&rows(50), true)].concat();
    let found = look(&small, 100, DEFAULT_BUDGET);
    assert_eq!((found.characteristics.data_volume.records, found.characteristics.estimated), (Some(150), false));
    let content = rows(600_000);
    let blocks: Vec<u8> = content.chunks(100_000).flat_map(|block| raw(block, false)).collect();
    let large = [start, blocks, raw(b"", true)].concat();
    let found = look(&large, 100_000, usize::MAX);
    let volume = found.characteristics.data_volume;
    assert_eq!((found.characteristics.data_type, found.characteristics.estimated), (DataType::Csv, true));
    assert!(volume.records.unwrap().abs_diff(600_000) < 60_000, "{volume:?}");
}

#[test]
fn an_xz_dictionary_wider_than_the_window_stops_at_the_floor() {
    let content = rows(400_000);
    assert!(content.len() as u64 > FLOOR);
    for (dictionary, estimated) in [(MOST_WINDOW as u32, false), (12 << 20, true)] {
        let mut options = lzma_rust2::XzOptions::with_preset(0);
        options.lzma_options.dict_size = dictionary;
        let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        encoder.write_all(&content).unwrap();
        let found = look(&encoder.finish().unwrap(), 1 << 16, usize::MAX).characteristics;
        assert_eq!((found.data_type, found.estimated), (DataType::Csv, estimated), "{dictionary}");
    }
}

#[test]
fn an_empty_block_of_lz4_ends_at_once() {
    let packed = lz4_of(b"");
    let (header, end) = packed.split_at(7);
    let empty =
        [header, &(1_u32 << 31).to_le_bytes(), &twox_hash::XxHash32::oneshot(0, b"").to_le_bytes(), end].concat();
    for size in [1, empty.len()] {
        let found = look(&empty, size, DEFAULT_BUDGET);
        assert_eq!((found.characteristics.data_type, found.problem), (DataType::Empty, None));
    }
}

#[test]
fn a_compression_within_another_is_not_unpacked() {
    let found = look(&gzip(&gzip(&rows(1000))), 100, DEFAULT_BUDGET).characteristics;
    assert_eq!((found.data_type, found.compression), (DataType::Binary, Compression::Gzip));
}

#[test]
fn nothing_compressed_is_empty_still() {
    for (compression, pack) in ALL.into_iter().filter(|(compression, _)| *compression != Compression::Snappy) {
        let found = look(&pack(b""), 100, DEFAULT_BUDGET);
        assert_eq!(
            (found.characteristics.data_type, found.characteristics.compression),
            (DataType::Empty, compression)
        );
        assert_eq!(found.problem, None, "{compression}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn damaged_streams_give_a_vector_and_any_chunking_gives_the_same(
        pack in 0..ALL.len(), hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(), size in 1..200usize,
    ) {
        let mut packed = ALL[pack].1(&rows(200));
        for (at, byte) in hits {
            let at = at.index(packed.len());
            packed[at] = byte;
        }
        packed.truncate(cut.index(packed.len()) + 1);
        let whole = look(&packed, packed.len(), DEFAULT_BUDGET);
        prop_assert!(whole.characteristics.check().is_ok());
        let parts = look(&packed, size, DEFAULT_BUDGET);
        // Where an xz decoder fails, it does not tell what it had made in that step.
        prop_assume!(whole.problem.is_none() || ALL[pack].0 != Compression::Xz);
        prop_assert_eq!(parts.characteristics.data_type, whole.characteristics.data_type);
        prop_assert_eq!(parts.characteristics.compression, whole.characteristics.compression);
        prop_assert_eq!(parts.characteristics.data_volume, whole.characteristics.data_volume);
    }

    #[test]
    fn any_bytes_behind_a_magic_give_a_vector(magic in 0..ALL.len(), rest: Vec<u8>) {
        let mut bytes = ALL[magic].1(b"");
        bytes.truncate(6);
        bytes.extend(rest);
        prop_assert!(look(&bytes, 7, DEFAULT_BUDGET).characteristics.check().is_ok());
    }
}
