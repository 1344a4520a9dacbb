//! Lists of options: `key=value,key=value`.

/// The keys of `list` with their values, where they have one. A comma in a value is written twice.
pub(crate) fn items(mut list: &[u8]) -> Vec<(&[u8], Option<Vec<u8>>)> {
    let mut items = Vec::new();
    while !list.is_empty() {
        let key_len = list.iter().position(|byte| matches!(byte, b'=' | b',')).unwrap_or(list.len());
        let (key, rest) = list.split_at(key_len);
        let (value, rest) = match rest {
            [b'=', rest @ ..] => {
                let (value, rest) = value(rest);
                (Some(value), rest)
            }
            [_, rest @ ..] => (None, rest),
            [] => (None, rest),
        };
        items.push((key, value));
        list = rest;
    }
    items
}

/// The value that `list` begins with, and what is behind the comma that ends it.
fn value(mut list: &[u8]) -> (Vec<u8>, &[u8]) {
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

#[cfg(test)]
mod tests {
    use super::items;

    #[track_caller]
    fn has(list: &str, expected: &[(&str, Option<&str>)]) {
        let expected: Vec<_> = expected
            .iter()
            .map(|(key, value)| (key.as_bytes(), value.map(|v| v.as_bytes().to_vec())))
            .collect();
        assert_eq!(items(list.as_bytes()), expected, "{list}");
    }

    #[test]
    fn a_list_has_keys_and_values() {
        has("", &[]);
        has("a=b", &[("a", Some("b"))]);
        has("a=b,c.d=e=f,", &[("a", Some("b")), ("c.d", Some("e=f"))]);
        has("a=,=b", &[("a", Some("")), ("", Some("b"))]);
    }

    #[test]
    fn a_key_may_stand_alone() {
        has("disk.img", &[("disk.img", None)]);
        has("a=b,c", &[("a", Some("b")), ("c", None)]);
        has(",a=b", &[("", None), ("a", Some("b"))]);
        has("a=b,,c,d", &[("a", Some("b,c")), ("d", None)]);
    }

    #[test]
    fn a_comma_is_written_twice() {
        has("a=b,,c", &[("a", Some("b,c"))]);
        has("a=,,,b=c", &[("a", Some(",")), ("b", Some("c"))]);
        has("a=,,,,", &[("a", Some(",,"))]);
    }

    #[test]
    fn bytes_are_kept() {
        assert_eq!(items(b"a=\xff,,"), [(&b"a"[..], Some(b"\xff,".to_vec()))]);
    }
}
