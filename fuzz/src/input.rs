//! Taking an input apart: choices first, then text.

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// One byte; 0 when there is none left.
    pub fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *byte
    }

    /// As many bytes as there are, up to `count`.
    pub fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        usize::from(self.byte()) % count
    }

    /// All up to the next occurrence of a byte, which is dropped; the rest if there is none.
    pub fn until(&mut self, end: u8) -> &'a [u8] {
        let length = self.0.iter().position(|byte| *byte == end).unwrap_or(self.0.len());
        let bytes = self.bytes(length);
        self.byte();
        bytes
    }

    pub fn is_empty(self) -> bool {
        self.0.is_empty()
    }
}

/// Changes one byte of a text: which and how is in three bytes of the input. Nothing changes if these
/// are zero.
pub fn tamper(text: &mut [u8], input: &mut Input<'_>) {
    let at = usize::from(u16::from_le_bytes([input.byte(), input.byte()]));
    let change = input.byte();
    if let Some(byte) = at.checked_rem(text.len()).and_then(|at| text.get_mut(at)) {
        *byte ^= change;
    }
}
