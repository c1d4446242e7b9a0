//! The words Compose uses inside strings: durations, byte sizes, percentages and decimal numbers. Pure text in and out.

use std::{fmt, str::FromStr, time::Duration};

/// Why a scalar cannot be read. `Display` says what was found; [`ScalarError::help`] says what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ScalarError {
    message: String,
    help: &'static str,
}

impl ScalarError {
    /// What to write instead.
    pub const fn help(&self) -> &'static str {
        self.help
    }
}

/// A span of time as Compose writes it: `1m30s`, `250ms`, `1.5s` (units us, ms, s, m, h).
///
/// At most a year, at microsecond resolution. Source: compose-spec 00-overview, "Specifying durations".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ComposeDuration(Duration);

pub(crate) const DURATION_HELP: &str =
    "write a number with a unit (us, ms, s, m, h), such as `10s`, `1m30s` or `250ms`";
const YEAR: u128 = 365 * 24 * 3600 * 1_000_000;

impl ComposeDuration {
    /// A duration of whole seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }

    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }

    /// The time itself.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for ComposeDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl FromStr for ComposeDuration {
    type Err = ScalarError;

    /// # Errors
    /// When a number has no unit, a unit is unknown, or the sum is over a year or finer than a microsecond.
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let refuse =
            |why: &str| ScalarError { message: format!("`{text}` is not a duration: {why}"), help: DURATION_HELP };
        let mut micros: u128 = 0;
        let mut rest = text;
        if rest.is_empty() {
            return Err(refuse("it is empty"));
        }
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let (number, tail) = rest.split_at(digits);
            let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
            let (unit, tail) = tail.split_at(letters);
            if number.is_empty() {
                return Err(refuse("a number is missing"));
            }
            let scale: u128 = match unit {
                "us" => 1,
                "ms" => 1_000,
                "s" => 1_000_000,
                "m" => 60_000_000,
                "h" => 3_600_000_000,
                "" => return Err(refuse("the unit is missing")),
                other => return Err(refuse(&format!("unknown unit `{other}`"))),
            };
            micros = scaled(number, scale)
                .and_then(|part| micros.checked_add(part))
                .filter(|sum| *sum <= YEAR)
                .ok_or_else(|| refuse(&format!("`{number}{unit}` is no number, over a year or finer than 1us")))?;
            rest = tail;
        }
        Ok(Self(Duration::from_micros(u64::try_from(micros).map_err(|_| refuse("it is too long"))?)))
    }
}

/// `number` (digits with at most one point) times `scale`; `None` when it is malformed, too large or not whole.
///
/// `scaled("1.5", 1000) = Some(1500)`, `scaled("0.0001", 1000) = None`.
fn scaled(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || whole.len() > 20 || fraction.len() > 12 || fraction.contains('.') {
        return None;
    }
    let whole: u128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let places = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let fraction: u128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let part = fraction.checked_mul(scale)?;
    if part % places != 0 {
        return None;
    }
    whole.checked_mul(scale)?.checked_add(part / places)
}

impl fmt::Display for ComposeDuration {
    /// Largest units first, whole numbers only: 90 s is `1m30s`, 1.5 s is `1s500ms`, nothing is `0s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut micros = self.0.as_micros();
        if micros == 0 {
            return f.write_str("0s");
        }
        for (scale, unit) in [(3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")] {
            if micros >= scale {
                write!(f, "{}{unit}", micros / scale)?;
                micros %= scale;
            }
        }
        Ok(())
    }
}

/// A number of bytes as Compose writes it: `64m`, `1gb`, `1024` (units b, k, m, g, t, p, also as `kb` and
/// `kib`; 1024-based).
///
/// Source: compose-spec 00-overview, "Specifying byte values"; the larger ones and `kib`: go-units, which Compose reads with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ByteSize(pub u64);

pub(crate) const BYTES_HELP: &str =
    "write a number of bytes, or a number with a unit (b, k, m, g, t, p; also `kb` or `kib`), such as `64m` or `1gb`";

impl ByteSize {
    /// The number of bytes.
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for ByteSize {
    type Err = ScalarError;

    /// # Errors
    /// When it is not a number with a known unit, not a whole number of bytes, or beyond `i64::MAX` bytes.
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let refuse =
            |why: &str| ScalarError { message: format!("`{text}` is not a byte size: {why}"), help: BYTES_HELP };
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let scale: u128 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kb" | "kib" => 1 << 10,
            "m" | "mb" | "mib" => 1 << 20,
            "g" | "gb" | "gib" => 1 << 30,
            "t" | "tb" | "tib" => 1 << 40,
            "p" | "pb" | "pib" => 1 << 50,
            _ if number.is_empty() => return Err(refuse("a number is missing")),
            _ => return Err(refuse(&format!("unknown unit `{unit}`"))),
        };
        scaled(number, scale)
            .and_then(|bytes| i64::try_from(bytes).ok())
            .and_then(|bytes| u64::try_from(bytes).ok())
            .map(Self)
            .ok_or_else(|| refuse("it is no whole number of bytes"))
    }
}

