//! A buffered writer that leaves no keys behind.

use std::io::{self, Write};

use zeroize::Zeroizing;

/// Bytes gathered before they are written.
const BUFFER: usize = 64 * 1024;

/// Gathers text that carries keys into few large writes, in memory that never moves and is zeroed.
///
/// What is not flushed is lost when it is dropped.
pub struct SecretWriter<W> {
    inner: W,
    buffer: Zeroizing<Vec<u8>>,
}

impl<W: Write> SecretWriter<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> Self {
        Self { inner, buffer: Zeroizing::new(Vec::with_capacity(BUFFER)) }
    }

    /// Writes what is left and gives the inner writer back.
    ///
    /// # Errors
    /// When the inner writer fails.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.drain()?;
        Ok(self.inner)
    }

    fn drain(&mut self) -> io::Result<()> {
        let result = self.inner.write_all(&self.buffer);
        // What stays behind is overwritten by what comes next, or zeroed in the end.
        self.buffer.clear();
        result
    }
}

impl<W: Write> Write for SecretWriter<W> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        if self.buffer.len() == BUFFER {
            self.drain()?;
        }
        let count = text.len().min(BUFFER - self.buffer.len());
        self.buffer.extend_from_slice(&text[..count]);
        Ok(count)
    }

    fn write_all(&mut self, mut text: &[u8]) -> io::Result<()> {
        // Most of what is written is a few bytes and fits.
        if text.len() <= BUFFER - self.buffer.len() {
            self.buffer.extend_from_slice(text);
            return Ok(());
        }
        while !text.is_empty() {
            let count = self.write(text)?;
            text = &text[count..];
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.drain()?;
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_arrives_in_order() {
        let text: Vec<u8> = (0..3 * BUFFER + 5).map(|at| at as u8).collect();
        let mut arrived = Vec::new();
        let mut writer = SecretWriter::new(&mut arrived);
        for piece in text.chunks(1000) {
            writer.write_all(piece).unwrap();
        }
        writer.flush().unwrap();
        assert_eq!(arrived, text);
    }
}
