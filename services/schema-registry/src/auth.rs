//! Who may ask: HTTP Basic authentication (RFC 7617) against a file of users and bcrypt hashes, as Apache's
//! `htpasswd -B` writes it. A password is checked once and then remembered by its SHA-256, because bcrypt is slow on
//! purpose and every request brings the password again.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bcrypt::HashParts;
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

/// Bounds of bcrypt's cost: below it hashes are not worth the name, above it a login takes seconds.
const COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// Bytes of a password that bcrypt looks at; a longer one would be compared in part.
const MAX_PASSWORD: usize = 72;
/// Passwords remembered; more than there are users, since nothing wrong is remembered.
const REMEMBERED: usize = 4096;

/// The users that may use the API.
pub struct Users {
    hashes: HashMap<String, String>,
    known: Mutex<HashSet<[u8; 32]>>,
    /// One hash at a time, so that a flood of wrong passwords does not take all processors.
    turn: Semaphore,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Users({})", self.hashes.len())
    }
}

impl Users {
    /// Reads lines of `user:hash`; empty lines and those that start with `#` are skipped.
    ///
    /// # Errors
    /// What is wrong with which line; no hash is shown.
    pub fn parse(text: &str) -> Result<Users, String> {
        let mut hashes = HashMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let wrong = |reason: &str| format!("line {}: {reason}", number + 1);
            let (user, hash) = line.split_once(':').ok_or_else(|| wrong("write user:hash"))?;
            let parts = hash.parse::<HashParts>();
            let parts = parts.map_err(|_| wrong("the hash is not bcrypt's; make it with 'htpasswd -nB <user>'"))?;
            if !COSTS.contains(&parts.get_cost()) {
                return Err(wrong("the cost of the hash must be 4 to 14"));
            }
            if hashes.insert(user.to_owned(), hash.to_owned()).is_some() {
                return Err(wrong("the user is there twice"));
            }
        }
        if hashes.is_empty() {
            return Err("there is no user".to_owned());
        }
        Ok(Users { hashes, known: Mutex::default(), turn: Semaphore::new(1) })
    }

    /// Whether the request brings a user and the right password.
    pub async fn admit(self: &Arc<Self>, headers: &HeaderMap) -> bool {
        let Some((user, password)) = credentials(headers) else { return false };
        let digest: [u8; 32] =
            Sha256::new().chain_update(&user).chain_update([0]).chain_update(&password).finalize().into();
        if self.remembered().contains(&digest) {
            return true;
        }
        let Ok(_turn) = self.turn.acquire().await else { return false };
        let users = self.clone();
        let check = move || {
            // For a user that is not there some hash is computed too, so that the time tells nothing.
            let hash = users.hashes.get(&user);
            let any = hash.or_else(|| users.hashes.values().next()).map_or("", String::as_str);
            let right = bcrypt::verify(&password, any).unwrap_or(false);
            hash.is_some() && right && password.len() <= MAX_PASSWORD
        };
        let admitted = tokio::task::spawn_blocking(check).await.unwrap_or(false);
        if admitted {
            let mut known = self.remembered();
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(digest);
        }
        admitted
    }

    fn remembered(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files() {
        let hash = bcrypt::hash("secret", 4).unwrap();
        let check = |text: &str, expect: Result<usize, &str>| {
            let text = text.replace("HASH", &hash);
            match (Users::parse(&text), expect) {
                (Ok(users), Ok(count)) => assert_eq!(users.hashes.len(), count, "{text}"),
                (Err(error), Err(part)) => assert!(error.contains(part) && !error.contains(&hash), "{error}"),
                (got, expect) => panic!("{text}: {got:?}, expected {expect:?}"),
            }
        };
        check("alice:HASH\n", Ok(1));
        check("# who may\n\n alice:HASH\nbob:HASH", Ok(2));
        check("", Err("no user"));
        check("alice", Err("line 1: write user:hash"));
        check("alice:HASH\nbob:secret", Err("line 2: the hash is not bcrypt's"));
        check("alice:{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", Err("htpasswd -nB"));
        check("alice:HASH\nalice:HASH", Err("twice"));
        check(&format!("alice:{}", hash.replace("$04$", "$31$")), Err("cost"));
    }

    #[tokio::test]
    async fn logins() {
        let hash = bcrypt::hash("sec:ret", 4).unwrap();
        // The spelling that htpasswd writes.
        let users = Arc::new(Users::parse(&format!("alice:{}", hash.replace("$2b$", "$2y$"))).unwrap());
        let check = async |header: &str, expect: bool| {
            let header = match header.split_once('/') {
                Some((scheme, plain)) => format!("{scheme} {}", BASE64_STANDARD.encode(plain)),
                None => header.to_owned(),
            };
            let headers = HeaderMap::from_iter([(header::AUTHORIZATION, header.parse().unwrap())]);
            assert_eq!(users.admit(&headers).await, expect, "{header}");
        };
        for _ in 0..2 {
            check("Basic/alice:sec:ret", true).await;
            check("basic/alice:sec:ret", true).await;
            check("Basic/alice:sec", false).await;
            check("Basic/bob:sec:ret", false).await;
            check("Basic/alice", false).await;
            check("Bearer/alice:sec:ret", false).await;
            check("Basic ?", false).await;
            check("Basic", false).await;
        }
        assert!(!users.admit(&HeaderMap::new()).await);
        assert_eq!(format!("{users:?}"), "Users(1)");
    }
}
