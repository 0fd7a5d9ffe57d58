//! Images made by hand: headers of one pixel or a few.

use super::super::super::held::Held;
use super::*;

pub(in super::super) fn png(color: u8, bits: u8, frames: u32) -> Vec<u8> {
    let chunk = |kind: &[u8], bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), kind, bytes, &[0; 4]].concat();
    let header = [&300_u32.to_be_bytes()[..], &200_u32.to_be_bytes(), &[bits, color, 0, 0, 1]].concat();
    let mut bytes = [png::MAGIC, &chunk(b"IHDR", &header)].concat();
    if frames > 1 {
        bytes.extend(chunk(b"acTL", &[frames.to_be_bytes(), [0; 4]].concat()));
    }
    [&bytes[..], &chunk(b"IDAT", &[1; 50]), &chunk(b"IEND", b"")].concat()
}

pub(in super::super) fn jpeg(frame: u8, components: u8, height: u16) -> Vec<u8> {
    let segment =
        |marker: u8, bytes: &[u8]| [&[0xff, marker], &(bytes.len() as u16 + 2).to_be_bytes()[..], bytes].concat();
    let header = [&[8], &height.to_be_bytes()[..], &300_u16.to_be_bytes(), &[components], &[0; 9]].concat();
    // A thumbnail in the metadata has markers of its own, and a fill byte stands before a marker.
    let thumbnail = segment(0xe1, b"Exif\0\0\xff\xd8\xff\xc0\0\x0b\x08\0\x01\0\x01\xff\xd9");
    let scan = [&segment(0xda, &[1, 1, 0, 0, 63, 0])[..], &[7; 40], b"\xff\0\xff\xd0", &[7; 40]].concat();
    let lines: &[u8] = if height == 0 { b"\xff\xdc\0\x04\0\xc8" } else { b"" };
    [
        b"\xff\xd8",
        &thumbnail[..],
        b"\xff",
        &segment(0xc4, &[0; 20]),
        &segment(frame, &header),
        &scan,
        lines,
        b"\xff\xd9",
    ]
    .concat()
}

pub(in super::super) fn gif(frames: usize) -> Vec<u8> {
    let control = b"\x21\xf9\x04\x00\x00\x00\x00\x00";
    let image = b"\x2c\0\0\0\0\x2c\x01\xc8\x00\x80123456\x02\x03abc\x02de\0";
    [&b"GIF89a\x2c\x01\xc8\0\x80\0\x00123456"[..], &[control, &image[..]].concat().repeat(frames), b"\x3b"].concat()
}

pub(in super::super) fn webp(chunks: &[(&[u8], &[u8])]) -> Vec<u8> {
    let mut bytes = b"RIFF\0\0\0\0WEBP".to_vec();
    for (kind, payload) in chunks {
        bytes.extend([kind, &(payload.len() as u32).to_le_bytes()[..], payload].concat());
        bytes.resize(bytes.len().next_multiple_of(2), 0);
    }
    let size = bytes.len() as u32 - 8;
    bytes[4..8].copy_from_slice(&size.to_le_bytes());
    bytes
}

pub(in super::super) const LOSSY: &[u8] = b"\0\0\0\x9d\x01\x2a\x2c\x01\xc8\0";
const EXTENDED: &[u8] = b"\x12\0\0\0\x2b\x01\0\xc7\0\0";

pub(in super::super) fn tiff(big_endian: bool, wide: bool, pages: usize) -> Vec<u8> {
    let number = |number: u64, len: usize| {
        if big_endian { number.to_be_bytes()[8 - len..].to_vec() } else { number.to_le_bytes()[..len].to_vec() }
    };
    let offset = if wide { 8 } else { 4 };
    let mut bytes = if big_endian { b"MM".to_vec() } else { b"II".to_vec() };
    bytes.extend(number(if wide { 43 } else { 42 }, 2));
    bytes.extend(if wide { [number(8, 2), number(0, 2), number(16, 8)].concat() } else { number(8, 4) });
    for page in 1..=pages {
        bytes.extend(number(4, if wide { 8 } else { 2 }));
        for (tag, kind, value) in [(256, 3, 300), (257, 4, 200), (258, 3, 16), (277, 3, 3)] {
            let size = if kind == 3 { 2 } else { 4 };
            let mut entry = [number(tag, 2), number(kind, 2), number(1, offset), number(value, size)].concat();
            entry.resize(if wide { 20 } else { 12 }, 0);
            bytes.extend(entry);
        }
        let next = if page == pages { 0 } else { bytes.len() + offset };
        bytes.extend(number(next as u64, offset));
    }
    bytes
}

pub(in super::super) fn bmp(header: u32) -> Vec<u8> {
    let mut bytes = [&b"BM\0\0\0\0\0\0\0\0\x1a\0\0\0"[..], &header.to_le_bytes()].concat();
    if header == 12 {
        bytes.extend([300_u16, 200, 1, 24].iter().flat_map(|number| number.to_le_bytes()));
    } else {
        bytes.extend([300_i32, -200].iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend([1, 0, 24, 0]);
    }
    bytes.resize(26 + 900 * 200, 0);
    bytes
}

fn held(bytes: &[u8]) -> Held<'_> {
    Held::new(bytes, &[], bytes.len() as u64)
}

