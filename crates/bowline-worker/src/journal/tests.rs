//! What was durable is there again; what was not is not.

use bowline_protocol::sample::attempt;

use super::*;

fn open(dir: &Path) -> (Journal, Recovered, channel::UnboundedReceiver<Said>) {
    Journal::open(&dir.join("journal.db")).unwrap()
}

fn put(journal: &Journal, ops: Vec<Op>, after: Vec<After>) {
    journal.put(Batch { ops, after });
}

#[test]
fn what_follows_comes_in_order_and_only_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _, mut said) = open(dir.path());
    for task in 1..=100 {
        let attempt = attempt(task, None);
        put(&journal, vec![Op::PutAttempt { attempt, assign: vec![1] }], vec![After::Begin(attempt)]);
    }
    let (mut begun, mut settled) = (Vec::new(), 0);
    while begun.len() < 100 {
        match said.blocking_recv() {
            Some(Said::Durable { batches, after }) => {
                settled += batches;
                begun.extend(after);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(begun, (1..=100).map(|task| After::Begin(attempt(task, None))).collect::<Vec<_>>());
    assert_eq!(settled, 100);
    journal.close();
    let (_, recovered, _) = open(dir.path());
    assert_eq!(recovered.attempts.len(), 100);
}

#[test]
fn what_nobody_waits_for_is_written_with_what_comes_next() {
    let one = attempt(1, None);
    let unhurried = || Batch { ops: vec![Op::DropAttempt { attempt: one }], after: vec![After::Remove(one)] };
    let acked = Op::LogAcked { attempt: one, stream: LogStream::Output, up_to: 7, sealed: Sealed::Yes };
    let (batches, inbox) = mpsc::channel();
    // Somebody waits for the third.
    batches.send(Batch { ops: vec![Op::DropMessage { seq: 1 }, acked], after: vec![] }).unwrap();
    batches.send(Batch { ops: vec![], after: vec![After::Deliver(1)] }).unwrap();
    assert_eq!(gather(unhurried(), &inbox).len(), 3);
    // Nobody does: it waits for more, and not for long.
    let begun = clock::moment();
    assert_eq!(gather(unhurried(), &inbox).len(), 1);
    assert!(clock::moment().since(begun) >= UNHURRIED_WITHIN);
    // As many as that wait for no more; and nothing waits where no more can come.
    for _ in 1..UNHURRIED_MAX {
        batches.send(unhurried()).unwrap();
    }
    assert_eq!(gather(unhurried(), &inbox).len(), UNHURRIED_MAX);
    drop(batches);
    assert_eq!(gather(unhurried(), &inbox).len(), 1);
    let seen = Op::Seen { generation: 1, commit_no: 2, incarnation: 3 };
    let said = Op::PutMessage { seq: 1, attempt: one, message: vec![], said_us: 0 };
    for op in [seen, said, Op::PutAttempt { attempt: one, assign: vec![] }, Op::MarkEnded { attempt: one }] {
        assert!(!Batch { ops: vec![Op::DropMessage { seq: 1 }, op], after: vec![] }.is_unhurried());
    }
    for after in [After::Begin(one), After::Deliver(1), After::Forget(one)] {
        assert!(!Batch { ops: vec![], after: vec![After::Remove(one), after] }.is_unhurried());
    }
}

#[test]
fn everything_is_there_again_after_a_crash() {
    let dir = tempfile::tempdir().unwrap();
    let (first, second) = (attempt(1, None), attempt(2, Some(9)));
    let (mut journal, recovered, _said) = open(dir.path());
    assert!(recovered.attempts.is_empty() && recovered.seen.is_none());
    let ops = vec![
        Op::PutAttempt { attempt: first, assign: vec![1, 2] },
        Op::PutAttempt { attempt: second, assign: vec![3] },
        Op::MarkStarted { attempt: second },
        Op::PutMessage { seq: 1, attempt: second, message: vec![9], said_us: 4 },
        Op::PutMessage { seq: 2, attempt: second, message: vec![8], said_us: 5 },
        Op::DropMessage { seq: 1 },
        Op::LogAcked { attempt: second, stream: LogStream::Output, up_to: 77, sealed: Sealed::No },
        Op::LogAcked { attempt: second, stream: LogStream::Error, up_to: 5, sealed: Sealed::Yes },
        Op::Seen { generation: 1, commit_no: 42, incarnation: 3 },
        Op::DropAttempt { attempt: first },
    ];
    put(&journal, ops, vec![]);
    journal.close();
    let (_, recovered, _) = open(dir.path());
    assert_eq!(recovered.seen, Some((1, 42, 3)));
    assert_eq!(recovered.messages, [Kept { seq: 2, attempt: second, message: vec![8], said_us: 5 }]);
    let [left] = recovered.attempts.as_slice() else { panic!("{:?}", recovered.attempts) };
    assert_eq!((left.attempt, left.started, left.assign.as_slice()), (second, true, [3].as_slice()));
    assert_eq!((left.logs[0].acked, left.logs[0].sealed), (77, Sealed::No));
    assert_eq!((left.logs[1].acked, left.logs[1].sealed), (5, Sealed::Yes));
}

#[test]
fn a_message_stored_twice_under_one_number_is_refused_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _, mut said) = open(dir.path());
    let message = Op::PutMessage { seq: 1, attempt: attempt(1, None), message: vec![], said_us: 0 };
    put(&journal, vec![message.clone(), message], vec![After::Deliver(1)]);
    assert!(matches!(said.blocking_recv(), Some(Said::Refused(_))));
    // The thread tries for as long as somebody listens.
    drop(said);
    journal.close();
    let (_, recovered, _) = open(dir.path());
    assert!(recovered.messages.is_empty());
}

