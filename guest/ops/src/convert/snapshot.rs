//! How a user says which snapshot it is: `NAME`, or `snapshot.id=ID,snapshot.name=NAME`.

use alloc::vec::Vec;

use fmt_qcow2::Wanted;

use crate::Failure;

/// What the user said, taken apart.
pub(super) enum Words {
    /// An identifier or a name.
    Any(Vec<u8>),
    /// What each is said to be.
    Exactly { id: Option<Vec<u8>>, name: Option<Vec<u8>> },
}

impl Words {
    pub(super) fn parse(text: &[u8]) -> Result<Self, Failure> {
        if !text.starts_with(b"snapshot.") {
            return Ok(Self::Any(text.to_vec()));
        }
        let (mut id, mut name) = (None, None);
        let mut rest = text;
        while !rest.is_empty() {
            let (word, behind) = first_word(rest);
            if let Some(value) = word.strip_prefix(b"snapshot.id=") {
                id = Some(value.to_vec());
            } else if let Some(value) = word.strip_prefix(b"snapshot.name=") {
                name = Some(value.to_vec());
            } else {
                return Err(Failure::BadRequest("a property of a snapshot"));
            }
            rest = behind;
        }
        Ok(Self::Exactly { id, name })
    }

    pub(super) fn wanted(&self) -> Wanted<'_> {
        match self {
            Self::Any(word) => Wanted::Any(word),
            Self::Exactly { id, name } => Wanted::Exactly { id: id.as_deref(), name: name.as_deref() },
        }
    }
}

/// What is before the first comma, in which two commas are one; and what is behind it.
fn first_word(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let mut word = Vec::new();
    let mut rest = text;
    loop {
        rest = match rest {
            [b',', b',', behind @ ..] => {
                word.push(b',');
                behind
            }
            [b',', behind @ ..] => return (word, behind),
            [byte, behind @ ..] => {
                word.push(*byte);
                behind
            }
            [] => return (word, rest),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn parsed(text: &str, expected: Wanted<'_>) {
        let words = Words::parse(text.as_bytes());
        assert_eq!(words.as_ref().map(Words::wanted).ok(), Some(expected));
    }

    #[test]
    fn a_word_or_properties() {
        parsed("a,b=c", Wanted::Any(b"a,b=c"));
        parsed("snapshot.id=1", Wanted::Exactly { id: Some(b"1"), name: None });
        parsed("snapshot.name=a,,b", Wanted::Exactly { id: None, name: Some(b"a,b") });
        parsed("snapshot.id=1,snapshot.name=x", Wanted::Exactly { id: Some(b"1"), name: Some(b"x") });
        assert!(Words::parse(b"snapshot.size=1").is_err());
        assert!(Words::parse(b"snapshot.id=1,x").is_err());
    }
}
