//! SPECIFICATION.md names tests that exist.

use std::collections::BTreeMap;
use std::fs;

/// The rows of the page's tables: a promise, and the words in backquotes of what holds it.
fn promises(page: &str) -> impl Iterator<Item = (&str, Vec<&str>)> {
    let rows =
        page.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |")?.rsplit_once(" | "));
    let promises = rows.filter(|&(promise, _)| promise != "promise");
    promises.map(|(promise, held_by)| (promise, held_by.split('`').skip(1).step_by(2).collect()))
}

#[test]
fn every_promise_is_held_by_tests_that_exist() {
    let root = guest_build::workspace_root();
    let page = fs::read_to_string(root.join("SPECIFICATION.md")).expect("the page is there");
    let mut sources = BTreeMap::new();
    let mut wrong = Vec::new();
    let mut count = 0;
    for (promise, words) in promises(&page) {
        let (mut file, mut tests) = ("", 0);
        for word in words {
            if word.ends_with(".rs") {
                file = word;
                continue;
            }
            let source = sources
                .entry(file)
                .or_insert_with(|| fs::read_to_string(root.join(file)).unwrap_or_default());
            if !is_test(source, word) {
                wrong.push(format!("{promise}: no test {word} in '{file}'"));
            }
            tests += 1;
        }
        if tests == 0 {
            wrong.push(format!("{promise}: held by nothing"));
        }
        count += tests;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 100, "the page was not understood: {count} tests");
}

/// Whether `source` has a test of that name: a function, or the line of a macro that makes one.
fn is_test(source: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    source.lines().map(str::trim_start).any(|line| {
        let of_macro = line.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', ' ']));
        line.starts_with(&function) || of_macro
    })
}
