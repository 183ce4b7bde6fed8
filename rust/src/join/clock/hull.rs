//! The upper convex hull of points that come one at a time: all that lines above them can touch.
//!
//! ```text
//! value │      ○───○            ○ on the hull
//!       │  ○    ·    ·  ○       · below it: no line that stays above all points touches it
//!       │    ·    ·
//!       └──────────────── t
//! ```
//!
//! Integers, so that the hull of a set is one and the same whatever the order, and the hull of a union that of the hulls.

/// So many points are kept. Clocks that drift make a dozen; only made-up ones make thousands.
const POINTS: usize = 4096;

/// Points by t, each one above the line between its neighbours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Hull {
    points: Vec<(i64, i64)>,
}

/// Whether `b` is on or below the line from `a` to `c`. Values up to 2^62 either way.
fn is_below(a: (i64, i64), b: (i64, i64), c: (i64, i64)) -> bool {
    let wide = |x: i64, y: i64| i128::from(x) - i128::from(y);
    wide(b.0, a.0) * wide(c.1, a.1) >= wide(b.1, a.1) * wide(c.0, a.0)
}

impl Hull {
    /// The points, by t.
    pub fn points(&self) -> &[(i64, i64)] {
        &self.points
    }

    /// Adds a point.
    pub fn add(&mut self, t: i64, value: i64) {
        let points = &mut self.points;
        let at = points.partition_point(|&(other, _)| other < t);
        match points.get(at).copied() {
            Some(same) if same.0 == t && same.1 >= value => return,
            Some(same) if same.0 == t => points[at].1 = value,
            Some(next) if at > 0 && is_below(points[at - 1], (t, value), next) => return,
            _ => points.insert(at, (t, value)),
        }
        self.bend(at);
    }

    /// Takes out the neighbours of a new point that are below the lines from it.
    fn bend(&mut self, at: usize) {
        let points = &mut self.points;
        let point = points[at];
        let mut next = at + 1;
        while next + 1 < points.len() && is_below(point, points[next], points[next + 1]) {
            next += 1;
        }
        points.drain(at + 1..next.min(points.len()));
        let mut first = at;
        while first >= 2 && is_below(points[first - 2], points[first - 1], point) {
            first -= 1;
        }
        points.drain(first..at);
        if points.len() > POINTS {
            let mut place = 0;
            points.retain(|_| {
                place += 1;
                place % 2 == 1
            });
        }
    }

    /// Adds all points of another hull.
    pub fn merge(&mut self, other: &Self) {
        for &(t, value) in &other.points {
            self.add(t, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hull(points: &[(i64, i64)]) -> Hull {
        let mut hull = Hull::default();
        points.iter().for_each(|&(t, value)| hull.add(t, value));
        hull
    }

    #[test]
    fn points_on_and_below_the_lines_between_others_are_left_out() {
        assert_eq!(
            &[(0, 0), (2, 4), (5, 5)],
            hull(&[(0, 0), (1, 2), (2, 4), (5, 5), (4, 2), (2, 3)]).points()
        );
    }

    #[test]
    fn the_widest_values_do_not_overflow() {
        let far = 1 << 62;
        let points = [(0, -far), (far / 2, far), (far, -far), (far / 2, 0)];
        assert_eq!(&points[..3], hull(&points).points());
    }

    /// By definition: a point is on it if no two others, or one at its own t, are above or on a line with it.
    fn defined(points: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let covered = |p: (i64, i64)| {
            let higher = points.iter().any(|q| q.0 == p.0 && q.1 > p.1);
            let line = |a: &(i64, i64), c: &(i64, i64)| a.0 < p.0 && p.0 < c.0 && is_below(*a, p, *c);
            higher || points.iter().any(|a| points.iter().any(|c| line(a, c)))
        };
        let mut kept: Vec<_> = points.iter().copied().filter(|&p| !covered(p)).collect();
        kept.sort_unstable();
        kept.dedup();
        kept
    }

    proptest! {
        #[test]
        fn it_is_what_the_definition_says_in_any_order(points in prop::collection::vec((0i64..12, -9i64..9), 0..24)) {
            prop_assert_eq!(defined(&points), hull(&points).points().to_vec());
        }

        #[test]
        fn the_hull_of_a_union_is_that_of_the_hulls(
            a in prop::collection::vec((0i64..30, -40i64..40), 0..24),
            b in prop::collection::vec((0i64..30, -40i64..40), 0..24),
        ) {
            let mut merged = hull(&a);
            merged.merge(&hull(&b));
            prop_assert_eq!(hull(&[a, b].concat()), merged);
        }
    }
}
