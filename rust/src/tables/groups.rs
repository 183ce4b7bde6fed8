//! Rows in groups, and sums of groups.
//!
//! ```text
//! rows   0 1 2 3 4 5           group 0      group 1
//! key    a b a a b a      →    3 0 5 2      4 1          each by wall time
//! wall   5 9 8 2 3 7                 └ a band: rows 5 and 2 are the slower half of group 0
//! ```

use std::collections::BTreeMap;
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::attribute::Attributed;
use crate::columns::run;
use crate::exponential::Exponential;
use crate::numbers::{u32_of, usize_of};

/// Which rows have equal values: a number for each row of a column.
pub type Codes = Vec<u32>;

/// Numbers the values of a column; `None` for a type that cannot be a key.
pub fn codes(array: &ArrayRef) -> Option<Codes> {
    const NULL: u32 = u32::MAX;
    if let Some(words) = array.as_dictionary_opt::<UInt32Type>() {
        return Some(words.keys().iter().map(|key| key.unwrap_or(NULL)).collect());
    }
    if let Some(numbers) = array.as_primitive_opt::<Int64Type>() {
        return Some(numbered(numbers.iter()));
    }
    if let Some(flags) = array.as_boolean_opt() {
        return Some(flags.iter().map(|flag| flag.map_or(NULL, u32::from)).collect());
    }
    if let Some(texts) = array.as_string_opt::<i64>() {
        return Some(numbered(texts.iter()));
    }
    if let Some(texts) = array.as_string_opt::<i32>() {
        return Some(numbered(texts.iter()));
    }
    array.as_string_view_opt().map(|texts| numbered(texts.iter()))
}

fn numbered<T: std::hash::Hash + Eq + Copy>(values: impl Iterator<Item = T>) -> Codes {
    let mut known: HashMap<T, u32, RandomState> = HashMap::default();
    let mut last: Option<(T, u32)> = None;
    let mut number = |value: T| match last {
        Some((same, number)) if same == value => number,
        _ => {
            let next = u32_of(known.len());
            let number = *known.entry(value).or_insert(next);
            last = Some((value, number));
            number
        }
    };
    values.map(&mut number).collect()
}

/// The rows that latency statistics are about: with possible times, not open by nature unless that is wanted, and none
/// inside another one of these.
pub fn judged(table: &RecordBatch, rows: Vec<usize>, long_running: bool) -> Vec<usize> {
    let flags = |name: &str| table.column_by_name(name).and_then(|column| column.as_boolean_opt());
    let (valid, open) = (flags("has_valid_times"), flags("long_running"));
    let is_measured = |&row: &usize| {
        valid.is_none_or(|valid| valid.value(row))
            && (long_running || open.is_none_or(|open| !open.value(row)))
    };
    let rows: Vec<usize> = rows.into_iter().filter(is_measured).collect();
    let around = table.column_by_name("counted_in").and_then(|column| column.as_primitive_opt::<Int64Type>());
    match around {
        Some(around) if around.null_count() < around.len() => outermost(around, rows),
        _ => rows,
    }
}

fn outermost(around: &Int64Array, rows: Vec<usize>) -> Vec<usize> {
    let above = |row: usize| around.is_valid(row).then(|| usize_of(around.value(row).cast_unsigned()));
    let mut chosen = vec![false; around.len()];
    for &row in &rows {
        chosen[row] = true;
    }
    // Row → it or one around it is chosen. Each edge is walked once.
    let mut inside: HashMap<usize, bool, RandomState> = HashMap::default();
    let mut is_inside = |row: usize| {
        let (mut at, mut path) = (above(row), Vec::new());
        let found = loop {
            match at {
                None => break false,
                Some(row) if chosen[row] => break true,
                Some(row) => match inside.get(&row) {
                    Some(&known) => break known,
                    None => path.push(row),
                },
            }
            at = at.and_then(above);
        };
        inside.extend(path.into_iter().map(|row| (row, found)));
        found
    };
    rows.into_iter().filter(|&row| !is_inside(row)).collect()
}

/// Those of some rows whose number is at least that; null is none. `None` for a column of no numbers.
pub fn at_least(array: &ArrayRef, rows: &[u32], least: i64) -> Option<Vec<usize>> {
    let numbers = array.as_primitive_opt::<Int64Type>()?;
    let fits = |row: &usize| numbers.is_valid(*row) && numbers.value(*row) >= least;
    Some(rows.iter().map(|&row| row as usize).filter(fits).collect())
}

