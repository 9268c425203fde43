//! Commands that must end in time, and conditions that must come true in time.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// What a command left.
#[derive(Debug, Clone)]
pub struct Output {
    /// The command as a person would type it.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed, with anything that is not UTF-8 replaced.
    pub stdout: String,
    /// What it complained about, with anything that is not UTF-8 replaced.
    pub stderr: String,
}

impl Output {
    /// The output of a command that had to succeed.
    ///
    /// # Errors
    /// The command, its status and all it printed, when it did not.
    pub fn success(self) -> Result<Self> {
        if self.status.success() {
            return Ok(self);
        }
        bail!("{self}")
    }

    /// The output of a command that had to end with exit code `code`.
    ///
    /// # Errors
    /// The command, its status and all it printed, when it ended otherwise.
    pub fn code(self, code: i32) -> Result<Self> {
        if self.status.code() == Some(code) {
            return Ok(self);
        }
        bail!("expected exit code {code}\n{self}")
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`: {}", self.command, self.status)?;
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                write!(f, "\n--- {name}\n{}", text.trim_end_matches('\n'))?;
            }
        }
        Ok(())
    }
}

/// Runs `command` to its end with `input` on its standard input.
///
/// # Errors
/// When it cannot be started, does not end within `limit` (it is killed then), or leaves a process
/// behind that holds its output open.
pub fn run(command: &mut Command, input: &[u8], limit: Duration) -> Result<Output> {
    let line = command_line(command);
    command.stdin(if input.is_empty() { Stdio::null() } else { Stdio::piped() });
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let deadline = Instant::now() + limit;
    let mut child = command.spawn().with_context(|| format!("cannot start `{line}`"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_vec();
        // A command that ends without reading it all is free to do so.
        thread::spawn(move || {
            let _ = stdin.write_all(&input);
        });
    }
    let stdout = child.stdout.take().map(collect).context("no standard output")?;
    let stderr = child.stderr.take().map(collect).context("no standard error")?;
    let status = wait(&mut child, deadline)?;
    let Some(status) = status else {
        let _ = child.kill();
        let _ = child.wait();
        let printed = rest(&stderr, Instant::now() + GRACE).unwrap_or_default();
        bail!(
            "`{line}` did not end within {limit:?} and was killed; its standard error: {printed}"
        );
    };
    let deadline = Instant::now() + GRACE;
    let held = || format!("`{line}` ended, but a process it left behind holds its output open");
    Ok(Output {
        stdout: rest(&stdout, deadline).with_context(held)?,
        stderr: rest(&stderr, deadline).with_context(held)?,
        command: line,
        status,
    })
}

/// Asks `question` until it has an answer.
///
/// # Errors
/// After `limit`, naming `what` was waited for.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut question: impl FnMut() -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = question() {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {limit:?} in vain for {what}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// The command with its arguments, quoted where a shell would need it.
pub(crate) fn command_line(command: &Command) -> String {
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(&quoted(word));
    }
    line
}

/// How long output may still come after the process has gone.
const GRACE: Duration = Duration::from_secs(5);

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.into_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn collect(mut pipe: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut block = vec![0; 64 * 1024];
        while let Ok(length @ 1..) = pipe.read(&mut block) {
            if sender.send(block[..length].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// All that comes until the pipe is closed; an error when it is still open at `deadline`.
fn rest(pipe: &Receiver<Vec<u8>>, deadline: Instant) -> Result<String> {
    let mut bytes = Vec::new();
    loop {
        match pipe.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(block) => bytes.extend(block),
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => bail!("the output does not end"),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(child: &mut Child, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}
