//! The decoders, what each may allocate for an input, and what must hold for what it read.

use bytes::{Bytes, BytesMut};
use weir_wire::batch::{Batch, restamp};
use weir_wire::build::{BatchBuilder, marker_batch};
use weir_wire::codec::Codec;
use weir_wire::control::Marker;
use weir_wire::header::{read_response_header, write_request_header};
use weir_wire::records::Records;
use weir_wire::{ApiKey, Reader, Writer, api, read_request_header, split_frame, versioned};

use crate::golden::again;

/// The most that decompression may make here.
pub const LIMIT: usize = 32 * 1024;

/// What a message may allocate for each byte of its frame: the worst is a list of empty strings of one byte each, which
/// stand as 32 bytes in memory. The rest is for writing it again, which doubles its buffer as it grows.
pub const MESSAGE_RATIO: u64 = 40;
/// What an error, or the smallest message, may allocate.
pub const MESSAGE_BASE: u64 = 2 * 1024;

/// A decoder.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// `split_frame`, as often as it finds one.
    Frame,
    /// The header of a request, then the request it names.
    Request,
    /// The header of a response, then the response.
    Response(ApiKey, i16),
    /// A request, a response, a record of a coordinator or what a group's members tell each other, of one version.
    Message(&'static str, i16),
    /// `Batch::split`, as often as it finds one, with the checksum and the stamp.
    Batches,
    /// The records of one batch, whatever its checksum.
    Records,
    /// Decompression alone.
    Codec(Codec),
    /// A transaction marker: the key in the first four bytes, then the value.
    Marker,
}

