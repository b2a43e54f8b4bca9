//! SCRAM: a password is proved without being sent, and the broker proves that it knows it too (RFC 5802, RFC 7677).
//!
//! Name and password are taken as their UTF-8 bytes, as every Kafka client and broker does, not prepared by SASLprep.
//! Channel binding is not offered.

use std::num::NonZeroU32;

use super::security::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::{digest, hmac, pbkdf2};

/// The iterations that are carried out: brokers take 4,096 to 16,384; more would only hold up the thread.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4_096..=100_000;
/// The longest message of a broker that is read, in bytes.
const LONGEST: usize = 16 << 10;

/// The hash of a SCRAM mechanism.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha256,
    Sha512,
}

impl Hash {
    fn parts(self) -> (hmac::Algorithm, pbkdf2::Algorithm, &'static digest::Algorithm) {
        match self {
            Hash::Sha256 => (hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256, &digest::SHA256),
            Hash::Sha512 => (hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512, &digest::SHA512),
        }
    }
}

/// What the broker said cannot be, or is a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unproved {
    #[error("the broker's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    #[error("the broker's nonce does not begin with ours; somebody may be between")]
    Nonce,
    #[error("the broker asks for {0} iterations; only 4096 to 100000 are carried out")]
    Iterations(u64),
    #[error("the broker does not know the password; it is not who it claims to be")]
    Signature,
    #[error("refused: {0}")]
    Refused(String),
}

/// One exchange, from the client's side.
pub(super) struct Scram {
    hash: Hash,
    password: Secret,
    nonce: String,
    /// The first message without its header, which is part of what is signed.
    first: String,
    expect: Expect,
}

enum Expect {
    /// Salt and iterations.
    Challenge,
    /// The broker's own proof: the signature of this text with this key.
    Signature(hmac::Key, String),
    Nothing,
}

