//! What outlives whom: worker, supervisor, job.

use std::fs;
use std::path::Path;
use std::time::Duration;

use bowline_supervisor::wire::{Event, LostWhy, Request, StopReason};
use bowline_supervisor::{SweepError, Way, sweep_leftovers};

use crate::support::{House, code, is_alive, is_used, pid_in, signal, tests, wait_until};

tests![
    a_new_worker_takes_up_where_the_old_one_died,
    limits_hold_without_a_worker,
    ends_are_told_until_forgotten,
    ends_without_a_worker_are_synced_in_groups,
    an_end_that_was_synced_outlives_its_record,
    a_killed_supervisor_leaves_nothing_after_a_sweep,
    a_new_supervisor_sweeps_by_itself,
    a_sweep_does_not_touch_a_living_supervisors_jobs,
    a_sweep_kills_nobody_else,
    a_torn_record_is_named_and_the_others_are_kept,
    records_of_another_boot_are_told_apart,
    leaves_when_nobody_needs_it,
    the_next_supervisor_removes_the_empty_cgroups_of_dead_ones,
];

fn a_new_worker_takes_up_where_the_old_one_died() {
    let mut house = House::new();
    let supervisor = house.client.pid();
    let running = house.run("running", "until [ -e gate ]; do sleep 0.02; done; echo done");
    house.run_to_end("over", "exit 3");
    house.client.close();
    house.reconnect();
    assert_eq!(house.client.pid(), supervisor);
    let (jobs, last) = house.list();
    assert!(matches!(last, Event::Listed { live: 1, ended: 1, .. }));
    assert!(matches!(&jobs[0], Event::Exited(exited) if exited.key == "over" && exited.exit == code(3)));
    assert!(matches!(&jobs[1], Event::Started { key, pid, .. } if key == "running" && *pid == running));
    fs::write(house.path("gate"), "").unwrap();
    assert_eq!(house.exited("running").exit, code(0));
    assert_eq!(house.output("running"), "done\n");
}

fn limits_hold_without_a_worker() {
    let mut house = House::new();
    let mut start = house.script("a", "sleep 60");
    start.run_limit = Some(Duration::from_millis(200));
    house.start(start);
    let pid = house.started("a");
    house.client.close();
    wait_until("the job is stopped", || !is_alive(pid));
    house.reconnect();
    house.client.send(&Request::List).unwrap();
    assert_eq!(house.exited("a").stopped, Some(StopReason::RunLimit));
}

fn ends_are_told_until_forgotten() {
    let mut house = House::new();
    let ended = house.run_to_end("a", "exit 9");
    for _ in 0..2 {
        house.kill_supervisor();
        house.reconnect();
        assert_eq!(house.list().0, [Event::Exited(ended.clone())]);
    }
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    assert_eq!(house.list().0, []);
}

fn ends_without_a_worker_are_synced_in_groups() {
    let mut house = House::new();
    let keys: Vec<String> = (0..20).map(|number| format!("job{number}")).collect();
    let pids: Vec<u32> = keys.iter().map(|key| house.run(key, "until [ -e gate ]; do sleep 0.02; done")).collect();
    house.client.close();
    // All end together, whatever else this machine does meanwhile: the supervisor finds them so.
    let supervisor = house.client.pid();
    signal(supervisor, rustix::process::Signal::STOP);
    fs::write(house.path("gate"), "").unwrap();
    wait_until("all have ended", || pids.iter().all(|pid| !is_alive(*pid)));
    signal(supervisor, rustix::process::Signal::CONT);
    // Each sync says in the log how many ends it was for.
    let mut syncs = Vec::new();
    wait_until("all ends are synced", || {
        syncs = synced(&house);
        syncs.iter().sum::<usize>() == keys.len()
    });
    assert!(syncs.len() < keys.len() / 2, "{} ends took {} syncs", keys.len(), syncs.len());
    let file = fs::read(house.folder().join("ends")).unwrap();
    assert!(keys.iter().all(|key| file.windows(key.len()).any(|part| part == key.as_bytes())));
}