#[test]
fn a_journal_of_the_version_before_is_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let first = attempt(1, None);
    let (mut journal, ..) = open(dir.path());
    put(&journal, vec![Op::PutMessage { seq: 3, attempt: first, message: vec![7], said_us: 9 }], vec![]);
    journal.close();
    let file = rusqlite::Connection::open(dir.path().join("journal.db")).unwrap();
    file.execute_batch("ALTER TABLE message DROP COLUMN said_us; PRAGMA user_version = 1").unwrap();
    drop(file);
    let (_, recovered, _) = open(dir.path());
    assert_eq!(recovered.messages, [Kept { seq: 3, attempt: first, message: vec![7], said_us: 0 }]);
}

#[test]
fn a_newer_file_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    rusqlite::Connection::open(&path).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let refused = Journal::open(&path).unwrap_err();
    assert!(crate::pool::chain(&refused).contains("newer version"), "{refused:?}");
}

/// Random changes, of few attempts, so that they meet.
fn random_ops(random: &mut impl FnMut(u64) -> u64, seq: &mut u64) -> Vec<Op> {
    let ops = 1 + random(6);
    let one = |_| {
        let attempt = attempt(1 + random(4), [None, Some(0), Some(7)][usize::try_from(random(3)).unwrap()]);
        match random(8) {
            0 | 1 => Op::PutAttempt { attempt, assign: vec![u8::try_from(random(9)).unwrap()] },
            2 => Op::MarkStarted { attempt },
            3 => Op::MarkEnded { attempt },
            4 => Op::DropAttempt { attempt },
            5 => {
                // Now and then a number that is there already: the whole batch is refused.
                *seq += u64::from(random(10) > 0);
                Op::PutMessage { seq: *seq, attempt, message: vec![9, u8::try_from(random(9)).unwrap()], said_us: *seq }
            }
            6 => Op::DropMessage { seq: random(*seq + 2) },
            _ => {
                let stream = LogStream::ALL[usize::try_from(random(2)).unwrap()];
                let sealed = if random(2) == 0 { Sealed::No } else { Sealed::Yes };
                Op::LogAcked { attempt, stream, up_to: random(1_000), sealed }
            }
        }
    };
    (0..ops).map(one).collect()
}

#[test]
fn the_file_and_the_model_agree_on_random_batches() {
    for seed in 1..=20_u64 {
        let mut state = seed;
        let mut random = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let (mut model, mut seq) = (memory::Memory::default(), 0);
        let mut refused = 0;
        for round in 0..3 {
            let mut file = JournalFile::open(&path).unwrap();
            assert_eq!(file.recover().unwrap(), model.recovered(), "seed {seed}, round {round}");
            for commit_no in 0..20 {
                let mut ops = random_ops(&mut random, &mut seq);
                if random(3) == 0 {
                    ops.push(Op::Seen { generation: 1, commit_no, incarnation: 2 });
                }
                let committed = file.commit(ops.iter());
                assert_eq!(committed.is_ok(), model.commit(&ops).is_ok(), "seed {seed}: {ops:?}");
                refused += usize::from(committed.is_err());
            }
            assert_eq!(file.recover().unwrap(), model.recovered(), "seed {seed}, round {round}");
        }
        assert!(seed > 1 || refused > 0, "batches are refused as a whole, too");
    }
}

