//! What a run in front of each proxy came to: a table, the same as JSON, and a picture of who served over time.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::load::{BIN, Counts};

/// One line.
#[derive(Clone, Debug)]
pub struct Line {
    /// The way, for people.
    pub way: String,
    /// Replicas of the service.
    pub replicas: u32,
    /// Rollouts under the requests.
    pub rollouts: u32,
    /// From the changed file to convergence, of each rollout.
    pub seconds: Vec<f64>,
    /// The same without a proxy: the application's own start and end.
    pub own: f64,
    /// What came of the requests.
    pub counts: Counts,
}

impl Line {
    fn mean(&self) -> f64 {
        self.seconds.iter().sum::<f64>() / f64::from(u32::try_from(self.seconds.len()).unwrap_or(1).max(1))
    }

    /// Seconds that one replacement takes beyond the application's own start and end.
    pub fn beyond(&self) -> f64 {
        (self.mean() - self.own) / f64::from(self.replicas.max(1))
    }
}

/// The lines as a table.
pub fn table(lines: &[Line]) -> String {
    let mut text = "| way | replicas | rollouts | requests sent | failed | s per rollout | s per replacement beyond the app's own |\n\
                    |---|---|---|---|---|---|---|\n"
        .to_owned();
    for line in lines {
        let beyond = if line.own > 0.0 { format!("{:.1}", line.beyond()) } else { "-".to_owned() };
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} | {beyond} |",
            line.way,
            line.replicas,
            line.rollouts,
            thousands(line.counts.sent),
            line.counts.failed,
            line.mean(),
        )
        .expect("text can be written to");
    }
    text
}

/// The lines for machines.
pub fn json(lines: &[Line]) -> Value {
    let one = |line: &Line| {
        json!({
            "way": line.way, "replicas": line.replicas, "rollouts": line.rollouts,
            "sent": line.counts.sent, "failed": line.counts.failed, "servedByVersion": line.counts.served,
            "secondsPerRollout": line.seconds, "secondsPerReplacementBeyondTheApplicationsOwn": line.beyond(),
            "slowestMs": u64::try_from(line.counts.slowest.as_millis()).unwrap_or(u64::MAX),
            "binMs": u64::try_from(BIN.as_millis()).unwrap_or_default(), "bins": line.counts.bins,
            "errors": line.counts.errors,
        })
    };
    Value::Array(lines.iter().map(one).collect())
}

const WIDTH: f64 = 900.0;
const LEFT: f64 = 250.0;
const ROW: f64 = 64.0;
const COLOURS: [&str; 6] = ["#4e79a7", "#59a14f", "#b07aa1", "#edc948", "#76b7b2", "#9c755f"];

/// Who served, over time: one row a line, a colour for each version, failures in red.
pub fn picture(lines: &[Line]) -> String {
    let count = f64::from(u32::try_from(lines.len()).unwrap_or(u32::MAX));
    let height = 40.0 + count * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"8\" y=\"20\" font-size=\"14\">Requests served by each \
         version during rollouts, and failed (red)</text>\n"
    );
    for (at, line) in lines.iter().enumerate() {
        let top = 34.0 + ROW * f64::from(u32::try_from(at).unwrap_or_default());
        row(&mut svg, line, top);
    }
    svg + "</svg>\n"
}

fn row(svg: &mut String, line: &Line, top: f64) {
    let (counts, failed) = (&line.counts, line.counts.failed);
    let colour = if failed > 0 { "#d62728" } else { "#222" };
    let said = format!("{} sent, {failed} failed", thousands(counts.sent));
    write!(
        svg,
        "<text x=\"8\" y=\"{:.1}\">{}, {} x</text>\n<text x=\"8\" y=\"{:.1}\" fill=\"{colour}\">{said}</text>\n",
        top + 22.0,
        line.way.replace('&', "&amp;").replace('<', "&lt;"),
        line.replicas,
        top + 40.0
    )
    .expect("text can be written to");
    let bins = f64::from(u32::try_from(counts.bins.len().max(1)).unwrap_or(u32::MAX));
    let width = (WIDTH - LEFT - 10.0) / bins;
    let number = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
    let most = counts.bins.iter().map(|bin| bin.values().sum::<u64>()).max().unwrap_or(1).max(1);
    let mut versions: Vec<&String> = counts.served.keys().collect();
    versions.sort_by_key(|version| version.parse::<u32>().unwrap_or(u32::MAX));
    for (at, bin) in counts.bins.iter().enumerate() {
        let x = LEFT + width * f64::from(u32::try_from(at).unwrap_or_default());
        let mut y = top + ROW - 10.0;
        let bars = versions.iter().enumerate().map(|(nth, version)| (*version, COLOURS[nth % COLOURS.len()]));
        let failures = "failed".to_owned();
        for (version, colour) in bars.chain([(&failures, "#d62728")]) {
            let Some(n) = bin.get(version).filter(|n| **n > 0) else { continue };
            let bar = (number(*n) / number(most) * (ROW - 16.0)).max(0.6);
            y -= bar;
            writeln!(
                svg,
                "<rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{:.2}\" height=\"{bar:.2}\" fill=\"{colour}\"/>",
                width + 0.05
            )
            .expect("text can be written to");
        }
    }
}

/// 23999 as 23,999.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::thousands;

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!(
            ["7", "999", "1000", "23999", "1234567"].map(|n| thousands(n.parse().unwrap())),
            ["7", "999", "1,000", "23,999", "1,234,567"]
        );
    }
}