impl Target {
    pub fn name(self) -> &'static str {
        match self {
            Target::Frame => "frames",
            Target::Request => "request header and body",
            Target::Response(..) => "response header and body",
            Target::Message(name, _) if name.ends_with("Request") => "request at a version",
            Target::Message(name, _) if name.ends_with("Response") => "response at a version",
            Target::Message(..) => "state and member records",
            Target::Batches => "record batches",
            Target::Records => "records of a batch",
            Target::Codec(Codec::Gzip) => "gzip",
            Target::Codec(Codec::Snappy) => "snappy",
            Target::Codec(Codec::Lz4) => "lz4",
            Target::Codec(_) => "zstd",
            Target::Marker => "markers",
        }
    }

    /// The most bytes that [`Target::decode`] may hold at a time for an input of `length` bytes.
    pub fn bound(self, length: usize) -> u64 {
        let length = length as u64;
        // Output that grows by doubling, which has the old and the new at a time.
        let output = 3 * LIMIT as u64 / 2;
        match self {
            // Errors only.
            Target::Frame | Target::Marker => 256,
            Target::Batches => 256,
            Target::Request | Target::Response(..) | Target::Message(..) => MESSAGE_BASE + MESSAGE_RATIO * length,
            // flate2 keeps 44 KiB, and the name and comment of a member.
            Target::Records | Target::Codec(Codec::Gzip) => output + 64 * 1024 + length,
            Target::Codec(_) => output + 256,
        }
    }

    /// What is measured: all reads of the input, and nothing else. True if it was accepted.
    pub fn decode(self, input: &Bytes) -> bool {
        match self {
            Target::Frame => {
                // The buffer of a connection, which is there before.
                let mut buffer = BytesMut::new();
                allocation_counter::opt_out(|| buffer.extend_from_slice(input));
                while let Ok(Some(_)) = split_frame(&mut buffer, 4096) {}
                buffer.len() < input.len()
            }
            Target::Request => {
                let mut reader = Reader::new(input.clone());
                let header = read_request_header(&mut reader);
                let Ok((header, key)) = header.map(|header| (header.clone(), ApiKey::try_from(header.api_key))) else {
                    return false;
                };
                key.is_ok_and(|key| api::Request::read(key, &mut reader, header.api_version).is_ok())
            }
            Target::Response(key, version) => {
                let mut reader = Reader::new(input.clone());
                read_response_header(&mut reader, key, version).is_ok()
                    && api::Response::read(key, &mut reader, version).is_ok()
            }
            Target::Message(name, version) => again(name, version, input.clone()).is_ok(),
            Target::Batches => {
                let mut rest = input.clone();
                let mut found = 0;
                while let Ok(Some(batch)) = Batch::split(&mut rest) {
                    let _ = (batch.verify_crc(), batch.codec(), batch.last_offset(), batch.last_sequence());
                    let _ = (restamp(&batch, 7, 1, None), restamp(&batch, 7, 1, Some(9)), batch.delete_horizon());
                    found += 1;
                }
                assert!(found * 61 <= input.len(), "more batches than bytes");
                found > 0
            }
            Target::Records => {
                let Ok(Some(batch)) = Batch::split(&mut input.clone()) else { return false };
                let Ok(records) = Records::read(&batch, LIMIT) else { return false };
                assert!(records.body().len() <= LIMIT.max(input.len()), "more than the limit");
                let mut read = 0;
                let mut good = true;
                for record in &records {
                    read += 1;
                    good &= record.is_ok_and(|record| {
                        let _ = Marker::read(&record);
                        record.headers.into_iter().count() == record.headers.len()
                    });
                }
                assert!(read <= records.body().len() / 7 + 1, "more records than bytes");
                good
            }
            Target::Codec(codec) => match codec.decompress(input, LIMIT) {
                Ok(out) => {
                    assert!(out.len() <= LIMIT, "more than the limit");
                    true
                }
                Err(_) => false,
            },
            // Made into a record by `prepare`; measured is the whole way to it.
            Target::Marker => {
                let Ok(Some(batch)) = Batch::split(&mut input.clone()) else { return false };
                let Ok(records) = Records::read(&batch, LIMIT) else { return false };
                records.iter().flatten().any(|record| matches!(Marker::read(&record), Ok(Some(_))))
            }
        }
    }

    /// Makes what was mutated reach the decoder: a batch gets a length that is true (`repair`), a marker its record.
    pub fn prepare(self, mut input: Vec<u8>, repair: bool) -> Bytes {
        match self {
            Target::Records if repair && input.len() >= 61 => {
                let length = (input.len() - 12) as i32;
                input[8..12].copy_from_slice(&length.to_be_bytes());
                input[16] = 2;
            }
            Target::Marker => {
                let (key, value) = input.split_at(input.len().min(4));
                let mut builder = BatchBuilder::new(Codec::None).control();
                builder.push(0, Some(key), Some(value), &[]).unwrap();
                return builder.finish(0).unwrap();
            }
            _ => {}
        }
        Bytes::from(input)
    }

    /// What was read, written and read again must be the same.
    pub fn check_stable(self, input: &Bytes) {
        match self {
            Target::Frame | Target::Batches => {}
            Target::Request => {
                let mut reader = Reader::new(input.clone());
                let header = read_request_header(&mut reader).unwrap();
                let mut writer = Writer::new();
                write_request_header(&header, &mut writer).unwrap();
                let mut reader = Reader::new(writer.into_bytes().unwrap());
                assert_eq!(read_request_header(&mut reader), Ok(header));
                assert_eq!(reader.remaining(), 0);
            }
            Target::Response(key, version) => {
                let mut reader = Reader::new(input.clone());
                read_response_header(&mut reader, key, version).unwrap();
                check_message(&format!("{key}Response"), version, reader.rest());
            }
            Target::Message(name, version) => check_message(name, version, input.clone()),
            Target::Records => {
                let batch = Batch::split(&mut input.clone()).unwrap().unwrap();
                let records = Records::read(&batch, LIMIT).unwrap();
                let used = Records::read_in(&batch, LIMIT, &mut vec![0xA5; LIMIT]).unwrap();
                assert!(records.iter().eq(used.iter()), "{records:?} {used:?}");
                let mut builder = BatchBuilder::retaining(batch.header(), batch.codec().unwrap(), None);
                for record in &records {
                    builder.retain(&record.unwrap()).unwrap();
                }
                let built = builder.finish(batch.base_offset()).unwrap();
                let again = Batch::split(&mut built.clone()).unwrap().unwrap();
                again.verify_crc().unwrap();
                let again = Records::read(&again, 2 * LIMIT).unwrap();
                assert!(records.iter().eq(again.iter()), "{records:?} {again:?}");
            }
            Target::Codec(codec) => {
                let out = codec.decompress(input, LIMIT).unwrap();
                for used in [1, LIMIT / 3, 2 * LIMIT] {
                    assert_eq!(codec.decompress_in(input, LIMIT, vec![0xA5; used]).as_ref(), Ok(&out));
                }
                let mut compressed = Vec::new();
                codec.compress(&out, &mut compressed).unwrap();
                assert_eq!(codec.decompress(&compressed, LIMIT), Ok(out));
            }
            Target::Marker => {
                let read = |input: &Bytes| {
                    let batch = Batch::split(&mut input.clone()).unwrap().unwrap();
                    let records = Records::read(&batch, LIMIT).unwrap();
                    let record = records.iter().next().unwrap().unwrap();
                    Marker::read(&record).unwrap().unwrap()
                };
                let marker = read(input);
                assert_eq!(read(&marker_batch(marker, 1, 2, 3, 4, 5).unwrap()), marker);
            }
        }
    }
}

fn check_message(name: &str, version: i16, input: Bytes) {
    let (written, _) = again(name, version, input.clone()).unwrap();
    assert!(written.len() <= input.len(), "{} bytes became {}", input.len(), written.len());
    // What carries its version may have come with a newer one than is written.
    let api = name.ends_with("Request") || name.ends_with("Response");
    let version = if api { version } else { versioned::version(&written).unwrap() };
    assert_eq!(again(name, version, written.clone()), Ok((written, 0)));
}
