//! Inputs that are described by options: `instar dd` and the installed `qemu-img dd` take and refuse the same ones, and copy
//! the same disks.

use core::fmt;
use std::fs;
use std::io;
use std::path::Path;

use tempfile::TempDir;
use testkit::cases::assert_all;
use testkit::disk::Disk;
use testkit::outcome::{Exit, Outcome};
use testkit::qemu::Qemu;
use testkit::scene;
use testkit::tool::Tool;

/// What makes the images. `$1` and `$2` are raw disks.
const IMAGES: &str = "
cp $1 in.raw
qemu-img convert -O qcow2 in.raw in.qcow2
qemu-img convert -O vmdk in.raw in.vmdk
qemu-img convert -O vpc in.raw in.vpc
cp in.qcow2 a,b.qcow2
cp in.qcow2 x=y.qcow2
cp in.qcow2 nbd:z.qcow2
cp in.raw file:in.raw
cp $2 base.raw
qemu-img create -q -f qcow2 -b base.raw -F raw over.qcow2 200704
";

/// What stands behind `if=`, with `--image-opts`.
const LISTS: &[&str] = &[
    // The plain form.
    "driver=qcow2,file.filename=in.qcow2",
    "driver=qcow2,file.driver=file,file.filename=in.qcow2",
    "file.filename=in.qcow2,driver=qcow2",
    "driver=raw,file.filename=in.raw",
    "driver=raw,file.filename=in.qcow2",
    "driver=vmdk,file.filename=in.vmdk",
    "driver=vpc,file.filename=in.vpc",
    "driver=qcow2,file.filename=over.qcow2",
    "driver=file,filename=in.qcow2",
    // Without a driver.
    "file.filename=in.qcow2",
    "file.filename=in.vmdk",
    "file.filename=in.raw",
    "file.driver=file,file.filename=in.qcow2",
    "file.driver=raw,file.file.filename=in.qcow2",
    // Raw between and above.
    "driver=qcow2,file.driver=raw,file.file.filename=in.qcow2",
    "driver=qcow2,file.driver=raw,file.file.driver=file,file.file.filename=in.qcow2",
    "driver=raw,file.driver=qcow2,file.file.filename=in.qcow2",
    "driver=raw,file.driver=raw,file.file.driver=raw,file.file.file.filename=in.raw",
    // How names are written.
    "driver=qcow2,file.filename=a,,b.qcow2",
    "driver=qcow2,file.filename=a,b.qcow2",
    "driver=qcow2,file.filename=x=y.qcow2",
    "driver=qcow2,file.filename=nbd:z.qcow2",
    "file.filename=nbd:z.qcow2",
    "driver=raw,file.filename=file:in.raw",
    "driver=file,filename=file:in.raw",
    "driver=qcow2,file.filename=file:in.qcow2",
    "driver=qcow2,file.filename=",
    "driver=qcow2,file.filename=nosuch",
    // How options are written.
    "",
    "driver=qcow2,file.filename=in.qcow2,",
    ",driver=qcow2,file.filename=in.qcow2",
    "driver=qcow2,,file.filename=in.qcow2",
    "driver=qcow2, file.filename=in.qcow2",
    "driver=qcow2 ,file.filename=in.qcow2",
    "driver=raw,driver=qcow2,file.filename=in.raw,file.filename=in.qcow2",
    "in.qcow2",
    "driver",
    "help",
    // Whom they are about.
    "driver=qcow2",
    "filename=in.raw",
    "driver=raw,filename=in.raw",
    "driver=qcow2,file=in.qcow2",
    "driver=qcow2,file.file.filename=in.qcow2",
    "driver=file,file.filename=in.raw",
    "driver=qcow2,filename=in.raw,file.filename=in.qcow2",
    "driver=qcow2,file.driver=qcow2,file.file.filename=in.qcow2",
    "driver=qcow2,file.filename=in.vmdk",
    // Drivers.
    "driver=nosuch,file.filename=in.raw",
    "driver=,file.filename=in.raw",
    "driver=QCOW2,file.filename=in.qcow2",
    "driver=host_device,filename=in.raw",
    "driver=luks,file.filename=in.raw",
    // Options that change nothing.
    "driver=qcow2,file.filename=in.qcow2,read-only=on",
    "driver=qcow2,file.filename=in.qcow2,auto-read-only=off,file.read-only=yes",
    "driver=qcow2,file.filename=in.qcow2,auto-read-only=maybe",
    "driver=qcow2,file.filename=in.qcow2,cache.direct=off,cache.no-flush=on",
    "driver=qcow2,file.filename=in.qcow2,cache.writeback=on",
    "driver=qcow2,file.filename=in.qcow2,discard=unmap,detect-zeroes=unmap",
    "driver=qcow2,file.filename=in.qcow2,discard=sometimes",
    "driver=qcow2,file.filename=in.qcow2,file.locking=auto,file.aio=threads",
    "driver=qcow2,file.filename=in.qcow2,file.locking=on",
    "driver=qcow2,file.filename=in.qcow2,locking=on",
    "driver=qcow2,file.filename=in.qcow2,file.aio=native",
    "driver=qcow2,file.filename=in.qcow2,force-share=on",
    "driver=qcow2,file.filename=in.qcow2,force-share=off",
    "driver=qcow2,file.filename=in.qcow2,force-share=y",
    "driver=qcow2,file.filename=in.qcow2,force-share=ON",
    "driver=qcow2,file.filename=in.qcow2,force-share=",
    // Options that there are not.
    "driver=raw,file.filename=in.raw,bogus=1",
    "driver=raw,file.filename=in.raw,file.bogus=1",
    "driver=qcow2,file.filename=in.qcow2,file.filename.x=1",
    "driver=qcow2,file.filename=in.qcow2,format=qcow2",
    "driver=qcow2,file.filename=in.qcow2,Driver=qcow2",
    "driver=qcow2,file.filename=in.qcow2,id=x",
    "=x,driver=qcow2,file.filename=in.qcow2",
    "driver=qcow2,file.filename=in.qcow2,data-file.filename=in.raw",
];

