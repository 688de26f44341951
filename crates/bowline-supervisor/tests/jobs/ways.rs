//! Each way is used where the machine offers it, and costs little.

use std::fs;
use std::time::Duration;

use bowline_supervisor::Way;
use bowline_supervisor::wire::Request;

use crate::support::{House, is_used, tests, wait_until};

/// What the supervisor may have for itself with 100 jobs, in KiB.
const PRIVATE_KIB_MAX: u64 = 2048;
/// What the supervisor and 100 keepers may have for themselves, in KiB.
const KEPT_KIB_MAX: u64 = 16 * 1024;

tests![the_strongest_way_is_used, a_hundred_jobs_need_little_memory];

fn the_strongest_way_is_used() {
    let mut house = House::new();
    let pid = house.run("a", "exec sleep 60");
    let supervisor = house.client.pid().to_string();
    let read = |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap();
    let field =
        |name: &str| read("status").lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned())).unwrap();
    let is_in_cgroup = read("cgroup").lines().any(|line| line.starts_with("0::") && line.ends_with("/job-a"));
    let is_in_namespace = field("NSpid:").split_ascii_whitespace().count() > 1;
    let has_keeper = field("PPid:") != supervisor;
    assert_eq!(is_in_cgroup, is_used(Way::Cgroup));
    assert_eq!(is_in_namespace, is_used(Way::Namespace));
    assert_eq!(has_keeper, !is_used(Way::Cgroup));
    // Its own `/proc` shows the job what it is.
    house.run_to_end("b", "readlink /proc/self; sh -c 'readlink /proc/self'");
    let numbers: Vec<u32> = house.output("b").lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(numbers.iter().all(|number| *number < 30), is_used(Way::Namespace), "{numbers:?}");
}

fn kib(pid: &str, field: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap()
}

fn a_hundred_jobs_need_little_memory() {
    let mut house = House::new();
    for i in 0..100 {
        house.start(house.script(&format!("j{i}"), "exec sleep 60"));
    }
    for i in 0..100 {
        house.started(&format!("j{i}"));
    }
    let supervisor = house.client.pid().to_string();
    // What nobody else has and what cannot be dropped: pages of the program's file are shared with all
    // who run it.
    let own = kib(&supervisor, "Anonymous");
    assert!(own <= PRIVATE_KIB_MAX, "{own} KiB");
    let children = fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap();
    let is_keeper =
        |pid: &&str| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "bowline-keeper");
    let keepers: Vec<&str> = children.split_ascii_whitespace().filter(is_keeper).collect();
    assert_eq!(keepers.len(), if is_used(Way::Cgroup) { 0 } else { 100 });
    let kept: u64 = keepers.iter().map(|pid| kib(pid, "Pss_Anon")).sum();
    assert!(kept + own <= KEPT_KIB_MAX, "{own} KiB and {kept} KiB");
    for i in 0..100 {
        house.client.send(&Request::Kill { key: format!("j{i}"), grace: Duration::ZERO }).unwrap();
    }
    for i in 0..100 {
        house.exited(&format!("j{i}"));
    }
    wait_until("no keeper is left", || {
        fs::read_to_string(format!("/proc/{supervisor}/task/{supervisor}/children")).unwrap().is_empty()
    });
}
