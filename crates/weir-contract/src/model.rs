//! A contract as Weir understands it, built from an ODCS document.
//!
//! The model holds what a later step asks for; the document itself is kept beside it, so nothing of a contract is
//! lost. Building never fails: what the [`odcs`](crate::odcs) tables refused is left out, so that the steps behind
//! can report their findings in the same run.

use std::sync::Arc;

use crate::diagnostic::{Diagnostic, Findings, Place, has_errors};
use crate::odcs::{self, Version};
use crate::settings::{self, At, Settings};
use crate::yaml::{self, Node, Value};

/// A data contract.
#[derive(Clone, Debug)]
pub struct Contract {
    /// The file it was read from, as the caller named it.
    pub file: String,
    /// The text it was read from.
    pub text: Arc<str>,
    /// The whole document.
    pub document: Node,
    /// The version of ODCS it is written in.
    pub api_version: Version,
    /// `id`.
    pub id: String,
    /// `version` of the contract.
    pub version: String,
    /// `name`.
    pub name: Option<String>,
    /// `domain`.
    pub domain: Option<String>,
    /// `dataProduct`.
    pub data_product: Option<String>,
    /// `status`.
    pub status: Option<String>,
    /// The schema objects in order.
    pub objects: Vec<Object>,
    /// The servers in order.
    pub servers: Vec<Server>,
    /// The SLA properties in order.
    pub sla: Vec<Sla>,
}

/// A schema object: for Weir a topic, where its `physicalType` says so.
#[derive(Clone, Debug)]
pub struct Object {
    /// Where it begins.
    pub place: Place,
    /// `name`.
    pub name: String,
    /// `physicalName`, or the name where there is none.
    pub physical_name: At<String>,
    /// `physicalType`.
    pub physical_type: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// The Avro schemas named by `authoritativeDefinitions` of type `implementation`.
    pub schemas: Vec<At<String>>,
    /// `properties` in order.
    pub properties: Vec<Property>,
    /// `quality` rules of the whole object.
    pub quality: Vec<Rule>,
    /// Its settings and, where it has none, those of the contract.
    pub settings: Settings,
}

/// The logical type of a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of ODCS")]
pub enum LogicalType {
    String,
    Date,
    Timestamp,
    Time,
    Number,
    Integer,
    Object,
    Array,
    Boolean,
    Map,
    Vector,
}

impl LogicalType {
    const ALL: [(&'static str, Self); 11] = [
        ("string", Self::String),
        ("date", Self::Date),
        ("timestamp", Self::Timestamp),
        ("time", Self::Time),
        ("number", Self::Number),
        ("integer", Self::Integer),
        ("object", Self::Object),
        ("array", Self::Array),
        ("boolean", Self::Boolean),
        ("map", Self::Map),
        ("vector", Self::Vector),
    ];

    /// The name ODCS gives it.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

/// A property of an object, an item of an array, or the key or value of a map.
#[derive(Clone, Debug)]
pub struct Property {
    /// Where it begins.
    pub place: Place,
    /// `name`; empty for items, keys and values.
    pub name: String,
    /// The name of the Avro field: `physicalName`, or the name where there is none.
    pub field: String,
    /// `logicalType`.
    pub logical_type: Option<At<LogicalType>>,
    /// `physicalType`.
    pub physical_type: Option<At<String>>,
    /// `logicalTypeOptions`.
    pub options: Option<Node>,
    /// `required`.
    pub required: Option<At<bool>>,
    /// `unique`.
    pub unique: Option<At<bool>>,
    /// `enum`: the values.
    pub values: Option<At<Vec<Node>>>,
    /// Whether its values must not be shown: by its own classification or that of a parent.
    pub protected: bool,
    /// `classification`.
    pub classification: Option<String>,
    /// `description`.
    pub description: Option<String>,
    /// `quality` rules.
    pub quality: Vec<Rule>,
    /// `properties` of an object.
    pub properties: Vec<Property>,
    /// `items` of an array.
    pub items: Option<Box<Property>>,
    /// The key and the value of a map.
    pub map: Option<Box<(Property, Property)>>,
    /// Its settings: the mode of its rules.
    pub settings: Settings,
}

/// A quality rule as written.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Where it begins.
    pub place: Place,
    /// The rule, key by key.
    pub node: Node,
    /// Its settings: its mode.
    pub settings: Settings,
}

impl Rule {
    /// A text of the rule under this key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.node.get(key).and_then(Node::as_text)
    }
}

