//! A command for a guest.

use std::fmt;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Guest, kernel_log};

/// What a job gets unless [`Job::limit`] says otherwise.
const LIMIT: Duration = Duration::from_secs(120);
/// The exit code of a job that was ended.
const TIMED_OUT: i32 = 124;
/// How long after a job's limit the guest may take to say so before it counts as hung.
const REPORT_LIMIT: Duration = Duration::from_secs(15);
/// How often the output of a job that is followed is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// A bash script for a guest, run in a folder that both sides see and in namespaces of its own.
pub struct Job<'guest> {
    guest: &'guest Guest,
    number: u32,
    name: String,
    limit: Duration,
    folder: PathBuf,
}

/// What a job left.
#[derive(Debug)]
pub struct Finished {
    /// The job's name.
    pub name: String,
    /// The exit code; 124 when the job's limit was reached.
    pub code: i32,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
    /// The job's folder, with the files it wrote.
    pub folder: PathBuf,
}

impl<'guest> Job<'guest> {
    pub(super) fn new(guest: &'guest Guest, number: u32, name: &str) -> Result<Self> {
        let folder = guest.folder.join("jobs").join(number.to_string());
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self { guest, number, name: name.to_owned(), limit: LIMIT, folder })
    }

    /// Ends the job's processes after this long, in whole seconds.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Puts a file into the job's folder, which is where the script runs.
    pub fn file(self, name: &str, content: impl AsRef<[u8]>) -> Result<Self> {
        fs::write(self.folder.join(name), content)?;
        Ok(self)
    }

    /// Runs the script. A guest that does not report in time is hung: it is ended and every
    /// later job fails.
    pub fn run(self, script: &str) -> Result<Finished> {
        let limit = self.start(script)?;
        let code = self.guest.line.wait_for_job(self.number, limit);
        self.finish(code)
    }

    /// Runs the script and passes its output on as it comes.
    pub fn run_and_follow(self, script: &str) -> Result<Finished> {
        let deadline = Instant::now() + self.start(script)?;
        let (mut stdout, mut stderr) = (Follower::default(), Follower::default());
        loop {
            let code = self.guest.line.wait_for_job(self.number, FOLLOW_INTERVAL);
            stdout.pass_on(&self.folder.join("out"), &mut std::io::stdout())?;
            stderr.pass_on(&self.folder.join("err"), &mut std::io::stderr())?;
            if !matches!(code, Ok(None)) || Instant::now() >= deadline {
                return self.finish(code);
            }
        }
    }

    /// Returns when the guest counts as hung.
    fn start(&self, script: &str) -> Result<Duration> {
        fs::write(self.folder.join("script"), script)?;
        self.guest.line.start_job(self.number, self.limit)?;
        Ok(self.limit + REPORT_LIMIT)
    }

    fn finish(self, code: Result<Option<i32>>) -> Result<Finished> {
        let output = |name: &str| -> String {
            let content = fs::read(self.folder.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&content).into_owned()
        };
        let (stdout, stderr) = (output("out"), output("err"));
        let problem = match code {
            Ok(Some(code)) => {
                let Self { name, folder, .. } = self;
                return Ok(Finished { name, code, stdout, stderr, folder });
            }
            Ok(None) => {
                self.guest.line.end();
                format!(
                    "the guest hung in this job and was ended; the job was to end after {:?}",
                    self.limit
                )
            }
            Err(error) => format!("{error:#}"),
        };
        bail!(
            "{}: {problem}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n--- kernel\n{}",
            self.name,
            kernel_log(&self.guest.folder)
        );
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in the guest: exit code {}", self.name, self.code)?;
        if self.code == TIMED_OUT {
            write!(f, " (its time was up)")?;
        }
        write!(
            f,
            "\n--- stdout\n{}\n--- stderr\n{}",
            self.stdout.trim_end(),
            self.stderr.trim_end()
        )
    }
}

/// Passes a growing file on.
#[derive(Default)]
struct Follower {
    file: Option<File>,
}

impl Follower {
    fn pass_on(&mut self, path: &Path, to: &mut impl Write) -> Result<()> {
        if self.file.is_none() {
            self.file = File::open(path).ok();
        }
        if let Some(file) = &mut self.file {
            let mut grown = Vec::new();
            file.read_to_end(&mut grown)?;
            to.write_all(&grown)?;
            to.flush()?;
        }
        Ok(())
    }
}