/// What stands behind `if=json:`.
const JSON: &[&str] = &[
    r#"{"driver":"qcow2","file":{"driver":"file","filename":"in.qcow2"}}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2"}"#,
    r#"{"driver":"qcow2","file":{"filename":"over.qcow2"}}"#,
    r#"{"file":{"filename":"in.qcow2"}}"#,
    r#"{"driver":"file","filename":"in.qcow2"}"#,
    r#"{"driver":"qcow2","file":{"driver":"raw","file.filename":"in.qcow2"}}"#,
    r#"{"driver":"qcow2","file":{"filename":"in.qcow2"},"file.driver":"file"}"#,
    r#" { "driver" : "qcow2" , "file.filename" : "\u0069n.qcow2" } "#,
    r#"{"driver":"qcow2","file.filename":"nbd:z.qcow2"}"#,
    r#"{"driver":"qcow2","file.filename":"a,b.qcow2"}"#,
    r#"{"driver":"qcow2","file.filename":"a,,b.qcow2"}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2","read-only":true,"force-share":true}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2","read-only":"on","cache":{"direct":false}}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2","force-share":1}"#,
    r#"{"driver":"raw","file.filename":"in.raw","bogus":1}"#,
    r#"{"driver":"qcow2","file.filename":5}"#,
    r#"{"driver":"qcow2","file.filename":null}"#,
    r#"{"driver":"qcow2","file":["in.qcow2"]}"#,
    r#"{"driver":"qcow2","file":"in.qcow2"}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2","backing":{}}"#,
    r#"{"driver":"qcow2","file.filename":"file:in.qcow2"}"#,
    r#"{"driver":"qcow2","file":{"filename":"json:{\"driver\":\"file\",\"filename\":\"in.qcow2\"}"}}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2\u0000"}"#,
    r#"{"filename":"in.raw"}"#,
    r#"{"driver":"raw","driver":"qcow2","file.filename":"in.qcow2"}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2",}"#,
    r#"{"driver":"qcow2","file.filename":"in.qcow2"} x"#,
    "{}",
    "[1]",
    "",
    "{bad",
];

const PLAIN: &str = "if=driver=qcow2,file.filename=in.qcow2";
const UNSHARED: &str = "if=driver=qcow2,file.filename=in.qcow2,force-share=off";
const PLAIN_JSON: &str = r#"if=json:{"driver":"qcow2","file.filename":"in.qcow2"}"#;
const FILE_JSON: &str = r#"if=json:{"driver":"file","filename":"in.qcow2"}"#;