/// A server.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where it begins.
    pub place: Place,
    /// `server`: its name.
    pub name: String,
    /// `type`.
    pub kind: String,
    /// `environment`.
    pub environment: Option<String>,
    /// `host`; for Kafka the bootstrap servers.
    pub host: Option<String>,
    /// `format`.
    pub format: Option<String>,
}

/// An SLA property.
#[derive(Clone, Debug)]
pub struct Sla {
    /// Where it begins.
    pub place: Place,
    /// `property`.
    pub property: String,
    /// `value`, as text.
    pub value: String,
    /// `unit`.
    pub unit: Option<String>,
    /// `element`.
    pub element: Option<String>,
}

/// Reads a contract. It comes back only where no finding is an error.
pub fn read(text: &str, file: &str) -> (Option<Contract>, Vec<Diagnostic>) {
    let (contract, diagnostics) = read_all(text, file);
    (contract.filter(|_| !has_errors(&diagnostics)), diagnostics)
}

/// Reads as much of a contract as can be read, for a linter that goes on behind errors.
pub(crate) fn read_all(text: &str, file: &str) -> (Option<Contract>, Vec<Diagnostic>) {
    let mut findings = Findings::new(file);
    let contract = yaml::parse(text, &mut findings).and_then(|document| {
        let version = odcs::validate(&document, &mut findings)?;
        Some(build(text, file, document, version, &mut findings))
    });
    (contract, findings.finish())
}

fn build(text: &str, file: &str, document: Node, api_version: Version, findings: &mut Findings) -> Contract {
    let settings = Settings::read(document.get("customProperties"), &settings::NAMES, findings);
    let own = |key| document.get(key).and_then(Node::as_text).map(str::to_owned);
    let list = |key| document.get(key).map_or(&[][..], Node::items);
    let mut builder = Builder { findings };
    let objects: Vec<_> = list("schema").iter().filter_map(|node| builder.object(node, &settings)).collect();
    let servers = list("servers").iter().filter_map(server).collect();
    let sla = list("slaProperties").iter().filter_map(sla).collect();
    unique_names(objects.iter().map(|o| (o.name.as_str(), o.place)), "schema object", findings);
    Contract {
        file: file.to_owned(),
        text: text.into(),
        api_version,
        id: own("id").unwrap_or_default(),
        version: own("version").unwrap_or_default(),
        name: own("name"),
        domain: own("domain"),
        data_product: own("dataProduct"),
        status: own("status"),
        objects,
        servers,
        sla,
        document,
    }
}

fn unique_names<'n>(names: impl Iterator<Item = (&'n str, Place)>, what: &str, findings: &mut Findings) {
    let mut seen = std::collections::HashMap::new();
    for (name, place) in names {
        if let Some(first) = seen.insert(name, place) {
            let message = format!("the {what} `{name}` stands twice, first in line {}", first.line);
            findings.error(place, "odcs-duplicate-name", message);
        }
    }
}

struct Builder<'f> {
    findings: &'f mut Findings,
}

fn text_at(node: &Node, key: &str) -> Option<At<String>> {
    let node = node.get(key)?;
    Some(At { value: node.as_text()?.to_owned(), place: node.place })
}

fn bool_at(node: &Node, key: &str) -> Option<At<bool>> {
    let node = node.get(key)?;
    Some(At { value: node.as_bool()?, place: node.place })
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).and_then(Node::as_text).map(str::to_owned)
}

