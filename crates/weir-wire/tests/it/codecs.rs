//! Codecs: the framings that clients use, bombs that stay within their cap, and lies about sizes.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use proptest::prelude::*;
use weir_wire::codec::{Codec, CodecError};

fn compress(codec: Codec, input: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    codec.compress(input, &mut out).unwrap();
    out
}

/// Text that compresses a bit, with distances beyond 64 KiB.
fn text() -> Vec<u8> {
    let mut seed = 1u32;
    let mut text = Vec::new();
    while text.len() < 300_000 {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        text.extend_from_slice(if seed >> 28 < 3 { b"weir " } else { &[b'a'; 2] });
        text.push((seed >> 24) as u8);
    }
    text
}

#[test]
fn lz4_frames_of_any_flags_are_read() {
    let text = text();
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checks in [0, 3, 7] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checks & 1 != 0)
                    .content_checksum(checks & 2 != 0)
                    .content_size((checks & 4 != 0).then_some(text.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&text).unwrap();
                let frame = encoder.finish().unwrap();
                let out = Codec::Lz4.decompress(&frame, text.len());
                assert!(out.unwrap() == text, "{mode:?} {size:?} {checks}");
                let twice = [&frame[..], &frame[..]].concat();
                assert_eq!(Codec::Lz4.decompress(&twice, 1 << 20).unwrap().len(), 2 * text.len());
                let small = Codec::Lz4.decompress(&twice, 2 * text.len() - 1);
                assert_eq!(small, Err(CodecError::TooLarge { codec: Codec::Lz4, limit: 2 * text.len() - 1 }));
            }
        }
    }
}

#[test]
fn lz4_frames_that_are_written_are_read_by_the_reference_decoder() {
    for input in [vec![], vec![7; 10], vec![7; 200_000], text()] {
        let mut out = Vec::new();
        let frame = compress(Codec::Lz4, &input);
        std::io::copy(&mut lz4_flex::frame::FrameDecoder::new(&frame[..]), &mut out).unwrap();
        assert!(out == input);
    }
}

