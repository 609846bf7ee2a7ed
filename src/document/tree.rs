//! A document as it was read: small, since a set of 100,000 endpoints is one. Its texts stay where they stand in the
//! line or file, unless they have escapes.

use std::borrow::Cow;
use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Number, Value};

/// The most values of a document: some times what 100,000 endpoints have, and little enough to be held.
const MOST_VALUES: usize = 4_000_000;

/// A value of JSON's kinds.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs, reason = "the kinds of JSON")]
pub enum Tree<'t> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'t, str>),
    List(Vec<Self>),
    /// In the order of the document; who reads it refuses names that are there twice.
    Table(Vec<(Cow<'t, str>, Self)>),
}

impl<'t> Tree<'t> {
    /// The value of a name, where this is a table.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Self::Table(members) = self else { return None };
        members.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    /// Takes the value of a name out, where this is a table.
    pub fn remove(&mut self, name: &str) -> Option<Self> {
        let Self::Table(members) = self else { return None };
        let mut removed = None;
        members.retain_mut(|(known, value)| {
            let stays = known != name;
            if !stays {
                removed = Some(std::mem::replace(value, Self::Null));
            }
            stays
        });
        removed
    }

    /// The path of the first key, in this or in what it holds, that a table has twice.
    pub fn twice(&self) -> Option<String> {
        match self {
            Self::List(items) => {
                items.iter().enumerate().find_map(|(i, item)| item.twice().map(|path| joined(&format!("[{i}]"), &path)))
            }
            Self::Table(members) => {
                let mut seen = HashSet::new();
                members.iter().find_map(|(name, value)| {
                    if !seen.insert(name) {
                        return Some(name.to_string());
                    }
                    value.twice().map(|path| joined(name, &path))
                })
            }
            _ => None,
        }
    }

    /// The first key that this table itself has twice.
    pub fn own_twice(&self) -> Option<&str> {
        let Self::Table(members) = self else { return None };
        let mut seen = HashSet::new();
        members.iter().find(|(name, _)| !seen.insert(name)).map(|(name, _)| name.as_ref())
    }

    /// The text, where this is one.
    pub fn as_text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The same as a value of its own.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Null => Value::Null,
            Self::Bool(truth) => Value::Bool(*truth),
            Self::Number(number) => Value::Number(number.clone()),
            Self::Text(text) => Value::from(text.as_ref()),
            Self::List(items) => items.iter().map(Self::to_value).collect(),
            Self::Table(members) => members.iter().map(|(name, value)| (name.as_ref(), value.to_value())).collect(),
        }
    }
}

fn joined(outer: &str, inner: &str) -> String {
    if inner.starts_with('[') { format!("{outer}{inner}") } else { format!("{outer}.{inner}") }
}

impl From<Value> for Tree<'_> {
    fn from(value: Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(truth),
            Value::Number(number) => Self::Number(number),
            Value::String(text) => Self::Text(text.into()),
            Value::Array(items) => Self::List(items.into_iter().map(Self::from).collect()),
            Value::Object(members) => {
                Self::Table(members.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
            }
        }
    }
}

impl<'de: 't, 't> Deserialize<'de> for Tree<'t> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Reader { left: &Cell::new(MOST_VALUES) }.deserialize(deserializer)
    }
}

#[derive(Clone, Copy)]
struct Reader<'c> {
    /// Values that the document may still have.
    left: &'c Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Tree<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| Error::custom(format!("more than {MOST_VALUES} values")))?);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Tree<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Tree::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Tree::Bool(truth))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Tree::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Number::from_f64(number).map_or(Tree::Null, Tree::Number))
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Tree::Text(text.into()))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Tree::Text(text.to_owned().into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(self)? {
            items.push(item);
        }
        Ok(Tree::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = access.next_key()? {
            let Name(name) = name;
            members.push((name, access.next_value_seed(self)?));
        }
        Ok(Tree::Table(members))
    }
}

/// A name in a table; borrowed where it can be.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader { left: &Cell::new(0) })? {
            Tree::Text(name) => Ok(Self(name)),
            _ => Ok(Self(Cow::Borrowed(""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_what_is_written() {
        let text = r#" {"a": [null, true, -1, 18446744073709551615, 0.5, "x\ny"], "b": {}, "": "plain"} "#;
        let tree: Tree<'_> = serde_json::from_str(text).expect("JSON");
        let value: Value = serde_json::from_str(text).expect("JSON");
        assert_eq!(tree.to_value(), value);
        assert_eq!(Tree::from(value).to_value(), tree.to_value());
        assert!(matches!(tree.get(""), Some(Tree::Text(Cow::Borrowed("plain")))), "it stays where it stands");
        assert!(serde_json::from_str::<Tree<'_>>(&"[".repeat(100_000)).is_err());
        let many = |count: usize| serde_json::from_str::<Tree<'_>>(&format!("[{}0]", "0,".repeat(count - 2))).map(drop);
        assert!(many(MOST_VALUES).is_ok());
        assert!(many(MOST_VALUES + 1).is_err_and(|error| error.to_string().contains("more than 4000000 values")));
    }

    #[test]
    fn a_name_that_is_there_twice_is_found() {
        let mut tree: Tree<'_> = serde_json::from_str(r#"{"a": 1, "b": 2, "a": 3}"#).expect("JSON");
        assert_eq!((tree.own_twice(), tree.twice().as_deref()), (Some("a"), Some("a")));
        assert_eq!(tree.remove("a"), Some(Tree::from(json!(3))));
        assert!(tree.remove("a").is_none() && tree.get("a").is_none() && tree.twice().is_none());
        assert_eq!(tree.to_value(), json!({ "b": 2 }));
        let deep: Tree<'_> = serde_json::from_str(r#"{"a": [{}, [{"b": {"c": 1, "c": 1}}]], "c": 1}"#).expect("JSON");
        assert_eq!((deep.own_twice(), deep.twice().as_deref()), (None, Some("a[1][0].b.c")));
    }
}
