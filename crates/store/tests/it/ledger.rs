//! Entries, their places, and the tree over them.

use countersign_core::digest::{Digest, Salt};
use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;
use countersign_ledger::{EncodedEntry, Opening, TileId, TreeHead};
use countersign_store::{
    CheckpointRow, Commit, CommitError, CurrentEpoch, EntriesOf, EntryRange, EntryRow, Expectation, Integration,
    LatestCheckpoint, LogState, OldestUnsequenced, SystemWrite, Tiles, UnsequencedEntries,
};

use crate::support::{NOW, open};

fn request() -> RequestId {
    RequestId::new(NOW, [1; 10])
}

fn entry(n: u8, at: i64) -> EntryRow {
    let opening = Opening { field: "person".to_owned(), salt: Salt::from_bytes([n; 16]), value: vec![b'"', n, b'"'] };
    EntryRow {
        id: EntryId::new(NOW, [n; 10]),
        at: Micros::from_micros(at),
        request: Some(request()),
        epoch: 1,
        encoded: EncodedEntry { bytes: vec![n; 3], openings: vec![opening] },
    }
}

fn grow(from: u64, entries: &[EntryRow]) -> Integration {
    let size = from + u64::try_from(entries.len()).unwrap();
    let tile = TileId { level: 0, index: 0, width: u16::try_from(size).unwrap() };
    Integration {
        epoch: 1,
        from,
        head: TreeHead { size, root: Digest::sha256(&size.to_be_bytes()) },
        entries: entries.iter().map(|entry| entry.id).collect(),
        tiles: vec![(tile, vec![0; 32 * usize::from(tile.width)])],
    }
}

fn system(write: SystemWrite) -> Commit {
    Commit::from(vec![write])
}

#[tokio::test]
async fn entries_get_their_places_once_and_in_order() {
    let (store, _folder) = open();
    store.commit(system(SystemWrite::OpenEpoch { epoch: 1 })).await.unwrap();
    assert_eq!(store.load(CurrentEpoch).await, Ok(Some(1)));
    // By time, then by id, whatever the order of the commits.
    let (first, second, third) = (entry(9, 10), entry(1, 20), entry(2, 20));
    for late in [&third, &first, &second] {
        let commit = Commit { entries: vec![late.clone()], ..Commit::default() };
        store.commit(commit).await.unwrap();
    }
    let again = store.commit(Commit { entries: vec![first.clone()], ..Commit::default() }).await;
    assert!(matches!(again, Err(CommitError::Conflict(Expectation::Exists { what: "entry", .. }))));
    let waiting = store.load(UnsequencedEntries { epoch: 1, limit: 10 }).await.unwrap();
    assert_eq!(waiting.iter().map(|row| row.id).collect::<Vec<_>>(), [first.id, second.id, third.id]);
    assert_eq!(store.load(OldestUnsequenced(1)).await, Ok(Some(first.at)));
    let two = grow(0, &[first.clone(), second.clone()]);
    store.commit(system(SystemWrite::Integrate(two.clone()))).await.unwrap();
    assert_eq!(store.load(LogState(1)).await.unwrap(), Some(two.head));
    let moved = Err(CommitError::Conflict(Expectation::LogMoved { epoch: 1 }));
    assert_eq!(store.commit(system(SystemWrite::Integrate(grow(0, std::slice::from_ref(&third))))).await, moved);
    // An entry has one place: a second sequencer that believes otherwise changes nothing.
    assert_eq!(store.commit(system(SystemWrite::Integrate(grow(2, &[third.clone(), first.clone()])))).await, moved);
    assert_eq!(store.load(LogState(1)).await.unwrap(), Some(two.head));
    store.commit(system(SystemWrite::Integrate(grow(2, std::slice::from_ref(&third))))).await.unwrap();
    assert_eq!(store.load(OldestUnsequenced(1)).await, Ok(None));
    let leaves = store.load(EntryRange { epoch: 1, from: 1, to: 3 }).await.unwrap();
    assert_eq!(leaves, [second.encoded.bytes.clone(), third.encoded.bytes.clone()]);
    let all = store.load(EntriesOf(request())).await.unwrap();
    assert_eq!(all.iter().map(|row| row.leaf_index).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
    assert_eq!(all[0].openings, first.encoded.openings);
    store.commit(system(SystemWrite::EraseOpenings { request: request() })).await.unwrap();
    let all = store.load(EntriesOf(request())).await.unwrap();
    assert!(all.iter().all(|row| row.openings.is_empty() && row.bytes.len() == 3));
}

#[tokio::test]
async fn an_integration_that_does_not_add_up_is_refused() {
    let (store, _folder) = open();
    store.commit(system(SystemWrite::OpenEpoch { epoch: 1 })).await.unwrap();
    let mut wrong = grow(0, &[]);
    wrong.head.size = 1;
    assert!(matches!(store.commit(system(SystemWrite::Integrate(wrong))).await, Err(CommitError::Refused(_))));
}

#[tokio::test]
async fn tiles_only_grow_and_checkpoints_stay() {
    let (store, _folder) = open();
    store.commit(system(SystemWrite::OpenEpoch { epoch: 1 })).await.unwrap();
    let entries: Vec<_> = (0..3).map(|n| entry(n, i64::from(n))).collect();
    store.commit(Commit { entries: entries.clone(), ..Commit::default() }).await.unwrap();
    store.commit(system(SystemWrite::Integrate(grow(0, &entries[..2])))).await.unwrap();
    store.commit(system(SystemWrite::Integrate(grow(2, &entries[2..])))).await.unwrap();
    let wanted = |index| TileId { level: 0, index, width: 1 };
    let found = store.load(Tiles { epoch: 1, tiles: vec![wanted(0), wanted(1)] }).await.unwrap();
    assert_eq!(found, [(TileId { level: 0, index: 0, width: 3 }, vec![0; 96])]);
    let checkpoint = |note: &str| CheckpointRow { epoch: 1, size: 3, note: note.to_owned(), at: NOW };
    for note in ["published", "another of the same size"] {
        store.commit(system(SystemWrite::PutCheckpoint(checkpoint(note)))).await.unwrap();
    }
    assert_eq!(store.load(LatestCheckpoint(1)).await, Ok(Some(checkpoint("published"))));
}
