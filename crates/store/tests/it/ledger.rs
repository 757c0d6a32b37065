//! Entries, their places, and the tree over them.

use countersign_core::digest::{Digest, Salt};
use countersign_core::ids::{EntryId, RequestId};
use countersign_core::time::Micros;
use countersign_ledger::{EncodedEntry, Opening, TileId, TreeHead};
use countersign_store::{
    CheckpointRow, Commit, CommitError, CurrentEpoch, EntriesNaming, EntriesOf, EntryRange, EntryRow, Erase, ErasureOf,
    ErasureRow, Expectation, Integration, IsNameTaken, LatestCheckpoint, LogState, OldestUnsequenced, SystemWrite,
    Tiles, UnsequencedEntries,
};

use crate::support::{Db, NOW, on_both, person};

on_both! {
    entries_get_their_places_once_and_in_order,
    openings_are_erased_and_entries_stay,
    an_erasure_goes_on_from_its_newest_version_and_takes_the_name_with_it,
    an_integration_that_does_not_add_up_is_refused,
    tiles_only_grow_and_checkpoints_stay,
}

fn request() -> RequestId {
    RequestId::new(NOW, [1; 10])
}

fn entry(n: u8, at: i64) -> EntryRow {
    let opening = Opening { field: "person".to_owned(), salt: Salt::from_bytes([n; 16]), value: vec![b'"', n, b'"'] };
    EntryRow {
        id: EntryId::new(NOW, [n; 10]),
        at: Micros::from_micros(at),
        request: Some(request()),
        person: Some(person(1).id),
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

async fn entries_get_their_places_once_and_in_order(db: Db) {
    let store = db.open().await;
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
}

async fn openings_are_erased_and_entries_stay(db: Db) {
    let store = db.open().await;
    store.commit(system(SystemWrite::OpenEpoch { epoch: 1 })).await.unwrap();
    let entries: Vec<_> = (0..3).map(|n| entry(n, i64::from(n))).collect();
    store.commit(Commit { entries: entries.clone(), ..Commit::default() }).await.unwrap();
    let whose = EntriesNaming { person: person(1).id, limit: 2 };
    let found = store.load(whose).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [entries[0].id, entries[1].id]);
    let erase =
        |n: usize, left: Vec<Opening>| SystemWrite::Erase(Erase::Openings { entry: entries[n].id, left, unlink: true });
    let kept = Opening { field: "factor".into(), salt: Salt::from_bytes([7; 16]), value: b"1".to_vec() };
    store.commit(Commit::from(vec![erase(0, Vec::new()), erase(1, vec![kept.clone()])])).await.unwrap();
    // What is done is not found again, so whoever begins anew goes on where it stopped.
    let found = store.load(whose).await.unwrap();
    assert_eq!(found.iter().map(|row| row.id).collect::<Vec<_>>(), [entries[2].id]);
    let all = store.load(EntriesOf(request())).await.unwrap();
    assert!(all[0].openings.is_empty() && all.iter().all(|row| row.bytes.len() == 3));
    assert_eq!((&all[1].openings, &all[2].openings), (&vec![kept], &entries[2].encoded.openings));
}

async fn an_erasure_goes_on_from_its_newest_version_and_takes_the_name_with_it(db: Db) {
    let store = db.open().await;
    let row = ErasureRow {
        request: request(),
        person: person(1).id,
        name: "bob".into(),
        version: 1,
        begun_at: NOW,
        entries: 0,
        requests: 0,
    };
    let erase = |erase| system(SystemWrite::Erase(erase));
    store.commit(erase(Erase::Begin(row.clone()))).await.unwrap();
    assert!(matches!(store.commit(erase(Erase::Begin(row.clone()))).await, Err(CommitError::Conflict(_))));
    let next = ErasureRow { version: 2, entries: 5, ..row.clone() };
    store.commit(erase(Erase::GoOn(next.clone()))).await.unwrap();
    assert!(matches!(store.commit(erase(Erase::GoOn(next.clone()))).await, Err(CommitError::Conflict(_))));
    assert_eq!(store.load(ErasureOf(request())).await.unwrap(), Some(next.clone()));
    assert!(matches!(store.commit(erase(Erase::Finish(row))).await, Err(CommitError::Conflict(_))));
    store.commit(erase(Erase::Finish(next))).await.unwrap();
    assert_eq!(store.load(ErasureOf(request())).await.unwrap(), None);
    let hash = Digest::sha256(b"a keyed hash");
    assert!(!store.load(IsNameTaken(hash)).await.unwrap());
    for _ in 0..2 {
        store.commit(erase(Erase::TakeName(hash))).await.unwrap();
    }
    assert!(store.load(IsNameTaken(hash)).await.unwrap());
}

async fn an_integration_that_does_not_add_up_is_refused(db: Db) {
    let store = db.open().await;
    store.commit(system(SystemWrite::OpenEpoch { epoch: 1 })).await.unwrap();
    let mut wrong = grow(0, &[]);
    wrong.head.size = 1;
    assert!(matches!(store.commit(system(SystemWrite::Integrate(wrong))).await, Err(CommitError::Refused(_))));
}

async fn tiles_only_grow_and_checkpoints_stay(db: Db) {
    let store = db.open().await;
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