#[test]
fn snappy_is_read_raw_and_framed() {
    let text = text();
    let raw = snap::raw::Encoder::new().compress_vec(&text).unwrap();
    assert!(Codec::Snappy.decompress(&raw, text.len()).unwrap() == text);
    let framed = compress(Codec::Snappy, &text);
    assert_eq!(&framed[..16], b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    let twice = [&framed[..], &framed[..]].concat();
    assert!(Codec::Snappy.decompress(&twice, 1 << 20).unwrap() == [&text[..], &text[..]].concat());
}

#[test]
fn gzip_members_and_zstd_frames_follow_one_another() {
    let text = text();
    for codec in [Codec::Gzip, Codec::Zstd] {
        let one = compress(codec, &text);
        let twice = [&one[..], &one[..]].concat();
        assert!(codec.decompress(&twice, 2 * text.len()).unwrap() == [&text[..], &text[..]].concat());
    }
    let skippable = [&b"\x5f\x2a\x4d\x18\x03\0\0\0abc"[..], &compress(Codec::Zstd, b"x")].concat();
    assert_eq!(&Codec::Zstd.decompress(&skippable, 10).unwrap()[..], b"x");
}

#[test]
fn a_zstd_window_beyond_the_limit_is_read() {
    // 128 MiB, which is what level 22 asks for where the size is unknown.
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(b"weir").unwrap();
    let frame = encoder.finish().unwrap();
    let used = allocation_counter::measure(|| assert_eq!(&Codec::Zstd.decompress(&frame, 100).unwrap()[..], b"weir"));
    assert!(used.bytes_max < 1_000, "{used:?}");
}

#[test]
fn bombs_stay_within_the_cap() {
    let limit = 256 * 1024;
    let zeros = vec![0; 8 << 20];
    for codec in &Codec::ALL[1..] {
        let bomb = compress(*codec, &zeros);
        if *codec != Codec::Snappy {
            // Snappy cannot do more than 1:21; see the lies below.
            assert!(zeros.len() / bomb.len() > 200, "{codec:?}: {}", bomb.len());
        }
        let used = allocation_counter::measure(|| {
            assert_eq!(codec.decompress(&bomb, limit), Err(CodecError::TooLarge { codec: *codec, limit }));
        });
        let own = match codec {
            Codec::Gzip => 64 * 1024,
            _ => 1024,
        };
        // Gzip starts with four times its input and doubles; the others make what the limit allows.
        assert!(used.bytes_max <= (2 * limit + own) as u64, "{codec:?}: {used:?}");
    }
}

#[test]
fn an_output_of_just_the_limit_is_within_it() {
    for codec in Codec::ALL {
        for size in [1, 4_095, 4_096, 4_097, 65_536, 65_537, 131_072, 131_073, 300_000] {
            let input: Vec<u8> = text().into_iter().cycle().take(size).collect();
            let compressed = compress(codec, &input);
            assert!(codec.decompress(&compressed, size).unwrap() == input, "{codec:?} {size}");
            assert_eq!(codec.decompress(&compressed, size - 1), Err(CodecError::TooLarge { codec, limit: size - 1 }));
        }
    }
}

#[test]
fn sizes_that_lie_cost_nothing() {
    let check = |codec: Codec, input: &[u8], expect: &str| {
        let mut error = String::new();
        let used = allocation_counter::measure(|| {
            error = codec.decompress(input, 1 << 30).map(|out| out.len()).unwrap_err().to_string();
        });
        assert!(used.bytes_max < 20_000, "{error}: {used:?}");
        assert!(error.contains(expect), "{error}");
    };
    // Raw Snappy that claims 2^31 bytes in six, framed Snappy whose block claims 2^31 bytes.
    check(Codec::Snappy, &[0x80, 0x80, 0x80, 0x80, 0x08, 0], "block at byte 0 of 6 bytes claims to hold 2147483648");
    check(Codec::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff", "byte 16 claims 2147483647 of 0 bytes");
    check(Codec::Snappy, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff", "byte 16 claims -1 of 0 bytes");
    // LZ4: a block of 2 GiB, a content size of 2^63, and a header alone.
    check(Codec::Lz4, b"\x04\x22\x4d\x18\x60\x70\x73\xff\xff\xff\x7f", "block at byte 7 claims 2147483647 bytes");
    check(Codec::Lz4, b"\x04\x22\x4d\x18\x68\x70\0\0\0\0\0\0\0\x80\x73\0\0\0\0", "claims 9223372036854775808 bytes");
    check(Codec::Lz4, b"\x04\x22\x4d\x18\x60\x70\x73", "cut off after byte 7");
    // Zstd: a content size of 2^63 over an empty block; a compressed block of 3 bytes could make 128 KiB.
    check(Codec::Zstd, b"\x28\xb5\x2f\xfd\xe0\0\0\0\0\0\0\0\x80\x01\0\0", "corrupt");
    check(Codec::Zstd, b"\x28\xb5\x2f\xfd\xe0\xff\xff\xff\xff\xff\xff\xff\xff", "cut off or malformed");
}

#[test]
fn damage_is_an_error_or_another_output_but_no_panic() {
    let text = &text()[..600];
    for codec in &Codec::ALL[1..] {
        let good = compress(*codec, text);
        for at in 0..good.len() {
            // The header of framed Snappy is a stream without blocks.
            let cut = codec.decompress(&good[..at], 10_000);
            assert!(cut.is_err() || (*codec, at) == (Codec::Snappy, 16), "{codec:?} cut at {at}");
            for bit in 0..8 {
                let mut bad = good.clone();
                bad[at] ^= 1 << bit;
                if let Ok(out) = codec.decompress(&bad, 10_000) {
                    assert!(out.len() <= 10_000);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..Default::default() })]

    /// Memory that was used before changes neither what comes out nor what is wrong, whatever lies in it.
    #[test]
    fn what_lay_in_memory_before_does_not_come_out(
        words in prop::collection::vec("[ab]{1,400}", 0..600),
        at in any::<prop::sample::Index>(),
        flip in any::<u8>(),
        room in 0..300_000usize,
        limit in prop_oneof![Just(1usize << 20), 0..100_000usize],
    ) {
        let input = words.concat();
        for codec in Codec::ALL {
            let mut packed = Vec::new();
            codec.compress(input.as_bytes(), &mut packed).unwrap();
            for flip in [0, flip] {
                if !packed.is_empty() {
                    let at = at.index(packed.len());
                    packed[at] ^= flip;
                }
                let fresh = codec.decompress(&packed, limit);
                let again = codec.decompress_in(&packed, limit, vec![0xAA; room]);
                prop_assert!(again == fresh, "{:?} {:?}", codec, (again.map(|b| b.len()), fresh.map(|b| b.len())));
            }
        }
    }
}