impl fmt::Display for ByteSize {
    /// The largest unit that divides it: `64m`, `1g`, `1000`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(30, "g"), (20, "m"), (10, "k")] {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}", self.0)
    }
}

/// A decimal number kept as it was written (`0.50` stays `0.50`), for CPU counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(String);

impl Decimal {
    /// The number in thousand-millionths, the engine's `NanoCpus`: `0.5` is 500,000,000.
    pub fn nano(&self) -> u64 {
        scaled(&self.0, 1_000_000_000).and_then(|nano| u64::try_from(nano).ok()).unwrap_or(0)
    }

    /// The text as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Decimal {
    type Err = ScalarError;

    /// # Errors
    /// When it is not digits with at most one point and nine decimal places, or not less than 2^63 thousand-millionths.
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        match scaled(text, 1_000_000_000).map(i64::try_from) {
            Some(Ok(_)) => Ok(Self(text.to_owned())),
            _ => Err(ScalarError {
                message: format!("`{text}` is not a decimal number"),
                help: "write digits with at most one point and nine places, such as `0.5` or `2`",
            }),
        }
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A count of replicas (`1`) or a share of them (`25%`), as in Kubernetes' `maxSurge` and `maxUnavailable`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntOrPercent {
    /// So many replicas.
    Int(u32),
    /// So many hundredths of the wanted replicas.
    Percent(u32),
}

/// Which way a share of replicas becomes a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rounding {
    /// As Kubernetes does for `maxSurge`.
    Up,
    /// As Kubernetes does for `maxUnavailable`.
    Down,
}

impl IntOrPercent {
    /// The number of replicas it means out of `total`.
    ///
    /// 25 % of 3 is 1 rounded up and 0 rounded down; 25 % of 4 is 1 both ways. Source: Kubernetes
    /// `intstr.GetScaledValueFromIntOrPercent`.
    pub fn of(self, total: u32, rounding: Rounding) -> u32 {
        match self {
            Self::Int(count) => count,
            Self::Percent(percent) => {
                let hundredths = u64::from(percent) * u64::from(total);
                let count = match rounding {
                    Rounding::Up => hundredths.div_ceil(100),
                    Rounding::Down => hundredths / 100,
                };
                u32::try_from(count).unwrap_or(u32::MAX)
            }
        }
    }
}

impl FromStr for IntOrPercent {
    type Err = ScalarError;

    /// # Errors
    /// When it is neither a whole number nor a whole number with `%`.
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let parsed = match text.strip_suffix('%') {
            Some(percent) => percent.parse().map(Self::Percent),
            None => text.parse().map(Self::Int),
        };
        parsed.map_err(|_| ScalarError {
            message: format!("`{text}` is neither a count nor a percentage"),
            help: "write a whole number such as `1`, or a share such as `25%`",
        })
    }
}

impl fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Int(count) => write!(f, "{count}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// HTTP statuses, such as `200-299` or `200,204`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusCodes(Vec<(u16, u16)>);

pub(crate) const STATUS_HELP: &str = "write statuses from 100 to 599, such as `200`, `200-299` or `200,204`";

impl StatusCodes {
    /// Whether `status` is one of them.
    pub fn hold(&self, status: u16) -> bool {
        self.0.iter().any(|(from, to)| (*from..=*to).contains(&status))
    }
}

impl FromStr for StatusCodes {
    type Err = ScalarError;

    /// # Errors
    /// When a part is no status or no rising range of them.
    fn from_str(text: &str) -> Result<Self, ScalarError> {
        let part = |part: &str| {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            let range: (u16, u16) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
            (100 <= range.0 && range.0 <= range.1 && range.1 < 600).then_some(range)
        };
        let parts: Option<Vec<_>> = text.split(',').map(part).collect();
        parts
            .map(Self)
            .ok_or_else(|| ScalarError { message: format!("`{text}` names no HTTP statuses"), help: STATUS_HELP })
    }
}

impl fmt::Display for StatusCodes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (from, to)) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            if from == to { write!(f, "{from}")? } else { write!(f, "{from}-{to}")? }
        }
        Ok(())
    }
}
