//! Disks and options at random, the same in every run.

use fmt_core::Zeros;

use crate::common::{self, Lab, Random};
use crate::options::{disk, pieces};
use crate::spec::{self, options};
use crate::write::verify;

/// Options that go together.
fn combination(random: &mut Random) -> String {
    let mut pick = |choices: &[&str]| choices[random.below(choices.len())].to_owned();
    let mut text = vec![pick(&["compat=1.1", "compat=1.1", "compat=1.1", "compat=0.10"])];
    let version_2 = text[0].ends_with("0.10");
    let extended = !version_2 && pick(&["yes", "no", "no"]) == "yes";
    text.push(format!("extended_l2={}", if extended { "on" } else { "off" }));
    let sizes = ["16k", "32k", "64k", "512k", "2M", "512", "1k", "2k", "4k", "8k"];
    text.push("cluster_size=".to_owned() + &pick(if extended { &sizes[..5] } else { &sizes }));
    if !version_2 {
        text.push("refcount_bits=".to_owned() + &pick(&["1", "2", "4", "8", "16", "32", "64"]));
        text.push(pick(&["lazy_refcounts=on", "lazy_refcounts=off"]));
    }
    let backing = pick(&["yes", "no"]) == "yes";
    if backing {
        text.push("backing_file=backing,backing_fmt=raw".to_owned());
    }
    if !version_2 && pick(&["yes", "no", "no"]) == "yes" {
        text.push("data_file=data".to_owned());
        text.push(if backing {
            "data_file_raw=off".to_owned()
        } else {
            pick(&["data_file_raw=on", "data_file_raw=off"])
        });
    }
    if !backing || extended {
        text.push("preallocation=".to_owned() + &pick(&["off", "off", "metadata", "full"]));
    }
    text.join(",")
}

#[test]
fn extents_and_options_at_random() {
    let Some(lab) = Lab::open() else { return };
    let mut random = Random(40);
    let input = common::noise((3 << 20) + 512, 41);
    let backing = common::noise(input.len(), 42);
    lab.write("backing", &backing);
    for round in 0..60 {
        let text = combination(&mut random);
        let zeros = if random.below(3) == 0 { Zeros::Written } else { Zeros::Absent };
        let options = options(&text).zeros(zeros);
        let overlay = text.contains("backing_file");
        let extents = pieces(if overlay { options.block_len().unwrap() } else { 1 }, round);
        let len = spec::write(&lab, input.len() as u64, &options, &input, &extents).unwrap();
        assert!(len <= options.max_len(input.len() as u64).unwrap(), "{text}");
        let below = if overlay { backing.clone() } else { vec![0; input.len()] };
        verify(&lab, &disk(&extents, &input, &below));
    }
}
