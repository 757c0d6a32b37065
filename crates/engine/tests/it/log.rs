//! What happened is in the log, and the log can be checked.

use std::time::Duration;

use countersign_core::entry::EntryKind;
use countersign_engine::EngineError;
use countersign_ledger::{
    Receipt, ReceiptError, Resource, SignedCheckpoint, TileMap, VerifierKey, decode_bundle, verify_log,
};

use crate::support::{Place, on_both};

on_both!(
    a_receipt_waits_for_its_checkpoint_and_then_proves_the_whole_story,
    nothing_that_is_served_names_anybody,
    what_is_served_verifies_against_the_checkpoint,
    releases_stop_when_the_ledger_lags,
    failed_logins_are_one_line_a_minute,
);

async fn a_receipt_waits_for_its_checkpoint_and_then_proves_the_whole_story() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.granted(&alice, &bob).await;
    let released = place.engine().release(&alice, view.request.id).await.unwrap();
    place.engine().report(&alice, released.release, "exit 0").await.unwrap();
    let early = place.engine().receipt(&alice, view.request.id, Duration::ZERO).await;
    assert!(matches!(early, Err(EngineError::ReceiptNotReady)));
    place.engine().sequence().await.unwrap();
    let json = place.engine().receipt(&alice, view.request.id, Duration::ZERO).await.unwrap();

    let receipt = Receipt::from_json(json.as_bytes()).unwrap();
    let info = place.engine().log_info().await.unwrap();
    let pinned: VerifierKey = info.vkey.parse().unwrap();
    let verified = receipt.verify(Some(&pinned), Some(view.request.id)).unwrap();
    assert!(verified.gapless);
    let kinds: Vec<_> = verified.entries.iter().filter_map(countersign_ledger::VerifiedEntry::kind).collect();
    assert_eq!(
        kinds,
        [
            EntryKind::RequestAsked,
            EntryKind::RequestAnswered,
            EntryKind::RequestGranted,
            EntryKind::ReleaseIntended,
            EntryKind::ReleaseDone
        ]
    );
    assert_eq!(verified.entries[0].text("requester"), Some("alice"));
    assert_eq!(verified.entries[1].text("person"), Some("bob"));
    assert_eq!(verified.entries[4].text("outcome"), Some("exit 0"));
    assert_eq!(verified.keys.len(), 2, "the log's key and the key that signs grants");

    // An approver swapped together with his opening.
    let forged = json.replace("\"bob\"", "\"eve\"");
    assert_ne!(forged, json);
    assert!(Receipt::from_json(forged.as_bytes()).unwrap().verify(None, None).is_err());
    // The receipt of another request.
    let other = place.asked(&alice).await.request.id;
    assert!(matches!(receipt.verify(None, Some(other)), Err(ReceiptError::OtherRequest(_))));
}

async fn nothing_that_is_served_names_anybody() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    place.granted(&alice, &bob).await;
    let engine = place.engine();
    engine.sequence().await.unwrap();
    let size = engine.log_info().await.unwrap().size;
    let bundle = engine.tile(None, &format!("tile/entries/000.p/{size}")).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&bundle.bytes).into_owned();
    for word in ["alice", "bob", "admin\"", "command.run", "host1", "to see", "security", "127.0.0.1", "\"id\"]"] {
        assert!(!text.contains(word), "{word} is published");
    }
    // What is published of a value cannot be guessed back: the same value has two different commitments.
    let entries = decode_bundle(&bundle.bytes).unwrap();
    let decoded: Vec<_> = entries.iter().map(|entry| countersign_ledger::decode(entry).unwrap()).collect();
    let mut commitments: Vec<_> = decoded.iter().flat_map(|entry| entry.commitments.values().copied()).collect();
    let count = commitments.len();
    commitments.sort();
    commitments.dedup();
    assert_eq!(commitments.len(), count);
}

