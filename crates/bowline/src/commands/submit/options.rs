//! What can be said of a task on the command line.

use std::ffi::OsString;

use bowline_api::new_task::Amount;
use bowline_api::{After, Array, NewTask, Retry, Timeouts};
use bowline_core::name::Key;
use bowline_core::size::parse_size;
use bowline_core::spec::{LOG_BYTES_MIN, OnWorkerLoss, Overlap, Requirement};
use bowline_core::time::Span;
use clap::Parser;

use super::asks::Asks;
use super::limits::Limits;
use super::place::Place;
use crate::args::{Cli, Command};
use crate::exit::Trouble;

/// What can be said of a task.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "The task")]
pub(crate) struct Options {
    /// Its name in lists
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// A label to find it by; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    label: Vec<(String, String)>,
    /// A variable of its environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Its working folder on the worker [default: an own, empty one]
    #[arg(long, value_name = "PATH")]
    dir: Option<String>,
    /// A capability that its worker must have; may be repeated
    #[arg(long, value_name = "KEY[=VALUE]")]
    requires: Vec<Requirement>,
    #[command(flatten)]
    place: Place,
    /// Slots that it takes while it runs [default: 1]
    #[arg(long, value_name = "N")]
    slots: Option<u32>,
    /// Processors that it takes
    #[arg(long, value_name = "N")]
    cpus: Option<u64>,
    /// Memory that it takes, such as 2GiB
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    memory: Option<u64>,
    /// Graphics processors that it takes
    #[arg(long, value_name = "N")]
    gpus: Option<u64>,
    /// Any other amount that it takes; may be repeated
    #[arg(long, value_name = "NAME=N", value_parser = amount)]
    amount: Vec<(Key, u64)>,
    #[command(flatten)]
    asks: Asks,
    #[command(flatten)]
    limits: Limits,
    /// Each level counts as a ticket taken so much earlier as the server's `--ageing` says: 10m [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// Begin when this task has ended: well (`:ok`, the default), `:any`, `:fail`; may be repeated
    #[arg(long, value_name = "ID[:COND]", value_parser = after)]
    after: Vec<After>,
    /// Not before so long from now
    #[arg(long, value_name = "DURATION", conflicts_with = "at")]
    delay: Option<Span>,
    /// Not before this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    at: Option<jiff::Timestamp>,
    /// It fails where it has not ended by this time (RFC 3339)
    #[arg(long, value_name = "TIME", value_parser = time)]
    deadline: Option<jiff::Timestamp>,
    /// Longest run of one attempt
    #[arg(long, value_name = "DURATION")]
    timeout: Option<Span>,
    /// Longest wait in line before the first attempt
    #[arg(long, value_name = "DURATION")]
    queue_timeout: Option<Span>,
    /// Longest set-up of one attempt [default: 10m]
    #[arg(long, value_name = "DURATION")]
    setup_timeout: Option<Span>,
    /// Longest time from the submit to the end, all attempts together
    #[arg(long, value_name = "DURATION")]
    total_timeout: Option<Span>,
    /// Extra attempts after a failed one [default: 0]
    #[arg(long, value_name = "N")]
    retries: Option<u32>,
    /// The pauses between attempts, from the first, doubled each time, to the longest; each is at random up to half
    /// shorter [default: 1s..5m]
    #[arg(long, value_name = "D..D", value_parser = backoff)]
    backoff: Option<(Span, Span)>,
    /// When its worker is lost: `rerun`, or `fail`: somebody must decide [default: rerun]
    #[arg(long, value_name = "rerun|fail", value_parser = on_worker_loss)]
    on_worker_loss: Option<OnWorkerLoss>,
    /// Whether it may begin anew while a lost attempt may still run: `allow` or `forbid`
    /// [default: allow; forbid with --on-worker-loss fail]
    #[arg(long, value_name = "allow|forbid", value_parser = overlap)]
    overlap: Option<Overlap>,
    /// Its worker is lost after so long without a word, where it may overlap [default: 1m]
    #[arg(long, value_name = "DURATION")]
    lost_after: Option<Span>,
    /// It is stopped where its worker hears nothing of the server for so long; then it is lost for sure
    #[arg(long, value_name = "DURATION")]
    stop_after: Option<Span>,
    /// Keep these files of its working folder; may be repeated
    #[arg(long, value_name = "GLOB")]
    artifact: Vec<String>,
    /// Many alike: 1-100, 0-99:10 (every tenth), 1-100%8 (at most 8 at a time)
    #[arg(long, value_name = "SPEC")]
    array: Option<Array>,
    /// Keep standard error in a log of its own
    #[arg(long)]
    split_output: bool,
    /// Give it a secret that its worker knows, in this variable; masked in logs; may be repeated
    #[arg(long, value_name = "VARIABLE=NAME", value_parser = pair)]
    secret: Vec<(String, String)>,
    /// Keep so much of its log: the first and the last bytes of a longer one [default: the worker's limit]
    #[arg(long, value_name = "SIZE", value_parser = log_limit)]
    log_limit: Option<u64>,
}

