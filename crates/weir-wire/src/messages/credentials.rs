//! Proving who a client is, and the SCRAM credentials that are kept for it.

use crate::{ErrorCode, Text};
use bytes::Bytes;

message! {
    /// Chooses a SASL mechanism.
    pub struct SaslHandshakeRequest: SaslHandshake 0..=1 {
        mechanism: Text,
    }

    /// The mechanisms that the broker offers.
    pub struct SaslHandshakeResponse: SaslHandshake 0..=1 {
        error_code: ErrorCode,
        mechanisms: Vec<Text>,
    }

    /// One message of the SASL exchange, from the client.
    pub struct SaslAuthenticateRequest: SaslAuthenticate 0..=2, flexible 2 {
        auth_bytes: Bytes,
    }

    /// One message of the SASL exchange, from the broker.
    pub struct SaslAuthenticateResponse: SaslAuthenticate 0..=2, flexible 2 {
        error_code: ErrorCode,
        error_message: Option<Text>,
        auth_bytes: Bytes,
        session_lifetime_ms: i64 [1.., ignorable],
    }

    /// Asks which SCRAM credentials users have; null is for all (KIP-554).
    pub struct DescribeUserScramCredentialsRequest: DescribeUserScramCredentials 0..=0, flexible 0 {
        users: Option<Vec<ScramUserName>>,
    }

    /// One of the `users` of a [`DescribeUserScramCredentialsRequest`].
    pub struct ScramUserName {
        name: Text,
    }

    /// Mechanisms and iterations, never the secrets.
    pub struct DescribeUserScramCredentialsResponse: DescribeUserScramCredentials 0..=0, flexible 0 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        results: Vec<DescribeUserScramCredentialsResult>,
    }

    /// One of the `results` of a [`DescribeUserScramCredentialsResponse`].
    pub struct DescribeUserScramCredentialsResult {
        user: Text,
        error_code: ErrorCode,
        error_message: Option<Text>,
        credential_infos: Vec<ScramCredentialInfo>,
    }

    /// One of the `credential_infos` of a [`DescribeUserScramCredentialsResult`].
    pub struct ScramCredentialInfo {
        mechanism: i8,
        iterations: i32,
    }

    /// Deletes SCRAM credentials and sets others (KIP-554).
    pub struct AlterUserScramCredentialsRequest: AlterUserScramCredentials 0..=0, flexible 0 {
        deletions: Vec<ScramCredentialDeletion>,
        upsertions: Vec<ScramCredentialUpsertion>,
    }

    /// One of the `deletions` of an [`AlterUserScramCredentialsRequest`].
    pub struct ScramCredentialDeletion {
        name: Text,
        mechanism: i8,
    }

    /// One of the `upsertions` of an [`AlterUserScramCredentialsRequest`].
    pub struct ScramCredentialUpsertion {
        name: Text,
        mechanism: i8,
        iterations: i32,
        salt: Bytes,
        salted_password: Bytes,
    }

    /// What became of each user.
    pub struct AlterUserScramCredentialsResponse: AlterUserScramCredentials 0..=0, flexible 0 {
        throttle_time_ms: i32,
        results: Vec<AlterUserScramCredentialsResult>,
    }

    /// One of the `results` of an [`AlterUserScramCredentialsResponse`].
    pub struct AlterUserScramCredentialsResult {
        user: Text,
        error_code: ErrorCode,
        error_message: Option<Text>,
    }
}
