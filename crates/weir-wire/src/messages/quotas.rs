//! Client quotas (KIP-546).

use crate::{ErrorCode, Text};

message! {
    /// Asks for the quotas of entities that match all components.
    pub struct DescribeClientQuotasRequest: DescribeClientQuotas 0..=1, flexible 1 {
        components: Vec<QuotaFilterComponent>,
        strict: bool,
    }

    /// What a part of the entity must be: a name (0), the default (1) or anything given (2).
    pub struct QuotaFilterComponent {
        entity_type: Text,
        match_type: i8,
        r#match: Option<Text>,
    }

    /// The quotas by entity.
    pub struct DescribeClientQuotasResponse: DescribeClientQuotas 0..=1, flexible 1 {
        throttle_time_ms: i32,
        error_code: ErrorCode,
        error_message: Option<Text>,
        entries: Option<Vec<QuotaEntry>>,
    }

    /// One of the `entries` of a [`DescribeClientQuotasResponse`].
    pub struct QuotaEntry {
        entity: Vec<QuotaEntity>,
        values: Vec<QuotaValue>,
    }

    /// A part of what a quota is for: a user, a client id or an address; a null name is the default.
    pub struct QuotaEntity {
        entity_type: Text,
        entity_name: Option<Text>,
    }

    /// One of the `values` of a [`QuotaEntry`].
    pub struct QuotaValue {
        key: Text,
        value: f64,
    }

    /// Sets or removes quotas.
    pub struct AlterClientQuotasRequest: AlterClientQuotas 0..=1, flexible 1 {
        entries: Vec<AlterQuotaEntry>,
        validate_only: bool,
    }

    /// One of the `entries` of an [`AlterClientQuotasRequest`].
    pub struct AlterQuotaEntry {
        entity: Vec<QuotaEntity>,
        ops: Vec<AlterQuotaOp>,
    }

    /// One of the `ops` of an [`AlterQuotaEntry`].
    pub struct AlterQuotaOp {
        key: Text,
        value: f64,
        remove: bool,
    }

    /// Whether each entity's quotas were altered.
    pub struct AlterClientQuotasResponse: AlterClientQuotas 0..=1, flexible 1 {
        throttle_time_ms: i32,
        entries: Vec<AlteredQuotaEntry>,
    }

    /// One of the `entries` of an [`AlterClientQuotasResponse`].
    pub struct AlteredQuotaEntry {
        error_code: ErrorCode,
        error_message: Option<Text>,
        entity: Vec<QuotaEntity>,
    }
}
