//! How many of a step's like are at work at once, and how often they begin: `concurrency`, `rate`.

use bowline_core::fair::{AT_MOST_MAX, Concurrency, RATE_COUNT_MAX, RATE_PER_MAX, RATE_PER_MIN, Rate, Rule};
use bowline_core::time::Span;

use crate::fields::Reader;
use crate::yaml::{Data, Node};

impl Reader<'_> {
    /// `deploy`, which is one at a time, or `{key: deploy, at_most: 2}`, `newest_wins: true`, `drop: true`.
    pub(crate) fn concurrency(&mut self, node: Node) -> Option<Concurrency> {
        if !matches!(node.data, Data::Map(_)) {
            return Some(Concurrency { key: self.parsed(&node, "concurrency")?, rule: Rule::AtMost(1) });
        }
        let mut fields = self.fields(node, "`concurrency`", "{key: deploy, at_most: 2}")?;
        let range = fields.range.clone();
        let key = fields.take("key");
        let most = fields.take("at_most");
        let most = most.and_then(|node| self.whole(&node, "at_most", (1, i64::from(AT_MOST_MAX))));
        let newest = fields.take("newest_wins").and_then(|node| self.truth(&node, "newest_wins"));
        let drop = fields.take("drop").and_then(|node| self.truth(&node, "drop"));
        fields.finish("`concurrency`", self);
        let Some(key) = key else {
            self.wrong(&range, "the concurrency has no key", "write `{key: deploy, at_most: 2}`");
            return None;
        };
        let rule = match (most, newest == Some(true), drop == Some(true)) {
            (None, true, false) => Rule::NewestWins,
            (None, false, true) => Rule::Drop,
            (most, false, false) => Rule::AtMost(most.unwrap_or(1)),
            (_, true, _) | (_, _, true) => {
                self.wrong(
                    &range,
                    "the concurrency has more than one rule",
                    "keep one: `at_most`, `newest_wins`, `drop`",
                );
                return None;
            }
        };
        Some(Concurrency { key: self.parsed(&key, "key")?, rule })
    }

    /// `{key: mails, count: 10, per: 1m}`.
    pub(crate) fn rate(&mut self, node: Node) -> Option<Rate> {
        let mut fields = self.fields(node, "`rate`", "{key: mails, count: 10, per: 1m}")?;
        let range = fields.range.clone();
        let (key, count, per) = (fields.take("key"), fields.take("count"), fields.take("per"));
        fields.finish("`rate`", self);
        let (Some(key), Some(count), Some(per)) = (key, count, per) else {
            self.wrong(&range, "the rate lacks `key`, `count` or `per`", "write `{key: mails, count: 10, per: 1m}`");
            return None;
        };
        let length = self.duration(&per, "per")?;
        if length.0 < RATE_PER_MIN || length.0 > RATE_PER_MAX {
            let help = format!("choose {} to {}", Span(RATE_PER_MIN), Span(RATE_PER_MAX));
            self.wrong(&per.range, format!("starts cannot be counted within {length}"), help);
            return None;
        }
        let count = self.whole(&count, "count", (1, i64::from(RATE_COUNT_MAX)))?;
        Some(Rate { key: self.parsed(&key, "key")?, count, per: length })
    }
}
