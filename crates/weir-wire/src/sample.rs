//! Makes up messages, for tests only: every message in every version goes onto the wire and comes back as it was, and none
//! takes more memory than its bytes allow.

use crate::error::Fault;
use crate::field::{Field, Nullable, Version};
use crate::message::{Message, Rule};
use crate::versioned::{self, Versioned};
use crate::{ErrorCode, Reader, Text, Uuid, WireError, Writer};
use bytes::Bytes;
use proptest::prelude::*;
use std::fmt::Debug;

/// How many bytes of memory a decoded request may take for each byte of its frame, beside the frame itself and the one
/// structure that is the message. What the documentation of `messages` promises.
const REQUEST_MULTIPLE: usize = 32;
/// The same for all messages.
const MULTIPLE: usize = 43;

/// Random numbers from a seed (splitmix64).
pub(crate) struct Source(u64);

impl Source {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// A type that test values can be made of.
pub(crate) trait Sample: Field + PartialEq + Debug {
    /// Any value that the version can carry.
    fn sample(source: &mut Source, version: Version) -> Self;

    /// The most memory an array inside takes for one byte on the wire, rounded up.
    fn widest(_: Version) -> usize {
        0
    }
}

macro_rules! numbers {
    ($($name:ident)*) => {$(
        impl Sample for $name {
            fn sample(source: &mut Source, _: Version) -> Self {
                match source.below(4) {
                    0 => $name::MIN,
                    1 => $name::MAX,
                    _ => source.next() as $name,
                }
            }
        }
    )*};
}

numbers!(i8 i16 i32 i64 u16 u32 f64);

impl Sample for bool {
    fn sample(source: &mut Source, _: Version) -> Self {
        source.below(2) == 0
    }
}

impl Sample for ErrorCode {
    fn sample(source: &mut Source, version: Version) -> Self {
        ErrorCode(i16::sample(source, version))
    }
}

impl Sample for Uuid {
    fn sample(source: &mut Source, _: Version) -> Self {
        Uuid((u128::from(source.next()) << 64 | u128::from(source.next())).to_be_bytes())
    }
}

impl Sample for Text {
    fn sample(source: &mut Source, _: Version) -> Self {
        let length = if source.below(20) == 0 { 150 } else { source.below(6) as usize };
        Text::from("aé-ß漢".chars().cycle().skip(source.below(5) as usize).take(length).collect::<String>())
    }
}

impl Sample for Bytes {
    fn sample(source: &mut Source, _: Version) -> Self {
        let length = if source.below(20) == 0 { 1500 } else { source.below(6) };
        (0..length).map(|_| source.next() as u8).collect()
    }
}

impl<T: Sample> Sample for Vec<T> {
    fn sample(source: &mut Source, version: Version) -> Self {
        (0..source.below(4)).map(|_| T::sample(source, version)).collect()
    }

    fn widest(version: Version) -> usize {
        size_of::<T>().div_ceil(T::least(version)).max(T::widest(version))
    }
}

impl<T: Sample + Nullable> Sample for Option<T> {
    fn sample(source: &mut Source, version: Version) -> Self {
        (source.below(3) > 0).then(|| T::sample(source, version))
    }

