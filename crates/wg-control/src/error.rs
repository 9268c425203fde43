//! Why an interface cannot be read or changed.

use std::io;

use nix::errno::Errno;
use nix::libc;

use crate::uapi::AnswerError;

/// Why an interface cannot be read or changed: a number of `errno.h`, as scripts know it from the
/// original `wg`, and what is known beyond it.
#[derive(Debug, thiserror::Error)]
#[error("{}", sentence(*errno))]
pub struct Error {
    errno: i32,
    detail: Option<String>,
}

impl Error {
    /// The number of `errno.h`.
    pub fn errno(&self) -> i32 {
        self.errno
    }

    /// What happened, in a sentence of our own, where the errno's sentence does not tell it.
    pub fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    pub(crate) fn new(errno: Errno, detail: String) -> Self {
        Self { errno: errno as i32, detail: Some(detail) }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        match error.raw_os_error() {
            // A daemon's socket says so when its time is up; all our other sockets block.
            Some(libc::EAGAIN) => Self { errno: libc::ETIMEDOUT, detail: None },
            Some(errno) => Self { errno, detail: None },
            None => Self { errno: libc::EIO, detail: Some(error.to_string()) },
        }
    }
}

impl From<AnswerError> for Error {
    fn from(error: AnswerError) -> Self {
        match error {
            AnswerError::Refused(errno) => Self { errno, detail: None },
            AnswerError::Io(error) => error.into(),
            malformed @ AnswerError::Malformed { .. } => {
                Self { errno: libc::EPROTO, detail: Some(malformed.to_string()) }
            }
        }
    }
}

/// The C library's sentence, which `io::Error` decorates with the number.
fn sentence(errno: i32) -> String {
    let decorated = io::Error::from_raw_os_error(errno).to_string();
    match decorated.rfind(" (os error ") {
        Some(end) => decorated[..end].to_owned(),
        None => decorated,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_socket_whose_time_is_up_says_so() {
        let (mut stream, _mute) = UnixStream::pair().unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let error = stream.read(&mut [0]).unwrap_err();
        assert_eq!(Error::from(error).to_string(), "Connection timed out");
    }

    #[test]
    fn an_error_reads_like_the_c_library() {
        for (errno, text) in [
            (libc::ENODEV, "No such device"),
            (libc::EPROTO, "Protocol error"),
            (libc::EPROTONOSUPPORT, "Protocol not supported"),
            (4242, "Unknown error 4242"),
        ] {
            assert_eq!(Error { errno, detail: None }.to_string(), text);
        }
    }
}
