//! What a run has shown: figures, and where they go.

mod csv;
mod figures;
mod html;
mod progress;
mod table;

pub use figures::{Comparison, Figures, Objective, Report};
pub use progress::Progress;

use std::io::Write;
use std::path::Path;

/// Where reports go besides the terminal.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Reports")]
pub struct Outputs {
    /// Write all figures as JSON; - for standard output, in place of the table
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub json: Option<std::path::PathBuf>,
    /// Write figures of the run and of each interval as CSV
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub csv: Option<std::path::PathBuf>,
    /// Write a page with plots, complete in itself
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    pub html: Option<std::path::PathBuf>,
    /// Show nothing while it runs
    #[arg(long)]
    pub quiet: bool,
}

impl Outputs {
    /// Writes what was asked for, and the table.
    ///
    /// # Errors
    /// The option whose file can't be written, and why.
    pub fn write(&self, report: &Report) -> Result<(), String> {
        let json = || {
            let text = serde_json::to_string_pretty(report);
            text.map(|text| text + "\n")
                .map_err(|error| format!("--json: {error}"))
        };
        let is_json_only = self.json.as_deref() == Some(Path::new("-"));
        let text = if is_json_only {
            json()?
        } else {
            table::render(report)
        };
        // Whoever reads it may have left: the files are still to be written.
        let _ = std::io::stdout().write_all(text.as_bytes());
        if let Some(file) = self.json.as_deref().filter(|_| !is_json_only) {
            write("--json", file, &json()?)?;
        }
        if let Some(file) = &self.csv {
            let text = csv::render(report).map_err(|error| format!("--csv: {error}"))?;
            write("--csv", file, &text)?;
        }
        if let Some(file) = &self.html {
            let text = html::render(report).map_err(|error| format!("--html: {error}"))?;
            write("--html", file, &text)?;
        }
        Ok(())
    }

    /// Fails before a run if a report could not be written after it.
    ///
    /// # Errors
    /// The option whose file can't be written, and why.
    pub fn check(&self) -> Result<(), String> {
        let files = [
            ("--json", &self.json),
            ("--csv", &self.csv),
            ("--html", &self.html),
        ];
        for (option, file) in files {
            let Some(file) = file.as_deref().filter(|file| *file != Path::new("-")) else {
                continue;
            };
            std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(file)
                .map_err(|error| format!("{option} {}: {error}", file.display()))?;
        }
        Ok(())
    }
}

fn write(option: &str, file: &Path, text: &str) -> Result<(), String> {
    std::fs::write(file, text).map_err(|error| format!("{option} {}: {error}", file.display()))
}
