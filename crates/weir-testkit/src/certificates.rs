//! Certificates made anew for every test: an authority, and whom it vouches for.

#![allow(clippy::expect_used, reason = "a test without certificates has failed")]

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority.
pub struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The key, PKCS#8.
    pub key: String,
}

impl Authority {
    /// An authority that nobody knows yet.
    ///
    /// # Panics
    /// Where the system gives no random bytes.
    pub fn new(name: &str) -> Authority {
        let mut params = CertificateParams::new(Vec::new()).expect("no names are always names");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        Authority(CertifiedIssuer::self_signed(params, key).expect("an authority vouches for itself"))
    }

    /// Its certificate in PEM: what others trust.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for `name`, a host or an address, good for years.
    ///
    /// # Panics
    /// Where `name` is none.
    pub fn issue(&self, name: &str) -> Identity {
        self.issue_until(name, 2099)
    }

    /// As [`Authority::issue`], that was good until the end of 2001.
    ///
    /// # Panics
    /// As [`Authority::issue`].
    pub fn issue_expired(&self, name: &str) -> Identity {
        self.issue_until(name, 2001)
    }

    fn issue_until(&self, name: &str, year: i32) -> Identity {
        let mut params = CertificateParams::new(vec![name.to_owned()]).expect("the name is one");
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &self.0).expect("the authority vouches for it");
        Identity { certificate: certificate.pem(), key: key.serialize_pem() }
    }
}
