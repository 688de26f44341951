//! How messages got here that did not come at once.

use std::time::Duration;

use bowline_core::message::{Assured, FromWorker, JobEnd};

use super::bench::{Bench, noop};

#[test]
fn a_late_end_says_so_in_the_history_once_however_often_it_is_sent() {
    let mut bench = Bench::new();
    let session = bench.worker("lab-1", 1);
    bench.one(noop());
    let attempt = bench.assigned()[0].attempt;
    bench.say(session, FromWorker::Started(attempt));
    let waited = Duration::from_mins(50);
    for sends in [3, 4] {
        bench.say(session, FromWorker::Late { attempt, of: Assured::Started, waited, sends });
        bench.say(session, FromWorker::Late { attempt, of: Assured::Finished, waited, sends });
        bench.finish(session, attempt, JobEnd::Success);
    }
    let told: Vec<_> = bench.tables.history.iter().filter(|line| line.what == "delivered_late").collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!(told[0].reason, "its end arrived 50m after it was reported, sent 3 times");
}
