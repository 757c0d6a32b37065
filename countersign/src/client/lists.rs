//! Lists of the server, part by part.

use serde::de::DeserializeOwned;

use super::http::{ApiError, Client};
use super::output;
use super::wire::Page;
use crate::cli::ListArgs;

/// What the server gives at once at most.
const PART: usize = 200;
/// "All" ends somewhere: nobody reads more, and a mistake should not fill the memory.
const ALL: usize = 10_000;

/// What a list gave.
#[derive(Debug)]
pub(super) struct Listed<T> {
    pub(super) items: Vec<T>,
    /// Whether the server has more than was wanted.
    more: bool,
}

impl<T> Listed<T> {
    /// Says that there is more, on standard error: what is on standard output must not look complete.
    pub(super) fn tell(&self, args: &ListArgs) {
        if self.more {
            let shown = self.items.len();
            output::note(&match args.limit {
                Some(_) => format!("hint: there are more than these {shown}; a higher --limit shows them"),
                None => format!("hint: there are more than these {shown}, which is all that is listed at once"),
            });
        }
    }
}

impl Client {
    /// The list under this path, as far as it is wanted.
    pub(super) async fn list<T: DeserializeOwned>(&self, path: &str, args: &ListArgs) -> Result<Listed<T>, ApiError> {
        let wanted = args.limit.map_or(ALL, |limit| usize::try_from(limit).unwrap_or(ALL));
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let limit = (wanted - items.len()).clamp(1, PART).to_string();
            let mut query = vec![("limit", limit.as_str())];
            query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
            let page: Page<T> = self.get(&[path], &query).await?;
            items.extend(page.items);
            // A part may be empty and not the last: what the caller may not act on is left out after it was counted.
            let more = page.next_cursor.is_some();
            if !more || items.len() >= wanted {
                let more = more || items.len() > wanted;
                items.truncate(wanted);
                return Ok(Listed { items, more });
            }
            cursor = page.next_cursor;
        }
    }
}
