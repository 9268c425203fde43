//! A daemon whose answers the test chooses, and which remembers what it was asked.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::Result;
use testbed::Host;

/// Serves the interface `lo`, which every host has.
pub(crate) struct Daemon {
    state: Arc<Mutex<State>>,
}

struct State {
    get_answer: String,
    set_answer: String,
    sets: String,
}

impl Daemon {
    pub(crate) fn start(host: &Host) -> Result<Self> {
        fs::create_dir_all(host.path("/run/wireguard"))?;
        let listener = UnixListener::bind(host.path("/run/wireguard/lo.sock"))?;
        let success = "errno=0\n\n".to_owned();
        let state = State { get_answer: success.clone(), set_answer: success, sets: String::new() };
        let state = Arc::new(Mutex::new(state));
        let shared = Arc::clone(&state);
        // Ends with the test.
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                serve(stream, &shared);
            }
        });
        Ok(Self { state })
    }

    /// What it answers to `get` from now on.
    pub(crate) fn answer_get(&self, text: impl Into<String>) {
        self.state().get_answer = text.into();
    }

    /// What it answers to `set` from now on.
    pub(crate) fn answer_set(&self, text: impl Into<String>) {
        self.state().set_answer = text.into();
    }

    /// The `set` requests since the last call.
    pub(crate) fn take_sets(&self) -> String {
        std::mem::take(&mut self.state().sets)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked has failed anyway.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) {
    let mut request = Vec::new();
    let mut block = [0; 4096];
    while !request.ends_with(b"\n\n") {
        match stream.read(&mut block) {
            // Somebody looked whether there is a daemon.
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&block[..count]),
        }
    }
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = if request.starts_with(b"get=1\n") {
        state.get_answer.clone()
    } else {
        state.sets.push_str(&String::from_utf8_lossy(&request));
        state.set_answer.clone()
    };
    // The test sees it when the client misses the answer.
    let _ = stream.write_all(answer.as_bytes());
}
