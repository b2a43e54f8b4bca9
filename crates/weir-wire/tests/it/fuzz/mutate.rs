//! What is done to an input: bits, numbers, lengths, order. All of it follows from the seed of the [`Rng`].

/// SplitMix64: small, fast and the same everywhere.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// A number below `n`; 0 for 0.
    pub fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() % n as u64) as usize }
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// An input never grows beyond this, so that a run takes a time that can be told.
const MAX_LENGTH: usize = 64 * 1024;

const BYTES: [u8; 8] = [0, 1, 2, 0x7F, 0x80, 0x81, 0xFE, 0xFF];
const NUMBERS: [i64; 16] = [
    0,
    1,
    -1,
    -2,
    2,
    127,
    128,
    255,
    0x7FFF,
    -0x8000,
    0xFFFF,
    i32::MAX as i64,
    i32::MIN as i64,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// Changes `input` in one to four ways; `other` is an input from which parts may come.
pub fn mutate(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 + rng.below(4) {
        once(rng, input, other);
    }
    input.truncate(MAX_LENGTH);
}

fn once(rng: &mut Rng, input: &mut Vec<u8>, other: &[u8]) {
    let length = input.len();
    let at = rng.below(length);
    match rng.below(11) {
        0 | 1 => {
            if let Some(byte) = input.get_mut(at) {
                *byte ^= 1 << rng.below(8);
            }
        }
        2 => {
            let value = if rng.below(2) == 0 { rng.pick(&BYTES) } else { rng.next() as u8 };
            overwrite(input, at, &[value]);
        }
        3 => overwrite(input, at, &number(rng, length).to_be_bytes()[4..]),
        4 => {
            let from = rng.pick(&[0, 6]);
            overwrite(input, at, &number(rng, length).to_be_bytes()[from..]);
        }
        5 => {
            // A length that is larger takes more bytes, so it is put in place of one byte.
            let mut bytes = Vec::new();
            varint(&mut bytes, number(rng, length) as u64 & rng.pick(&[0xFFFF_FFFF, u64::MAX]));
            input.splice(at..length.min(at + 1), bytes);
        }
        6 => input.truncate(at),
        7 => {
            let end = at + rng.below(length - at);
            input.drain(at..end.min(at + 64));
        }
        8 => {
            let end = (at + rng.below(length - at)).min(at + 256);
            let part = input[at..end].to_vec();
            let to = rng.below(length);
            input.splice(to..to, part);
        }
        9 => {
            let count = rng.below(16);
            let part: Vec<u8> = (0..count).map(|_| rng.next() as u8).collect();
            input.splice(at..at, part);
        }
        _ => {
            input.truncate(at);
            input.extend_from_slice(&other[rng.below(other.len())..]);
        }
    }
}

/// An extreme, or something near to `length`.
fn number(rng: &mut Rng, length: usize) -> i64 {
    match rng.below(4) {
        0 => length as i64 + rng.below(9) as i64 - 4,
        1 => rng.below(length + 1) as i64,
        _ => rng.pick(&NUMBERS),
    }
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    for (to, from) in input.iter_mut().skip(at).zip(bytes) {
        *to = *from;
    }
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