impl Options {
    /// Whether what is not possible now is refused.
    pub(super) fn strict(&self) -> bool {
        self.asks.strict
    }

    /// The task, without what it does.
    pub(super) fn task(&self) -> NewTask {
        let named = [("cpu", self.cpus), ("memory", self.memory), ("gpu", self.gpus)];
        let named = named
            .into_iter()
            .filter_map(|(name, amount)| Some((Key::new(name).expect("these names are in order"), amount?)));
        let limits = Timeouts {
            queue: self.queue_timeout,
            setup: self.setup_timeout,
            run: self.timeout,
            total: self.total_timeout,
        };
        let retry = Retry {
            extra: self.retries,
            backoff: self.backoff.map(|(first, _)| first),
            backoff_max: self.backoff.map(|(_, longest)| longest),
        };
        let mut task = NewTask {
            name: self.name.clone(),
            labels: self.label.iter().cloned().collect(),
            env: self.env.iter().cloned().collect(),
            dir: self.dir.clone(),
            artifacts: self.artifact.clone(),
            split_output: self.split_output.then_some(true),
            secrets: self.secret.iter().cloned().collect(),
            log_limit: self.log_limit.map(Amount),
            requires: self.requires.clone(),
            placement: self.place.placement(),
            slots: self.slots,
            amounts: named.chain(self.amount.iter().cloned()).map(|(name, amount)| (name, Amount(amount))).collect(),
            priority: self.priority,
            after: self.after.clone(),
            delay: self.delay,
            at: self.at,
            deadline: self.deadline,
            timeouts: (limits != Timeouts::default()).then_some(limits),
            retry: (retry != Retry::default()).then_some(retry),
            array: self.array.clone(),
            on_worker_loss: self.on_worker_loss,
            overlap: self.overlap,
            lost_after: self.lost_after,
            stop_after: self.stop_after,
            ..NewTask::default()
        };
        self.asks.add_to(&mut task);
        self.limits.add_to(&mut task);
        task
    }
}

/// Reads the command line again, with a script's options in front of its own: what stands later
/// weighs more.
pub(super) fn reparse(carried: &[String]) -> anyhow::Result<super::Args> {
    let given: Vec<OsString> = std::env::args_os().collect();
    parse_with(&given, carried)
}