/// How many ends each sync so far was for.
fn synced(house: &House) -> Vec<usize> {
    let log = fs::read_to_string(house.folder().join("log")).unwrap();
    let counts =
        log.lines().filter_map(|line| line.split_once("synced the ends of ")?.1.split(' ').next()?.parse().ok());
    counts.collect()
}

fn an_end_that_was_synced_outlives_its_record() {
    let mut house = House::new();
    let ended = house.run_to_end("a", "exit 9");
    house.run_to_end("b", "exit 0");
    house.client.close();
    wait_until("both ends are synced", || synced(&house).iter().sum::<usize>() == 2);
    house.kill_supervisor();
    // As a crash of the machine may leave it: what was never synced is gone.
    fs::remove_file(house.folder().join("jobs/a")).unwrap();
    house.reconnect();
    assert!(house.list().0.contains(&Event::Exited(ended)));
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    assert_eq!(house.list().0.len(), 1);
    house.kill_supervisor();
    house.reconnect();
    assert_eq!(house.list().0.len(), 1, "what is forgotten stays forgotten");
}

const FAMILY: &str = "(setsid sh -c 'echo $$ > daemon; sleep 60; sleep 60' &); sleep 60 & echo $! > child; \
                      until [ -s daemon ]; do sleep 0.02; done; echo $$ > first; sleep 60";

fn start_family(house: &mut House) -> [u32; 3] {
    house.run("a", FAMILY);
    ["first", "child", "daemon"].map(|name| pid_in(&house.path(name)))
}

fn a_killed_supervisor_leaves_nothing_after_a_sweep() {
    let mut house = House::new();
    let family = start_family(&mut house);
    house.kill_supervisor();
    wait_until("the first process dies with its supervisor", || !is_alive(family[0]));
    let swept = sweep_leftovers(house.state()).unwrap();
    assert!(family.iter().all(|pid| !is_alive(*pid)), "{swept:?}");
    if is_used(Way::Namespace) {
        // The kernel has killed it with its namespace.
        assert!(swept.killed.get("a").is_none_or(|killed| !killed.contains(&family[2])), "{swept:?}");
    } else {
        assert!(swept.killed["a"].contains(&family[2]), "{swept:?}");
    }
    assert!(swept.stuck.is_empty());
    assert!(sweep_leftovers(house.state()).unwrap().killed.is_empty(), "nothing is left for a second one");
    house.reconnect();
    assert_eq!(house.list().0, [Event::Lost { key: "a".into(), why: LostWhy::SupervisorDied }]);
}

fn a_new_supervisor_sweeps_by_itself() {
    let mut house = House::new();
    let family = start_family(&mut house);
    house.kill_supervisor();
    house.reconnect();
    assert!(family.iter().all(|pid| !is_alive(*pid)));
    assert_eq!(house.list().0, [Event::Lost { key: "a".into(), why: LostWhy::SupervisorDied }]);
    house.client.send(&Request::Forget { key: "a".into() }).unwrap();
    assert_eq!(house.run_to_end("a", "exit 0").exit, code(0), "the key is free again");
}

fn a_sweep_does_not_touch_a_living_supervisors_jobs() {
    let mut house = House::new();
    let pid = house.run("a", "sleep 60");
    assert!(matches!(sweep_leftovers(house.state()), Err(SweepError::Alive)));
    assert!(is_alive(pid));
}

fn a_sweep_kills_nobody_else() {
    let mut house = House::new();
    let mut other = House::new();
    let others = start_family(&mut other);
    let own = start_family(&mut house);
    house.kill_supervisor();
    sweep_leftovers(house.state()).unwrap();
    assert!(own.iter().all(|pid| !is_alive(*pid)));
    assert!(others.iter().all(|pid| is_alive(*pid)), "the same key under another supervisor");
}

