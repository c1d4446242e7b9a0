//! Chance as a row of bytes: each choice takes the next one, and 0 is the plainest. So a case that fails shrinks to a plain one,
//! by proptest's own means.

/// Choices that are still to be made.
pub(super) struct Dice<'a>(std::slice::Iter<'a, u8>);

impl<'a> Dice<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes.iter())
    }

    fn next(&mut self) -> u8 {
        self.0.next().copied().unwrap_or_default()
    }

    /// A number below `end`.
    pub(super) fn below(&mut self, end: u8) -> u32 {
        u32::from(self.next() % end)
    }

    /// One of these; the first one is the plainest.
    pub(super) fn one<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.next()) % all.len()]
    }

    /// Happens so many times in 256.
    pub(super) fn happens(&mut self, often: u8) -> bool {
        self.next() > 255 - often
    }

    /// One of these so many times in 256; else `plain`.
    pub(super) fn seldom<T: Copy>(&mut self, often: u8, plain: T, all: &[T]) -> T {
        if self.happens(often) { self.one(all) } else { plain }
    }
}
