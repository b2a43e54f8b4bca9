//! Lengths and counts that lie: what they may cost is bounded by the bytes that are there.

use bytes::{Bytes, BytesMut};
use weir_wire::batch::{Batch, BatchError};
use weir_wire::{ApiKey, Fault, Reader, api, read_request_header, split_frame};

use crate::fuzz::targets::{MESSAGE_BASE, Target};
use crate::golden::samples;

/// Reads `body` as request and response of `key` and gives the most bytes held.
fn cost(key: ApiKey, version: i16, body: &Bytes) -> u64 {
    let request = allocation_counter::measure(|| {
        let _ = api::Request::read(key, &mut Reader::new(body.clone()), version);
    });
    let response = allocation_counter::measure(|| {
        let _ = api::Response::read(key, &mut Reader::new(body.clone()), version);
    });
    request.bytes_max.max(response.bytes_max)
}

#[test]
fn eight_bytes_that_claim_two_billion_elements_cost_next_to_nothing() {
    // An int32 count, or a compact one, at each place of eight bytes whose rest is zero.
    let claims: [&[u8]; 4] =
        [b"\x7f\xff\xff\xff", b"\x80\x00\x00\x00", b"\xff\xff\xff\xff\x07", b"\x80\x80\x80\x80\x08"];
    for key in ApiKey::ALL {
        for version in key.versions() {
            for claim in claims {
                for at in 0..=8 - claim.len() {
                    let mut body = [0; 8];
                    body[at..at + claim.len()].copy_from_slice(claim);
                    let cost = cost(*key, version, &Bytes::copy_from_slice(&body));
                    assert!(cost <= MESSAGE_BASE, "{key} {version} {body:x?}: {cost} bytes");
                }
            }
        }
    }
}

#[test]
fn frames_that_claim_two_gigabytes_are_refused_and_cost_nothing() {
    for (length, limit) in [(i32::MAX, 100 << 20), (i32::MIN, 100 << 20), (-1, 100 << 20), (101, 100)] {
        let mut buffer = BytesMut::from(&length.to_be_bytes()[..]);
        let used = allocation_counter::measure(|| assert!(split_frame(&mut buffer, limit).is_err(), "{length}"));
        assert!(used.bytes_max <= 256, "{length}: {used:?}");
    }
    // Within the limit it waits for the rest, in the buffer as it is.
    let mut buffer = BytesMut::from(&(100i32 << 20).to_be_bytes()[..]);
    let used = allocation_counter::measure(|| assert_eq!(split_frame(&mut buffer, 100 << 20), Ok(None)));
    assert_eq!(used.bytes_max, 0);
}

#[test]
fn batches_that_claim_two_gigabytes_cost_nothing() {
    let mut bytes = [0; 61];
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    bytes[16] = 2;
    let mut bytes = Bytes::copy_from_slice(&bytes);
    let used = allocation_counter::measure(|| {
        let need = i32::MAX as usize + 12;
        assert_eq!(Batch::split(&mut bytes), Err(BatchError::Truncated { have: 61, need }));
    });
    assert_eq!(used.bytes_max, 0);
}

/// Counts from small to far too large, at every place of a message, before room for elements of one byte.
#[test]
fn counts_at_every_place_cost_what_the_bytes_allow() {
    const ROOM: usize = 2048;
    for sample in samples() {
        // The newest version is what holds most; the next line of a message is another sample of it.
        let newest = ApiKey::ALL.iter().find_map(|key| {
            let name = sample.name.strip_suffix("Request").or(sample.name.strip_suffix("Response"))?;
            (key.to_string() == name).then(|| *key.versions().end())
        });
        if newest.is_some_and(|newest| sample.version != newest) {
            continue;
        }
        let target = Target::Message(sample.name, sample.version);
        for at in (0..sample.bytes.len()).step_by(if cfg!(debug_assertions) { 3 } else { 1 }) {
            for count in [&b"\0\0\x02\0"[..], b"\0\0\x08\0", b"\x81\x04", b"\x80\x10", b"\x7f\xff\xff\xff"] {
                for fill in [0, 1, 0xFF] {
                    let mut bytes = sample.bytes[..at].to_vec();
                    bytes.extend_from_slice(count);
                    bytes.resize(bytes.len() + ROOM, fill);
                    let bytes = Bytes::from(bytes);
                    let used = allocation_counter::measure(|| {
                        target.decode(&bytes);
                    });
                    let bound = target.bound(bytes.len());
                    assert!(used.bytes_max <= bound, "{target:?} {at} {count:x?} {fill}: {used:?}");
                }
            }
        }
    }
}

#[test]
fn tagged_fields_within_tagged_fields_cost_nothing() {
    // A header with tagged fields: their number, a tag, a size, and in it more of the same.
    let header = b"\0\x12\0\x03\0\0\0\x07\xff\xff";
    let check = |tagged: &[u8], expect: Result<(), Fault>| {
        let frame = Bytes::from([&header[..], tagged].concat());
        let used = allocation_counter::measure(|| {
            let read = read_request_header(&mut Reader::new(frame.clone()));
            let read = read.map(drop).map_err(|error| error.fault().clone());
            allocation_counter::opt_out(|| assert_eq!(read, expect, "{tagged:x?}"));
        });
        assert!(used.bytes_max <= 256, "{tagged:x?}: {used:?}");
    };
    check(b"\0", Ok(()));
    check(b"\x01\x63\x04\x01\x63\x01\0", Ok(()));
    check(b"\x01\x63\x04\x01\x63\x01", Err(Fault::Short { needed: 4, left: 3 }));
    check(b"\x01\x63\xff\xff\xff\xff\x0f", Err(Fault::Short { needed: u32::MAX as usize, left: 0 }));
    check(b"\x01\xff\xff\xff\xff\x0f\xff\xff\xff\xff\x07ab", Err(Fault::Short { needed: i32::MAX as usize, left: 2 }));
    check(b"\xff\xff\xff\xff\x0f", Err(Fault::Short { needed: 1, left: 0 }));
    check(b"\xff\xff\xff\xff\x0f\0\0\0\0", Err(Fault::Short { needed: 1, left: 0 }));
    check(b"\x80\x80\x80\x80\x80\0", Err(Fault::Varint));
}
