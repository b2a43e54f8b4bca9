//! Gives a batch another producer without a second look at its records.
//!
//! CRC-32C is linear: of two byte strings that differ only in front, the checksums differ by what the front differs by,
//! carried on over the bytes behind (multiplied by a power of x in GF(2) modulo the polynomial). So the checksum of a batch
//! with another header follows from the old checksum and the two headers; the records are not read.

use bytes::Bytes;

use crate::batch::{ATTRIBUTES, Batch, CRC, HEADER_SIZE, Header, TRANSACTIONAL};
use crate::build::Producer;

/// The Castagnoli polynomial, lowest power in the highest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;
/// 1 in that order of bits.
const ONE: u32 = 1 << 31;
/// Lengths whose power of x is kept. Batches of a stream have few lengths, or so many that no cache would help.
const KEPT: usize = 64;

/// The product of two polynomials over GF(2), modulo the one of CRC-32C.
const fn multiply(a: u32, mut b: u32) -> u32 {
    let (mut product, mut bit) = (0, ONE);
    while bit != 0 {
        if a & bit != 0 {
            product ^= b;
        }
        b = (b >> 1) ^ (POLYNOMIAL & (b & 1).wrapping_neg());
        bit >>= 1;
    }
    product
}

/// x to the power of 8 · 2^k: what 2^k bytes of zeros do.
const POWERS: [u32; 32] = {
    // x^8.
    let mut powers = [ONE >> 8; 32];
    let mut k = 1;
    while k < 32 {
        powers[k] = multiply(powers[k - 1], powers[k - 1]);
        k += 1;
    }
    powers
};

/// Stamps batches and keeps what it has worked out for their lengths.
#[derive(Debug, Clone)]
pub struct Stamper {
    kept: Box<[(u32, u32); KEPT]>,
}

impl Default for Stamper {
    fn default() -> Stamper {
        Stamper { kept: Box::new([(0, ONE); KEPT]) }
    }
}

impl Stamper {
    /// The header with which the records of `batch` go on as part of `producer`'s transaction: offset 0, no leader epoch, the
    /// rest as it is. The batch must have passed [`Batch::verify_crc`], or be built here: a wrong checksum stays wrong.
    pub fn transactional(&mut self, batch: &Batch, producer: Producer) -> Bytes {
        let (old, mut raw) = (batch.header().as_bytes(), *batch.header().as_bytes());
        let attributes = batch.attributes() | TRANSACTIONAL;
        Header::stamp(&mut raw, attributes, producer);
        let changed = crc32c::crc32c(&old[ATTRIBUTES..]) ^ crc32c::crc32c(&raw[ATTRIBUTES..]);
        let crc = batch.crc() ^ multiply(self.power(batch.size() - HEADER_SIZE), changed);
        raw[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        Bytes::copy_from_slice(&raw)
    }

    /// What `length` bytes behind a difference do to it. A batch is shorter than 2 GiB.
    fn power(&mut self, length: usize) -> u32 {
        let length = u32::try_from(length).unwrap_or(u32::MAX);
        let slot = &mut self.kept[(length ^ length >> 6) as usize % KEPT];
        if slot.0 != length {
            let power = (0..32).filter(|k| length >> k & 1 == 1).fold(ONE, |power, k| multiply(power, POWERS[k]));
            *slot = (length, power);
        }
        slot.1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::build::BatchBuilder;
    use crate::codec::Codec;
    use crate::records::Records;

    proptest! {
        #[test]
        fn a_stamped_batch_has_the_checksum_of_its_bytes(
            values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..40),
            codec in prop::sample::select(&Codec::ALL[..]),
            offset in any::<i64>(),
            producers in prop::collection::vec((any::<i64>(), any::<i16>(), any::<i32>()), 1..5),
        ) {
            let mut builder = BatchBuilder::new(codec).leader_epoch(7);
            for value in &values {
                builder.push(1_000, None, Some(value), &[]).unwrap();
            }
            let batch = Batch::split(&mut builder.finish(offset).unwrap()).unwrap().unwrap();
            let mut stamper = Stamper::default();
            for (id, epoch, base_sequence) in producers {
                let header = stamper.transactional(&batch, Producer { id, epoch, base_sequence });
                let mut whole = Bytes::from([&header[..], &batch.payload()[..]].concat());
                let stamped = Batch::split(&mut whole).unwrap().unwrap();
                prop_assert_eq!(stamped.verify_crc(), Ok(()));
                prop_assert!(stamped.is_transactional());
                prop_assert_eq!((stamped.base_offset(), stamped.leader_epoch()), (0, -1));
                prop_assert_eq!((stamped.producer_id(), stamped.producer_epoch(), stamped.base_sequence()), (id, epoch, base_sequence));
                prop_assert_eq!((stamped.codec(), stamped.count()), (Ok(codec), batch.count()));
                prop_assert_eq!(stamped.payload(), batch.payload());
                let (was, is) = (Records::read(&batch, 1 << 20).unwrap(), Records::read(&stamped, 1 << 20).unwrap());
                prop_assert!(was.iter().zip(&is).all(|(was, is)| was.unwrap().value == is.unwrap().value));
            }
        }
    }
}
