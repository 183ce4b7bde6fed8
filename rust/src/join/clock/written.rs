//! Sums of calls as JSON, to be sent from one process to another.

use serde_json::{Value, json};

use super::{Extremes, Summary, keep};

/// Greater numbers are none that [`super::Hull`] can take.
const MOST: i64 = 1 << 62;

impl Summary {
    /// All that it holds.
    pub fn to_json(&self) -> Value {
        let e = &self.extremes;
        let counts = json!([e.pairs, e.first, e.last, e.off_zero, e.at_zero.0, e.at_zero.1]);
        json!([counts, e.lows, e.highs, self.lows.points(), self.highs.points()])
    }

    /// Of what [`Self::to_json`] wrote; `None` if it is something else.
    pub fn from_json(value: &Value) -> Option<Self> {
        let number = |value: &Value| value.as_i64().filter(|ns| (-MOST..=MOST).contains(ns));
        let counts = value.get(0)?;
        let whole = |at: usize| counts.get(at)?.as_u64();
        let any = |at: usize| counts.get(at)?.as_i64();
        let mut summary = Self {
            extremes: Extremes {
                pairs: whole(0)?,
                first: any(1)?,
                last: any(2)?,
                off_zero: whole(3)?,
                at_zero: (any(4)?, any(5)?),
                ..Extremes::default()
            },
            ..Self::default()
        };
        for low in value.get(1)?.as_array()? {
            keep(&mut summary.extremes.lows, number(low)?);
        }
        for high in value.get(2)?.as_array()? {
            keep(&mut summary.extremes.highs, number(high)?);
        }
        for (at, hull) in [(3, &mut summary.lows), (4, &mut summary.highs)] {
            for point in value.get(at)?.as_array()? {
                hull.add(number(point.get(0)?)?, number(point.get(1)?)?);
            }
        }
        Some(summary)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Bound;
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut summary = Summary::default();
        assert_eq!(Some(&summary), Summary::from_json(&summary.to_json()).as_ref());
        for t in 0..300 {
            let low = if t % 7 == 0 { i64::MIN } else { t * 3 % 101 - 90 };
            summary.add(Bound { t: 1_790_000_000_000_000_000 + t, low, high: t * 5 % 97 });
        }
        assert_eq!(Some(&summary), Summary::from_json(&summary.to_json()).as_ref());
        assert_eq!(None, Summary::from_json(&serde_json::json!([[1, 2], [], [], [], []])));
    }
}
