//! A schema put together from types of others, for rows that lie side by side.

use std::collections::BTreeMap;

use crate::schema::{Field, Kind, MAX_NODES, Node, NodeId, Schema, SchemaError};

impl Schema {
    /// A record of other schemas' types side by side, such as the row that a join makes: each part is the name of a
    /// field, a schema, the type in it, and whether the field may be null, which puts it behind a union with null. The
    /// bytes of such a row are those of its parts one after the other. Two parts may define a name each in its own
    /// way: this schema is for walking and has no text.
    ///
    /// # Errors
    /// [`SchemaError::TooLarge`].
    pub fn of_parts(parts: &[(&str, &Schema, NodeId, bool)]) -> Result<Schema, SchemaError> {
        let bare =
            |kind, min_size| Node { kind, logical: None, name: None, aliases: Box::default(), doc: None, min_size };
        let mut nodes = vec![bare(Kind::Null, 0)];
        let mut fields = Vec::new();
        for (name, schema, id, nullable) in parts {
            if nodes.len() + schema.len() + 2 > MAX_NODES {
                return Err(SchemaError::TooLarge);
            }
            let base = nodes.len() as u32;
            nodes.extend(schema.nodes.iter().map(|node| node.moved(base)));
            let mut node = NodeId(id.0 + base);
            if *nullable {
                nodes.push(bare(Kind::Union { branches: [NodeId(0), node].into() }, 1));
                node = NodeId(nodes.len() as u32 - 1);
            }
            fields.push(Field {
                name: (*name).into(),
                aliases: Box::default(),
                doc: None,
                node,
                default: None,
                attributes: BTreeMap::new(),
            });
        }
        let size = fields.iter().fold(0u64, |sum, f| sum.saturating_add(nodes[f.node.0 as usize].min_size));
        nodes.push(bare(Kind::Record { fields: fields.into() }, size));
        let root = NodeId(nodes.len() as u32 - 1);
        Ok(Schema { nodes: nodes.into(), root, canonical: Box::default() })
    }
}

impl Node {
    /// The same with all references this much further on.
    fn moved(&self, by: u32) -> Node {
        let mut node = self.clone();
        let shift = |id: &mut NodeId| id.0 += by;
        match &mut node.kind {
            Kind::Array { items: id } | Kind::Map { values: id } => shift(id),
            Kind::Union { branches } => branches.iter_mut().for_each(shift),
            Kind::Record { fields } => fields.iter_mut().for_each(|field| shift(&mut field.node)),
            _ => {}
        }
        node
    }
}
