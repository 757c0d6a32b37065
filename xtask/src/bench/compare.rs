//! Rounds, medians and tables.

use anyhow::Result;
use comfy_table::{CellAlignment, Table, presets};

/// One measurement of the yardstick and one of what is compared with it, right after each other and in the same unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Round {
    pub(crate) floor: f64,
    pub(crate) ours: f64,
}

impl Round {
    pub(crate) fn ratio(&self) -> f64 {
        self.ours / self.floor
    }
}

/// A line of the table: the same thing measured in several rounds.
#[derive(Debug)]
pub(crate) struct Comparison {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) goal: Option<Goal>,
    pub(crate) rounds: Vec<Round>,
}

/// Bounds of a median. An open side is 0 or infinity.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Goal {
    of: Of,
    least: f64,
    most: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// The ratio of each round.
    Ratio,
    /// Our own figure; the yardstick stands beside it to be looked at.
    Ours,
}

impl Goal {
    /// The ratio is to lie between these.
    pub(crate) const fn ratio(least: f64, most: f64) -> Self {
        Self { of: Of::Ratio, least, most }
    }

    /// Our own figure is not to be above this, whatever the yardstick is.
    pub(crate) const fn at_most(most: f64) -> Self {
        Self { of: Of::Ours, least: 0.0, most }
    }

    fn is_met(self, value: f64) -> bool {
        (self.least..=self.most).contains(&value)
    }

    fn text(self) -> String {
        let Self { of, least, most } = self;
        let times = if of == Of::Ratio { "x" } else { "" };
        if least <= 0.0 {
            format!("at most {most:.2}{times}")
        } else if most.is_infinite() {
            format!("at least {least:.2}{times}")
        } else {
            format!("{least:.2}{times} to {most:.2}{times}")
        }
    }
}

impl Comparison {
    /// Median of the ratios of each round.
    pub(crate) fn ratio(&self) -> f64 {
        median(self.rounds.iter().map(Round::ratio))
    }

    /// What the goal is about.
    fn judged(&self, goal: Goal) -> f64 {
        match goal.of {
            Of::Ratio => self.ratio(),
            Of::Ours => median(self.rounds.iter().map(|round| round.ours)),
        }
    }

    /// True as well where no goal is set.
    pub(crate) fn is_met(&self) -> bool {
        self.goal.is_none_or(|goal| goal.is_met(self.judged(goal)))
    }

    /// The figure of each round that the verdict comes from.
    fn by_round(&self) -> String {
        let figure = |round: &Round| match self.goal {
            Some(Goal { of: Of::Ours, .. }) => format!("{:.1}", round.ours),
            _ => format!("{:.2}x", round.ratio()),
        };
        self.rounds.iter().map(figure).collect::<Vec<_>>().join(" ")
    }
}

/// Measures yardstick, ours, yardstick, ours. Each measurement gives as many numbers as `names`; there is one comparison for each.
pub(crate) fn interleave<const N: usize>(
    rounds: usize,
    names: [(&str, &'static str, Option<Goal>); N],
    mut floor: impl FnMut() -> Result<[f64; N]>,
    mut ours: impl FnMut() -> Result<[f64; N]>,
) -> Result<Vec<Comparison>> {
    let mut comparisons =
        Vec::from(names.map(|(name, unit, goal)| Comparison { name: name.to_owned(), unit, goal, rounds: Vec::new() }));
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        let floor = floor()?;
        let ours = ours()?;
        for ((comparison, floor), ours) in comparisons.iter_mut().zip(floor).zip(ours) {
            comparison.rounds.push(Round { floor, ours });
        }
    }
    Ok(comparisons)
}

/// The middle value, or the mean of the two in the middle; NaN where there is none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 0 => f64::midpoint(values[middle - 1], values[middle]),
        _ => values[middle],
    }
}

/// The value that `percent` of all values do not exceed (nearest rank); NaN where there is none.
pub(crate) fn percentile(values: &[f64], percent: usize) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let rank = (values.len() * percent).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or(f64::NAN)
}

