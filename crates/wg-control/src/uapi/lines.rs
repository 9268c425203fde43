//! Lines of bounded length from a stream that carries keys.

use std::io::{self, Read};

use zeroize::Zeroizing;

/// Bytes in the longest line that is read, without its line feed; the longest one in use has 78.
pub const MAX_LINE: usize = 1024;

/// Bytes asked for at a time.
const BUFFER: usize = 64 * 1024;

/// What ended a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// A line, without its line feed.
    Whole(&'a [u8]),
    /// The stream ended right after a line feed, or before anything.
    End,
    /// The stream ended within a line.
    Cut,
    /// More than [`MAX_LINE`] bytes without a line feed.
    TooLong,
}

/// Cuts a stream into lines. Its buffer has a fixed size and is zeroed when dropped.
pub(super) struct LineReader<R> {
    stream: R,
    buffer: Zeroizing<Vec<u8>>,
    start: usize,
    end: usize,
    line: u64,
}

impl<R: Read> LineReader<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, buffer: Zeroizing::new(vec![0; BUFFER]), start: 0, end: 0, line: 0 }
    }

    /// The number of the line that was read last, from 1.
    pub(super) fn line(&self) -> u64 {
        self.line
    }

    /// Counts the next line as the first.
    pub(super) fn restart_count(&mut self) {
        self.line = 0;
    }

    pub(super) fn read_line(&mut self) -> io::Result<Line<'_>> {
        self.line += 1;
        let mut searched = 0;
        loop {
            let unread = &self.buffer[self.start..self.end];
            if let Some(at) = memchr::memchr(b'\n', &unread[searched..]) {
                let from = self.start;
                let to = from + searched + at;
                self.start = to + 1;
                if to - from > MAX_LINE {
                    return Ok(Line::TooLong);
                }
                return Ok(Line::Whole(&self.buffer[from..to]));
            }
            searched = unread.len();
            if searched > MAX_LINE {
                return Ok(Line::TooLong);
            }
            if self.fill()? == 0 {
                return Ok(if searched == 0 { Line::End } else { Line::Cut });
            }
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        // At most MAX_LINE bytes are left over, so the move makes room.
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        loop {
            match self.stream.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives the text out in pieces of a few bytes, as a socket may.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(self.1).min(buffer.len());
            let (now, later) = self.0.split_at(count);
            buffer[..count].copy_from_slice(now);
            self.0 = later;
            Ok(count)
        }
    }

    #[test]
    fn lines_come_out_whole_however_the_stream_is_cut() {
        let long = [b'x'; MAX_LINE];
        let mut text = Vec::new();
        for _ in 0..40 {
            text.extend_from_slice(b"get=1\n\n");
            text.extend_from_slice(&long);
            text.push(b'\n');
        }
        for size in [1, 2, 3, 1000, 1 << 20] {
            let mut lines = LineReader::new(Pieces(&text, size));
            for round in 0..40 {
                assert_eq!(lines.read_line().unwrap(), Line::Whole(b"get=1"));
                assert_eq!(lines.read_line().unwrap(), Line::Whole(b""));
                assert_eq!(lines.read_line().unwrap(), Line::Whole(&long));
                assert_eq!(lines.line(), 3 * (round + 1));
            }
            assert_eq!(lines.read_line().unwrap(), Line::End);
        }
    }

    #[test]
    fn a_line_that_never_ends_is_given_up() {
        let mut lines = LineReader::new(io::repeat(b'x'));
        assert_eq!(lines.read_line().unwrap(), Line::TooLong);
        let text = [&[b'x'; MAX_LINE + 1][..], b"\n"].concat();
        assert_eq!(LineReader::new(&text[..]).read_line().unwrap(), Line::TooLong);
    }

    #[test]
    fn a_cut_line_is_not_a_line() {
        assert_eq!(LineReader::new(&b"get=1"[..]).read_line().unwrap(), Line::Cut);
    }
}
