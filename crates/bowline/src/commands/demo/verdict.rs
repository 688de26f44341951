//! What it came to: the numbers, whether all holds, and what to try next.

use std::path::Path;

use serde_json::json;

use super::audit::Audit;
use super::census::Reports;
use super::processes::{Left, Role};
use super::story::{BOLD, DIM, GREEN, PLAIN, RED, Story, count, grouped, rounded};
use super::torment::Wounds;
use crate::commands::Setting;
use crate::config::Environment;
use crate::output::clean;

/// Everything that was counted.
#[derive(Debug)]
pub(super) struct Verdict {
    /// The blows.
    pub(super) wounds: Wounds,
    /// The reports.
    pub(super) reports: Reports,
    /// What REST told in the end.
    pub(super) audit: Audit,
    /// Processes that were left.
    pub(super) left: Vec<Left>,
}

impl Verdict {
    /// Whether everything that was promised holds.
    pub(super) fn is_good(&self) -> bool {
        self.troubles().is_empty()
    }

    /// What does not hold, in sentences.
    fn troubles(&self) -> Vec<String> {
        let mut found = self.audit.named.clone();
        found.extend(self.left.iter().map(|left| format!("left running, and killed now: {}", left.command)));
        if self.reports.changing {
            found.push(
                "the folder changed while it was counted, so that no report can be compared: choose another \
                        one with --root"
                    .to_owned(),
            );
        } else {
            found.extend(self.reports.wrong.iter().cloned());
        }
        if self.audit.failed > 0 {
            found.push(format!("{} failed", count(self.audit.failed, "attempt")));
        }
        let kills = |role| self.wounds.kills(role);
        if kills(Role::Server) < 2 || kills(Role::Worker) < 1 || kills(Role::Supervisor) < 1 {
            found.push("not everybody was killed".to_owned());
        }
        found
    }

    /// Tells it.
    pub(super) fn tell(&self, on: &Setting, story: &Story, root: &str) -> anyhow::Result<()> {
        let troubles = self.troubles();
        let next = next(&program(on.config.environment()), root);
        if on.out.is_json() {
            let kills = |role| self.wounds.kills(role);
            on.out.item(&json!({
                "event": "summary", "at_seconds": rounded(story.seconds()), "good": troubles.is_empty(),
                "runs": self.reports.runs.len(), "reports_right": self.reports.wrong.is_empty(),
                "kills": {"server": kills(Role::Server), "worker": kills(Role::Worker), "supervisor": kills(Role::Supervisor)},
                "counts": self.audit, "processes_left": self.left, "troubles": troubles,
                "next": next.iter().map(|(command, _)| command).collect::<Vec<_>>(),
            }))?;
            return Ok(());
        }
        on.out.line("")?;
        for (what, value, mark) in self.rows() {
            on.out.line(format!("  {what:<34} {mark}{value:>7}{PLAIN}"))?;
        }
        on.out.line("")?;
        for trouble in &troubles {
            on.out.line(format!("{RED}  {}{PLAIN}", clean(trouble)))?;
        }
        let seconds = story.seconds();
        if troubles.is_empty() {
            let reports = self.reports.words();
            on.out.line(format!(
                "{GREEN}Nothing was lost, nothing was done twice, nothing was left; the reports of {reports} are right. \
                 {seconds:.0} s.{PLAIN}"
            ))?;
        } else {
            on.out.line(format!("{RED}Not everything holds that should. Please tell us. {seconds:.0} s.{PLAIN}"))?;
        }
        on.out.line(format!("{BOLD}Next:{PLAIN}"))?;
        for (command, why) in &next {
            on.out.line(format!("  {command:<52} {DIM}# {why}{PLAIN}"))?;
        }
        Ok(())
    }

    fn rows(&self) -> Vec<(&'static str, String, &'static str)> {
        let number = |number: usize| grouped(number as u64);
        let zero = |found: usize| (number(found), if found == 0 { GREEN } else { RED });
        let kills: usize =
            [Role::Server, Role::Worker, Role::Supervisor].map(|role| self.wounds.kills(role)).iter().sum();
        let mut rows = vec![
            ("processes killed", number(kills), PLAIN),
            ("tasks", number(self.audit.tasks), PLAIN),
            ("attempts", number(self.audit.attempts), PLAIN),
            ("attempts lost with the supervisor", number(self.audit.lost_with_supervisor), PLAIN),
        ];
        if self.audit.given_back > 0 {
            rows.push(("attempts given back unbegun", number(self.audit.given_back), PLAIN));
        }
        let counted = [
            ("tasks without an end", self.audit.without_an_end),
            ("tasks ended twice", self.audit.ended_twice),
            ("processes left", self.left.len()),
        ];
        rows.extend(counted.map(|(what, found)| {
            let (value, mark) = zero(found);
            (what, value, mark)
        }));
        rows
    }
}

/// Three commands, in an order in which they work when copied.
fn next(program: &str, root: &str) -> [(String, &'static str); 3] {
    let root = quoted(&format!("root={root}"));
    [
        (format!("{program} demo --workflow >census.yaml"), "the workflow that you saw run"),
        (format!("{program} run census.yaml --input {root}"), "runs it undisturbed; writes census.html"),
        (format!("{program} up"), "a server and a worker that stay"),
    ]
}

/// How to call this program: by its name where the shell finds it by that.
fn program(environment: &Environment) -> String {
    let Ok(own) = std::env::current_exe() else { return "bowline".to_owned() };
    let path = environment.text("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|folder| folder.join("bowline")).find(|path| path.is_file());
    let is_own = |found: &Path| std::fs::canonicalize(found).ok() == std::fs::canonicalize(&own).ok();
    if found.is_some_and(|found| is_own(&found)) { "bowline".to_owned() } else { quoted(&own.to_string_lossy()) }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-=+:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_where_a_shell_would_take_them_apart() {
        assert_eq!(quoted("root=/usr/share"), "root=/usr/share");
        assert_eq!(quoted("root=/my files"), "'root=/my files'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }
}