/// Whole command lines.
const LINES: &[&[&str]] = &[
    &["--image-opts", "-f", "qcow2", PLAIN, OUT],
    &[PLAIN, OUT, "-f", "qcow2", "--image-opts"],
    &["--image-opts", "-U", PLAIN, OUT],
    &["--image-opts", "-U", UNSHARED, OUT],
    &["--image-opts", PLAIN_JSON, OUT],
    &["--image-opts", PLAIN, "of=driver=raw,file.filename=out.img"],
    &["--image-opts", PLAIN, r#"of=json:{"driver":"raw","file.filename":"out.img"}"#],
    &["if=in.raw", r#"of=json:{"driver":"raw","file.filename":"out.img"}"#],
    &["--image-opts", "bs=1000", "skip=3", "count=70", PLAIN, OUT],
    &["--image-opts", "-O", "raw", "skip=9999", PLAIN, OUT],
    &["-f", "qcow2", PLAIN_JSON, OUT],
    &["-f", "raw", PLAIN_JSON, OUT],
    &["-f", "vmdk", PLAIN_JSON, OUT],
    &["-f", "nosuch", PLAIN_JSON, OUT],
    &["-f", "file", PLAIN_JSON, OUT],
    &["-f", "raw", FILE_JSON, OUT],
    &["-f", "file", FILE_JSON, OUT],
    &["-U", r#"if=json:{"driver":"qcow2","file.filename":"in.qcow2","force-share":false}"#, OUT],
    &[r#"if=JSON:{"driver":"qcow2","file.filename":"in.qcow2"}"#, OUT],
    &["if=in.raw", OUT, "--object", "nosuch,id=x"],
    &["if=in.raw", OUT, "--object", "secret,data=abc"],
    &["if=in.raw", OUT, "--object"],
];

const OUT: &str = "of=out.img";

/// A command line that one of the two refuses.
struct Difference {
    reason: &'static str,
    args: &'static [&'static str],
    /// Whether that is `instar`.
    is_refused: bool,
}

const fn refused(reason: &'static str, args: &'static [&'static str]) -> Difference {
    Difference { reason, args, is_refused: true }
}

const fn taken(reason: &'static str, args: &'static [&'static str]) -> Difference {
    Difference { reason, args, is_refused: false }
}

const OTHER_BYTES: &str = "it would change what is read";
const ANOTHER_FILE: &str = "files that images name have to follow the rules for these";
const PAST_THE_CACHE: &str = "reads go through the page cache";
const UNLOCKED: &str = "images are locked: force-share=on is the way not to mind others";
const ONLY_READ: &str = "inputs are only read";
const TUNING: &str = "it tunes or names what instar does not have";
const NESTED: &str = "an image inside an image";
const NO_DRIVER: &str = "a driver that instar does not have";
const SHORT_FORM: &str = "a key without value is deprecated";
const NOT_JSON: &str = "JSON has double quotes";
const AMBIGUOUS: &str = "an option is there twice, or has the wrong type";
const SENSELESS: &str = "of a repeated option the last counts, but each must make sense";
const SECRETS: &str = "there is nothing to define for drivers that instar does not have";

const DELIBERATE: &[Difference] = &[
    refused(OTHER_BYTES, &["--image-opts", "if=driver=raw,file.filename=in.raw,offset=512", OUT]),
    refused(OTHER_BYTES, &["--image-opts", "if=driver=raw,file.filename=in.raw,size=1024", OUT]),
    refused(OTHER_BYTES, &[r#"if=json:{"driver":"raw","file.filename":"in.raw","offset":512}"#, OUT]),
    refused(
        ANOTHER_FILE,
        &[r#"if=json:{"driver":"qcow2","file.filename":"over.qcow2","backing":null}"#, OUT],
    ),
    refused(
        ANOTHER_FILE,
        &["--image-opts", "if=driver=qcow2,file.filename=over.qcow2,backing.file.filename=in.raw", OUT],
    ),
    refused(PAST_THE_CACHE, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,cache.direct=on", OUT]),
    refused(UNLOCKED, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,file.locking=off", OUT]),
    refused(UNLOCKED, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,file.force-share=on", OUT]),
    refused(ONLY_READ, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,read-only=off", OUT]),
    refused(TUNING, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,node-name=x", OUT]),
    refused(TUNING, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,cache-size=1M", OUT]),
    refused(NESTED, &["--image-opts", "if=file.driver=qcow2,file.file.filename=in.qcow2", OUT]),
    refused(NO_DRIVER, &["--image-opts", "if=driver=null-co,size=1M", OUT]),
    refused(NO_DRIVER, &["--image-opts", "if=driver=blkdebug,image.filename=in.raw", OUT]),
    refused(SHORT_FORM, &["--image-opts", "if=driver=qcow2,file.filename=in.qcow2,read-only", OUT]),
    refused(NOT_JSON, &["if=json:{'driver':'qcow2','file.filename':'in.qcow2'}", OUT]),
    refused(AMBIGUOUS, &[r#"if=json:{"file":{"filename":"in.raw"},"file.filename":"in.raw"}"#, OUT]),
    refused(AMBIGUOUS, &[r#"if=json:{"driver":5,"file.filename":"in.raw"}"#, OUT]),
    refused(SENSELESS, &["-f", "raw", r#"if=json:{"driver":"nosuch","file.filename":"in.raw"}"#, OUT]),
    refused(SENSELESS, &["--image-opts", "if=driver=nosuch,driver=raw,file.filename=in.raw", OUT]),
    refused(SECRETS, &["--object", "secret,id=s,data=abc", "if=in.raw", OUT]),
    refused(SECRETS, &["--object=throttle-group,id=t", "if=in.raw", OUT]),
    refused(SECRETS, &["--object", r#"{"qom-type":"secret","id":"s","data":"abc"}"#, "if=in.raw", OUT]),
    taken("vhd is another name for vpc", &["--image-opts", "if=driver=vhd,file.filename=in.vpc", OUT]),
    taken(
        "it means the same as force-share=on",
        &["--image-opts", "-U", "if=driver=qcow2,file.filename=in.qcow2,force-share=yes", OUT],
    ),
    taken("it is read as empty, as by name", &["--image-opts", "if=driver=file,filename=/dev/null", OUT]),
];

#[test]
fn the_same_descriptions_are_taken_and_refused() {
    let Some(qemu) = Qemu::require() else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let images = Images::make().expect("images");
    let lists = LISTS.iter().map(|list| vec!["--image-opts".to_owned(), format!("if={list}"), OUT.into()]);
    let json = JSON.iter().map(|json| vec![format!("if=json:{json}"), OUT.into()]);
    let lines = LINES.iter().map(|line| line.iter().map(ToString::to_string).collect());
    let cases: Vec<_> = lists.chain(json).chain(lines).map(Line).collect();
    assert_all(&cases, |Line(args)| {
        let theirs = scene::outcome(qemu.img(), args, |dir| images.lay_out(dir));
        scene::outcome(&instar, args, |dir| images.lay_out(dir)).differences_from(&theirs)
    });
}

#[test]
fn deliberate_differences() {
    let Some(qemu) = Qemu::require() else { return };
    let instar = Tool::named(env!("CARGO_BIN_EXE_instar"));
    let images = Images::make().expect("images");
    assert_all(DELIBERATE, |difference| {
        let [theirs, ours] = [qemu.img(), &instar]
            .map(|tool| scene::outcome(tool, difference.args, |dir| images.lay_out(dir)));
        let (refused, taken) = if difference.is_refused { (ours, theirs) } else { (theirs, ours) };
        let mut found = refused.differences_from(&Outcome::refusal());
        if taken.exit != Exit::Code(0) || !taken.changed.contains_key("out.img") {
            found.push(format!("neither does it: {taken:?}"));
        }
        found
    });
}

/// Where images are made, once each, and taken from.
struct Images(TempDir);

impl Images {
    fn make() -> io::Result<Self> {
        let scratch = scene::temporary_dir()?;
        let raw = |name: &str| scratch.path().join(name);
        Disk::hole(200_704).with(0, "a", 70_000).with(150_000, "b", 9000).write(&raw("disk"))?;
        Disk::solid("base", 100_352).write(&raw("base"))?;
        let images = scene::temporary_dir()?;
        Qemu::script(images.path(), IMAGES, &[&raw("disk"), &raw("base")])?;
        Ok(Self(images))
    }

    /// Puts copies of the images into `dir`. With some options, qemu-img wants them for itself.
    fn lay_out(&self, dir: &Path) -> io::Result<()> {
        for file in fs::read_dir(self.0.path())? {
            let file = file?;
            fs::copy(file.path(), dir.join(file.file_name()))?;
        }
        Ok(())
    }
}

struct Line(Vec<String>);

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "dd {}", self.0.join(" "))
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.is_refused { "refused" } else { "taken" };
        write!(f, "dd {:?}, {what}: {}", self.args, self.reason)
    }
}
