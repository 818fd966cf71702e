//! Log lines on their way to the standard error output: gathered, and written by one thread.
//!
//! There is a line for each request. A system call for each, with the waking of whoever reads the log,
//! was more than a twentieth of an answer from memory, half of what fedgate itself does for one.

mod format;

use std::fmt;
use std::io::{self, ErrorKind, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub(super) use self::format::JsonLines;

/// Lines that wait to be written, in bytes: those of some thousand requests. Whoever logs when they
/// are as many waits for room, as he would for a write of his own.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How long lines are gathered after some have been written; the first after a quiet time is written
/// at once. A process that is killed outright takes the lines of this time with it.
const GATHERING: Duration = Duration::from_millis(5);

/// So many bytes are written without gathering more: what a pipe holds (pipe(7)).
const ENOUGH_BYTES: usize = 64 << 10;

/// The thread that writes. Once this is dropped, all that was logged before has been written.
#[derive(Debug)]
pub(super) struct LogWriter {
    lines: Arc<Lines>,
    thread: Option<JoinHandle<()>>,
}

/// Takes lines and keeps their order. None is dropped; what the system does not take is lost.
pub(super) struct Lines {
    state: Mutex<State>,
    /// Tells the thread of something to do.
    work: Condvar,
    /// Tells those who log that there is room.
    room: Condvar,
    sink: Mutex<Box<dyn Write + Send>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    /// The thread has nothing to do and is to be told of the next line.
    idle: bool,
    /// Nothing more is gathered.
    ending: bool,
    /// There is no thread any more: those who log write.
    ended: bool,
}

impl LogWriter {
    /// Begins to write to `sink`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let lines = Arc::new(Lines {
            state: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            sink: Mutex::new(Box::new(sink)),
        });
        let taken = Arc::clone(&lines);
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || taken.run())?;
        Ok(Self { lines, thread: Some(thread) })
    }

    /// Where lines go, each in one piece.
    pub(super) fn lines(&self) -> Arc<Lines> {
        Arc::clone(&self.lines)
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.lines.lock().ending = true;
        self.lines.work.notify_one();
        // Nobody is left to hear of a panic.
        let _panicked = self.thread.take().map(JoinHandle::join);
    }
}

impl Lines {
    fn push(&self, line: &[u8]) {
        let no_room = |state: &mut State| {
            // A line that is longer than all the room there is goes alone.
            !state.waiting.is_empty() && state.waiting.len() + line.len() > WAITING_BYTES_MAX
        };
        let state = self.room.wait_while(self.lock(), no_room);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.ended {
            drop(state);
            return self.write(line);
        }
        let before = state.waiting.len();
        state.waiting.extend_from_slice(line);
        let is_enough = before < ENOUGH_BYTES && state.waiting.len() >= ENOUGH_BYTES;
        let is_idle = std::mem::take(&mut state.idle);
        drop(state);
        // Telling costs a system call, whether or not anybody waits to be told.
        if is_enough || is_idle {
            self.work.notify_one();
        }
    }

    fn run(&self) {
        let mut batch = Vec::new();
        while self.take(&mut batch) {
            self.room.notify_all();
            self.write(&batch);
            batch.clear();
            self.gather();
        }
    }

    /// Waits for lines and takes all there are; false when the end has come and there are none.
    fn take(&self, batch: &mut Vec<u8>) -> bool {
        let nothing = |state: &mut State| {
            state.idle = state.waiting.is_empty() && !state.ending;
            state.idle
        };
        let state = self.work.wait_while(self.lock(), nothing);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        state.ended = state.waiting.is_empty();
        std::mem::swap(batch, &mut state.waiting);
        !state.ended
    }

    /// Waits a little for more lines.
    fn gather(&self) {
        let few = |state: &mut State| !state.ending && state.waiting.len() < ENOUGH_BYTES;
        let waited = self.work.wait_timeout_while(self.lock(), GATHERING, few);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
    }

    /// Writes lines, as far as the system takes them. Complaining on the same output, or to those who
    /// log, would help nobody.
    fn write(&self, mut lines: &[u8]) {
        let mut sink = self.sink.lock().unwrap_or_else(PoisonError::into_inner);
        while !lines.is_empty() {
            match sink.write(lines) {
                Ok(0) => return,
                Ok(written) => lines = lines.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Another process with the same output wants no writes that wait.
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GATHERING),
                Err(_gone) => return,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("state", &self.state).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