/// Those of some rows whose text is one of these; `None` for a column of no texts.
pub fn among(array: &ArrayRef, rows: &[u32], texts: &[Option<String>]) -> Option<Vec<usize>> {
    let is_one = |text: Option<&str>| texts.iter().any(|one| one.as_deref() == text);
    let with = |fits: &dyn Fn(usize) -> bool| {
        Some(rows.iter().map(|&row| row as usize).filter(|&row| fits(row)).collect())
    };
    if let Some(words) = array.as_dictionary_opt::<UInt32Type>() {
        let (values, keys) = (words.values().as_string_opt::<i32>()?, words.keys());
        let is_word: Vec<bool> = values.iter().map(is_one).collect();
        return with(&|row| {
            if keys.is_valid(row) { is_word[keys.value(row) as usize] } else { is_one(None) }
        });
    }
    let texts = array.as_string_opt::<i32>()?;
    with(&|row| is_one(texts.is_valid(row).then(|| texts.value(row))))
}

/// Which rows have the same step of time; those without valid times are one more group. `None` for other columns.
pub fn steps(start: &ArrayRef, valid: &ArrayRef, step: i64) -> Option<Codes> {
    let (start, valid) = (start.as_primitive_opt::<Int64Type>()?, valid.as_boolean_opt()?);
    let place = |(start, valid): (Option<i64>, Option<bool>)| {
        start.filter(|_| valid == Some(true)).and_then(|start| start.checked_div_euclid(step))
    };
    (start.len() == valid.len()).then(|| numbered(start.iter().zip(valid.iter()).map(place)))
}

/// Sums of numbers by key, of these rows: the keys in the order in which they come first, and their sums.
pub fn sum_by(
    keys: &Int64Array,
    numbers: &Int64Array,
    rows: impl Iterator<Item = usize>,
) -> (Vec<i64>, Vec<i64>) {
    let mut known: HashMap<i64, usize, RandomState> = HashMap::default();
    let (mut found, mut sums): (Vec<i64>, Vec<i64>) = (Vec::new(), Vec::new());
    for row in rows.filter(|&row| keys.is_valid(row) && numbers.is_valid(row)) {
        let at = *known.entry(keys.value(row)).or_insert_with(|| {
            found.push(keys.value(row));
            sums.push(0);
            sums.len() - 1
        });
        sums[at] = sums[at].saturating_add(numbers.value(row));
    }
    (found, sums)
}

/// The codes of other rows: `at` has the row whose code each one gets; those with null share a code.
pub fn codes_at(codes: &[u32], at: &Int64Array) -> Option<Codes> {
    const NOBODY: u32 = u32::MAX;
    let of = |row: Option<i64>| match row {
        Some(row) => codes.get(usize::try_from(row).ok()?).copied(),
        None => Some(NOBODY),
    };
    at.iter().map(of).collect()
}

/// Rows in groups.
#[derive(Debug, Default)]
pub struct Groups {
    /// Group after group; in each by wall time, equal ones by place, or as they came where there are no wall times.
    pub rows: Vec<u32>,
    /// The group of each row, as they came.
    pub of_row: Vec<u32>,
    /// Where each group ends, in `rows`; the groups in the order of their first rows.
    pub end: Vec<u32>,
    /// The first row of each group.
    pub first: Vec<u32>,
}

