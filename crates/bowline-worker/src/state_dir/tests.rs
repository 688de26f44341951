//! Who may use a state directory, and whose place is where.

use super::*;

fn name(name: &str) -> Owner {
    Owner::Worker(WorkerName::new(name).unwrap())
}

fn pool(name: &str) -> Owner {
    Owner::Pool(bowline_core::name::PoolName::new(name).unwrap(), None)
}

fn open(dir: &Path) -> Result<StateDir, WorkerError> {
    StateDir::open(dir, Duration::ZERO)
}

fn place(dir: &Path, identity: &str) -> Result<Place, WorkerError> {
    Ok(open(dir)?.places(&["http://a:1".to_owned()], &name(identity))?.remove(0))
}

#[test]
fn a_second_worker_is_told_who_holds_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path()).unwrap();
    let refused = open(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(&std::process::id().to_string()), "{refused}");
    drop(held);
    open(dir.path()).unwrap();
}

#[test]
fn the_next_worker_waits_for_the_one_that_leaves() {
    let dir = tempfile::tempdir().unwrap();
    let held = open(dir.path()).unwrap();
    std::thread::scope(|scope| {
        let next = scope.spawn(|| StateDir::open(dir.path(), Duration::from_secs(20)));
        drop(held);
        next.join().unwrap().unwrap();
    });
}

#[test]
fn a_directory_belongs_to_one_identity_and_keeps_its_id() {
    let dir = tempfile::tempdir().unwrap();
    let id = place(dir.path(), "a").unwrap().id().to_owned();
    assert_eq!(place(dir.path(), "a").unwrap().id(), id);
    let refused = place(dir.path(), "b").unwrap_err().to_string();
    assert!(refused.contains("`a`") && refused.contains("`b`"), "{refused}");
}

#[test]
fn a_directory_of_a_pool_is_its_alone_and_remembers_the_identity_that_it_was_given() {
    let dir = tempfile::tempdir().unwrap();
    let take = |owner: &Owner| Ok(open(dir.path())?.places(&["http://a:1".to_owned()], owner)?.remove(0));
    let refused = |owner: &Owner| -> String {
        let taken: Result<Place, WorkerError> = take(owner);
        taken.unwrap_err().to_string()
    };
    let first = take(&pool("lab")).unwrap();
    first.note_given(&WorkerName::new("lab-5").unwrap());
    assert_eq!(take(&pool("lab")).unwrap().id(), first.id());
    for other in [name("lab"), name("lab-5"), pool("lab-5")] {
        let refused = refused(&other);
        assert!(refused.contains("worker `lab-5` of pool `lab`, not") && refused.contains("`--pool lab`"), "{refused}");
    }
    let lab = WorkerName::new("lab").unwrap();
    let known = Owner::last_seen_in(&lab, Some(&bowline_core::name::PoolName::new("lab").unwrap()), dir.path());
    assert_eq!(known.to_string(), "worker `lab-5` of pool `lab`");
    let own = tempfile::tempdir().unwrap();
    place(own.path(), "lab").unwrap();
    let refused = open(own.path()).unwrap().places(&["http://a:1".to_owned()], &pool("lab")).unwrap_err().to_string();
    assert!(refused.contains("`--identity lab`"), "{refused}");
}

#[test]
fn a_key_is_private_and_stays_the_same_until_it_is_enrolled() {
    let dir = tempfile::tempdir().unwrap();
    let state = place(dir.path(), "a").unwrap();
    assert_eq!(state.key().unwrap(), None);
    let key = state.new_key().unwrap();
    assert_eq!(state.new_key().unwrap(), key);
    state.key_is_enrolled().unwrap();
    assert_eq!(state.key().unwrap(), Some(key));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir.path().join("key")), mode(dir.path())), (0o600, 0o700));
    fs::write(dir.path().join("key"), "xyz").unwrap();
    assert!(matches!(state.key(), Err(WorkerError::DamagedKey(_))));
}

#[test]
fn each_server_finds_its_own_place_again_in_whatever_order_they_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let paths = |servers: &[&str]| {
        let servers: Vec<_> = servers.iter().map(|&server| server.to_owned()).collect();
        let places = open(dir.path()).unwrap().places(&servers, &name("a")).unwrap();
        places.into_iter().map(|place| place.path).collect::<Vec<_>>()
    };
    let [a, b, moved] = ["http://a:1", "http://b:2", "http://moved:9"];
    let first = paths(&[a, b]);
    let root = dir.path().canonicalize().unwrap();
    assert_eq!(first, [root.clone(), root.join("servers/b_2")]);
    assert_eq!(paths(&[b, a]), [first[1].clone(), first[0].clone()]);
    assert_eq!(paths(&[b]), [first[1].clone()]);
    assert_eq!(paths(&[a]), [first[0].clone()]);
    // One server alone may move to another address: what is kept for it stays where it is.
    assert_eq!(paths(&[moved]), [first[0].clone()]);
    assert_eq!(paths(&[moved, b]), first);
}

/// Whose the directory is decides over what a server does with its attempts: a guess is not good enough.
#[test]
fn an_id_that_is_damaged_is_named_and_not_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let id = place(dir.path(), "a").unwrap().id().to_owned();
    let path = dir.path().join("id");
    for damaged in [String::new(), id[..20].to_owned(), format!("{id} "), format!("{}! a", &id[1..])] {
        fs::write(&path, &damaged).unwrap();
        let taken = place(dir.path(), "a");
        match taken {
            // What the first versions wrote.
            Ok(taken) => assert_eq!((damaged, taken.id()), (format!("{id} "), id.as_str())),
            Err(error) => assert!(matches!(error, WorkerError::DamagedId(_)), "`{damaged}`: {error}"),
        }
    }
    fs::write(&path, format!("{id} \u{7}")).unwrap();
    let refused = place(dir.path(), "a").unwrap_err().to_string();
    assert!(refused.contains("id is damaged") && refused.contains("remove the file"), "{refused}");
}
