//! Text made worse by chance: bytes changed, cut, repeated and taken from elsewhere, with the words that stand for much.

use fastrand::Rng;

/// No text is made longer: it is what one file, or one small answer, may have.
const LONGEST: usize = 1 << 20;

/// Text that is worse than it was, in one to eight places.
pub(super) fn worse(rng: &mut Rng, text: &[u8], words: &[&str]) -> Vec<u8> {
    let mut text = text.to_vec();
    for _ in 0..rng.usize(1..=8) {
        let at = rng.usize(..=text.len());
        let end = (at + rng.usize(..200)).min(text.len());
        match rng.u8(..8) {
            0 => drop(text.splice(at..end, [])),
            1 => text.insert(at, b"\0\t\n :-[]{}&*!|>'\"%@`#,?$~<=xX9\\/\x80\xff"[rng.usize(..34)]),
            2 => {
                let piece = text[at..end].to_vec();
                let times = 1 << rng.u32(..14);
                let times = times.min((LONGEST - text.len().min(LONGEST)) / piece.len().max(1));
                text.splice(at..at, piece.repeat(times));
            }
            3 => text.truncate(at),
            4 => {
                let long = "x".repeat(1 << rng.u32(..19));
                text.splice(at..at, long.bytes());
            }
            5 if !text.is_empty() => {
                let at = rng.usize(..text.len());
                text[at] = rng.u8(..);
            }
            _ => {
                let word = words[rng.usize(..words.len())];
                text.splice(at..at, word.bytes());
            }
        }
        text.truncate(LONGEST);
    }
    text
}
