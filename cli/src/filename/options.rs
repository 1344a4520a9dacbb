//! Options about an image, in the two notations that `qemu-img` has for them.
//!
//! Nesting is in the keys: `file.filename` is the `filename` of what the image's `file` is. JSON may nest objects instead.

use core::fmt;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use vmm::shown;

use super::error::DescriptionError;
use crate::list;

/// One option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// With all that it is nested in, separated by dots.
    pub(super) key: OsString,
    pub(super) value: Value,
}

/// What an option says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Text(OsString),
    Bool(bool),
    /// What no option here can say, in words.
    Other(&'static str),
}

impl Value {
    /// The value as a word, if it has one.
    pub(super) fn word(&self) -> Option<&OsStr> {
        match self {
            Self::Text(text) => Some(text),
            Self::Bool(true) => Some(OsStr::new("on")),
            Self::Bool(false) => Some(OsStr::new("off")),
            Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{}'", shown(text)),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Other(what) => f.write_str(what),
        }
    }
}

/// The options of a [list], each of which must have a value. Of a repeated option, the last counts.
pub(super) fn of_list(list: &[u8]) -> Result<Vec<Setting>, DescriptionError> {
    let setting = |(key, value): (&[u8], Option<Vec<u8>>)| {
        let key = OsStr::from_bytes(key).to_owned();
        match value {
            Some(value) => Ok(Setting { key, value: Value::Text(OsString::from_vec(value)) }),
            None => Err(DescriptionError::NoValue(key)),
        }
    };
    list::items(list).into_iter().map(setting).collect()
}

/// The options of a JSON object. None may be repeated.
pub(super) fn of_json(json: &[u8]) -> Result<Vec<Setting>, DescriptionError> {
    let Node::Object(members) = serde_json::from_slice(json).map_err(DescriptionError::NotJson)? else {
        return Err(DescriptionError::NoObject);
    };
    let mut settings = Vec::new();
    flatten("", members, &mut settings);
    let mut keys: Vec<_> = settings.iter().map(|setting| &setting.key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(DescriptionError::Repeated(pair[0].clone())),
        None => Ok(settings),
    }
}

/// Adds the options of an object, whose keys have `prefix` before them. `serde_json` bounds how deep objects nest.
fn flatten(prefix: &str, members: Vec<(String, Node)>, settings: &mut Vec<Setting>) {
    for (key, node) in members {
        let key = format!("{prefix}{key}");
        let value = match node {
            Node::Object(members) if !members.is_empty() => {
                flatten(&format!("{key}."), members, settings);
                continue;
            }
            Node::Object(_) => Value::Other("an empty object"),
            Node::Value(value) => value,
        };
        settings.push(Setting { key: key.into(), value });
    }
}

/// JSON, as far as options can be made of it. Unlike [`serde_json::Value`], an object keeps its repetitions.
enum Node {
    Object(Vec<(String, Node)>),
    Value(Value),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_str<E>(self, text: &str) -> Result<Node, E> {
        Ok(Node::Value(Value::Text(text.into())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Value(Value::Bool(value)))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Value(Value::Other("a number")))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Value(Value::Other("a number")))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Value(Value::Other("a number")))
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Value(Value::Other("null")))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Node::Value(Value::Other("a list")))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = object.next_entry()? {
            members.push(member);
        }
        Ok(Node::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &str, value: &str) -> Setting {
        Setting { key: key.into(), value: Value::Text(value.into()) }
    }

    #[test]
    fn a_list_is_settings() {
        let settings = of_list(b"a=b,,c,d=").unwrap();
        assert_eq!(settings, [text("a", "b,c"), text("d", "")]);
    }

    #[test]
    fn a_key_needs_a_value() {
        for (list, expected) in [("disk.img", "disk.img"), ("a=b,c", "c"), (",a=b", ""), ("a=b,,c,d", "d")] {
            match of_list(list.as_bytes()) {
                Err(DescriptionError::NoValue(key)) => assert_eq!(key, expected),
                other => panic!("{list}: {other:?}"),
            }
        }
    }

    #[test]
    fn json_may_nest() {
        let nested = of_json(br#" {"a": {"b": "c", "d.e": {"f": true}}, "g": {}} "#).unwrap();
        let f = Setting { key: "a.d.e.f".into(), value: Value::Bool(true) };
        let g = Setting { key: "g".into(), value: Value::Other("an empty object") };
        assert_eq!(nested, [text("a.b", "c"), f, g]);
    }

    #[test]
    fn other_values_are_told_apart() {
        let values = of_json(br#"{"a": 1, "b": -1, "c": 1.5, "d": null, "e": [1, {}]}"#).unwrap();
        let values: Vec<_> = values.into_iter().map(|setting| setting.value).collect();
        let other = ["a number", "a number", "a number", "null", "a list"];
        assert_eq!(values, other.map(Value::Other));
    }

    #[test]
    fn json_does_not_say_things_twice() {
        for json in [r#"{"a":"b","a":"b"}"#, r#"{"a":{"b":"c"},"a.b":"c"}"#, r#"{"a":{"b":{}},"a.b":1}"#] {
            assert!(matches!(of_json(json.as_bytes()), Err(DescriptionError::Repeated(_))), "{json}");
        }
    }

    #[test]
    fn what_is_no_json_is_refused() {
        let deep = format!("{}{}", r#"{"a":"#.repeat(1000), "}".repeat(1000));
        for json in ["", "{", "{} x", "{'a':'b'}", r#"{"a":"b",}"#, r#"{"a":"\ud800"}"#, &deep] {
            assert!(matches!(of_json(json.as_bytes()), Err(DescriptionError::NotJson(_))), "{json}");
        }
        assert!(matches!(of_json(b"{\"a\":\"\xff\"}"), Err(DescriptionError::NotJson(_))));
        for json in ["[]", "1", "\"a\"", "null"] {
            assert!(matches!(of_json(json.as_bytes()), Err(DescriptionError::NoObject)), "{json}");
        }
    }
}
