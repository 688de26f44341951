//! The simulation's command line: `cargo xtask sim` runs it.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is a command line tool")]

use std::process::ExitCode;

use bowline_sim::runner;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match runner::options::parse(&arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", runner::options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(mistake) => {
            eprintln!("bowline-sim: {mistake}\n\n{}", runner::options::HELP);
            return ExitCode::from(2);
        }
    };
    let mut say = |line: &str| println!("{line}");
    match runner::run(&options, &mut say) {
        runner::Verdict::Passed => ExitCode::SUCCESS,
        runner::Verdict::Failed => ExitCode::FAILURE,
    }
}