pub(crate) fn comparison_table(comparisons: &[Comparison]) -> String {
    let rows = comparisons.iter().map(|comparison| {
        let verdict = match comparison.goal {
            None => String::new(),
            Some(goal) if comparison.is_met() => format!("{}: met", goal.text()),
            Some(goal) => format!("{}: MISSED", goal.text()),
        };
        vec![
            comparison.name.clone(),
            comparison.unit.to_owned(),
            format!("{:.1}", median(comparison.rounds.iter().map(|round| round.floor))),
            format!("{:.1}", median(comparison.rounds.iter().map(|round| round.ours))),
            format!("{:.2}", comparison.ratio()),
            comparison.by_round(),
            verdict,
        ]
    });
    table(&["what", "unit", "yardstick", "ours", "ratio", "by round", "goal"], rows)
}

/// A plain table; every column but the first and the last is aligned to the right.
pub(crate) fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header(head.to_vec());
    for row in rows {
        table.add_row(row);
    }
    let last = table.column_count().saturating_sub(1);
    for column in table.column_iter_mut().skip(1).take(last.saturating_sub(1)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT_MOST_1_9: Goal = Goal::ratio(0.0, 1.9);

    #[test]
    fn medians_and_percentiles() {
        assert!((median([3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median([4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
        assert!(median([]).is_nan());
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert!((percentile(&hundred, 50) - 50.0).abs() < f64::EPSILON);
        assert!((percentile(&hundred, 99) - 99.0).abs() < f64::EPSILON);
        assert!((percentile(&[7.0], 99) - 7.0).abs() < f64::EPSILON);
        assert!(percentile(&[], 50).is_nan());
    }

    #[test]
    fn the_ratio_is_taken_within_each_round() {
        // A machine that becomes ten times slower half-way: the medians of each side would say something else.
        let mut floor = [1.0, 1.0, 10.0].into_iter();
        let mut ours = [2.0, 2.0, 20.0].into_iter();
        let comparisons = interleave(
            3,
            [("a", "us", Some(AT_MOST_1_9))],
            || Ok([floor.next().unwrap()]),
            || Ok([ours.next().unwrap()]),
        )
        .unwrap();
        assert!((comparisons[0].ratio() - 2.0).abs() < f64::EPSILON);
        assert!(!comparisons[0].is_met());
        assert!(comparison_table(&comparisons).contains("MISSED"));
    }

    #[test]
    fn measurements_take_turns() {
        let order = std::cell::RefCell::new(String::new());
        let record = |name: char| {
            order.borrow_mut().push(name);
            Ok([1.0])
        };
        interleave(2, [("a", "us", None)], || record('A'), || record('B')).unwrap();
        assert_eq!(order.into_inner(), "ABAB");
    }

    #[test]
    fn goals_have_bounds() {
        assert!(AT_MOST_1_9.is_met(1.9) && !AT_MOST_1_9.is_met(2.0));
        assert!(!AT_MOST_1_9.is_met(f64::NAN));
        assert_eq!(AT_MOST_1_9.text(), "at most 1.90x");
        let at_least = Goal::ratio(0.8, f64::INFINITY);
        assert!(at_least.is_met(5.0) && !at_least.is_met(0.7));
        assert_eq!(at_least.text(), "at least 0.80x");
    }

    #[test]
    fn a_goal_may_be_about_our_figure_alone() {
        let of = |ours| Comparison {
            name: "a".to_owned(),
            unit: "MB",
            goal: Some(Goal::at_most(40.0)),
            rounds: vec![Round { floor: 1.0, ours }],
        };
        assert!(of(39.0).is_met() && !of(41.0).is_met());
        let table = comparison_table(&[of(39.0), of(41.0)]);
        assert!(table.contains("at most 40.00: met") && table.contains("at most 40.00: MISSED"), "{table}");
    }
}