impl Builder<'_> {
    fn object(&mut self, node: &Node, outer: &Settings) -> Option<Object> {
        let name = text_at(node, "name")?;
        let definitions = node.get("authoritativeDefinitions").map_or(&[][..], Node::items);
        let schemas = definitions
            .iter()
            .filter(|d| d.get("type").and_then(Node::as_text) == Some("implementation"))
            .filter_map(|d| text_at(d, "url"))
            .filter(|url| url.value.ends_with(".avsc"))
            .collect();
        Some(Object {
            place: node.place,
            physical_name: text_at(node, "physicalName").unwrap_or_else(|| name.clone()),
            name: name.value,
            physical_type: text(node, "physicalType"),
            description: text(node, "description"),
            schemas,
            properties: self.properties(node, false),
            quality: self.rules(node),
            settings: Settings::read(node.get("customProperties"), &settings::NAMES, self.findings).within(outer),
        })
    }

    fn properties(&mut self, node: &Node, protected: bool) -> Vec<Property> {
        let list = node.get("properties").map_or(&[][..], Node::items);
        let properties: Vec<_> =
            list.iter().filter(|n| n.get("name").is_some()).map(|n| self.property(n, protected)).collect();
        unique_names(properties.iter().map(|p| (p.name.as_str(), p.place)), "property", self.findings);
        properties
    }

    fn property(&mut self, node: &Node, protected: bool) -> Property {
        let name = text(node, "name").unwrap_or_default();
        let logical_type = text_at(node, "logicalType").and_then(|at| {
            let (_, value) = LogicalType::ALL.iter().find(|(name, _)| *name == at.value)?;
            Some(At { value: *value, place: at.place })
        });
        let classification = text(node, "classification");
        let tags = node.get("tags").map_or(&[][..], Node::items);
        let protected = protected
            || classification.as_deref().is_some_and(|c| !is_open(c))
            || tags.iter().filter_map(Node::as_text).any(is_personal);
        let values = node.get("enum").map(|list| At {
            value: list.items().iter().filter_map(|v| v.get("value").cloned()).collect(),
            place: list.place,
        });
        let map = node.get("map").and_then(|map| {
            let (key, value) = (map.get("key")?, map.get("value")?);
            Some(Box::new((self.property(key, protected), self.property(value, protected))))
        });
        Property {
            place: node.place,
            field: text(node, "physicalName").unwrap_or_else(|| name.clone()),
            name,
            logical_type,
            physical_type: text_at(node, "physicalType"),
            options: node.get("logicalTypeOptions").filter(|n| matches!(n.value, Value::Map(_))).cloned(),
            required: bool_at(node, "required"),
            unique: bool_at(node, "unique"),
            values,
            protected,
            classification,
            description: text(node, "description"),
            quality: self.rules(node),
            properties: self.properties(node, protected),
            items: node.get("items").map(|items| Box::new(self.property(items, protected))),
            map,
            settings: Settings::read(node.get("customProperties"), &["mode"], self.findings),
        }
    }

    fn rules(&mut self, node: &Node) -> Vec<Rule> {
        let list = node.get("quality").map_or(&[][..], Node::items);
        list.iter()
            .filter(|node| matches!(node.value, Value::Map(_)))
            .map(|node| Rule {
                place: node.place,
                node: node.clone(),
                settings: Settings::read(node.get("customProperties"), &["mode"], self.findings),
            })
            .collect()
    }
}

/// Whether a classification says that values may be shown. Everything unknown is protected.
fn is_open(classification: &str) -> bool {
    let folded = classification.trim().to_ascii_lowercase();
    matches!(folded.as_str(), "" | "public" | "open" | "internal" | "unclassified" | "none" | "non-personal")
}

/// Whether a tag marks personal data where no classification does.
fn is_personal(tag: &str) -> bool {
    let folded = tag.trim().to_ascii_lowercase();
    matches!(folded.as_str(), "pii" | "personal" | "personal-data" | "personaldata" | "sensitive" | "gdpr" | "phi")
}

fn server(node: &Node) -> Option<Server> {
    Some(Server {
        place: node.place,
        name: text(node, "server")?,
        kind: text(node, "type")?,
        environment: text(node, "environment"),
        host: text(node, "host"),
        format: text(node, "format"),
    })
}

fn sla(node: &Node) -> Option<Sla> {
    Some(Sla {
        place: node.place,
        property: text(node, "property")?,
        value: node.get("value")?.render()?,
        unit: text(node, "unit"),
        element: text(node, "element"),
    })
}

impl Contract {
    /// Whether its status puts every rule in shadow.
    pub fn is_draft(&self) -> bool {
        self.status.as_deref().is_some_and(|status| status.eq_ignore_ascii_case("draft"))
    }

    /// The objects that are Kafka topics.
    pub fn topics(&self) -> impl Iterator<Item = &Object> {
        self.objects.iter().filter(|object| object.is_topic())
    }
}

impl Object {
    /// Whether it is a Kafka topic.
    pub fn is_topic(&self) -> bool {
        self.physical_type.as_deref() == Some("topic")
    }

    /// The topic consumers read.
    pub fn product_topic(&self) -> &str {
        &self.physical_name.value
    }

    /// The topic producers write when the enforcer works as a stream stage; nothing where there is none.
    pub fn landing_topic(&self) -> Option<String> {
        match &self.settings.landing {
            Some(At { value, .. }) => value.clone(),
            None => Some(format!("{}.landing", self.product_topic())),
        }
    }

    /// The topic of rejected events.
    pub fn quarantine_topic(&self) -> String {
        format!("{}.quarantine", self.product_topic())
    }

    /// The property a dotted path of field names leads to.
    pub fn property(&self, path: &str) -> Option<&Property> {
        let mut properties = &self.properties;
        let mut found = None;
        for name in path.split('.') {
            let property = properties.iter().find(|p| p.field == name)?;
            properties = &property.properties;
            found = Some(property);
        }
        found
    }
}
