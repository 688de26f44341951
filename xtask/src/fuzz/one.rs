//! One target: its run within bounds of time and memory, what it said in the end, and what it found.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::say;
use crate::tests_run::command;

/// Longest time for one input, in seconds.
const INPUT_SECONDS_MAX: u32 = 20;
/// Most memory of the process, and of one allocation, in MiB.
const MEMORY_MIB_MAX: u32 = 2_048;
const ALLOCATION_MIB_MAX: u32 = 512;
/// Names the folder for the inputs that a program makes itself.
const SEEDS: &str = "BOWLINE_FUZZ_SEEDS";
/// Largest input, in bytes.
const INPUT_BYTES_MAX: u32 = 4_096;
/// Time for making a finding small, in seconds.
const SMALLER_SECONDS: u32 = 20;
/// Lines of its last words that are shown of a target that found something.
const LINES_SHOWN: usize = 40;

/// Says to the program which target it is.
const TARGET: &str = "BOWLINE_FUZZ_TARGET";

/// A target.
#[derive(Debug)]
pub(super) struct Target<'a> {
    pub(super) root: &'a Path,
    /// Has all targets.
    pub(super) program: &'a Path,
    pub(super) name: &'a str,
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) target: String,
    pub(super) executions: u64,
    pub(super) per_second: u64,
    /// Places in the code that were reached.
    pub(super) coverage: u64,
    /// Inputs that each reach something of their own.
    pub(super) corpus: u64,
    /// Each with how to repeat it.
    pub(super) findings: Vec<String>,
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// At the end of the name of a committed input that is no text: it is written in hexadecimal digits.
const HEX: &str = "hex";

fn committed(root: &Path, target: &str) -> PathBuf {
    root.join("fuzz/corpus").join(target)
}

/// A folder below `target/fuzz` of this use.
fn folder(root: &Path, of: &str, target: &str) -> Result<PathBuf> {
    let folder = root.join("target/fuzz").join(of).join(target);
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    Ok(folder)
}

/// Where new inputs go, for later runs on this machine.
fn found(root: &Path, target: &str) -> Result<PathBuf> {
    folder(root, "corpus", target)
}

/// The committed inputs as the target reads them. What the program makes itself comes to them when it begins.
fn seeds(root: &Path, target: &str) -> Result<PathBuf> {
    let folder = folder(root, "seeds", target)?;
    let reading = |path: &Path| format!("reading {}", path.display());
    let committed = committed(root, target);
    let entries =
        if committed.is_dir() { fs::read_dir(&committed)?.collect::<Result<Vec<_>, _>>()? } else { Vec::new() };
    for entry in entries {
        let path = entry.path();
        let bytes = fs::read(&path).with_context(|| reading(&path))?;
        let bytes = if path.extension().is_some_and(|end| end == HEX) {
            from_hex(&bytes).with_context(|| reading(&path))?
        } else {
            bytes
        };
        let to = folder.join(entry.file_name());
        fs::write(&to, bytes).with_context(|| format!("writing {}", to.display()))?;
    }
    Ok(folder)
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.len().is_multiple_of(2).then_some(())?;
    digits.chunks(2).map(byte).collect()
}

/// As it is committed: text as it is, anything else in lines of hexadecimal digits.
fn keep(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    let (path, content) = if is_text {
        (folder.join(name), bytes.to_vec())
    } else {
        let line = |line: &[u8]| {
            line.iter()
                .flat_map(|byte| [byte >> 4, byte & 15])
                .filter_map(|digit| char::from_digit(digit.into(), 16))
                .chain(['\n'])
                .collect::<String>()
        };
        (folder.join(name).with_extension(HEX), bytes.chunks(32).map(line).collect::<String>().into_bytes())
    };
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
}