impl Scram {
    /// An exchange with a nonce of printable characters without a comma, never used before.
    pub(super) fn new(hash: Hash, user: &str, password: &Secret, nonce: String) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first = format!("n={user},r={nonce}");
        Scram { hash, password: password.clone(), nonce, first, expect: Expect::Challenge }
    }

    /// The first message.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first)
    }

    /// The answer to the broker's message; `None` when both sides have proved themselves.
    ///
    /// # Errors
    /// [`Unproved`]: the connection must not be used.
    pub(super) fn answer(&mut self, message: &[u8]) -> Result<Option<String>, Unproved> {
        if message.len() > LONGEST {
            return Err(Unproved::Malformed("it is too long"));
        }
        let message = std::str::from_utf8(message).map_err(|_| Unproved::Malformed("it is not UTF-8"))?;
        match std::mem::replace(&mut self.expect, Expect::Nothing) {
            Expect::Challenge => self.prove(message).map(Some),
            Expect::Signature(key, signed) => {
                let mut fields = message.split(',');
                let first = fields.next().unwrap_or_default();
                if let Some(error) = first.strip_prefix("e=") {
                    return Err(Unproved::Refused(error.chars().take(100).collect()));
                }
                let theirs = first.strip_prefix("v=").ok_or(Unproved::Malformed("it has no signature"))?;
                let theirs = STANDARD.decode(theirs).map_err(|_| Unproved::Malformed("its signature is not base64"))?;
                hmac::verify(&key, signed.as_bytes(), &theirs).map(|()| None).map_err(|_| Unproved::Signature)
            }
            Expect::Nothing => Err(Unproved::Malformed("nothing more was to be said")),
        }
    }

    fn prove(&mut self, challenge: &str) -> Result<String, Unproved> {
        let mut fields = challenge.split(',');
        let first = fields.next().unwrap_or_default();
        if let Some(error) = first.strip_prefix("e=") {
            return Err(Unproved::Refused(error.chars().take(100).collect()));
        }
        if first.starts_with("m=") {
            return Err(Unproved::Malformed("it asks for an extension that nobody knows"));
        }
        let nonce = first.strip_prefix("r=").ok_or(Unproved::Malformed("it has no nonce"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(Unproved::Nonce);
        }
        let salt = fields.next().and_then(|field| field.strip_prefix("s=")).ok_or(Unproved::Malformed("no salt"))?;
        let salt = STANDARD.decode(salt).map_err(|_| Unproved::Malformed("its salt is not base64"))?;
        let rounds = fields.next().and_then(|field| field.strip_prefix("i="));
        let rounds: u64 =
            rounds.and_then(|n| n.parse().ok()).ok_or(Unproved::Malformed("it has no number of iterations"))?;
        let fits = u32::try_from(rounds).ok().filter(|rounds| ITERATIONS.contains(rounds)).and_then(NonZeroU32::new);
        let fits = fits.ok_or(Unproved::Iterations(rounds))?;

        let (mac, derivation, hash) = self.hash.parts();
        let mut salted = vec![0; hash.output_len()];
        pbkdf2::derive(derivation, fits, &salt, self.password.reveal().as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(mac, key), text);
        let last = format!("c=biws,r={nonce}");
        let signed = format!("{},{challenge},{last}", self.first);
        let client = sign(&salted, b"Client Key");
        let stored = digest::digest(hash, client.as_ref());
        let signature = sign(stored.as_ref(), signed.as_bytes());
        let proof: Vec<u8> = client.as_ref().iter().zip(signature.as_ref()).map(|(key, sign)| key ^ sign).collect();
        let server = sign(&salted, b"Server Key");
        self.expect = Expect::Signature(hmac::Key::new(mac, server.as_ref()), signed);
        Ok(format!("{last},p={}", STANDARD.encode(proof)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn exchange(hash: Hash) -> Scram {
        Scram::new(hash, "user", &Secret::from("pencil"), NONCE.to_owned())
    }

    #[test]
    fn both_sides_prove_themselves() {
        let check = |hash, proof: &str, signature: &str| {
            let mut scram = exchange(hash);
            assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
            let last = scram.answer(CHALLENGE.as_bytes()).unwrap().unwrap();
            assert_eq!(last, format!("c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p={proof}"));
            assert_eq!(scram.answer(format!("v={signature}").as_bytes()), Ok(None));
        };
        // RFC 7677, section 3.
        check(
            Hash::Sha256,
            "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
            "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
        );
        // No RFC has one for SHA-512: the same exchange, computed by Python's hashlib and hmac.
        check(Hash::Sha512, SHA512_PROOF, SHA512_SIGNATURE);
    }

    const SHA512_PROOF: &str =
        "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
    const SHA512_SIGNATURE: &str =
        "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";

    #[test]
    fn what_a_broker_may_not_say_ends_the_exchange() {
        let check = |challenge: &str, expect: Unproved| {
            assert_eq!(exchange(Hash::Sha256).answer(challenge.as_bytes()), Err(expect), "{challenge}");
        };
        let malformed = Unproved::Malformed;
        check("", malformed("it has no nonce"));
        check("m=1,r=x", malformed("it asks for an extension that nobody knows"));
        check("r=other,s=AA==,i=4096", Unproved::Nonce);
        check(&format!("r={NONCE},s=AA==,i=4096"), Unproved::Nonce);
        check(&format!("r={NONCE}x,i=4096"), malformed("no salt"));
        check(&format!("r={NONCE}x,s=!,i=4096"), malformed("its salt is not base64"));
        check(&format!("r={NONCE}x,s=AA=="), malformed("it has no number of iterations"));
        check(&format!("r={NONCE}x,s=AA==,i=-1"), malformed("it has no number of iterations"));
        for rounds in [0, 1, 4_095, 100_001, 4_294_967_296, u64::MAX] {
            check(&format!("r={NONCE}x,s=AA==,i={rounds}"), Unproved::Iterations(rounds));
        }
        check("e=unknown-user", Unproved::Refused("unknown-user".to_owned()));
        check(&"r".repeat(LONGEST + 1), malformed("it is too long"));
        assert_eq!(exchange(Hash::Sha256).answer(b"\xff"), Err(malformed("it is not UTF-8")));

        let last = |message: &str, expect: Unproved| {
            let mut scram = exchange(Hash::Sha256);
            scram.answer(CHALLENGE.as_bytes()).unwrap();
            assert_eq!(scram.answer(message.as_bytes()), Err(expect), "{message}");
        };
        last("", malformed("it has no signature"));
        last("v=!", malformed("its signature is not base64"));
        last("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=", malformed("its signature is not base64"));
        last("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95GA=", Unproved::Signature);
        last("v=", Unproved::Signature);
        last("e=invalid-proof", Unproved::Refused("invalid-proof".to_owned()));
    }

    #[test]
    fn a_comma_in_a_name_is_not_the_end_of_it() {
        let scram = Scram::new(Hash::Sha256, "a,b=c", &Secret::from(""), "n".to_owned());
        assert_eq!(scram.first(), "n,,n=a=2Cb=3Dc,r=n");
    }

    proptest! {
        #[test]
        fn no_message_of_a_broker_panics(first in ".{0,80}", second in prop::collection::vec(any::<u8>(), 0..80)) {
            let mut scram = exchange(Hash::Sha256);
            drop(scram.answer(format!("r={NONCE}{first}").as_bytes()));
            drop(scram.answer(&second));
        }
    }
}
