//! `bowline server backup`: a copy of a server, made while it goes on.

use std::fs::{self, File, OpenOptions};
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use bowline_client::{BackupContents, ByteStream};
use bowline_core::size::format_size;
use bowline_server::backup::{self, Manifest};
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Setting, backup_trouble};
use crate::exit::{Exit, Trouble};

/// Arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bowline server backup /backups/monday.tar
  bowline server backup /backups/monday.tar --with-blobs    logs and artifacts too
  bowline server check /backups/monday.tar
  bowline server restore /backups/monday.tar --data /var/lib/bowline

It is made by the running server, from one moment, while it goes on; it holds the store (all tasks, runs,
workers and histories) and the server's secrets, so keep it as safe as those. The file appears under its
name when it is whole, synced and checked.")]
pub(crate) struct Args {
    /// The file to write
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Logs and artifacts too
    #[arg(long)]
    with_blobs: bool,
    /// Replace the file, where there is one
    #[arg(long)]
    force: bool,
}

/// What was written.
#[derive(Debug, Serialize)]
struct Written<'a> {
    file: &'a Path,
    bytes: u64,
    files: usize,
    generation: u32,
    commit_no: u64,
    made_at: jiff::Timestamp,
}

/// Makes it.
pub(super) async fn run(on: &Setting, args: Args) -> anyhow::Result<Exit> {
    let file = std::path::absolute(&args.file).with_context(|| no_file(&args.file))?;
    if file.exists() && !args.force {
        let what =
            format!("`{}` is there already: nothing was changed. Choose another name, or say --force.", file.display());
        return Err(Trouble::new(Exit::REFUSED, what).into());
    }
    let folder = file.parent().unwrap_or(Path::new("/"));
    fs::read_dir(folder)
        .with_context(|| format!("The folder `{}` cannot be used", folder.display()))
        .with_context(|| no_file(&file))?;
    let contents = if args.with_blobs { BackupContents::All } else { BackupContents::Store };
    let bar = progress();
    bar.set_message("the server copies its store");
    let (stream, store_bytes) = on.client()?.backup(contents).await?;
    let part = Part::create(folder, &file)?;
    let bytes = receive(stream, &part, &bar, store_bytes).await.with_context(|| no_file(&file))?;
    bar.set_message("checking it");
    let manifest = part.finish(&file)?;
    bar.finish_and_clear();
    tell(on, &file, bytes, &manifest)
}

fn no_file(file: &Path) -> Trouble {
    Trouble::new(Exit::FAILED, format!("The backup `{}` could not be made.", file.display()))
}

fn progress() -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {binary_bytes} {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

async fn receive(mut stream: ByteStream, part: &Part, bar: &ProgressBar, store_bytes: u64) -> anyhow::Result<u64> {
    let mut bytes = 0;
    while let Some(piece) = stream.next().await? {
        (&part.file).write_all(&piece)?;
        bytes += piece.len() as u64;
        bar.set_position(bytes);
        bar.set_message(format!("of a store of about {}", format_size(store_bytes)));
    }
    Ok(bytes)
}

/// The file while it is not whole, under another name. Goes where it does not come to its end.
struct Part {
    file: File,
    path: PathBuf,
}

impl Part {
    fn create(folder: &Path, of: &Path) -> anyhow::Result<Self> {
        let name = of.file_name().unwrap_or_default().to_string_lossy();
        let path = folder.join(format!(".{name}.{}.part", std::process::id()));
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        Ok(Self { file: file.with_context(|| no_file(of))?, path })
    }

    /// Makes it durable, reads it to its end, and gives it its name.
    fn finish(self, name: &Path) -> anyhow::Result<Manifest> {
        self.file.sync_all().with_context(|| no_file(name))?;
        let manifest = backup::check(&self.path).map_err(|error| backup_trouble(error, no_file(name).to_string()))?;
        fs::rename(&self.path, name).with_context(|| no_file(name))?;
        let folder = name.parent().unwrap_or(Path::new("/"));
        File::open(folder).and_then(|folder| folder.sync_all()).with_context(|| no_file(name))?;
        Ok(manifest)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After its renaming there is nothing under this name.
        drop(fs::remove_file(&self.path));
    }
}

fn tell(on: &Setting, file: &Path, bytes: u64, manifest: &Manifest) -> anyhow::Result<Exit> {
    let made = Written {
        file,
        bytes,
        files: manifest.files.len(),
        generation: manifest.generation,
        commit_no: manifest.commit_no,
        made_at: manifest.made_at,
    };
    if on.out.is_json() {
        on.out.document(&made)?;
    } else {
        on.out.line(format!(
            "written {}: {}, {} files, commit {} of generation {}; checked",
            file.display(),
            format_size(bytes),
            made.files,
            made.commit_no,
            made.generation
        ))?;
    }
    Ok(Exit::GOOD)
}