impl Target<'_> {
    fn program(&self) -> Command {
        let mut program = command(&self.program.to_string_lossy());
        program.env(TARGET, self.name).stdin(Stdio::null());
        program
    }

    /// Runs it for so long.
    pub(super) fn run(&self, share: Duration) -> Result<Outcome> {
        let artifacts = self.root.join("fuzz/artifacts").join(self.name);
        fs::create_dir_all(&artifacts).with_context(|| format!("making {}", artifacts.display()))?;
        let mut fuzzer = self.program();
        fuzzer
            .arg(format!("-max_total_time={}", share.as_secs()))
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
            .arg(format!("-malloc_limit_mb={ALLOCATION_MIB_MAX}"))
            .arg(format!("-max_len={INPUT_BYTES_MAX}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-reload=0"])
            .arg(found(self.root, self.name)?);
        let seeds = seeds(self.root, self.name)?;
        fuzzer.arg(&seeds).env(SEEDS, &seeds);
        let words = self.root.join("fuzz/dict").join(format!("{}.dict", self.name));
        if words.is_file() {
            fuzzer.arg(format!("-dict={}", words.display()));
        }
        let output = fuzzer.output().with_context(|| format!("starting {}", self.name))?;
        let said = String::from_utf8_lossy(&output.stderr);
        let mut outcome = read(self.name, &said);
        if !output.status.success() {
            let shown: Vec<&str> = said.lines().rev().take(LINES_SHOWN).collect();
            say(&shown.into_iter().rev().collect::<Vec<_>>().join("\n"));
            outcome.findings.push(self.finding(&said));
        }
        Ok(outcome)
    }

    /// Makes what broke something smaller, where that works, and says how to repeat it.
    fn finding(&self, said: &str) -> String {
        let target = self.name;
        let Some(written) = said.lines().find_map(|line| line.split("Test unit written to ").nth(1)) else {
            return format!("{target}: it ended badly, and left no input behind: see above");
        };
        let written = PathBuf::from(written.trim());
        let smaller = written.with_extension("small");
        let mut fuzzer = self.program();
        fuzzer
            .args(["-minimize_crash=1", &format!("-max_total_time={SMALLER_SECONDS}")])
            .arg(format!("-timeout={INPUT_SECONDS_MAX}"))
            .arg(format!("-exact_artifact_path={}", smaller.display()))
            .arg(&written);
        drop(fuzzer.output());
        let smallest = if smaller.is_file() { smaller } else { written };
        format!(
            "{target}: repeat it with `cargo xtask fuzz {target} --input {}`; once it is fixed, keep that file in fuzz/corpus/{target}",
            smallest.display()
        )
    }

    /// Runs one input.
    pub(super) fn replay(&self, input: &Path) -> Result<()> {
        let input = fs::canonicalize(input).with_context(|| format!("there is no input {}", input.display()))?;
        let status = self.program().arg(format!("-timeout={INPUT_SECONDS_MAX}")).arg(&input).status();
        if status.with_context(|| format!("starting {}", self.name))?.success() {
            say("fuzz: this input breaks nothing");
            return Ok(());
        }
        bail!("{}: {} still breaks something", self.name, input.display())
    }

    /// Takes into the committed corpus what reaches code that nothing there reaches.
    pub(super) fn merge(&self) -> Result<()> {
        let (root, target) = (self.root, self.name);
        let (seeds, found) = (seeds(root, target)?, found(root, target)?);
        let names =
            || -> Result<Vec<PathBuf>> { Ok(fs::read_dir(&seeds)?.flatten().map(|entry| entry.path()).collect()) };
        let mut fuzzer = self.program();
        fuzzer.args(["-merge=1", &format!("-max_len={INPUT_BYTES_MAX}")]).arg(&seeds).arg(found).env(SEEDS, &seeds);
        let before = names()?;
        let output = fuzzer.output().with_context(|| format!("starting {target}"))?;
        if !output.status.success() {
            bail!("{target}: merging failed: {}", String::from_utf8_lossy(&output.stderr));
        }
        let made = |path: &PathBuf| name_of(path).starts_with("made-");
        let new: Vec<PathBuf> = names()?.into_iter().filter(|path| !before.contains(path) && !made(path)).collect();
        let folder = committed(root, target);
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for path in &new {
            let bytes = fs::read(path).with_context(|| format!("reading {}", path.display()))?;
            keep(&folder, &name_of(path)[..12.min(name_of(path).len())], &bytes)?;
        }
        say(&format!("fuzz: {target} has {} inputs more", new.len()));
        Ok(())
    }
}

/// Takes the figures out of what libFuzzer says.
fn read(target: &str, said: &str) -> Outcome {
    let number =
        |text: &str| -> u64 { text.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap_or(0) };
    let behind = |line: &str, name: &str| line.split(name).nth(1).map(|rest| number(rest.trim_start()));
    let mut outcome = Outcome { target: target.to_owned(), ..Outcome::default() };
    for line in said.lines() {
        if let Some(executions) = behind(line, "stat::number_of_executed_units:") {
            outcome.executions = executions;
        }
        if let Some(per_second) = behind(line, "stat::average_exec_per_sec:") {
            outcome.per_second = per_second;
        }
        if let Some(coverage) = behind(line, " cov:") {
            outcome.coverage = coverage;
        }
        if let Some(corpus) = behind(line, " corp:") {
            outcome.corpus = corpus;
        }
    }
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_kept_as_it_can_be_read() {
        assert_eq!(from_hex(b"00 ff\n10").unwrap(), [0, 255, 16]);
        assert!(from_hex(b"0").is_none() && from_hex(b"0g").is_none());
    }

    #[test]
    fn the_figures_are_found_in_what_is_said() {
        let said = "#2\tINITED cov: 7 ft: 8 corp: 1/1b exec/s: 0 rss: 30Mb\n#9\tDONE   cov: 71 ft: 80 corp: 12/34b lim: 4\n\
                    stat::number_of_executed_units: 1234\nstat::average_exec_per_sec:     617\n";
        let outcome = read("x", said);
        assert_eq!((outcome.executions, outcome.per_second, outcome.coverage, outcome.corpus), (1_234, 617, 71, 12));
    }
}