fn a_torn_record_is_named_and_the_others_are_kept() {
    let mut house = House::new();
    let ended = house.run_to_end("whole", "exit 0");
    house.run_to_end("torn", "exit 0");
    house.kill_supervisor();
    let path = house.folder().join("jobs/torn");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, &bytes[..40]).unwrap();
    house.reconnect();
    let (jobs, last) = house.list();
    assert_eq!(jobs, [Event::Exited(ended)]);
    assert!(matches!(last, Event::Listed { damaged, .. } if damaged == ["torn"]));
    assert!(path.exists());
    // Nobody writes over what may still be looked at.
    house.start(house.script("torn", "echo no"));
    assert_eq!(house.start_failed("torn").step, bowline_supervisor::wire::Step::Record);
    assert_eq!(fs::read(&path).unwrap(), &bytes[..40]);
}

fn records_of_another_boot_are_told_apart() {
    let mut house = House::new();
    house.run("a", "exec sleep 60");
    house.kill_supervisor();
    let path = house.folder().join("jobs/a");
    let bytes = fs::read(&path).unwrap();
    fs::write(&path, with_other_boot(&bytes)).unwrap();
    house.reconnect();
    assert_eq!(house.list().0, [Event::Lost { key: "a".into(), why: LostWhy::Rebooted }]);
    // Nothing was started anew in truth: what is left must go.
    house.kill_supervisor();
    fs::write(&path, bytes).unwrap();
    sweep_leftovers(house.state()).unwrap();
}

/// The same record as if the machine had been started anew since: another boot id, and its checksum.
fn with_other_boot(record: &[u8]) -> Vec<u8> {
    let own = bowline_supervisor::boot_id(None).unwrap();
    let at = record.windows(own.len()).position(|part| part == own.as_bytes()).unwrap();
    let mut record = record.to_vec();
    record[at] = if record[at] == b'0' { b'1' } else { b'0' };
    let length = u32::from_le_bytes(record[..4].try_into().unwrap()) as usize;
    let sum = record[4..4 + length]
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3));
    record[4 + length..12 + length].copy_from_slice(&sum.to_le_bytes());
    record
}

fn leaves_when_nobody_needs_it() {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let status = std::process::Command::new("/proc/self/exe")
        .args(["supervisor", "--idle-ms", "100", "--state"])
        .arg(&state)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(!bowline_supervisor::socket_path(&state).exists());
}

fn the_next_supervisor_removes_the_empty_cgroups_of_dead_ones() {
    let mut dead = House::new();
    if !is_used(Way::Cgroup) {
        return;
    }
    let mut idle = House::new();
    let family = start_family(&mut dead);
    idle.run_to_end("a", "exit 0");
    let (of_dead, of_idle) = (cgroup_home(&dead), cgroup_home(&idle));
    assert!(of_dead != of_idle && of_dead.exists() && of_idle.exists());
    dead.kill_supervisor();
    wait_until("its first process is gone", || !is_alive(family[0]));
    // Nobody's, and not empty: a process of the job is left.
    let mut next = House::new();
    assert!(is_alive(family[2]) && of_dead.exists());
    for pid in dead.processes() {
        signal(pid, rustix::process::Signal::KILL);
    }
    wait_until("nothing is left of it", || dead.processes().is_empty());
    next.kill_supervisor();
    next.reconnect();
    wait_until("it is removed", || !of_dead.exists());
    assert!(of_idle.exists(), "an idle supervisor's stays");
    assert_eq!(idle.run_to_end("b", "exit 3").exit, code(3));
    assert_eq!(next.run_to_end("c", "exit 0").exit, code(0));
}

/// The folder of a supervisor's jobs' cgroups: the one that its log tells, with its name.
fn cgroup_home(house: &House) -> std::path::PathBuf {
    let record = fs::read_dir(house.folder().join("jobs")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(record).unwrap();
    let at = bytes.windows(5).position(|part| part == b"/sys/").unwrap();
    let path: Vec<u8> = bytes[at..].iter().copied().take_while(u8::is_ascii_graphic).collect();
    Path::new(&String::from_utf8(path).unwrap()).parent().unwrap().to_owned()
}
