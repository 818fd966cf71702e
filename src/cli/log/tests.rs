use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;

/// An output that tests can look into.
#[derive(Clone, Default)]
pub(super) struct Output(Arc<Mutex<Vec<u8>>>);

impl Output {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An output whose reader is not there until it is told, and then takes a few bytes at a time.
struct Slow {
    output: Output,
    begin: Option<Receiver<Arc<Lines>>>,
    lines: Option<Arc<Lines>>,
}

impl Write for Slow {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(begin) = self.begin.take() {
            self.lines = Some(begin.recv().unwrap());
        }
        let waiting = self.lines.as_ref().unwrap().lock().waiting.len();
        assert!(waiting <= WAITING_BYTES_MAX, "{waiting}");
        self.output.write(&bytes[..bytes.len().min(1_021)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn slow() -> (Output, Slow, Sender<Arc<Lines>>) {
    let (output, (tell, begin)) = (Output::default(), channel());
    (output.clone(), Slow { output, begin: Some(begin), lines: None }, tell)
}

#[test]
fn lines_are_whole_in_order_and_all_there_however_slow_the_reader() {
    const THREADS: usize = 4;
    const LINES: usize = 5_000;
    let filler = "x".repeat(200);
    let (output, slow, begin) = slow();
    let writer = LogWriter::start(slow).unwrap();
    thread::scope(|scope| {
        for thread in 0..THREADS {
            let (lines, filler) = (writer.lines(), &filler);
            scope.spawn(move || {
                for number in 0..LINES {
                    let line = format!("{thread} {number} {filler}\n");
                    (&*lines).write_all(line.as_bytes()).unwrap();
                }
            });
        }
        // Everybody waits for the reader now, who comes.
        let full = |state: &State| state.waiting.len() > WAITING_BYTES_MAX - 2 * filler.len();
        while !full(&writer.lines.lock()) {
            thread::yield_now();
        }
        begin.send(writer.lines()).unwrap();
    });
    drop(writer);
    let mut next = [0; THREADS];
    for line in output.text().lines() {
        let mut parts = line.splitn(3, ' ');
        let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
        let (thread, number) = (number(), number());
        assert_eq!(number, next[thread], "of thread {thread}");
        assert_eq!(parts.next(), Some(&*filler));
        next[thread] += 1;
    }
    assert_eq!(next, [LINES; THREADS]);
}

#[test]
fn the_first_line_is_written_at_once_and_the_last_before_the_end() {
    let output = Output::default();
    let writer = LogWriter::start(output.clone()).unwrap();
    let lines = writer.lines();
    (&*lines).write_all(b"first\n").unwrap();
    while output.text() != "first\n" {
        thread::yield_now();
    }
    (&*lines).write_all(b"second\n").unwrap();
    drop(writer);
    assert_eq!(output.text(), "first\nsecond\n");
    // A thread that outlives all that.
    (&*lines).write_all(b"third\n").unwrap();
    assert_eq!(output.text(), "first\nsecond\nthird\n");
}

#[test]
fn a_line_longer_than_all_room_is_taken_as_well() {
    let output = Output::default();
    let writer = LogWriter::start(output.clone()).unwrap();
    let long = "x".repeat(2 * WAITING_BYTES_MAX);
    for line in ["first", &long, "last"] {
        (&*writer.lines()).write_all(format!("{line}\n").as_bytes()).unwrap();
    }
    drop(writer);
    assert_eq!(output.text(), format!("first\n{long}\nlast\n"));
}

/// An output that answers every other write with an error.
struct Busy {
    output: Output,
    error: ErrorKind,
    fails: bool,
}

impl Write for Busy {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.fails = !self.fails;
        if self.fails { Err(self.error.into()) } else { self.output.write(&bytes[..1]) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_that_is_not_ready_is_tried_again() {
    for error in [ErrorKind::WouldBlock, ErrorKind::Interrupted] {
        let output = Output::default();
        let writer =
            LogWriter::start(Busy { output: output.clone(), error, fails: false }).unwrap();
        (&*writer.lines()).write_all(b"a line\n").unwrap();
        drop(writer);
        assert_eq!(output.text(), "a line\n");
    }
}

/// An output whose reader has gone.
struct Gone;

impl Write for Gone {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_reader_who_has_gone_holds_nobody_up() {
    let writer = LogWriter::start(Gone).unwrap();
    for _ in 0..4 {
        (&*writer.lines()).write_all(&[b'x'; WAITING_BYTES_MAX / 2]).unwrap();
    }
}
