//! Whatever options a disk is written with: it is what `qemu-img convert` makes with the same options.

use std::fs;

use fmt_core::{DiskMap, ErrorKind, Source, Zeros};
use fmt_vmdk::{Adapter, Options, Parent, Subformat};

use crate::common::{Lab, disk_bytes};
use crate::scene::{Scene, data, zero};

const SUBFORMATS: [Subformat; 5] = [
    Subformat::MonolithicSparse,
    Subformat::MonolithicFlat,
    Subformat::TwoGbMaxExtentSparse,
    Subformat::TwoGbMaxExtentFlat,
    Subformat::StreamOptimized,
];

const ADAPTERS: [Adapter; 4] = [Adapter::Ide, Adapter::LsiLogic, Adapter::BusLogic, Adapter::LegacyEsx];

/// Options, and the same for `qemu-img`.
#[derive(Clone, Debug)]
struct Case {
    options: Options<'static>,
    words: String,
}

impl Case {
    fn new(subformat: Subformat) -> Self {
        let mut options = Options::new(0x1234_5678, b"x.y.vmdk");
        (options.subformat, options.zeros) = (subformat, Zeros::Absent);
        Self { options, words: format!("subformat={}", subformat.create_type()) }
    }

    fn with(mut self, word: &str, set: impl FnOnce(&mut Options<'static>)) -> Self {
        set(&mut self.options);
        self.words = format!("{},{word}", self.words);
        self
    }

    fn is_flat(&self) -> bool {
        matches!(self.options.subformat, Subformat::MonolithicFlat | Subformat::TwoGbMaxExtentFlat)
    }

    fn is_stream(&self) -> bool {
        self.options.subformat == Subformat::StreamOptimized
    }
}

/// Data, zeros, and less than a grain of each, up to the end of the disk.
fn scene(size: u64) -> Scene {
    const GRAIN: u64 = 65_536;
    let mut extents = Vec::new();
    for (index, start) in (0..size.min(40 * GRAIN)).step_by(65_536).enumerate() {
        let len = GRAIN.min(size - start);
        match index % 5 {
            0 | 1 => extents.push(data(start, len, start)),
            2 => extents.extend([data(start, len / 2, 7), zero(start + len / 2, len - len / 2)]),
            _ => extents.push(zero(start, len)),
        }
    }
    let rest = size.saturating_sub(40 * GRAIN);
    if rest > GRAIN {
        extents.extend([zero(40 * GRAIN, rest - 512), data(size - 512, 512, 0)]);
    }
    let mut bytes = disk_bytes(41 << 16, size);
    // Nothing but the scene's zeros reads as zeros.
    bytes.iter_mut().for_each(|byte| *byte |= 1);
    Scene { size, extents, data: bytes }
}

/// What is written here, in `we`, is what `qemu-img` writes, in `qemu`.
#[track_caller]
fn assert_same(lab: &Lab, case: &Case, scene: &Scene) {
    for dir in ["we", "qemu"] {
        let _absent_at_first = fs::remove_dir_all(lab.path(dir));
        fs::create_dir(lab.path(dir)).unwrap();
        if case.options.parent.is_some() {
            fs::copy(lab.path("base.vmdk"), lab.path(&format!("{dir}/base.vmdk"))).unwrap();
        }
    }
    let mut options = case.options;
    if let Some(parent) = &mut options.parent {
        parent.cid = lab.map("base.vmdk").unwrap().0.identity().cid;
    }
    scene.write_raw(&lab.path("in.raw"));
    let lens = scene.write(&lab.path("we"), &options).unwrap();
    assert!(lens.len() <= 8, "{lens:?}");
    let parent = if options.parent.is_some() { " -B base.vmdk -F vmdk" } else { "" };
    lab.run(&format!("qemu-img convert -f raw -O vmdk -o {}{parent} in.raw qemu/x.y.vmdk", case.words));

    assert_eq!(told(lab, case, "we"), told(lab, case, "qemu"), "{case:?} {}", scene.size);
    lab.run("qemu-img check -f vmdk we/x.y.vmdk");
    let compared = lab.run("qemu-img compare -f raw -F vmdk in.raw we/x.y.vmdk");
    assert!(compared.contains("identical"), "{case:?} {}: {compared}", scene.size);
    if scene.size < 64 << 20 {
        let size = usize::try_from(scene.size.next_multiple_of(512)).unwrap();
        let mut expected = lab.bytes("in.raw");
        expected.resize(size, 0);
        assert!(lab.qemu_reads("we/x.y.vmdk").unwrap() == expected, "{case:?}");
        assert!(lab.we_read_in("we", "x.y.vmdk").unwrap() == expected, "{case:?}");
    }
}

/// What an image says about itself, without its content identity: the descriptor, `info`, and the map.
#[track_caller]
fn told(lab: &Lab, case: &Case, dir: &str) -> (String, Vec<String>, String) {
    let name = format!("{dir}/x.y.vmdk");
    let mut bytes = lab.bytes(&name);
    if bytes.starts_with(b"KDMV") {
        bytes = bytes[512..].split(|&byte| byte == 0).next().unwrap().to_vec();
    }
    let text = String::from_utf8(bytes).unwrap();
    // Where a CID comes to have fewer digits, `qemu-img` leaves the end of the longer text behind.
    let lines = text.trim_end_matches(['\0', '\n']).lines().filter(|line| !line.starts_with("CID="));
    let descriptor = lines.collect::<Vec<_>>().join("\n");

    let mut info: Vec<_> = lab.info(&name).iter().map(|line| line.replace(&format!("{dir}/"), "")).collect();
    if case.is_stream() {
        // The file's length: tables are elsewhere.
        info.drain(..info.iter().position(|line| line.starts_with("    ],")).unwrap());
    }
    // Of a flat file, the map tells what the file system made of it.
    let map = (!case.is_flat()).then(|| lab.run(&format!("qemu-img map --output=json -f vmdk {name}")));
    (descriptor, info, map.unwrap_or_default())
}

#[test]
fn every_subformat_is_what_qemu_img_makes() {
    let Some(lab) = Lab::open() else { return };
    for subformat in SUBFORMATS {
        for size in [1, 512, 65_536, 1_000_448, 1_000_001, 3 << 20, (33 << 20) + 512] {
            assert_same(&lab, &Case::new(subformat), &scene(size));
        }
    }
}

#[test]
fn disks_of_more_than_two_gigabytes_are_split() {
    let Some(lab) = Lab::open() else { return };
    for subformat in SUBFORMATS {
        assert_same(&lab, &Case::new(subformat), &scene((4 << 30) + 1000));
    }
}

/// Tables are far apart, and the grain directory is long.
#[test]
fn a_stream_of_more_than_a_terabyte_is_read() {
    let Some(lab) = Lab::open() else { return };
    let places = [0, 100 << 30, 1200 << 30, (1300 << 30) - 65_536];
    let extents = places.map(|start| data(start, 65_536, 0)).to_vec();
    let scene = Scene { size: 1300 << 30, extents, data: vec![7; 65_536] };
    scene.write(&lab.path(""), &Case::new(Subformat::StreamOptimized).options).unwrap();
    lab.run("qemu-img check -f vmdk x.y.vmdk");
    let mut commands = places.map(|place| format!("read -P 7 {place} 64k")).to_vec();
    commands.extend(["read -P 0 64k 64k", "read -P 0 600G 64k", "read -P 0 1299G 64k"].map(str::to_owned));
    lab.io("x.y.vmdk", &commands.iter().map(String::as_str).collect::<Vec<_>>());
    let (mut map, _) = lab.map("x.y.vmdk").unwrap();
    let found = map.extents(0..u64::MAX).map(Result::unwrap);
    let found: Vec<_> = found.filter(|it| it.source != Source::Unallocated).collect();
    assert_eq!(found.iter().map(|it| it.start).collect::<Vec<_>>(), places);
}

#[test]
fn every_option_goes_where_qemu_img_puts_it() {
    let Some(lab) = Lab::open() else { return };
    for subformat in SUBFORMATS {
        let case = || Case::new(subformat);
        let mut cases = vec![
            case().with("compat6=on", |it| it.compat6 = true),
            case().with("hwversion=10", |it| it.hw_version = Some(b"10")),
            case().with("toolsversion=a'b", |it| it.tools_version = Some(b"a'b")),
            case().with("hwversion=x,toolsversion=0,adapter_type=buslogic", |it| {
                it.hw_version = Some(b"x");
                it.tools_version = Some(b"0");
                it.adapter = Adapter::BusLogic;
            }),
        ];
        let adapter = |adapter: Adapter| {
            case().with(&format!("adapter_type={}", adapter.name()), |it| it.adapter = adapter)
        };
        cases.extend(ADAPTERS.map(adapter));
        for case in cases {
            assert_same(&lab, &case, &scene((600 << 20) + 512));
        }
    }
}

/// Where there is a parent, zeros have to say that they are none of its bytes.
#[test]
fn zeros_above_a_parent_are_written_or_marked() {
    let Some(lab) = Lab::open() else { return };
    lab.write("base.raw", vec![0xee; 3 << 20]);
    lab.run("qemu-img convert -f raw -O vmdk base.raw base.vmdk");
    let parent = Some(Parent { cid: 0, name: b"base.vmdk" });
    for subformat in SUBFORMATS {
        let case = || Case::new(subformat);
        if case().is_flat() {
            continue;
        }
        let marked = || case().with("zeroed_grain=on", |it| it.zeroed_grain = true);
        let above = |case: Case| case.with("backing_fmt=vmdk", |it| it.parent = parent);
        for size in [1_000_448, 3 << 20] {
            for case in [marked(), above(marked()), above(case())] {
                assert_same(&lab, &case, &scene(size));
            }
        }
    }
}

/// Pieces of zeros that make grains only together, and grains that are the parent's.
#[test]
fn grains_of_zeros_are_marked_however_they_come() {
    let Some(lab) = Lab::open() else { return };
    lab.write("base.raw", vec![0xee; 3 << 20]);
    lab.run("qemu-img convert -f raw -O vmdk base.raw base.vmdk");
    let cid = lab.map("base.vmdk").unwrap().0.identity().cid;
    let extents = vec![
        data(0, 70_000, 0),
        zero(70_000, 10_000),
        zero(80_000, 182_144),
        data(262_144, 1000, 0),
        zero(263_144, 64_536),
        zero(1 << 20, 1 << 16),
        zero((3 << 20) - 65_536, 65_536),
    ];
    let scene = Scene { size: 3 << 20, extents, data: vec![7; 1 << 17] };
    let mut expected = vec![0xee; 3 << 20];
    for extent in &scene.extents {
        let range = usize::try_from(extent.start).unwrap()..usize::try_from(extent.end()).unwrap();
        expected[range].fill(if matches!(extent.source, Source::Zero) { 0 } else { 7 });
    }
    for (index, subformat) in
        [Subformat::MonolithicSparse, Subformat::TwoGbMaxExtentSparse].into_iter().enumerate()
    {
        for zeroed_grain in [false, true] {
            let name = format!("x{index}{zeroed_grain}.vmdk");
            let mut options = Options::new(9, name.as_bytes());
            (options.subformat, options.zeros, options.zeroed_grain) =
                (subformat, Zeros::Absent, zeroed_grain);
            options.parent = Some(Parent { cid, name: b"base.vmdk" });
            scene.write(&lab.path(""), &options).unwrap();
            lab.run(&format!("qemu-img check -f vmdk {name}"));
            assert!(lab.qemu_reads(&name).unwrap() == expected, "{name}");
            assert!(lab.we_read(&name).unwrap() == expected, "{name}");
            let map = lab.run(&format!("qemu-img map --output=json {name}"));
            assert_eq!(map.matches("\"zero\": true").count(), if zeroed_grain { 3 } else { 0 }, "{map}");
        }
    }
}

#[test]
fn a_grain_that_is_partly_the_parents_is_refused() {
    let parent = Some(Parent { cid: 1, name: b"base.vmdk" });
    let whole = data(0, 65_536, 0);
    for extents in [
        vec![data(100, 65_436, 0)],
        vec![data(0, 100, 0)],
        vec![whole, zero(65_536, 100), data(200_000, 100, 0)],
        vec![whole, zero(70_000, 100_000)],
        vec![data(0, 100, 0), data(200, 65_336, 0)],
    ] {
        for zeroed_grain in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let scene = Scene { size: 1 << 20, extents: extents.clone(), data: vec![1; 1 << 20] };
            let mut options = Options::new(1, b"x");
            (options.zeros, options.parent, options.zeroed_grain) = (Zeros::Absent, parent, zeroed_grain);
            let refused = scene.write(dir.path(), &options).unwrap_err();
            assert_eq!(refused.kind, ErrorKind::UnsupportedFeature, "{extents:?}");
        }
    }
}

/// `qemu-img` refuses these too.
#[test]
fn options_that_contradict_each_other_are_refused() {
    let Some(lab) = Lab::open() else { return };
    lab.run("qemu-img create -f vmdk base.vmdk 1M");
    let parent = Some(Parent { cid: 1, name: b"base.vmdk" });
    let mut cases = Vec::new();
    for subformat in SUBFORMATS {
        let case = || Case::new(subformat);
        cases.push(case().with("compat6=on,hwversion=6", |it| {
            it.compat6 = true;
            it.hw_version = Some(b"6");
        }));
        if case().is_flat() {
            cases.push(case().with("zeroed_grain=on", |it| it.zeroed_grain = true));
            cases.push(case().with("backing_file=base.vmdk,backing_fmt=vmdk", |it| it.parent = parent));
        }
    }
    for (index, Case { options, words }) in cases.into_iter().enumerate() {
        let dir = lab.path(&index.to_string());
        fs::create_dir(&dir).unwrap();
        let refused = scene(1 << 20).write(&dir, &options).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::UnsupportedFeature, "{words}");
        let args = ["create", "-f", "vmdk", "-o", &words, "no.vmdk", "1M"];
        assert!(!lab.output("qemu-img", &args).status.success(), "{words}");
    }
}
