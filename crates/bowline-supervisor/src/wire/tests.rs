//! Every kind comes back from the wire as it went in, and no broken frame is taken for a whole one.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn exited() -> Exited {
    Exited {
        key: "4711.7#2".into(),
        exit: Exit::Signal(9),
        stopped: Some(StopReason::RunLimit),
        started_at: Duration::from_micros(17),
        ended_at: Duration::from_secs(99),
        leftovers: 3,
        recorded: true,
    }
}

fn requests() -> Vec<Request> {
    let odd = OsString::from_vec(vec![0xff, b'\n', b' ', b'"']);
    let mut start = Start::new("a", vec![odd.clone(), OsString::new()], PathBuf::from(&odd), "/out".into());
    start.env = vec![("A".into(), odd)];
    start.stdin = Some("/in".into());
    start.stderr = Some("/err".into());
    start.run_limit = Some(Duration::from_millis(5));
    start.lease = "main".into();
    start.stop_after = Some(Duration::from_mins(2));
    vec![
        Request::Start(Box::new(start)),
        Request::Kill { key: "k".into(), grace: Duration::ZERO },
        Request::List,
        Request::Forget { key: "k".into() },
        Request::Shutdown(ShutdownMode::WhenIdle),
        Request::Shutdown(ShutdownMode::StopJobs),
        Request::Renew { lease: "a".into(), sent_at: Duration::from_micros(5) },
        Request::Ping,
    ]
}

fn events() -> Vec<Event> {
    let mut events = vec![
        Event::Pong,
        Event::Starting { key: "k".into() },
        Event::Started { key: "k".into(), pid: 7, started_at: Duration::from_secs(1) },
        Event::Exited(exited()),
        Event::Exited(Exited { exit: Exit::Code(-1), stopped: None, recorded: false, ..exited() }),
        Event::Exited(Exited { stopped: Some(StopReason::LeaseExpired), ..exited() }),
        Event::Listed { live: 1, ended: 2, damaged: vec!["x".into()] },
        Event::Stuck { key: "k".into(), pids: vec![1, 2] },
    ];
    for number in 0..9 {
        let step = Step::from_number(number).unwrap();
        assert_eq!(step.number(), number);
        events.push(Event::StartFailed(StartFailed { key: "k".into(), step, errno: 2 }));
    }
    for why in [LostWhy::SupervisorDied, LostWhy::Rebooted] {
        events.push(Event::Lost { key: "k".into(), why });
    }
    for why in [Refusal::KeyInUse, Refusal::UnknownKey, Refusal::StillAlive, Refusal::Leaving, Refusal::NotUnderstood] {
        events.push(Event::Refused { key: None, why });
    }
    events
}

#[test]
fn requests_and_events_survive_the_wire() {
    for request in requests() {
        assert_eq!(Request::decode(&request.encode()), Ok(request));
    }
    for event in events() {
        assert_eq!(Event::decode(&event.encode()), Ok(event));
    }
    let hello = Hello { version: version(), pid: 1, boot_id: "b".into() };
    assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
}

#[test]
fn what_a_later_version_appends_is_passed_over() {
    for request in requests() {
        assert_eq!(Request::decode(&[&request.encode()[..], b"more"].concat()), Ok(request));
    }
    for event in events() {
        assert_eq!(Event::decode(&[&event.encode()[..], b"more"].concat()), Ok(event));
    }
    assert_eq!(Request::decode(&[200, 1, 2]), Err(DecodeError::UnknownMessage(200)));
    assert_eq!(Event::decode(&[200, 1, 2]), Err(DecodeError::UnknownMessage(200)));
}

#[test]
fn a_job_from_before_leases_is_understood() {
    let start = Start::new("a", vec!["true".into()], "/".into(), "/out".into());
    let whole = Request::Start(Box::new(start.clone())).encode();
    // The lease's name (empty) and the absent length.
    let earlier = &whole[..whole.len() - 5];
    assert_eq!(Request::decode(earlier), Ok(Request::Start(Box::new(start))));
}

#[test]
fn every_shortened_body_is_refused() {
    // A job's lease may be missing: see above.
    let own = |request: &Request| !matches!(request, Request::Start(_));
    for body in requests().iter().filter(|request| own(request)).map(Request::encode) {
        for end in 0..body.len() {
            assert!(Request::decode(&body[..end]).is_err(), "{end} bytes of {body:?}");
        }
    }
    for body in events().iter().map(Event::encode) {
        for end in 0..body.len() {
            assert!(Event::decode(&body[..end]).is_err(), "{end} bytes of {body:?}");
        }
    }
}

#[test]
fn a_nul_in_an_argument_is_refused() {
    let start = Start::new("a", vec![OsString::from_vec(vec![b'a', 0])], "/".into(), "/out".into());
    assert_eq!(Request::decode(&Request::Start(Box::new(start)).encode()), Err(DecodeError::Nul));
}

#[test]
fn frames_are_bounded_and_told_apart() {
    let mut stream = Vec::new();
    write_frame(&mut stream, b"one").unwrap();
    write_frame(&mut stream, b"").unwrap();
    let mut from = &stream[..];
    assert_eq!(read_frame(&mut from).unwrap().unwrap(), b"one");
    assert_eq!(read_frame(&mut from).unwrap().unwrap(), b"");
    assert!(read_frame(&mut from).unwrap().is_none());
    assert!(read_frame(&mut &stream[..5]).is_err(), "a frame cut in its middle");
    assert!(read_frame(&mut &u32::MAX.to_le_bytes()[..]).is_err(), "a frame beyond the limit");
    assert!(write_frame(&mut Vec::new(), &vec![0; FRAME_BYTES_MAX + 1]).is_err());
}

#[test]
fn keys_are_safe_file_names() {
    for good in ["1", "4711.7#2", "a-b_c"] {
        assert!(is_valid_key(good), "{good}");
    }
    for bad in ["", ".", "..", ".x", "a/b", "a b", "a\n", "ä", &"x".repeat(129)] {
        assert!(!is_valid_key(bad), "{bad}");
    }
}
