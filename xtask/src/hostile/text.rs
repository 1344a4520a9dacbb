//! Changes to an image's text, line by line.

/// What a number in a text becomes.
const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551616",
    "99999999999999999999999",
    "0x10",
    "",
];

/// What a quoted word becomes.
const WORDS: &[&str] = &[
    "",
    "image",
    ".",
    "..",
    "../../../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    "nbd://127.0.0.1:1/",
    "json:{}",
    "nosuch",
    "\u{1b}[2J",
    "%s%s%n",
    "monolithicSparse",
    "monolithicFlat",
    "streamOptimized",
    "custom",
];

/// What a plain word becomes.
const KEYWORDS: &[&str] = &[
    "RW",
    "RDONLY",
    "NOACCESS",
    "SPARSE",
    "FLAT",
    "ZERO",
    "VMFS",
    "VMFSSPARSE",
    "ffffffff",
    "00000000",
    "=",
    "\0",
];

/// The changed texts, each with what it is called.
pub(super) fn changes(text: &[u8]) -> Vec<(String, Vec<u8>)> {
    let text: Vec<&str> = core::str::from_utf8(text).expect("QEMU writes plain text").split('\n').collect();
    let mut changed = Vec::new();
    for (number, &line) in text.iter().enumerate() {
        let mut with = |label: &str, lines: &[&str]| {
            let mut all = text.clone();
            all.splice(number..=number, lines.iter().copied());
            changed.push((format!("line {}: {label}", number + 1), all.join("\n").into_bytes()));
        };
        with("removed", &[]);
        with("twice", &[line, line]);
        with("long", &[&line.repeat(200)]);
        with("CRLF", &[&format!("{line}\r")]);
        with("indented", &[&format!(" \t{line}")]);
        with("NUL before it", &[&format!("\0{line}")]);
        for (place, word) in words(line) {
            for replacement in replacements(word) {
                let new = format!("{}{replacement}{}", &line[..place], &line[place + word.len()..]);
                with(&format!("{replacement:?} for {word:?}"), &[&new]);
            }
        }
    }
    changed.push(("all CRLF".into(), text.join("\r\n").into_bytes()));
    changed.push(("a BOM before it".into(), format!("\u{feff}{}", text.join("\n")).into_bytes()));
    changed
}

/// What stands between blanks, quotes and `=`, and where.
fn words(line: &str) -> impl Iterator<Item = (usize, &str)> {
    let words = line.split([' ', '"', '=']).filter(|word| !word.is_empty());
    words.map(|word| (word.as_ptr().addr() - line.as_ptr().addr(), word))
}

fn replacements(word: &str) -> impl Iterator<Item = &'static str> {
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    let is_keyword = word.bytes().all(|byte| byte.is_ascii_uppercase());
    let chosen = if is_number {
        NUMBERS
    } else if is_keyword {
        KEYWORDS
    } else {
        WORDS
    };
    chosen.iter().copied().filter(move |&replacement| replacement != word)
}
