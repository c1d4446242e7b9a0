//! Bytes as hexadecimal digits, and back.

/// Two lowercase digits for each byte.
pub fn encode(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes of a text of digits, of either case; `None` for anything else.
pub fn decode(digits: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(encode([0, 15, 255]), "000fff");
        assert_eq!(decode(b"000fFF"), Some(vec![0, 15, 255]));
        assert_eq!(decode(b""), Some(Vec::new()));
        for wrong in [&b"0"[..], b"0g", b"000", "é".as_bytes()] {
            assert_eq!(decode(wrong), None, "{wrong:?}");
        }
    }
}
