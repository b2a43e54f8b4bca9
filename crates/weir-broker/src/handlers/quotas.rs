//! Showing and setting quotas of clients (KIP-546).

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_wire::messages::{
    AlterClientQuotasRequest, AlterClientQuotasResponse, AlterQuotaEntry, AlteredQuotaEntry,
    DescribeClientQuotasRequest, DescribeClientQuotasResponse, QuotaEntity, QuotaEntry, QuotaFilterComponent,
    QuotaValue,
};
use weir_wire::{ErrorCode, Text};

use super::{Call, Refused, folder_error};
use crate::cluster::{Entity, StoredQuota};
use crate::node::Node;
use crate::quotas::{CLIENT, CONSUME, IP, PRODUCE, USER};

/// What can be limited for users and clients. Rates of bytes are enforced, the others kept.
const OF_CLIENTS: [&str; 4] = [PRODUCE, CONSUME, "request_percentage", "controller_mutation_rate"];
/// What can be limited for addresses.
const OF_ADDRESSES: [&str; 1] = ["connection_creation_rate"];

fn invalid(text: impl Into<String>) -> Refused {
    (ErrorCode::INVALID_REQUEST, text.into())
}

/// Answers DescribeClientQuotas.
pub(crate) fn describe(call: &Call<'_>, request: &DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    if let Err((error_code, message)) = check_filter(&request.components) {
        return DescribeClientQuotasResponse {
            error_code,
            error_message: Some(Text::from(message)),
            ..Default::default()
        };
    }
    let memory = call.node.cluster().memory();
    let matches = |stored: &&StoredQuota| {
        (!request.strict || stored.entity.len() == request.components.len())
            && request.components.iter().all(|component| match stored.entity.get(&*component.entity_type) {
                None => false,
                Some(name) => match component.match_type {
                    0 => name.as_deref() == component.r#match.as_deref(),
                    1 => name.is_none(),
                    _ => true,
                },
            })
    };
    let entries = memory.quotas.iter().filter(matches).map(|stored| QuotaEntry {
        entity: stored
            .entity
            .iter()
            .map(|(kind, name)| QuotaEntity {
                entity_type: Text::from(kind.as_str()),
                entity_name: name.as_deref().map(Text::from),
            })
            .collect(),
        values: stored
            .values
            .iter()
            .map(|(key, value)| QuotaValue { key: Text::from(key.as_str()), value: *value })
            .collect(),
    });
    DescribeClientQuotasResponse { entries: Some(entries.collect()), ..Default::default() }
}

fn check_filter(components: &[QuotaFilterComponent]) -> Result<(), Refused> {
    for (at, component) in components.iter().enumerate() {
        let kind = &*component.entity_type;
        if ![USER, CLIENT, IP].contains(&kind) {
            return Err((ErrorCode::UNSUPPORTED_VERSION, format!("there are no quotas for a {kind:?}")));
        }
        if components[..at].iter().any(|other| other.entity_type == component.entity_type) {
            return Err(invalid(format!("{kind} is named twice")));
        }
        match (component.match_type, &component.r#match) {
            (0, Some(_)) | (1 | 2, None) => {}
            (0, None) => return Err(invalid("an exact match needs a name")),
            (1 | 2, Some(_)) => return Err(invalid("only an exact match has a name")),
            (other, _) => return Err(invalid(format!("{other} is no kind of match"))),
        }
    }
    Ok(())
}

/// Answers AlterClientQuotas.
pub(crate) fn alter(node: &Arc<Node>, request: AlterClientQuotasRequest) -> AlterClientQuotasResponse {
    let mut done: Vec<Result<(), Refused>> = request.entries.iter().map(|entry| check(entry).map(drop)).collect();
    if !request.validate_only {
        let kept = node.cluster().change(|memory| {
            for entry in request.entries.iter() {
                if let Ok(entity) = check(entry) {
                    set(&mut memory.quotas, entity, entry);
                }
            }
        });
        match kept {
            Ok(()) => node.quotas().set(&node.cluster().memory().quotas),
            Err(error) => {
                let refused = (folder_error(&error), error.to_string());
                done.iter_mut().filter(|one| one.is_ok()).for_each(|one| *one = Err(refused.clone()));
            }
        }
    }
    let entries = request.entries.into_iter().zip(done).map(|(entry, done)| {
        let (error_code, message) = done.err().unzip();
        AlteredQuotaEntry {
            error_code: error_code.unwrap_or_default(),
            error_message: message.map(Text::from),
            entity: entry.entity,
        }
    });
    AlterClientQuotasResponse { throttle_time_ms: 0, entries: entries.collect() }
}

fn check(entry: &AlterQuotaEntry) -> Result<Entity, Refused> {
    let mut entity = Entity::new();
    for QuotaEntity { entity_type, entity_name } in &entry.entity {
        if ![USER, CLIENT, IP].contains(&&**entity_type) {
            return Err(invalid(format!("there are no quotas for a {:?}", &**entity_type)));
        }
        if entity_name.as_ref().is_some_and(|name| name.is_empty()) {
            return Err(invalid(format!("the name of a {entity_type} is empty", entity_type = &**entity_type)));
        }
        if entity.insert(entity_type.to_string(), entity_name.as_deref().map(str::to_owned)).is_some() {
            return Err(invalid(format!("{} is named twice", &**entity_type)));
        }
    }
    let of_address = entity.contains_key(IP);
    if entity.is_empty() || of_address && entity.len() > 1 {
        return Err(invalid("a quota is for a user, a client id, both of them, or an address"));
    }
    let known: &[&str] = if of_address { &OF_ADDRESSES } else { &OF_CLIENTS };
    for op in &entry.ops {
        if !known.contains(&&*op.key) {
            return Err(invalid(format!("there is no quota {:?} for this", &*op.key)));
        }
        if !(op.remove || op.value.is_finite() && op.value > 0.0) {
            return Err(invalid(format!("{} must be greater than 0", &*op.key)));
        }
    }
    Ok(entity)
}

fn set(quotas: &mut Vec<StoredQuota>, entity: Entity, entry: &AlterQuotaEntry) {
    let at = quotas.iter().position(|stored| stored.entity == entity);
    let mut values = at.map_or_else(BTreeMap::new, |at| quotas.swap_remove(at).values);
    for op in &entry.ops {
        if op.remove {
            values.remove(&*op.key);
        } else {
            values.insert(op.key.to_string(), op.value);
        }
    }
    if !values.is_empty() {
        quotas.push(StoredQuota { entity, values });
    }
}
