//! What a query may name: products by their contracts, and other views by their plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_avro::{FieldPath, Kind as Avro, Schema};
use weir_contract::settings::{KeyFormat, Kind};
use weir_contract::{CompiledContract, Contract, Property};

use crate::clock::Clock;

/// A stream or a table that a view reads, or is.
#[derive(Clone, Debug)]
pub struct Relation {
    /// `domain.product`, or the id of a view.
    pub name: String,
    /// The topic.
    pub topic: String,
    /// Whether the newest record of a key counts, and not every record.
    pub table: bool,
    /// The fields the key is made of, in order, as far as the value holds them.
    pub key: Vec<String>,
    /// Whether the key is text; otherwise it is Avro.
    pub text_key: bool,
    /// The field of the event time; the record's timestamp counts where there is none.
    pub event_time: Option<FieldPath>,
    /// How many partitions, where the contract says so.
    pub partitions: Option<u32>,
    /// The schema of the value.
    pub schema: Arc<Schema>,
    /// The classification of each field whose values must not be shown, by its path.
    pub personal: BTreeMap<String, String>,
    /// Whether the key holds such a value.
    pub personal_key: bool,
}

impl Relation {
    /// The relations of a contract: its topics by the id of the contract, and by `id.object` where there are several.
    pub fn of_contract(contract: &Contract, compiled: &CompiledContract) -> Vec<Relation> {
        let several = compiled.objects.len() > 1;
        let objects = contract.topics().filter_map(|object| {
            let found = compiled.objects.iter().find(|c| c.topic() == object.product_topic())?;
            let settings = found.settings();
            let mut personal = BTreeMap::new();
            classify(&object.properties, "", &mut personal);
            let key: Vec<String> = found.key_fields().iter().map(ToString::to_string).collect();
            Some(Relation {
                name: if several { format!("{}.{}", contract.id, object.name) } else { contract.id.clone() },
                topic: found.topic().to_owned(),
                table: settings.kind.as_ref().is_some_and(|at| at.value == Kind::Table),
                text_key: settings.key_format.as_ref().is_none_or(|at| at.value == KeyFormat::String),
                event_time: settings.event_time.as_ref().map(|at| FieldPath::parse(&at.value)),
                partitions: settings.partitions.as_ref().map(|at| at.value),
                schema: Arc::clone(found.schema()),
                personal_key: key.iter().any(|field| personal.contains_key(field)),
                key,
                personal,
            })
        });
        objects.collect()
    }

    /// The event time in a value, in milliseconds; `None` where the contract names no field or the value has none.
    pub fn time_of(&self, value: &[u8]) -> Option<i64> {
        Clock::of(self)?.time_of(value)
    }

    /// The names of its fields.
    pub(crate) fn fields(&self) -> Vec<&str> {
        match &self.schema.node(self.schema.root()).kind {
            Avro::Record { fields } => fields.iter().map(|f| &*f.name).collect(),
            _ => Vec::new(),
        }
    }
}

fn classify(properties: &[Property], above: &str, personal: &mut BTreeMap<String, String>) {
    for property in properties {
        let path = if above.is_empty() { property.field.clone() } else { format!("{above}.{}", property.field) };
        if property.protected {
            let class = property.classification.clone().unwrap_or_else(|| "personal".to_owned());
            personal.insert(path.clone(), class);
        }
        classify(&property.properties, &path, personal);
        let inside = property.items.iter().map(|p| &**p).chain(property.map.iter().flat_map(|m| [&m.0, &m.1]));
        for inner in inside {
            let mut found = BTreeMap::new();
            classify(std::slice::from_ref(inner), &path, &mut found);
            if let Some(class) = found.into_values().next() {
                personal.entry(path.clone()).or_insert(class);
            }
        }
    }
}