/// Groups rows by the numbers of their keys; those of a group by wall time where that is given.
pub fn group(rows: &[usize], keys: &[&[u32]], wall: Option<&[i64]>) -> Groups {
    let mut of_row = vec![0u32; rows.len()];
    for codes in keys {
        let pairs = of_row.iter().zip(rows).map(|(&group, &row)| (group, codes[row]));
        of_row = numbered(pairs.collect::<Vec<_>>().into_iter());
    }
    let many = of_row.iter().max().map_or(0, |&last| last as usize + 1);
    let (mut end, mut first) = (vec![0u32; many], vec![u32::MAX; many]);
    for (&group, &row) in of_row.iter().zip(rows) {
        end[group as usize] += 1;
        let first = &mut first[group as usize];
        *first = if *first == u32::MAX { u32_of(row) } else { *first };
    }
    // Where the next row of each group goes: in the end, where the group ends.
    let mut next = Vec::with_capacity(many);
    let mut sum = 0;
    for &count in &end {
        next.push(sum);
        sum += count;
    }
    let mut sorted = vec![0u32; rows.len()];
    for (&group, &row) in of_row.iter().zip(rows) {
        sorted[next[group as usize] as usize] = u32_of(row);
        next[group as usize] += 1;
    }
    for at in 0..many {
        let Some(wall) = wall else { break };
        sorted[run(&next, at)].sort_unstable_by_key(|&row| (wall[row as usize], row));
    }
    Groups { rows: sorted, of_row, end: next, first }
}

impl Groups {
    /// The rows of a group; none of one that there is not.
    pub fn rows_of(&self, group: usize) -> &[u32] {
        if group < self.end.len() { &self.rows[run(&self.end, group)] } else { &[] }
    }

    /// Group → the sum of a column's numbers; null counts as nothing.
    pub fn totals(&self, numbers: &Int64Array) -> Vec<i128> {
        let value = |&row: &u32| {
            let known = numbers.is_valid(row as usize);
            if known { i128::from(numbers.value(row as usize)) } else { 0 }
        };
        (0..self.end.len()).map(|group| self.rows_of(group).iter().map(value).sum()).collect()
    }

    /// Group → how many different numbers a column has.
    pub fn distinct(&self, numbers: &Int64Array) -> Vec<usize> {
        let many = |group| {
            let mut seen: Vec<i64> =
                self.rows_of(group).iter().map(|&row| numbers.value(row as usize)).collect();
            seen.sort_unstable();
            seen.dedup();
            seen.len()
        };
        (0..self.end.len()).map(many).collect()
    }
}

/// Which rows of a table are about each of some roots.
#[derive(Debug)]
pub struct About {
    end: Vec<u32>,
    row: Vec<u32>,
}

impl About {
    /// `root`: for each row the root that it is about, or null; `roots`: the number of roots.
    pub fn new(root: &Int64Array, roots: usize) -> Self {
        let of = |row: usize| {
            let known = root.is_valid(row).then(|| usize::try_from(root.value(row)).ok()).flatten();
            known.filter(|&root| root < roots)
        };
        let mut end = vec![0; roots];
        (0..root.len()).filter_map(of).for_each(|root| end[root] += 1);
        let mut sum = 0;
        for end in &mut end {
            (*end, sum) = (sum, sum + *end);
        }
        let mut about = vec![0; usize_of(u64::from(sum))];
        for row in 0..root.len() {
            if let Some(root) = of(row) {
                about[end[root] as usize] = u32_of(row);
                end[root] += 1;
            }
        }
        Self { end, row: about }
    }

    /// How many roots there are.
    pub fn roots(&self) -> usize {
        self.end.len()
    }

    /// The rows about these roots, in the table's order; none about a root that there is not.
    pub fn rows(&self, roots: &[usize]) -> Vec<usize> {
        let known = roots.iter().filter(|&&root| root < self.end.len());
        let mut rows: Vec<usize> =
            known.flat_map(|&root| &self.row[run(&self.end, root)]).map(|&row| row as usize).collect();
        rows.sort_unstable();
        rows
    }
}

/// What some rows sum up to.
#[derive(Debug, Default)]
pub struct Sum {
    /// Sum of their wall times.
    pub wall_ns: u128,
    /// Phase → ns.
    pub phases: Vec<u128>,
    /// Hundreds of the status → how many, and the sum of their wall times; of 400 and more.
    pub errors: BTreeMap<i64, (u64, u128)>,
}

