//! Verbs on workers: by name, by selector, or all. Of a selector it is first said how many would be
//! touched.

use bowline_api::{DrainRequest, WorkerBulk, WorkerBulkAnswer, WorkerFilter, WorkerVerbName};
use bowline_client::Client;
use bowline_core::spec::Requirement;

use super::Setting;
use crate::commands::verb::agreed;
use crate::exit::{Exit, Trouble};
use crate::output::clean;

/// Which workers.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Chosen {
    /// Their names
    #[arg(value_name = "NAME", conflicts_with_all = ["selector", "pool", "all"])]
    names: Vec<String>,
    /// Those with this capability; may be repeated, and then all must apply
    #[arg(long, value_name = "KEY[=VALUE]")]
    selector: Vec<Requirement>,
    /// Those of this pool
    #[arg(long, value_name = "NAME")]
    pool: Option<String>,
    /// All that there are
    #[arg(long, conflicts_with_all = ["selector", "pool"])]
    all: bool,
    /// With --selector, --pool or --all: do not ask
    #[arg(long, short)]
    yes: bool,
    /// Say which it would touch, and touch none
    #[arg(long)]
    dry_run: bool,
}

/// What became of it.
#[derive(Debug)]
pub(super) struct Done {
    /// The workers that were touched.
    pub(super) names: Vec<String>,
    /// How it ends.
    pub(super) exit: Exit,
}

impl Chosen {
    /// The names, where they were given.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// Refuses where nobody said which.
    pub(super) fn said(&self) -> Result<(), Trouble> {
        if self.names.is_empty() && self.selector.is_empty() && self.pool.is_none() && !self.all {
            let what = "Say which workers: by their names, with --selector KEY[=VALUE] or --pool NAME, or --all. \
                 `bowline worker list` shows them.";
            return Err(Trouble::usage(what));
        }
        Ok(())
    }

    fn filter(&self) -> Option<WorkerFilter> {
        let capabilities = self.selector.iter().map(ToString::to_string).collect();
        self.names.is_empty().then(|| WorkerFilter { capabilities, pool: self.pool.clone() })
    }

    /// Does it to all of them, and tells each.
    pub(super) async fn apply(
        &self,
        on: &Setting,
        client: &Client,
        verb: WorkerVerbName,
        drain: Option<DrainRequest>,
    ) -> anyhow::Result<Done> {
        let mut bulk =
            WorkerBulk { verb, names: self.names.clone(), filter: self.filter(), drain, dry_run: self.dry_run };
        if bulk.filter.is_some() || self.dry_run {
            bulk.dry_run = true;
            let would = client.workers_verb(&bulk).await?;
            if !self.goes_on(on, verb, &would)? {
                let exit = if self.dry_run || would.touched == 0 { Exit::GOOD } else { Exit::FAILED };
                return Ok(Done { names: Vec::new(), exit });
            }
            bulk.dry_run = false;
            // Exactly those that were shown.
            bulk.filter = None;
            bulk.names = would.items.into_iter().map(|item| item.name).collect();
        }
        let answer = client.workers_verb(&bulk).await?;
        let exit = tell(on, &answer, verb)?;
        let names = answer.items.into_iter().filter(|item| item.code.is_none()).map(|item| item.name).collect();
        Ok(Done { names, exit })
    }

    /// Says what it would touch, and asks where it must.
    fn goes_on(&self, on: &Setting, verb: WorkerVerbName, would: &WorkerBulkAnswer) -> anyhow::Result<bool> {
        let workers = if would.touched == 1 { "worker" } else { "workers" };
        let names: Vec<String> = would.items.iter().map(|item| clean(&item.name)).collect();
        let named = if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) };
        let say = format!("{} would touch {} {workers}{named}", verb.name(), would.touched);
        if self.dry_run {
            if on.out.is_json() {
                on.out.document(would)?;
            } else {
                on.out.line(say)?;
            }
            return Ok(false);
        }
        on.out.note(&say);
        if would.touched == 0 {
            if on.out.is_json() {
                on.out.document(&WorkerBulkAnswer { dry_run: false, ..would.clone() })?;
            }
            return Ok(false);
        }
        let agreed = self.yes || agreed(on)?;
        if !agreed {
            on.out.note("Nothing was done.");
        }
        Ok(agreed)
    }
}

fn tell(on: &Setting, answer: &WorkerBulkAnswer, verb: WorkerVerbName) -> anyhow::Result<Exit> {
    let did = match verb {
        WorkerVerbName::Pause => "paused",
        WorkerVerbName::Resume => "resumed",
        WorkerVerbName::Drain => "draining",
        WorkerVerbName::Undrain => "undrained",
        WorkerVerbName::Forget => "forgotten",
    };
    if on.out.is_json() {
        on.out.item(answer)?;
    }
    for item in &answer.items {
        let name = clean(&item.name);
        match &item.code {
            None if on.out.is_json() => {}
            None => on.out.line(format!("{name} {did}"))?,
            Some(_) => {
                let message = item.message.as_deref().unwrap_or("refused");
                on.out.note(format!("error: {} {name}: {}", verb.name(), clean(message)));
            }
        }
    }
    let of = |code: &str| answer.items.iter().any(|item| item.code.as_deref() == Some(code));
    Ok(match answer.refused {
        0 => Exit::GOOD,
        _ if of("not_found") => Exit::MISSING,
        _ => Exit::REFUSED,
    })
}
