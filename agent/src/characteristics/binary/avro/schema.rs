//! An Avro schema: its JSON turned into nodes that refer to one another by number.

use std::collections::HashMap;

use serde_json::Value;

pub(super) type Id = usize;

#[derive(Debug, PartialEq)]
pub(super) enum Node {
    Null,
    Boolean,
    /// An int or a long, or an enum's index.
    Integer,
    Float,
    Double,
    /// Bytes or a string.
    Bytes,
    Fixed(u64),
    Array(Id),
    Map(Id),
    Union(Vec<Id>),
    Record(Vec<Id>),
}

#[derive(Debug)]
pub(super) struct Schema {
    nodes: Vec<Node>,
    root: Id,
    depth: Option<u32>,
}

impl Schema {
    /// Nothing if this is no schema. JSON nested deeper than 128 is none.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        // The specification has JSON here; some writers leave a primitive's name bare.
        let value = serde_json::from_slice(json)
            .ok()
            .or_else(|| Some(Value::String(std::str::from_utf8(json).ok()?.trim().to_owned())))?;
        let mut parser = Parser { nodes: Vec::new(), named: HashMap::new() };
        let root = parser.node(&value, "")?;
        let depth = Depths { nodes: &parser.nodes, known: vec![None; parser.nodes.len()] }.of(root);
        Some(Self { nodes: parser.nodes, root, depth })
    }

    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// The deepest that a value can be; nothing if the schema is recursive.
    pub(super) fn depth(&self) -> Option<u32> {
        self.depth
    }

    /// Values are nulls, or records of nothing: as many as one likes fit in no bytes.
    pub(super) fn takes_no_bytes(&self) -> bool {
        match &self.nodes[self.root] {
            Node::Null => true,
            Node::Record(fields) => fields.iter().all(|field| self.nodes[*field] == Node::Null),
            _ => false,
        }
    }

    /// Fields of a record.
    pub(super) fn columns(&self) -> u32 {
        match &self.nodes[self.root] {
            Node::Record(fields) => fields.len() as u32,
            _ => 0,
        }
    }
}

struct Parser {
    nodes: Vec<Node>,
    named: HashMap<String, Id>,
}

impl Parser {
    fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    fn node(&mut self, value: &Value, namespace: &str) -> Option<Id> {
        match value {
            Value::String(name) => self.by_name(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|branch| self.node(branch, namespace)).collect::<Option<_>>()?;
                Some(self.add(Node::Union(branches)))
            }
            Value::Object(object) => match object.get("type")? {
                Value::String(kind) => self.complex(kind, object, namespace),
                nested => self.node(nested, namespace),
            },
            _ => None,
        }
    }

    fn by_name(&mut self, name: &str, namespace: &str) -> Option<Id> {
        let node = match name {
            "null" => Node::Null,
            "boolean" => Node::Boolean,
            "int" | "long" => Node::Integer,
            "float" => Node::Float,
            "double" => Node::Double,
            "bytes" | "string" => Node::Bytes,
            _ => return self.named.get(&full_name(name, namespace)).or_else(|| self.named.get(name)).copied(),
        };
        Some(self.add(node))
    }

    fn complex(&mut self, kind: &str, object: &serde_json::Map<String, Value>, namespace: &str) -> Option<Id> {
        let named = matches!(kind, "record" | "error" | "enum" | "fixed");
        let mut inner = namespace.to_owned();
        let id = if named {
            let name = object.get("name")?.as_str()?;
            let space = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
            let full = full_name(name, space);
            inner = full.rsplit_once('.').map_or("", |(space, _)| space).to_owned();
            // Known before its fields are read: they may refer to it.
            let id = self.add(Node::Null);
            self.named.insert(full, id);
            Some(id)
        } else {
            None
        };
        let node = match kind {
            "record" | "error" => {
                let fields = object.get("fields")?.as_array()?.iter();
                Node::Record(fields.map(|field| self.node(field.get("type")?, &inner)).collect::<Option<_>>()?)
            }
            "enum" => Node::Integer,
            "fixed" => Node::Fixed(object.get("size")?.as_u64()?),
            "array" => Node::Array(self.node(object.get("items")?, namespace)?),
            "map" => Node::Map(self.node(object.get("values")?, namespace)?),
            other => return self.by_name(other, namespace),
        };
        match id {
            Some(id) => {
                self.nodes[id] = node;
                Some(id)
            }
            None => Some(self.add(node)),
        }
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

/// Depths of nodes, each worked out once.
struct Depths<'a> {
    nodes: &'a [Node],
    /// Inner nothing: being worked out, or recursive.
    known: Vec<Option<Option<u32>>>,
}

impl Depths<'_> {
    /// JSON's own bound on nesting bounds this recursion, but for chains of names, which the nodes' order does not
    /// allow: a name is known only within or after its own definition.
    fn of(&mut self, id: Id) -> Option<u32> {
        if let Some(known) = self.known[id] {
            return known;
        }
        self.known[id] = Some(None);
        let depth = match &self.nodes[id] {
            Node::Array(item) | Node::Map(item) => self.of(*item).map(|depth| depth + 1),
            Node::Union(branches) => self.deepest(branches),
            Node::Record(fields) => self.deepest(fields).map(|depth| depth + 1),
            _ => Some(0),
        };
        self.known[id] = Some(depth);
        depth
    }

    fn deepest(&mut self, ids: &[Id]) -> Option<u32> {
        ids.iter().try_fold(0, |deepest, id| Some(self.of(*id)?.max(deepest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depth_and_columns_are_the_schemas() {
        for (json, depth, columns) in [
            (r#""null""#, Some(0), 0),
            ("string", Some(0), 0),
            (r#"{"type": "array", "items": ["null", "int"]}"#, Some(1), 0),
            (r#"{"type": "record", "name": "a", "fields": []}"#, Some(1), 0),
            (
                r#"{"type": "record", "name": "a", "namespace": "x", "fields": [
                    {"name": "b", "type": {"type": "map", "values": ["null", {"type": "record", "name": "c",
                        "fields": [{"name": "d", "type": {"type": "enum", "name": "e", "symbols": ["s"]}}]}]}},
                    {"name": "f", "type": "x.c"}, {"name": "g", "type": {"type": "bytes", "logicalType": "decimal"}}]}"#,
                Some(3),
                3,
            ),
            (r#"{"type": "record", "name": "l", "fields": [{"name": "next", "type": ["null", "l"]}]}"#, None, 1),
        ] {
            let schema = Schema::parse(json.as_bytes()).unwrap_or_else(|| panic!("{json}"));
            assert_eq!((schema.depth(), schema.columns()), (depth, columns), "{json}");
        }
    }

    #[test]
    fn what_is_no_schema_is_none() {
        for json in ["", "{}", "3", r#""nobody""#, r#"{"type": "record", "name": "a"}"#, "[\"int\", {}]"] {
            assert!(Schema::parse(json.as_bytes()).is_none(), "{json}");
        }
        assert!(Schema::parse(format!("{}{}", "[".repeat(10_000), "]".repeat(10_000)).as_bytes()).is_none());
    }
}
