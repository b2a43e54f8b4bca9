//! What a query may name: products by their contracts, and other views by their plans.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_avro::{FieldPath, Kind as Avro, Schema};
use weir_contract::settings::{KeyFormat, Kind};
use weir_contract::{CompiledContract, Contract, Property, key_schema};

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
    /// The schema of the key, where it is Avro; otherwise it is text, as `docs/contracts.md` says. The bytes of an Avro
    /// key hold the id of its schema, so keys of two schemas differ even where the values are encoded alike.
    pub key_schema: Option<Arc<str>>,
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
            let avro = settings.key_format.as_ref().is_some_and(|at| at.value == KeyFormat::Avro);
            let key_schema = if avro { key_schema(found.schema(), found.key_fields()) } else { None };
            Some(Relation {
                name: if several { format!("{}.{}", contract.id, object.name) } else { contract.id.clone() },
                topic: found.topic().to_owned(),
                table: settings.kind.as_ref().is_some_and(|at| at.value == Kind::Table),
                key_schema: key_schema.map(Arc::from),
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

    /// How its key is encoded, for people.
    pub(crate) fn key_form(&self) -> String {
        self.key_schema.as_ref().map_or("text".to_owned(), |schema| format!("Avro {schema}"))
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
