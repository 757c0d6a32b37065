//! Lists in parts.

use crate::EngineError;

/// The longest part of a list.
pub const PAGE_LIMIT: u32 = 200;

/// A part of a list, and where the next part begins: after a key, not after a number of rows, so that what is added or removed in between neither
/// repeats nor hides anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// The key that the next part begins after; `None` at the end.
    pub next: Option<String>,
}

impl<T> Page<T> {
    pub const fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }

    /// A part of at most `limit` rows, from one row more than that if there are more; `key` of its last row is where the next part begins.
    pub(crate) fn cut(mut rows: Vec<T>, limit: u32, key: impl FnOnce(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(key);
        Self { items: rows, next }
    }
}

/// How many rows to ask for, so that it shows whether there are more.
pub(crate) const fn one_more(limit: u32) -> u32 {
    limit.saturating_add(1)
}

/// Within the bounds that hold whoever asks.
pub(crate) fn bounded(limit: u32) -> u32 {
    limit.clamp(1, PAGE_LIMIT)
}

pub(crate) fn bad_cursor() -> EngineError {
    EngineError::Invalid("the cursor is not one that this list gave out; begin without one".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_whether_there_is_more() {
        let cut = |rows: Vec<u32>| Page::cut(rows, 2, ToString::to_string);
        assert_eq!(cut(vec![]), Page::empty());
        assert_eq!(cut(vec![1, 2]), Page { items: vec![1, 2], next: None });
        assert_eq!(cut(vec![1, 2, 3]), Page { items: vec![1, 2], next: Some("2".into()) });
    }
}