/// What a journal holds after each of these batches: `(messages, attempts)`.
fn batches() -> Vec<Vec<Op>> {
    let of = |task| attempt(task, None);
    (1..=6)
        .map(|task| {
            vec![
                Op::PutAttempt { attempt: of(task), assign: vec![0xaa; 40] },
                Op::PutMessage { seq: task, attempt: of(task), message: vec![0xbb; 40], said_us: 4 },
                Op::Seen { generation: 0, commit_no: task, incarnation: 1 },
            ]
        })
        .collect()
}

/// Opens what is there and says how many batches it holds, in order; `None`: it is refused, with a reason.
fn batches_in(dir: &Path) -> Option<usize> {
    let read = JournalFile::open(&dir.join("journal.db")).and_then(|mut file| file.recover());
    let recovered = match read {
        Ok(recovered) => recovered,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return None;
        }
    };
    let whole = recovered.messages.len();
    assert_eq!(recovered.attempts.len(), whole, "a batch is there as a whole or not at all");
    for (at, kept) in recovered.messages.iter().enumerate() {
        assert_eq!(kept.seq, at as u64 + 1, "what is there is a beginning of what was written");
    }
    assert_eq!(recovered.seen.map_or(0, |seen| seen.1), whole as u64);
    Some(whole)
}

/// Makes a journal of all batches in this folder, without closing it as it should be: file and log as a crash leaves them.
fn torn_off(from: &Path, to: &Path) {
    let mut file = JournalFile::open(&from.join("journal.db")).unwrap();
    for batch in batches() {
        file.commit(batch.iter()).unwrap();
    }
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

/// A log that is cut anywhere, or of which a bit has flipped anywhere, gives a beginning of what was written.
#[test]
fn a_damaged_log_of_the_journal_gives_whole_batches_in_order() {
    let (made, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    torn_off(made.path(), dir.path());
    let (db, log) = (dir.path().join("journal.db"), dir.path().join("journal.db-wal"));
    let (whole, bytes) = (std::fs::read(&db).unwrap(), std::fs::read(&log).unwrap());
    assert!(bytes.len() > 10_000, "what was written is in the log");
    let mut seen = std::collections::BTreeSet::new();
    let places = (0..bytes.len()).step_by(bytes.len() / 150);
    for (at, cut) in places.flat_map(|at| [(at, true), (at, false)]) {
        let mut damaged = bytes.clone();
        if cut {
            damaged.truncate(at);
        } else {
            damaged[at] ^= 1 << (at % 8);
        }
        std::fs::write(&db, &whole).unwrap();
        std::fs::write(&log, &damaged).unwrap();
        seen.insert(batches_in(dir.path()));
        std::fs::remove_file(&log).ok();
    }
    assert!(seen.contains(&Some(5)) && seen.len() > 3, "{seen:?}");
}

/// A file that is cut anywhere, or of which a byte is damaged anywhere, is refused with a reason, or gives what it gave before.
#[test]
fn a_damaged_file_of_the_journal_is_refused_or_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal.db");
    let mut file = JournalFile::open(&path).unwrap();
    for batch in batches() {
        file.commit(batch.iter()).unwrap();
    }
    drop(file);
    let bytes = std::fs::read(&path).unwrap();
    let first = 0..100;
    let others = (100..bytes.len()).step_by(bytes.len() / 400);
    let mut refused = 0;
    for (at, cut) in first.chain(others).flat_map(|at| [(at, true), (at, false)]) {
        let mut damaged = bytes.clone();
        if cut {
            damaged.truncate(at);
        } else {
            damaged[at] ^= 0xff;
        }
        std::fs::write(&path, &damaged).unwrap();
        let is_empty = damaged.is_empty();
        let found = JournalFile::open(&path).and_then(|mut file| file.recover());
        match found {
            Err(error) => {
                refused += 1;
                assert!(!crate::pool::chain(&error).is_empty());
            }
            // Bytes within a row are not summed by SQLite: what they mean is checked where they are read.
            Ok(recovered) if !is_empty => {
                let rows = (recovered.attempts.len(), recovered.messages.len());
                assert_eq!(rows, (6, 6), "rows are lost without a word at {at}, cut: {cut}");
            }
            Ok(_) => {}
        }
        std::fs::remove_file(path.with_extension("db-wal")).ok();
    }
    assert!(refused > 100, "{refused}");
}
