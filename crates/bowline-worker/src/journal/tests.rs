//! What was durable is there again; what was not is not.

use bowline_protocol::sample::attempt;

use super::*;

fn open(dir: &Path) -> (Journal, Recovered, channel::UnboundedReceiver<Said>) {
    Journal::open(&dir.join("journal.db")).unwrap()
}

fn put(journal: &mut Journal, ops: Vec<Op>, after: Vec<After>) {
    journal.put(Batch { ops, after });
}

#[test]
fn what_follows_comes_in_order_and_only_when_it_is_durable() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, _, mut said) = open(dir.path());
    for task in 1..=100 {
        let attempt = attempt(task, None);
        put(&mut journal, vec![Op::PutAttempt { attempt, assign: vec![1] }], vec![After::Begin(attempt)]);
    }
    let mut begun = Vec::new();
    while begun.len() < 100 {
        match said.blocking_recv() {
            Some(Said::Durable { batches, after }) => {
                journal.settled(batches);
                begun.extend(after);
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(begun, (1..=100).map(|task| After::Begin(attempt(task, None))).collect::<Vec<_>>());
    assert_eq!(journal.pending(), 0);
    journal.close();
    let (_, recovered, _) = open(dir.path());
    assert_eq!(recovered.attempts.len(), 100);
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
    put(&mut journal, ops, vec![]);
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
    put(&mut journal, vec![message.clone(), message], vec![After::Deliver(1)]);
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
    put(&mut journal, vec![Op::PutMessage { seq: 3, attempt: first, message: vec![7], said_us: 9 }], vec![]);
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
