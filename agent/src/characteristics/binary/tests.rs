//! Every format at once: types by content, and totality.

use proptest::prelude::*;

use super::*;
use crate::characteristics::inspector::examine_held;

/// One small file a format, by hand.
fn samples() -> Vec<(DataType, Vec<u8>)> {
    vec![
        (DataType::Png, image::tests::png(2, 8, 3)),
        (DataType::Jpeg, image::tests::jpeg(0xc2, 3, 200)),
        (DataType::Gif, image::tests::gif(2)),
        (DataType::Webp, image::tests::webp(&[(b"VP8 ", image::tests::LOSSY)])),
        (DataType::Tiff, image::tests::tiff(true, false, 2)),
        (DataType::Tiff, image::tests::tiff(false, true, 2)),
        (DataType::Bmp, image::tests::bmp(40)[..200].to_vec()),
        (DataType::Wav, wav::tests::file()),
        (DataType::Avro, avro::tests::file(avro::tests::NESTED, "null", &[(2, vec![2, 0, 4, 2, 0])])),
        (DataType::Avro, avro::tests::file(avro::tests::NESTED, "deflate", &[(2, vec![2, 0, 4, 2, 0])])),
        (DataType::Parquet, parquet::tests::nested()),
        (DataType::Orc, orc::tests::file()),
        (DataType::ArrowFile, arrow::tests::file_bytes()),
        (DataType::ArrowStream, arrow::tests::stream_bytes(true)),
        (DataType::ArrowStream, arrow::tests::stream_bytes(false)),
        (DataType::Pdf, pdf::tests::file("")),
        (DataType::Xlsx, zip::tests::workbook()),
        (DataType::Csv, zip::tests::archive(&[("a.csv", b"a,b\n1,2\n3,4\n", zip::tests::As::Described)])),
        (DataType::Msgpack, b"\x92\x82\xa1a\x01\xa1b\x91\xc0\x82\xa1a\x02\xa1b\x90".to_vec()),
        (DataType::Protobuf, b"\x0a\x07a river\x10\x96\x01\x1a\x04\x08\x01\x10\x02\x22\x08turbines".to_vec()),
    ]
}

fn of(bytes: &[u8]) -> Option<DataType> {
    let inner = |bytes: &[u8], total: u64, _: &str| examine_held(&Held::new(bytes, &[], total), None);
    facts(&Held::new(bytes, &[], bytes.len() as u64), Hint::None, Some(&inner)).map(|(data_type, ..)| data_type)
}

#[test]
fn content_alone_tells_each_format() {
    for (data_type, bytes) in samples() {
        assert_eq!(of(&bytes), Some(data_type));
        let found = examine_held(&Held::new(&bytes, &[], bytes.len() as u64), Some("text/csv"));
        assert_eq!(found.characteristics.data_type, data_type, "whatever the batch claims to be");
    }
}

#[test]
fn text_that_starts_like_a_magic_and_other_bytes_are_none_of_them() {
    for bytes in [
        &b"BMW,Audi\n1,2\n"[..],
        b"RIFF on a theme, WAVE after",
        b"ORC,elf\n1,2\n",
        b"PAR1,PAR2\n1,2\n",
        b"GIF is a format\n",
        b"read about %PDF-1.4 here\n",
        b"Objects\n",
        b"ARROW1 is a name\n",
        b"\x7fELF\x02\x01\x01\0\0\0\0\0",
        b"SQLite format 3\0\x10\0",
        &[0; 4096],
    ] {
        assert_eq!(of(bytes), None, "{bytes:?}");
    }
}

/// Views of a batch as taps and `inspect` have them: whole, its start, its start and its end.
fn look_at_all(bytes: &[u8]) {
    let total = bytes.len() as u64;
    let half = bytes.len() / 2;
    let last = &bytes[bytes.len() - bytes.len() / 3..];
    for held in [
        Held::new(bytes, &[], total),
        Held::new(&bytes[..half], &[], total),
        Held::new(&bytes[..half], last, total),
        Held::new(&bytes[..half], last, total + 1000),
        Held::new(bytes, &[], u64::MAX),
    ] {
        for claim in [None, Some("application/x-protobuf"), Some("application/msgpack")] {
            let found = examine_held(&held, claim).characteristics;
            assert!(found.data_complexity.score.is_finite());
            assert!(found.data_complexity.null_share.is_none_or(|share| (0.0..=1.0).contains(&share)));
        }
    }
}

#[test]
fn every_sample_cut_at_every_byte_gives_a_vector() {
    for (data_type, bytes) in samples() {
        // Long samples repeat themselves: their start and their end have all there is.
        let ends = (0..bytes.len()).filter(|end| *end < 600 || bytes.len() - end < 600);
        ends.for_each(|end| look_at_all(&bytes[..end]));
        assert!(!bytes.is_empty(), "{data_type}");
    }
}

proptest! {
    #[test]
    fn samples_with_bytes_changed_give_a_vector(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8)
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).1.clone();
        for (at, byte) in changes {
            *at.get_mut(&mut bytes) = byte;
        }
        look_at_all(&bytes);
    }

    #[test]
    fn numbers_of_samples_put_to_extremes_give_a_vector(
        which in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), number in any::<u64>(), fill in 0..4usize
    ) {
        let samples = samples();
        let mut bytes = which.get(&samples).1.clone();
        let at = at.index(bytes.len());
        let number = [number, u64::MAX, 0, 0x7fff_ffff_ffff_ffff][fill].to_le_bytes();
        for (byte, new) in bytes[at..].iter_mut().zip(number) {
            *byte = new;
        }
        look_at_all(&bytes);
    }

    #[test]
    fn any_bytes_behind_a_magic_give_a_vector(
        which in any::<prop::sample::Index>(), keep in 1..40usize, noise in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        let samples = samples();
        let sample = &which.get(&samples).1;
        let (start, end) = (&sample[..keep.min(sample.len())], &sample[sample.len() - keep.min(sample.len())..]);
        look_at_all(&[start, &noise].concat());
        look_at_all(&[start, &noise, end].concat());
    }
}
