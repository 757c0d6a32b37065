//! How far a sink has come, and what lies ahead of it.

use countersign_core::ids::EntryId;
use countersign_core::time::Micros;
use countersign_ledger::{EncodedEntry, TreeHead, empty_root};
use countersign_store::{
    Commit, CommitError, EntriesAhead, EntriesLeftBehind, EntryRow, Expectation, Integration, LogPosition,
    SinkPosition, StoredEntry, SystemWrite,
};

use crate::support::{Db, NOW, on_both};

on_both! {
    a_position_is_moved_by_whoever_saw_it_last,
    what_lies_ahead_comes_in_the_order_of_the_log,
}

const fn at(epoch: u64, leaf: u64) -> LogPosition {
    LogPosition { epoch, leaf }
}

async fn a_position_is_moved_by_whoever_saw_it_last(db: Db) {
    let store = db.open().await;
    let advance = |sink: &str, from, to| {
        store.commit(Commit::from(vec![SystemWrite::AdvanceSink { sink: sink.to_owned(), from, to }]))
    };
    let lost = |outcome| matches!(outcome, Err(CommitError::Conflict(Expectation::LeaseLost { .. })));
    let position = async |sink: &str| store.load(SinkPosition(sink.to_owned())).await.unwrap();
    assert_eq!(position("a").await, None);
    assert!(lost(advance("a", Some(at(1, 0)), at(1, 5)).await), "there is nothing to move yet");
    advance("a", None, at(1, 5)).await.unwrap();
    assert!(lost(advance("a", None, at(1, 9)).await));
    assert!(lost(advance("a", Some(at(1, 4)), at(1, 9)).await));
    assert!(lost(advance("a", Some(at(2, 5)), at(2, 9)).await));
    advance("a", Some(at(1, 5)), at(2, 0)).await.unwrap();
    assert_eq!((position("a").await, position("b").await), (Some(at(2, 0)), None));
}

async fn what_lies_ahead_comes_in_the_order_of_the_log(db: Db) {
    let store = db.open().await;
    let entry = |n: u8| EntryRow {
        id: EntryId::new(NOW, [n; 10]),
        at: Micros::from_micros(NOW.as_micros() + i64::from(n / 2)),
        request: None,
        person: None,
        epoch: 1,
        encoded: EncodedEntry { bytes: vec![n], openings: Vec::new() },
    };
    let entries: Vec<_> = (0..9).map(entry).collect();
    // The order of the log is not that of time.
    let leaves = [4, 0, 3, 2].map(|n: usize| entries[n].id);
    let commit =
        Commit { entries: entries.clone(), system: vec![SystemWrite::OpenEpoch { epoch: 1 }], ..Commit::default() };
    store.commit(commit).await.unwrap();
    let head = TreeHead { size: 4, root: empty_root() };
    let integration = Integration { epoch: 1, from: 0, head, entries: leaves.to_vec(), tiles: Vec::new() };
    store.commit(Commit::from(vec![SystemWrite::Integrate(integration)])).await.unwrap();

    let ids = |rows: Vec<StoredEntry>| rows.into_iter().map(|row| row.id).collect::<Vec<_>>();
    let ahead = async |from, limit| ids(store.load(EntriesAhead { from, limit }).await.unwrap());
    assert_eq!(ahead(at(1, 0), 3).await, leaves[..3]);
    assert_eq!(ahead(at(1, 3), 3).await, leaves[3..]);
    assert_eq!(ahead(at(2, 0), 3).await, []);
    let (mut left, mut after) = (Vec::new(), None);
    loop {
        let page = store.load(EntriesLeftBehind { epoch: 1, after, limit: 2 }).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.at, last.id));
        left.extend(ids(page));
    }
    assert_eq!(left, [1, 5, 6, 7, 8].map(|n: usize| entries[n].id));
}