async fn what_is_served_verifies_against_the_checkpoint() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let engine = place.engine();
    for n in 0..100 {
        let ask = countersign_engine::testing::command(&["echo", &n.to_string()], Some("to see"));
        let view = engine.ask(&alice, &ask).await.unwrap().into_view();
        engine.deny(&bob, view.request.id, None).await.unwrap();
        if n % 7 == 0 {
            engine.sequence().await.unwrap();
        }
    }
    engine.sequence().await.unwrap();
    let info = engine.log_info().await.unwrap();
    let key: VerifierKey = info.vkey.parse().unwrap();
    let note = engine.checkpoint(None).await.unwrap().unwrap();
    let checkpoint = SignedCheckpoint::open(&note, &key).unwrap();
    assert_eq!(checkpoint.head().size, info.size);
    let mut rows = Vec::new();
    let mut tiles = TileMap::default();
    let mut at = 0;
    while at < info.size {
        let width = (info.size - at).min(256);
        let (index, suffix) = (at / 256, if width < 256 { format!(".p/{width}") } else { String::new() });
        let bundle = engine.tile(None, &format!("tile/entries/{index:03}{suffix}")).await.unwrap().unwrap();
        assert_eq!(bundle.is_final, width == 256);
        rows.extend(decode_bundle(&bundle.bytes).unwrap());
        let path = format!("tile/0/{index:03}{suffix}");
        let tile = engine.tile(None, &path).await.unwrap().unwrap();
        let Ok(Resource::Tile(id)) = Resource::parse(&path) else { panic!("{path}") };
        tiles.insert(id, tile.bytes);
        at += width;
    }
    if info.size >= 256 {
        let path = "tile/1/000.p/1";
        let Ok(Resource::Tile(id)) = Resource::parse(path) else { panic!("{path}") };
        tiles.insert(id, engine.tile(None, path).await.unwrap().unwrap().bytes);
    }
    let known = countersign_ledger::KnownCheckpoint { kept_by: "this test".into(), text: note };
    let rows = rows.into_iter().enumerate().map(|(index, row)| Ok((u64::try_from(index).unwrap(), row)));
    let intact = verify_log(&key, rows, &tiles, &[known]).unwrap();
    assert_eq!(intact.head.size, info.size);
    assert!(engine.tile(None, &format!("tile/entries/000.p/{}", info.size + 1)).await.unwrap().is_none());
    assert!(engine.tile(None, "tile/0/../000").await.unwrap().is_none());
}

async fn releases_stop_when_the_ledger_lags() {
    let place = Place::usual().await;
    let (alice, bob) = (place.login("alice").await, place.login("bob").await);
    let view = place.granted(&alice, &bob).await;
    place.world.clock.advance(Duration::from_secs(6));
    let refused = place.engine().release(&alice, view.request.id).await;
    assert!(matches!(refused, Err(EngineError::LedgerBehind)), "{refused:?}");
    place.engine().sequence().await.unwrap();
    assert!(place.engine().release(&alice, view.request.id).await.is_ok());
}

async fn failed_logins_are_one_line_a_minute() {
    let place = Place::usual().await;
    let before = place.engine().log_info().await.unwrap().size;
    for _ in 0..5 {
        drop(place.engine().login("bob", "wrong wrong wrong".into(), None, "10.0.0.9").await);
    }
    let stop = tokio_util::sync::CancellationToken::new();
    stop.cancel();
    place.engine().run_failed_logins(stop).await;
    place.engine().sequence().await.unwrap();
    // Four entries are the bootstrap's; the one more is the five failures.
    let size = place.engine().log_info().await.unwrap().size;
    assert_eq!(before, 0);
    let bundle = place.engine().tile(None, &format!("tile/entries/000.p/{size}")).await.unwrap().unwrap();
    let entries = decode_bundle(&bundle.bytes).unwrap();
    let failed: Vec<_> = entries
        .iter()
        .map(|entry| countersign_ledger::decode(entry).unwrap())
        .filter(|entry| entry.kind() == Some(EntryKind::LoginFailed))
        .collect();
    assert_eq!(failed.len(), 1);
}