    fn widest(version: Version) -> usize {
        T::widest(version)
    }
}

/// A value that the field may have in this version.
pub(crate) fn sample<T: Sample>(rule: Rule, source: &mut Source, version: Version) -> T {
    loop {
        let value = T::sample(source, version);
        if version.number >= rule.nullable || !value.is_null() {
            return value;
        }
    }
}

/// What is done with each message.
pub(crate) trait Visit {
    fn message<M: Message + Sample>(&mut self, name: &str);
}

/// Each message and each structure that carries its version, in each version.
fn each(mut check: impl FnMut(&str, i16, &dyn Checks)) {
    struct All<'a>(&'a mut dyn FnMut(&str, i16, &dyn Checks));
    impl Visit for All<'_> {
        fn message<M: Message + Sample>(&mut self, name: &str) {
            for version in M::VERSIONS {
                (self.0)(name, version, &Typed::<M> { flexible: M::FLEXIBLE, kind: std::marker::PhantomData });
            }
        }
    }
    impl All<'_> {
        fn versioned<T: Versioned + Sample>(&mut self, name: &str) {
            for version in T::VERSIONS {
                (self.0)(name, version, &Typed::<T> { flexible: T::FLEXIBLE, kind: std::marker::PhantomData });
            }
        }
    }
    let mut all = All(&mut check);
    crate::api::each_message(&mut all);
    all.versioned::<versioned::OffsetCommitKey>("OffsetCommitKey");
    all.versioned::<versioned::OffsetCommitValue>("OffsetCommitValue");
    all.versioned::<versioned::GroupMetadataKey>("GroupMetadataKey");
    all.versioned::<versioned::GroupMetadataValue>("GroupMetadataValue");
    all.versioned::<versioned::TransactionLogKey>("TransactionLogKey");
    all.versioned::<versioned::TransactionLogValue>("TransactionLogValue");
    all.versioned::<versioned::ConsumerProtocolSubscription>("ConsumerProtocolSubscription");
    all.versioned::<versioned::ConsumerProtocolAssignment>("ConsumerProtocolAssignment");
}

struct Typed<T> {
    flexible: i16,
    kind: std::marker::PhantomData<T>,
}

/// The properties, without the type.
trait Checks {
    fn comes_back(&self, seed: u64, number: i16);
    fn carried_elsewhere(&self, seed: u64, number: i16, other: i16);
    fn widest(&self, number: i16) -> usize;
}

impl<T: Sample> Typed<T> {
    fn version(&self, number: i16) -> Version {
        Version { number, flexible: number >= self.flexible }
    }

    fn write(&self, value: &T, number: i16) -> Result<Bytes, WireError> {
        let mut writer = Writer::new();
        value.put(&mut writer, self.version(number))?;
        writer.into_bytes()
    }

    fn read(&self, bytes: Bytes, number: i16) -> T {
        let mut reader = Reader::new(bytes);
        let value = T::take(&mut reader, self.version(number)).unwrap();
        assert_eq!(reader.remaining(), 0);
        value
    }
}

impl<T: Sample> Checks for Typed<T> {
    fn comes_back(&self, seed: u64, number: i16) {
        let value = T::sample(&mut Source(seed), self.version(number));
        let bytes = self.write(&value, number).unwrap();
        assert!(bytes.len() >= T::least(self.version(number)));
        assert_eq!(self.read(bytes, number), value);
    }

    /// A message made for one version and written in another is refused or carried, never mangled.
    fn carried_elsewhere(&self, seed: u64, number: i16, other: i16) {
        let value = T::sample(&mut Source(seed), self.version(number));
        match self.write(&value, other) {
            Ok(bytes) => assert_eq!(self.write(&self.read(bytes.clone(), other), other), Ok(bytes)),
            Err(error) => {
                assert!(matches!(error.fault(), Fault::Absent(_) | Fault::Null(_)), "{error}");
                assert!(!error.field().is_empty());
            }
        }
    }

    fn widest(&self, number: i16) -> usize {
        T::widest(self.version(number))
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn each_message_in_each_version_comes_back_as_it_was(seed: u64) {
        each(|_, version, checks| checks.comes_back(seed, version));
    }

    #[test]
    fn a_message_in_a_version_that_cannot_carry_it_is_refused(seed: u64) {
        let mut last = (String::new(), 0);
        each(|name, version, checks| {
            if last.0 == name {
                checks.carried_elsewhere(seed, last.1, version);
                checks.carried_elsewhere(seed, version, last.1);
            }
            last = (name.to_owned(), version);
        });
    }
}

#[test]
fn no_message_takes_more_than_its_multiple_of_memory() {
    let (mut requests, mut all) = ((0, String::new(), 0), (0, String::new(), 0));
    each(|name, version, checks| {
        let found = (checks.widest(version), name.to_owned(), version);
        if !name.ends_with("Response") {
            requests = requests.clone().max(found.clone());
        }
        all = all.clone().max(found);
    });
    assert_eq!((requests.0, all.0), (REQUEST_MULTIPLE, MULTIPLE), "{requests:?} {all:?}");
}
