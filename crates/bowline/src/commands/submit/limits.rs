//! How many tasks under one key are at work, and how often they begin, on the command line.

use bowline_api::{Concurrency, NewTask, Rate};
use bowline_core::name::LimitKey;
use bowline_core::time::Span;

/// Limits that tasks have in common.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Limits that it has in common with others of its namespace")]
pub(crate) struct Limits {
    /// At most N under this key at work [default: 1]; `newest`: it cancels the others; `drop`: it is skipped while
    /// there is another
    #[arg(long, value_name = "KEY[=N|newest|drop]", value_parser = concurrency)]
    concurrency: Option<Concurrency>,
    /// At most so many starts under this key within any such time, as in `mails=10/1m`
    #[arg(long, value_name = "KEY=N/DURATION", value_parser = rate)]
    rate: Option<Rate>,
}

impl Limits {
    /// Writes them into the task.
    pub(super) fn add_to(&self, task: &mut NewTask) {
        task.concurrency.clone_from(&self.concurrency);
        task.rate.clone_from(&self.rate);
    }
}

fn key(key: &str) -> Result<String, String> {
    LimitKey::new(key).map(|key| key.to_string()).map_err(|error| error.to_string())
}

fn concurrency(text: &str) -> Result<Concurrency, String> {
    let (name, rule) = text.split_once('=').unwrap_or((text, "1"));
    let none = Concurrency { key: key(name)?, ..Concurrency::default() };
    match rule {
        "newest" => Ok(Concurrency { newest_wins: Some(true), ..none }),
        "drop" => Ok(Concurrency { drop: Some(true), ..none }),
        most => match most.parse() {
            Ok(most) if most > 0 => Ok(Concurrency { at_most: Some(most), ..none }),
            Ok(_) | Err(_) => Err("write KEY, KEY=3, KEY=newest or KEY=drop".to_owned()),
        },
    }
}

fn rate(text: &str) -> Result<Rate, String> {
    let wrong = || "write KEY=N/DURATION, as in mails=10/1m".to_owned();
    let (name, often) = text.split_once('=').ok_or_else(wrong)?;
    let (count, per) = often.split_once('/').ok_or_else(wrong)?;
    let per: Span = per.parse().map_err(|error: bowline_core::time::BadDuration| error.to_string())?;
    Ok(Rate { key: key(name)?, count: count.parse().map_err(|_| wrong())?, per })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_stands_alone_or_with_its_rule() {
        let read = |text: &str| concurrency(text).map(|said| (said.key, said.at_most, said.newest_wins, said.drop));
        let key = |key: &str| key.to_owned();
        assert_eq!(read("deploy"), Ok((key("deploy"), Some(1), None, None)));
        assert_eq!(read("a:b=3"), Ok((key("a:b"), Some(3), None, None)));
        assert_eq!(read("ci/main=newest"), Ok((key("ci/main"), None, Some(true), None)));
        assert_eq!(read("k=drop"), Ok((key("k"), None, None, Some(true))));
        for wrong in ["", "k=", "k=0", "k=-1", "k=oldest", "a b"] {
            assert!(concurrency(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_rate_is_so_many_within_a_time() {
        assert_eq!(rate("mails=10/1m"), Ok(Rate { key: "mails".to_owned(), count: 10, per: Span::secs(60) }));
        for wrong in ["mails", "mails=10", "mails=/1m", "mails=x/1m", "mails=10/5", "=1/1s"] {
            assert!(rate(wrong).is_err(), "{wrong}");
        }
    }
}