fn parse_with(given: &[OsString], carried: &[String]) -> anyhow::Result<super::Args> {
    let at = given.iter().position(|word| word == "submit").map_or(given.len(), |at| at + 1);
    let (before, behind) = given.split_at(at);
    let words = before.iter().cloned().chain(carried.iter().map(OsString::from)).chain(behind.iter().cloned());
    let cli = Cli::try_parse_from(words)
        .map_err(|error| Trouble::usage(format!("The script's #BOWLINE lines cannot be used: {error}")))?;
    match cli.command {
        Command::Submit(args) | Command::Task(crate::commands::task::Command::Submit(args)) => Ok(*args),
        _ => Err(Trouble::usage("The script's #BOWLINE lines must hold options of `bowline submit` alone.").into()),
    }
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

fn log_limit(text: &str) -> Result<u64, String> {
    let limit = parse_size(text).map_err(|error| error.to_string())?;
    if limit < LOG_BYTES_MIN { Err("a log is given at least 4KiB".to_owned()) } else { Ok(limit) }
}

fn amount(text: &str) -> Result<(Key, u64), String> {
    let (name, amount) = pair(text)?;
    let name = Key::new(name).map_err(|error| error.to_string())?;
    Ok((name, parse_size(&amount).map_err(|error| error.to_string())?))
}

fn after(text: &str) -> Result<After, String> {
    let after: After = text.parse().map_err(|error: bowline_api::new_task::BadAfter| error.to_string())?;
    match after.what {
        bowline_api::AfterWhat::Task(_) => Ok(after),
        bowline_api::AfterWhat::Earlier(_) => {
            Err("`#N` stands for a task of the same file: use --from-json".to_owned())
        }
    }
}

fn on_worker_loss(text: &str) -> Result<OnWorkerLoss, String> {
    match text {
        "rerun" => Ok(OnWorkerLoss::Rerun),
        "fail" => Ok(OnWorkerLoss::Fail),
        _ => Err("write `rerun` or `fail`".to_owned()),
    }
}

fn overlap(text: &str) -> Result<Overlap, String> {
    match text {
        "allow" => Ok(Overlap::Allow),
        "forbid" => Ok(Overlap::Forbid),
        _ => Err("write `allow` or `forbid`".to_owned()),
    }
}

fn time(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse().map_err(|_| "write RFC 3339, such as 2026-03-01T18:00:00Z".to_owned())
}

fn backoff(text: &str) -> Result<(Span, Span), String> {
    let (first, longest) = text.split_once("..").ok_or("write it as FIRST..LONGEST, such as 1s..5m")?;
    let read = |text: &str| text.parse::<Span>().map_err(|error| error.to_string());
    let (first, longest) = (read(first)?, read(longest)?);
    if first > longest {
        return Err("the first pause is longer than the longest".to_owned());
    }
    Ok((first, longest))
}

#[cfg(test)]
mod tests {
    use bowline_core::placement::Fill;

    use super::*;

    fn parse(words: &[&str], carried: &[&str]) -> super::super::Args {
        let given: Vec<OsString> = words.iter().map(OsString::from).collect();
        let carried: Vec<String> = carried.iter().map(ToString::to_string).collect();
        parse_with(&given, &carried).unwrap()
    }

    #[test]
    fn options_become_a_task() {
        let line = "bowline submit --name n --label a=b --env X=1=2 --dir /d --requires gpu=a100 --slots 2 --cpus 3 \
                    --memory 2KiB --gpus 1 --amount disk=5 --priority -3 --after 7:any --delay 1m --timeout 5s \
                    --queue-timeout 6s --retries 2 --backoff 1s..2m --artifact *.txt --array 1-10%2 --split-output \
                    --lock a --lock b --shared c --license d=2 --device model=x --place pack --prefer ssd --avoid os=old --exclude worker=w1 --exclude worker=w2 \
                    --release-while-retrying --on-worker-loss fail --overlap forbid --lost-after 20s --stop-after 30s -- true";
        let words: Vec<&str> = line.split_whitespace().collect();
        let task = parse(&words, &[]).options.task();
        assert_eq!(task.env["X"], "1=2");
        assert_eq!(task.priority, Some(-3));
        assert_eq!(task.timeouts.unwrap().run, Some(Span::secs(5)));
        assert_eq!(task.retry.unwrap().backoff_max, Some(Span::secs(120)));
        let amounts: Vec<(&str, u64)> = task.amounts.iter().map(|(name, amount)| (name.as_str(), amount.0)).collect();
        assert_eq!(amounts, [("cpu", 3), ("disk", 5), ("gpu", 1), ("memory", 2048)]);
        assert_eq!(task.array.as_ref().unwrap().to_string(), "1-10%2");
        assert_eq!(task.after[0].to_string(), "7:any");
        let modes = |task: &NewTask| -> Vec<String> {
            let ask = |ask: &bowline_api::Ask| serde_json::to_value(ask).unwrap()["mode"].as_str().unwrap().to_owned();
            task.resources.iter().map(ask).collect()
        };
        assert_eq!(modes(&task), ["exclusive", "exclusive", "shared", "counted", "unit"]);
        assert_eq!(task.release_while_retrying, Some(true));
        let placement = task.placement.unwrap();
        assert_eq!((placement.fill, placement.prefer.len(), placement.avoid.len()), (Fill::Pack, 1, 1));
        assert_eq!(placement.excludes[1].to_string(), "worker=w2");
        assert_eq!(task.split_output, Some(true));
        assert_eq!((task.on_worker_loss, task.overlap), (Some(OnWorkerLoss::Fail), Some(Overlap::Forbid)));
        assert_eq!((task.lost_after, task.stop_after), (Some(Span::secs(20)), Some(Span::secs(30))));
    }

    #[test]
    fn the_command_line_weighs_more_than_the_script() {
        let args = parse(
            &["bowline", "submit", "--name", "mine", "--script", "x"],
            &["--name", "carried", "--retries", "4", "--label", "a=b"],
        );
        let task = args.options.task();
        assert_eq!(task.name.as_deref(), Some("mine"));
        assert_eq!(task.retry.unwrap().extra, Some(4));
        assert_eq!(task.labels["a"], "b");
    }

    #[test]
    fn wrong_values_say_what_to_write() {
        for (text, says) in [("5m..1s", "longer"), ("1s", "FIRST..LONGEST"), ("1..2", "no duration")] {
            assert!(backoff(text).unwrap_err().contains(says), "{text}");
        }
        assert!(after("#0:ok").unwrap_err().contains("--from-json"));
        assert!(pair("=x").is_err());
    }
}
