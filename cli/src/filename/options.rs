//! Options about an image, in the two notations that `qemu-img` has for them.
//!
//! Nesting is in the keys: `file.filename` is the `filename` of what the image's `file` is. JSON may nest objects instead.

use core::fmt;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use vmm::shown;

use super::error::DescriptionError;

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

/// The options of `key=value,key=value`. A comma in a value is written twice. Of a repeated option, the last counts.
pub(super) fn of_list(mut list: &[u8]) -> Result<Vec<Setting>, DescriptionError> {
    let mut settings = Vec::new();
    while !list.is_empty() {
        let key_len = list.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(list.len());
        let (key, rest) = list.split_at(key_len);
        let key = OsStr::from_bytes(key).to_owned();
        let Some(rest) = rest.strip_prefix(b"=") else { return Err(DescriptionError::NoValue(key)) };
        let (value, rest) = value_of_list(rest);
        settings.push(Setting { key, value: Value::Text(OsString::from_vec(value)) });
        list = rest;
    }
    Ok(settings)
}

/// The value that `list` begins with, and what is behind the comma that ends it.
fn value_of_list(mut list: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut value = Vec::new();
    loop {
        let len = list.iter().position(|&byte| byte == b',').unwrap_or(list.len());
        value.extend_from_slice(&list[..len]);
        match &list[len..] {
            [b',', b',', rest @ ..] => {
                value.push(b',');
                list = rest;
            }
            [b',', rest @ ..] => return (value, rest),
            rest => return (value, rest),
        }
    }
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
    fn a_list_has_keys_and_values() {
        let list = |list: &str| of_list(list.as_bytes()).unwrap();
        assert_eq!(list(""), []);
        assert_eq!(list("a=b"), [text("a", "b")]);
        assert_eq!(list("a=b,c.d=e=f,"), [text("a", "b"), text("c.d", "e=f")]);
        assert_eq!(list("a=,=b"), [text("a", ""), text("", "b")]);
    }

    #[test]
    fn a_comma_is_written_twice() {
        let list = |list: &str| of_list(list.as_bytes()).unwrap();
        assert_eq!(list("a=b,,c"), [text("a", "b,c")]);
        assert_eq!(list("a=,,,b=c"), [text("a", ","), text("b", "c")]);
        assert_eq!(list("a=,,,,"), [text("a", ",,")]);
    }

    #[test]
    fn bytes_are_kept() {
        let value = Value::Text(OsString::from_vec(b"\xff,".to_vec()));
        assert_eq!(of_list(b"a=\xff,,").unwrap(), [Setting { key: "a".into(), value }]);
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
