//! The first inputs of targets that read what is no text, made from what Bowline itself writes.
//!
//! libFuzzer asks each program to set itself up before it reads its corpora: where `BOWLINE_FUZZ_SEEDS` names a folder, they are
//! written there.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bowline_protocol::Kind;
use bowline_protocol::sample::{Sample, all_of, attempt};
use bowline_protocol::wire::{ServerFrame, WorkerFrame};
use bowline_supervisor::records::{Begun, Entry, Spawned, opening, slot};
use bowline_supervisor::wire::{
    Ended, Event, Exit, Exited, Hello, Request, ShutdownMode, Start, StartFailed, Step, StopReason, write_frame,
};
use prost::Message as _;

/// Writes the seeds of a target, where they are asked for.
pub fn write(target: &str) {
    let Some(folder) = std::env::var_os("BOWLINE_FUZZ_SEEDS") else { return };
    let seeds = match target {
        "frames" => frames(),
        "record" => records(),
        "wire" => wires(),
        "log" => logs(),
        "backup" => backups(),
        "store" => crate::store::seeds(),
        _ => Vec::new(),
    };
    for (at, seed) in seeds.into_iter().enumerate() {
        fs::write(Path::new(&folder).join(format!("made-{at}")), seed).expect("a seed is written");
    }
}

fn frames() -> Vec<Vec<u8>> {
    let samples = Kind::ALL.into_iter().flat_map(|kind| all_of(kind, attempt(1, Some(2))));
    samples
        .map(|sample| match sample {
            Sample::ToServer(message) => WorkerFrame { messages: vec![message.to_wire()] }.encode_to_vec(),
            Sample::ToWorker(message) => {
                ServerFrame { messages: vec![message.to_wire()], generation: 1, commit_no: 2 }.encode_to_vec()
            }
        })
        .collect()
}

fn exited() -> Exited {
    Exited {
        key: "7#1".into(),
        exit: Exit::Signal(9),
        stopped: Some(StopReason::RunLimit),
        started_at: Duration::from_micros(17),
        ended_at: Duration::from_secs(99),
        leftovers: 3,
        recorded: true,
    }
}

fn records() -> Vec<Vec<u8>> {
    let begun = Begun {
        key: "7#1".into(),
        boot_id: "boot".into(),
        mark: "mark".into(),
        cgroup: Some("/c/g".into()),
        at: Duration::from_secs(3),
    };
    let failed = StartFailed { key: "7#1".into(), step: Step::Exec, errno: 2 };
    let begins = opening(&begun).0;
    let entries = [
        Entry::Begun(begun),
        Entry::Spawned(Spawned { pid: 5, start_ticks: 77 }),
        Entry::Ended(Ended::Exited(exited())),
        Entry::Ended(Ended::StartFailed(failed)),
        Entry::Clean,
    ];
    let mut seeds = vec![begins];
    let mut all = Vec::new();
    for entry in entries {
        all.extend(entry.framed());
        seeds.push(all.clone());
    }
    seeds.extend(slot(&Ended::Exited(exited())).map(|slot| [slot, slot].concat()));
    seeds
}

fn wires() -> Vec<Vec<u8>> {
    let mut start = Start::new("7#1", vec![OsString::from("true")], PathBuf::from("/w"), "/out".into());
    start.env = vec![("A".into(), "b".into())];
    start.run_limit = Some(Duration::from_millis(5));
    let key = String::from("7#1");
    let requests = [
        Request::Start(Box::new(start)),
        Request::Kill { key: key.clone(), grace: Duration::from_secs(1) },
        Request::List,
        Request::Forget { key: key.clone() },
        Request::Shutdown(ShutdownMode::StopJobs),
        Request::Renew { lease: "server".into(), sent_at: Duration::from_micros(5) },
        Request::Ping,
    ];
    let events = [
        Event::Pong,
        Event::Started { key: key.clone(), pid: 7, started_at: Duration::from_secs(1) },
        Event::Exited(exited()),
        Event::Listed { live: 1, ended: 2, damaged: vec!["x".into()] },
        Event::Stuck { key, pids: vec![1, 2] },
    ];
    let hello = Hello { version: 2, pid: 1, boot_id: "boot".into() };
    let mut seeds = vec![hello.encode()];
    seeds.extend(requests.iter().map(Request::encode));
    seeds.extend(events.iter().map(Event::encode));
    let mut stream = Vec::new();
    for body in seeds.clone() {
        write_frame(&mut stream, &body).expect("a short frame");
    }
    seeds.push(stream);
    seeds
}

/// Records beside a log: a kind and two numbers each.
fn logs() -> Vec<Vec<u8>> {
    let of = |first: u8, records: &[(u64, u64, u64)]| {
        let numbers = records.iter().flat_map(|(kind, a, b)| [*kind, *a, *b]);
        [vec![first], numbers.flat_map(u64::to_le_bytes).collect()].concat()
    };
    vec![
        of(100, &[(1, 0, 5), (2, 10, 20), (3, 30, 0), (4, 50, 60)]),
        of(228, &[(4, 100, 100), (2, 90, 400), (1, 600, 7)]),
        of(3, &[(2, 0, u64::MAX), (4, u64::MAX, 1), (9, 9, 9), (2, 5, 4)]),
    ]
}

/// Tar files that hold a manifest and nothing to it.
fn backups() -> Vec<Vec<u8>> {
    let manifest = r#"{"format":"bowline-backup","version":1,"release":"0.1.0","made_at":"2026-01-01T00:00:00Z","contents":"store","generation":0,"commit_no":1,"files":[{"name":"bowline.db","bytes":3,"blake3":"00"}]}"#;
    let file = |name: &str, content: &[u8]| {
        let mut header = [0_u8; 512];
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[100..107].copy_from_slice(b"0000600");
        header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
        header[148..156].copy_from_slice(b"        ");
        header[156] = b'0';
        header[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let mut file = [header.as_slice(), content].concat();
        file.resize(file.len().next_multiple_of(512), 0);
        file
    };
    let whole = [file("bowline.db", b"abc"), file("token", b"x"), file("manifest.json", manifest.as_bytes())].concat();
    vec![file("manifest.json", manifest.as_bytes()), whole, file("logs/0/7/_.0.1.out", b"text"), file("../etc", b"")]
}
