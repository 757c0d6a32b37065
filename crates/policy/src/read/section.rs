//! Tables of the file, key by key, so that each complaint has its line and no key goes unread.

use countersign_core::names::{Factor, NameError};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::error::{Place, PolicyError, Problem};
use crate::pattern::{misleads, shortened};

/// Collects what is wrong.
#[derive(Debug)]
pub(super) struct Report<'a> {
    file: &'a str,
    /// Where each line begins.
    starts: Vec<usize>,
    errors: Vec<PolicyError>,
    /// The rule that is being read.
    pub(super) rule: Option<String>,
}

/// What is wrong is in the [`Report`] already.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// A table whose keys are taken one by one.
#[derive(Debug)]
pub(super) struct Section<'t> {
    /// Offset of its header.
    pub(super) at: usize,
    entries: Vec<(Item<'t>, bool)>,
    known: Vec<&'static str>,
}

/// A value and the key that it stands under.
#[derive(Clone, Debug)]
pub(super) struct Item<'t> {
    pub(super) key: String,
    pub(super) at: usize,
    pub(super) value: &'t DeValue<'t>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a str, text: &str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { file, starts, errors: Vec::new(), rule: None }
    }

    pub(super) fn line(&self, at: usize) -> u32 {
        u32::try_from(self.starts.partition_point(|start| *start <= at)).unwrap_or(u32::MAX)
    }

    pub(super) fn place(&self, line: u32) -> Place {
        Place { file: self.file.to_owned(), line, rule: self.rule.clone() }
    }

    pub(super) fn problem(&mut self, at: usize, problem: Problem) {
        let place = self.place(self.line(at));
        self.errors.push(PolicyError { place, problem });
    }

    pub(super) fn push(&mut self, line: u32, problem: Problem) {
        let place = self.place(line);
        self.errors.push(PolicyError { place, problem });
    }

    pub(super) fn is_clean(&self) -> bool {
        self.errors.is_empty()
    }

    /// All of them in the order of the file.
    pub(super) fn into_errors(mut self) -> Vec<PolicyError> {
        self.errors.sort_by_key(|error| error.place.line);
        self.errors
    }

    /// The value, or the complaint about it.
    pub(super) fn check<T>(&mut self, at: usize, result: Result<T, Problem>) -> Option<T> {
        result.map_err(|problem| self.problem(at, problem)).ok()
    }
}

impl<'t> Section<'t> {
    pub(super) fn new(at: usize, table: &'t DeTable<'t>) -> Self {
        let entry = |(key, value): (&Spanned<_>, &'t Spanned<DeValue<'t>>)| {
            let key: &Spanned<std::borrow::Cow<'_, str>> = key;
            let item = Item { key: key.get_ref().to_string(), at: key.span().start, value: value.get_ref() };
            (item, false)
        };
        Self { at, entries: table.iter().map(entry).collect(), known: Vec::new() }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t>> {
        self.known.push(key);
        let (item, taken) = self.entries.iter_mut().find(|(item, _)| item.key == key)?;
        *taken = true;
        Some(item.clone())
    }

    pub(super) fn need(&mut self, key: &'static str, report: &mut Report<'_>) -> Option<Item<'t>> {
        let item = self.take(key);
        if item.is_none() {
            report.problem(self.at, Problem::Missing(key));
        }
        item
    }

    /// A key that nobody took is a typing error: `quorums` must not mean "no quorum".
    pub(super) fn finish(self, report: &mut Report<'_>) {
        let known = self.known.join(", ");
        for (item, _) in self.entries.into_iter().filter(|(_, taken)| !taken) {
            report.problem(item.at, Problem::UnknownKey { key: shortened(&item.key), known: known.clone() });
        }
    }
}

impl<'t> Item<'t> {
    pub(super) fn string(&self, report: &mut Report<'_>) -> Option<&'t str> {
        let Some(text) = self.value.as_str() else {
            return self.wrong("a text", report);
        };
        if text.chars().any(misleads) {
            report.problem(self.at, Problem::Hidden(self.key.clone()));
            return None;
        }
        Some(text)
    }

    /// One text or a list of some; none is a complaint. A list item stands on a line of its own.
    pub(super) fn strings(&self, report: &mut Report<'_>) -> Option<Vec<(&'t str, usize)>> {
        match self.value {
            DeValue::String(_) => self.string(report).map(|text| vec![(text, self.at)]),
            DeValue::Array(_) => {
                let items = self.items(report)?;
                items.iter().map(|item| item.string(report).map(|text| (text, item.at))).collect()
            }
            _ => self.wrong("a text or a list of texts", report),
        }
    }

    /// The items of a list that is not empty.
    pub(super) fn items(&self, report: &mut Report<'_>) -> Option<Vec<Self>> {
        let Some(array) = self.value.as_array() else {
            return self.wrong("a list", report);
        };
        if array.is_empty() {
            report.problem(self.at, Problem::EmptyList(self.key.clone()));
            return None;
        }
        let item = |value: &'t Spanned<DeValue<'t>>| Self {
            key: self.key.clone(),
            at: value.span().start,
            value: value.get_ref(),
        };
        Some(array.iter().map(item).collect())
    }

    pub(super) fn table(&self, report: &mut Report<'_>) -> Option<Section<'t>> {
        match self.value.as_table() {
            Some(table) => Some(Section::new(self.at, table)),
            None => self.wrong("a table", report),
        }
    }

    pub(super) fn integer(&self, report: &mut Report<'_>) -> Option<i64> {
        integer(self.value).or_else(|| self.wrong("a whole number", report))
    }

    pub(super) fn in_range(&self, least: i64, most: i64, report: &mut Report<'_>) -> Option<u32> {
        let number = self.integer(report)?;
        if !(least..=most).contains(&number) {
            let problem = Problem::Range { key: self.key.clone(), got: number.to_string(), least, most };
            report.problem(self.at, problem);
            return None;
        }
        u32::try_from(number).ok()
    }

    pub(super) fn name<T>(&self, result: Result<T, NameError>, report: &mut Report<'_>) -> Option<T> {
        report.check(self.at, result.map_err(|source| Problem::Name { key: self.key.clone(), source }))
    }

    pub(super) fn factors(&self, report: &mut Report<'_>) -> Option<std::collections::BTreeSet<Factor>> {
        let texts = self.strings(report)?;
        let factor = |(text, at): (&str, usize)| {
            let factor = match text.parse() {
                Ok(Factor::Totp) => Ok(Factor::Totp),
                Ok(Factor::Password) => Err(Problem::Password(self.key.clone())),
                Err(_) => Err(Problem::Factor { key: self.key.clone(), got: shortened(text) }),
            };
            report.check(at, factor)
        };
        texts.into_iter().map(factor).collect()
    }

    pub(super) fn wrong<T>(&self, want: &'static str, report: &mut Report<'_>) -> Option<T> {
        let got = match self.value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a number outside 64 bits",
            DeValue::Float(_) => "a fraction",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let got = if integer(self.value).is_some() { "a number" } else { got };
        report.problem(self.at, Problem::Kind { key: self.key.clone(), want, got });
        None
    }
}

/// A key that may be missing. If it is there and wrong, all that it belongs to is wrong.
pub(super) fn optional<'t, T>(
    item: Option<Item<'t>>,
    read: impl FnOnce(&Item<'t>) -> Option<T>,
) -> Result<Option<T>, Reported> {
    item.map(|item| read(&item).ok_or(Reported)).transpose()
}

pub(super) fn integer(value: &DeValue<'_>) -> Option<i64> {
    let number = value.as_integer()?;
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}
