//! Cases: leadership, epochs, the count of commits, all or nothing.

use bowline_core::effect::Batch;
use bowline_core::id::{CommitNo, Generation};
use bowline_core::state::StateKind;
use bowline_core::time::Timestamp;

use super::rows::{plain_task, task_line};
use super::{Factory, Stand, ok};
use crate::write::{CommitError, RetentionPolicy};

/// Each take-over raises the epoch; the time is the later of the caller's and the store's.
pub fn leadership_raises_the_epoch_and_keeps_the_time(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.now = Timestamp(5_000);
    stand.commit(vec![plain_task(1, StateKind::Ready, 1)]);
    let again = ok(stand.stores.writer.take_leadership(Timestamp(2_000)));
    assert!(again.epoch > stand.epoch);
    assert_eq!(again.now, Timestamp(5_000), "the store's time went back");
    assert_eq!(again.commit_no, CommitNo(1), "a take-over is no commit");
    (stand.epoch, stand.now) = (again.epoch, Timestamp(3_000));
    stand.record(vec![task_line(1, "ready", 1)]);
    let third = ok(stand.stores.writer.take_leadership(Timestamp(9_000)));
    assert_eq!((third.now, third.commit_no), (Timestamp(9_000), CommitNo(2)));
}

/// Who was deposed commits nothing, and learns it.
pub fn a_deposed_writer_commits_nothing(factory: Factory) {
    let mut stand = Stand::new(factory);
    let old = stand.epoch;
    ok(stand.stores.writer.take_leadership(Timestamp(1)));
    let before = stand.loaded();
    let refused = stand.try_commit(vec![plain_task(1, StateKind::Ready, 1)], vec![task_line(1, "ready", 1)]);
    assert!(matches!(refused, Err(CommitError::Deposed { epoch }) if epoch == old), "{refused:?}");
    assert_eq!(stand.loaded(), before);
    assert_eq!(ok(stand.reader().commit_no()), CommitNo(0));
}

/// Who was deposed sweeps nothing, and learns it.
pub fn a_deposed_writer_sweeps_nothing(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Failed, 1)]);
    ok(stand.stores.writer.take_leadership(Timestamp(1)));
    let (epoch, now) = (stand.epoch, Timestamp(u64::MAX / 4));
    let refused = stand.stores.writer.sweep(epoch, now, &RetentionPolicy::default());
    assert!(matches!(refused, Err(CommitError::Deposed { .. })), "{refused:?}");
    assert!(ok(stand.reader().task(bowline_core::id::TaskId(1))).is_some());
}

/// Commits have the numbers 1, 2, 3 …; an empty one too.
pub fn commits_are_counted_one_by_one(factory: Factory) {
    let mut stand = Stand::new(factory);
    assert_eq!(ok(stand.reader().commit_no()), CommitNo(0));
    for number in 1..=3 {
        let batch = Batch::default();
        let made = ok(stand.stores.writer.commit(stand.epoch, stand.now, &batch));
        assert_eq!(made, CommitNo(number));
        assert_eq!(ok(stand.reader().commit_no()), CommitNo(number));
    }
}

/// What a worker has seen beyond the store is kept, the newest of it, through every take-over.
pub fn a_rollback_is_remembered_until_it_is_accepted(factory: Factory) {
    let mut stand = Stand::new(factory);
    let newer = (Generation(0), CommitNo(u64::MAX / 2));
    ok(stand.stores.writer.note_rollback(stand.epoch, newer));
    ok(stand.stores.writer.note_rollback(stand.epoch, (Generation(0), CommitNo(7))));
    let taken = ok(stand.stores.writer.take_leadership(Timestamp(1)));
    assert_eq!(taken.rolled_back, Some(newer));
    let refused = stand.stores.writer.note_rollback(stand.epoch, newer);
    assert!(matches!(refused, Err(CommitError::Deposed { .. })), "{refused:?}");
    assert_eq!(ok(stand.stores.writer.accept_rollback(None)), Generation(1));
    let refused = stand.stores.writer.commit(taken.epoch, stand.now, &Batch::default());
    assert!(matches!(refused, Err(CommitError::Deposed { .. })), "whoever led is deposed: {refused:?}");
    let taken = ok(stand.stores.writer.take_leadership(Timestamp(1)));
    assert_eq!((taken.rolled_back, taken.generation), (None, Generation(1)));
}

/// A new generation is greater than the store's, than what was seen, and than what is named.
pub fn a_generation_is_raised_above_every_other(factory: Factory) {
    let mut stand = Stand::new(factory);
    assert_eq!(ok(stand.stores.writer.accept_rollback(Some(Generation(4)))), Generation(5));
    assert_eq!(ok(stand.stores.writer.accept_rollback(Some(Generation(2)))), Generation(6));
    let taken = ok(stand.stores.writer.take_leadership(Timestamp(1)));
    ok(stand.stores.writer.note_rollback(taken.epoch, (Generation(9), CommitNo(1))));
    assert_eq!(ok(stand.stores.writer.accept_rollback(None)), Generation(10));
}

/// A batch whose last row is wrong leaves nothing of its first ones.
pub fn a_commit_is_all_or_nothing(factory: Factory) {
    let mut stand = Stand::new(factory);
    stand.commit(vec![plain_task(1, StateKind::Ready, 1)]);
    stand.refuse(&[plain_task(2, StateKind::Ready, 1), plain_task(1, StateKind::Ready, 1)]);
    assert_eq!(ok(stand.reader().task(bowline_core::id::TaskId(2))), None);
    assert_eq!(stand.commit(vec![plain_task(2, StateKind::Ready, 1)]), CommitNo(2));
}
