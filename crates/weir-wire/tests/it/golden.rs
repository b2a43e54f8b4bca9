//! Messages as Apache Kafka's own classes write them (`tests/golden`): each is read and comes back byte for byte.

use bytes::Bytes;
use std::collections::BTreeSet;
use weir_wire::api::{Request, Response};
use weir_wire::versioned::{self, Versioned};
use weir_wire::{ApiKey, Reader, WireError, Writer};

/// A message of one version, and how to read one like it and write it again.
pub struct Sample {
    pub name: &'static str,
    pub version: i16,
    pub bytes: Bytes,
}

/// All samples, those of structures that carry their version with the version in front.
pub fn samples() -> Vec<Sample> {
    let mut samples = Vec::new();
    for line in include_str!("../golden/kafka-4.3.1.txt").lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, first, last, hex] = words[..] else { panic!("{line}") };
        let body = unhex(hex);
        for version in first.parse::<i16>().unwrap()..=last.parse().unwrap() {
            let bytes = if api(name).is_some() { body.clone() } else { [&prefix(name, version)[..], &body].concat() };
            samples.push(Sample { name, version, bytes: bytes.into() });
        }
    }
    samples
}

/// The bytes of a text of hexadecimal digits; `-` is none, spaces are for the reader.
pub fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// A key's prefix is its kind, which the definition gives elsewhere than the version.
fn prefix(name: &str, version: i16) -> [u8; 2] {
    let kind = match name {
        "OffsetCommitKey" => 1,
        "GroupMetadataKey" => 2,
        _ => version,
    };
    kind.to_be_bytes()
}

/// The API of a message, and whether it is the request.
fn api(name: &str) -> Option<(ApiKey, bool)> {
    let key = |name| ApiKey::ALL.iter().copied().find(|key| key.to_string() == name).unwrap();
    let request = name.strip_suffix("Request").map(|name| (key(name), true));
    request.or_else(|| name.strip_suffix("Response").map(|name| (key(name), false)))
}

/// Reads a message and writes it again; how many bytes were left over.
pub fn again(name: &str, version: i16, bytes: Bytes) -> Result<(Bytes, usize), WireError> {
    fn carried<T: Versioned>(bytes: Bytes) -> Result<(Bytes, usize), WireError> {
        let version = versioned::version(&bytes)?.min(*T::VERSIONS.end());
        Ok((T::decode(bytes)?.encode(version)?, 0))
    }
    let mut writer = Writer::new();
    let mut reader = Reader::new(bytes.clone());
    match (api(name), name) {
        (Some((key, true)), _) => Request::read(key, &mut reader, version)?.write(&mut writer, version)?,
        (Some((key, false)), _) => Response::read(key, &mut reader, version)?.write(&mut writer, version)?,
        (None, "OffsetCommitKey") => return carried::<versioned::OffsetCommitKey>(bytes),
        (None, "OffsetCommitValue") => return carried::<versioned::OffsetCommitValue>(bytes),
        (None, "GroupMetadataKey") => return carried::<versioned::GroupMetadataKey>(bytes),
        (None, "GroupMetadataValue") => return carried::<versioned::GroupMetadataValue>(bytes),
        (None, "TransactionLogKey") => return carried::<versioned::TransactionLogKey>(bytes),
        (None, "TransactionLogValue") => return carried::<versioned::TransactionLogValue>(bytes),
        (None, "ConsumerProtocolSubscription") => return carried::<versioned::ConsumerProtocolSubscription>(bytes),
        (None, "ConsumerProtocolAssignment") => return carried::<versioned::ConsumerProtocolAssignment>(bytes),
        _ => panic!("{name} is not known"),
    }
    Ok((writer.into_bytes()?, reader.remaining()))
}

#[test]
fn every_message_of_kafka_is_read_and_comes_back_as_it_was() {
    for Sample { name, version, bytes } in samples() {
        let found = again(name, version, bytes.clone()).unwrap_or_else(|error| panic!("{name} {version}: {error}"));
        assert_eq!(found, (bytes, 0), "{name} {version}");
    }
}

#[test]
fn every_version_of_every_message_has_samples() {
    let held: BTreeSet<(&str, i16)> = samples().iter().map(|sample| (sample.name, sample.version)).collect();
    let expect = ApiKey::ALL.iter().map(|key| key.versions().count()).sum::<usize>() * 2;
    assert_eq!(held.iter().filter(|(name, _)| api(name).is_some()).count(), expect);
    assert_eq!(held.len() - expect, 23, "versions of what carries its version");
}

/// A message that ends early is an error, wherever it ends; as is a version that does not exist.
#[test]
fn a_message_that_is_cut_is_an_error() {
    for Sample { name, version, bytes } in samples() {
        for end in 0..bytes.len() {
            assert!(again(name, version, bytes.slice(..end)).is_err(), "{name} {version} cut at {end}");
        }
        if api(name).is_some() {
            assert!(again(name, 99, bytes).is_err(), "{name} 99");
        }
    }
}

/// Whatever a byte is changed to, reading gives a message or an error. What was read and written is read as the same.
#[test]
fn a_message_with_a_wrong_byte_is_an_error_or_another_message() {
    for Sample { name, version, bytes } in samples() {
        for at in 0..bytes.len() {
            for byte in [0, 1, 0x7f, 0x80, 0xff] {
                let mut wrong = bytes.to_vec();
                wrong[at] = byte;
                let Ok((written, _)) = again(name, version, wrong.into()) else { continue };
                let version = if api(name).is_some() { version } else { versioned::version(&written).unwrap() };
                assert_eq!(
                    again(name, version, written.clone()).unwrap(),
                    (written, 0),
                    "{name} {version} {at} {byte}"
                );
            }
        }
    }
}