/// Sums up ranges of grouped rows.
pub fn sums(
    attributed: &Attributed,
    groups: &Groups,
    ranges: &[Range<usize>],
    (wall, status): (&[i64], Option<&Int64Array>),
    phases: usize,
) -> Vec<Sum> {
    let sum = |range: &Range<usize>| {
        let mut sum = Sum { phases: vec![0; phases], ..Sum::default() };
        for &row in &groups.rows[range.clone()] {
            let row = row as usize;
            let wall = u128::from(wall[row].max(0).cast_unsigned());
            sum.wall_ns += wall;
            for part in run(&attributed.end, row) {
                if let Some(total) = sum.phases.get_mut(usize::from(attributed.phase[part])) {
                    *total += u128::from(attributed.ns[part]);
                }
            }
            let code = status.filter(|status| status.is_valid(row)).map_or(0, |status| status.value(row));
            if code >= 400 {
                let (many, ns) = sum.errors.entry(code / 100).or_default();
                (*many, *ns) = (*many + 1, *ns + wall);
            }
        }
        sum
    };
    ranges.iter().map(sum).collect()
}

/// Durations of each group, of the component with that number; `None` for the wall time.
pub type Durations = Vec<(Option<u32>, Exponential)>;

/// For each group its wall times, and what each component took of them where it took time.
pub fn durations(
    attributed: &Attributed,
    groups: &Groups,
    wall: &[i64],
    component: &[u32],
    empty: &Exponential,
) -> Vec<Durations> {
    let mut parts: BTreeMap<u32, Vec<i64>> = BTreeMap::new();
    let (mut sums, mut start): (Vec<(u32, i64)>, usize) = (Vec::new(), 0);
    let mut of = |&end: &u32| {
        let rows = &groups.rows[start..end as usize];
        start = end as usize;
        for &row in rows {
            sums.clear();
            for part in run(&attributed.end, row as usize) {
                let Some(&of) = component.get(usize::from(attributed.phase[part])) else { continue };
                let ns = i64::try_from(attributed.ns[part]).unwrap_or(i64::MAX);
                match sums.iter_mut().find(|(other, _)| *other == of) {
                    Some((_, sum)) => *sum = sum.saturating_add(ns),
                    None => sums.push((of, ns)),
                }
            }
            for &(of, ns) in sums.iter().filter(|&&(_, ns)| ns > 0) {
                parts.entry(of).or_default().push(ns);
            }
        }
        let mut whole = empty.clone();
        whole.add_sorted(rows.iter().map(|&row| wall[row as usize]));
        let mut found = vec![(None, whole)];
        for (&of, values) in parts.iter_mut().filter(|(_, values)| !values.is_empty()) {
            values.sort_unstable();
            let mut durations = empty.clone();
            durations.add_sorted(values.drain(..));
            found.push((Some(of), durations));
        }
        found
    };
    groups.end.iter().map(&mut of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_the_order_of_their_first_rows_and_their_rows_by_wall_time() {
        let (keys, wall) = ([[0, 1, 0, 0, 1, 0]], [5, 9, 8, 2, 3, 7]);
        let found = group(&[0, 1, 2, 3, 4, 5], &[&keys[0]], Some(&wall));
        assert_eq!((vec![3, 0, 5, 2, 4, 1], vec![4, 6], vec![0, 1]), (found.rows, found.end, found.first));
        let found = group(&[5, 3], &[], Some(&wall));
        assert_eq!((vec![3, 5], vec![2], vec![5]), (found.rows, found.end, found.first));
        assert!(group(&[], &[&keys[0]], Some(&wall)).end.is_empty());
    }

    #[test]
    fn without_wall_times_rows_stay_as_they_came_and_columns_are_summed_by_group() {
        let found = group(&[5, 0, 1, 4, 2], &[&[0, 1, 0, 0, 1, 0]], None);
        assert_eq!((&[5, 0, 2][..], &[1, 4][..]), (found.rows_of(0), found.rows_of(1)));
        assert_eq!((vec![0, 0, 1, 1, 0], &[] as &[u32]), (found.of_row.clone(), found.rows_of(2)));
        let numbers = [Some(i64::MAX), Some(1), None, None, Some(1), Some(i64::MAX)];
        let numbers = Int64Array::from(numbers.to_vec());
        assert_eq!(vec![2 * i128::from(i64::MAX), 2], found.totals(&numbers));
        assert_eq!(1, found.distinct(&numbers)[1]);
    }

    #[test]
    fn rows_about_roots_stand_in_the_order_of_their_table() {
        let about = About::new(&vec![Some(2), None, Some(0), Some(2), Some(9), Some(-1)].into(), 3);
        assert_eq!((vec![0, 2, 3], vec![2]), (about.rows(&[2, 0]), about.rows(&[0, 1, 7])));
    }
}