fn check(name: &str, found: &Facts, frames: u64, channels: u32, bits: u32) {
    assert_eq!((found.width, found.height), (Some(300), Some(200)), "{name}");
    assert_eq!((found.records, found.estimated, &found.problem), (Some(frames), Some(false), &None), "{name}");
    assert_eq!((found.detail.channels, found.detail.bit_depth), (Some(channels), Some(bits)), "{name}");
}

#[test]
fn each_kind_of_image_tells_pixels_frames_channels_and_bits() {
    check("png", &png::facts(&held(&png(2, 8, 1))), 1, 3, 8);
    check("16-bit png with alpha", &png::facts(&held(&png(6, 16, 1))), 1, 4, 16);
    check("apng", &png::facts(&held(&png(3, 4, 12))), 12, 1, 4);
    for (name, frame, components) in [("baseline", 0xc0, 3), ("progressive", 0xc2, 1), ("cmyk", 0xc1, 4)] {
        check(name, &jpeg::facts(&held(&jpeg(frame, components, 200))), 1, components.into(), 8);
    }
    check("height after the scan", &jpeg::facts(&held(&jpeg(0xc0, 3, 0))), 1, 3, 8);
    check("gif", &gif::facts(&held(&gif(1))), 1, 3, 8);
    check("animated gif", &gif::facts(&held(&gif(5))), 5, 3, 8);
    check("lossy", &webp::facts(&held(&webp(&[(b"VP8 ", LOSSY)]))), 1, 3, 8);
    let lossless = [&[0x2f][..], &(299_u32 | 199 << 14 | 1 << 28).to_le_bytes()].concat();
    check("lossless", &webp::facts(&held(&webp(&[(b"VP8L", &lossless)]))), 1, 4, 8);
    let animated = webp(&[(b"VP8X", EXTENDED), (b"ANIM", &[0; 6]), (b"ANMF", &[0; 21]), (b"ANMF", &[0; 20])]);
    check("animated webp", &webp::facts(&held(&animated)), 2, 4, 8);
    for (big_endian, wide) in [(false, false), (true, false), (false, true), (true, true)] {
        check("tiff", &tiff::facts(&held(&tiff(big_endian, wide, 1))), 1, 3, 16);
        check("tiff of pages", &tiff::facts(&held(&tiff(big_endian, wide, 3))), 3, 3, 16);
    }
    for header in [12, 40, 56, 108, 124] {
        check("bmp", &bmp::facts(&held(&bmp(header))).unwrap(), 1, 3, 8);
    }
    assert!(bmp::facts(&held(b"BMW and others make cars, and more")).is_none());
}

#[test]
fn a_cut_image_keeps_its_pixels_and_the_cut_is_told() {
    type Reader = fn(&Held<'_>) -> Facts;
    let cases: [(&str, Vec<u8>, Reader); 5] = [
        ("png", png(2, 8, 1), png::facts),
        ("jpeg", jpeg(0xc0, 3, 200), jpeg::facts),
        ("gif", gif(3), gif::facts),
        ("webp", webp(&[(b"VP8 ", LOSSY), (b"EXIF", &[0; 40])]), webp::facts),
        ("bmp", bmp(40), |held| bmp::facts(held).unwrap()),
    ];
    for (name, bytes, facts) in cases {
        let cut = &bytes[..bytes.len() - 10];
        let found = facts(&held(cut));
        assert_eq!((found.width, found.height), (Some(300), Some(200)), "{name}");
        assert!(found.problem.unwrap().contains("cut short"), "{name}");
        let view = facts(&Held::new(cut, &[], bytes.len() as u64));
        assert_eq!((view.width, view.problem), (Some(300), None), "{name}");
        let ends = facts(&Held::new(cut, &bytes[bytes.len() - 12..], bytes.len() as u64));
        assert_eq!((ends.width, ends.problem), (Some(300), None), "{name}");
    }
    assert!(tiff::facts(&held(&tiff(false, false, 2)[..70])).problem.unwrap().contains("cut short"));
}

#[test]
fn a_chain_of_pages_that_leads_back_ends() {
    let mut bytes = tiff(false, false, 1);
    let at = bytes.len() - 4;
    bytes[at] = 8;
    assert!(tiff::facts(&held(&bytes)).problem.unwrap().contains("back"));
}

#[test]
fn a_field_of_no_values_of_eight_bytes_does_not_fit_a_directory_of_four() {
    let mut bytes = tiff(false, false, 1);
    // The first field's kind and count.
    bytes[12] = 16;
    bytes[14..18].fill(0);
    assert_eq!(tiff::facts(&held(&bytes)).height, Some(200));
}

#[test]
fn a_bmp_may_claim_any_size() {
    let mut bytes = bmp(40);
    bytes[18..26].copy_from_slice(&[0, 0, 0, 0x80, 0, 0, 0, 0x80]);
    bytes[28] = 32;
    let found = bmp::facts(&held(&bytes)).unwrap();
    assert_eq!((found.width, found.height), (Some(1 << 31), Some(1 << 31)));
    assert!(found.problem.unwrap().contains("cut short"));
}
