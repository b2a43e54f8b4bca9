//! Random numbers that are the same on every machine for the same seed, because a generated stream must be repeatable.
//!
//! xoshiro256** seeded through splitmix64 (Blackman and Vigna, 2018). Good for simulation, not for secrets.

/// A seeded generator of random numbers.
#[derive(Clone, Debug)]
pub struct Rng {
    state: [u64; 4],
}

impl Rng {
    /// Starts the sequence that belongs to `seed`; every seed is a good one, 0 too.
    pub fn new(seed: u64) -> Rng {
        let mut x = seed;
        let state = std::array::from_fn(|_| {
            x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = x;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        });
        Rng { state }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        let [s0, s1, s2, s3] = &mut self.state;
        let out = s1.wrapping_mul(5).rotate_left(7).wrapping_mul(9);
        let t = *s1 << 17;
        *s2 ^= *s0;
        *s3 ^= *s1;
        *s1 ^= *s2;
        *s0 ^= *s3;
        *s2 ^= t;
        *s3 = s3.rotate_left(45);
        out
    }

    /// A number in `0..bound`; 0 for a bound of 0. The bias of the multiplication is below 2^-32 for bounds of 32 bits.
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// A whole number in `low..=high`; `low` where the range is empty.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = high.saturating_sub(low).saturating_add(1).max(1);
        low + self.below(width as usize) as i64
    }

    /// A number in `0.0..1.0`, with 53 random bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A waiting time of the given mean: how long until the next customer of a steady flow.
    pub fn wait(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// An index into `weights`, each as likely as its share of the sum; 0 where nothing has weight.
    pub fn weighted(&mut self, weights: &[u32]) -> usize {
        let total: u64 = weights.iter().map(|w| u64::from(*w)).sum();
        let mut at = self.below(total as usize) as u64;
        for (i, w) in weights.iter().enumerate() {
            match at.checked_sub(u64::from(*w)) {
                Some(rest) => at = rest,
                None => return i,
            }
        }
        0
    }

    /// An index in `0..len` that favours the front: the first tenth is drawn about half of the time.
    pub fn skewed(&mut self, len: usize) -> usize {
        let u = self.unit();
        ((u * u * u * len as f64) as usize).min(len.saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use super::Rng;

    #[test]
    fn equal_seeds_give_equal_sequences_and_others_do_not() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            std::array::from_fn::<u64, 8, _>(|_| rng.bits())
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert_ne!(draw(0), [0; 8]);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::new(1);
        for _ in 0..10_000 {
            assert!(rng.below(3) < 3);
            assert!((-2..=2).contains(&rng.between(-2, 2)));
            assert!((0.0..1.0).contains(&rng.unit()));
            assert!(rng.wait(5.0) >= 0.0);
            assert_ne!(rng.weighted(&[3, 0, 1]), 1);
            assert!(rng.skewed(10) < 10);
        }
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.between(5, 4), 5);
        assert_eq!(rng.weighted(&[]), 0);
        assert_eq!(rng.skewed(0), 0);
    }

    #[test]
    fn draws_are_spread_as_asked() {
        let mut rng = Rng::new(2);
        let mut counts = [0u32; 3];
        for _ in 0..30_000 {
            counts[rng.weighted(&[1, 2, 3])] += 1;
        }
        for (count, expected) in counts.into_iter().zip([5_000u32, 10_000, 15_000]) {
            assert!(count.abs_diff(expected) < 400, "{counts:?}");
        }
        let mean = (0..30_000).map(|_| rng.wait(5.0)).sum::<f64>() / 30_000.0;
        assert!((4.8..5.2).contains(&mean), "{mean}");
    }
}
