//! Live credentials in memory: what a bearer value stands for, without a question to the database. Memory only ever says yes. Whatever it does not hold,
//! holds no longer for certain, or would refuse, is looked up, so a wrong "no" of memory costs a look and a wrong "yes" cannot outlive a change.
//!
//! Nothing here is removed when something changes. Each change gets the next number; each row is kept with the number that was the last one *before* it was
//! read. A row counts while nothing that it is made of has a later number, so a row that was read before a revocation, and is put here after it, is stale
//! from the start. A change costs the same whatever it touches: disabling somebody marks the person, not each of his tokens.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use countersign_core::digest::Digest;
use countersign_core::identity::{Account, Person, Session, Token};
use countersign_core::ids::{AccountId, PersonId, SessionId, TokenId};
use countersign_core::names::Factor;
use countersign_core::principal::Principal;
use countersign_core::time::Micros;
use countersign_factors::{by_session, by_token};
use countersign_store::{SessionRow, TokenRow};

/// The number of the last change that was heard of before something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Heard(u64);

/// What a change can be about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Subject {
    Session(SessionId),
    Token(TokenId),
    Account(AccountId),
    Person(PersonId),
}

/// What memory says of a credential.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) principal: Principal,
    /// The session whose use is to be written down now, by this caller alone.
    pub(crate) touch: Option<SessionId>,
}

/// All of them, by the SHA-256 of their bearer values.
pub(crate) struct LiveCredentials {
    by_hash: papaya::HashMap<Digest, Live>,
    /// The number of the last change of each subject, for as long as an older row may be about.
    changed: papaya::HashMap<Subject, u64>,
    last: AtomicU64,
    /// Whatever was read before this change is stale: some of what changed then is not known.
    everything: AtomicU64,
    /// How often marks were about to be removed. Who finds another number after he judged than before he looked judged by marks that may be gone.
    sweeps: AtomicU64,
    /// Taken by whoever puts something in or marks a change, never by who asks.
    shared: Mutex<Shared>,
}

/// What many credentials have in common is kept once.
#[derive(Debug, Default)]
struct Shared {
    holders: HashMap<AccountId, Arc<Holder>>,
    scopes: HashSet<Arc<Vec<String>>>,
    /// Nothing that was read before this is put in any more: the marks that would make it stale are gone.
    swept: u64,
}

/// Whose a credential is.
#[derive(Debug)]
struct Holder {
    account: Account,
    person: Option<Person>,
    read: Heard,
}

#[derive(Debug)]
struct Live {
    holder: Arc<Holder>,
    expires_at: Micros,
    read: Heard,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Session { id: SessionId, used_at: AtomicI64, fresh_at: Micros, fresh_factor: Factor },
    Token { id: TokenId, scopes: Arc<Vec<String>> },
}

impl Default for LiveCredentials {
    fn default() -> Self {
        Self {
            by_hash: papaya::HashMap::new(),
            changed: papaya::HashMap::new(),
            last: AtomicU64::new(0),
            everything: AtomicU64::new(0),
            sweeps: AtomicU64::new(0),
            shared: Mutex::default(),
        }
    }
}

impl fmt::Debug for LiveCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveCredentials").field("known", &self.by_hash.len()).finish_non_exhaustive()
    }
}

impl LiveCredentials {
    /// To be asked before a row is read that is to be put here.
    pub(crate) fn heard(&self) -> Heard {
        Heard(self.last.load(Ordering::SeqCst))
    }

    /// Who presents this, if that is certain. A session that was last used `touch_every` ago is to be touched.
    pub(crate) fn known(&self, hash: &Digest, source: &str, now: Micros, touch_every: Duration) -> Option<Known> {
        let sweeps = self.sweeps.load(Ordering::SeqCst);
        let map = self.by_hash.pin();
        let live = map.get(hash)?;
        if !self.counts(live) || self.sweeps.load(Ordering::SeqCst) != sweeps {
            return None;
        }
        let Holder { account, person, .. } = &*live.holder;
        match &live.kind {
            Kind::Token { id, scopes } => {
                // What the judge does not look at is left empty.
                let token = Token {
                    id: *id,
                    hash: *hash,
                    name: String::new(),
                    owner: account.id,
                    scopes: scopes.to_vec(),
                    created_at: now,
                    expires_at: live.expires_at,
                    revoked_at: None,
                };
                let principal = by_token(&token, account, person.as_ref(), source, now).ok()?;
                Some(Known { principal, touch: None })
            }
            Kind::Session { id, used_at, fresh_at, fresh_factor } => {
                let used = used_at.load(Ordering::Relaxed);
                let session = Session {
                    id: *id,
                    hash: *hash,
                    account: account.id,
                    created_at: now,
                    last_used_at: Micros::from_micros(used),
                    expires_at: live.expires_at,
                    fresh_at: *fresh_at,
                    fresh_factor: *fresh_factor,
                    source: String::new(),
                };
                let principal = by_session(&session, account, person.as_ref(), source, now).ok()?;
                let due = now.since(session.last_used_at) >= touch_every;
                let mine = due
                    && used_at.compare_exchange(used, now.as_micros(), Ordering::Relaxed, Ordering::Relaxed).is_ok();
                Some(Known { principal, touch: mine.then_some(*id) })
            }
        }
    }

    /// Puts in a row that was read after `read`.
    pub(crate) fn put_session(&self, row: SessionRow, read: Heard) {
        let SessionRow { session, account, person } = row;
        let kind = Kind::Session {
            id: session.id,
            used_at: AtomicI64::new(session.last_used_at.as_micros()),
            fresh_at: session.fresh_at,
            fresh_factor: session.fresh_factor,
        };
        self.put(session.hash, session.expires_at, kind, (account, person), read);
    }

    /// Puts in a row that was read after `read`.
    pub(crate) fn put_token(&self, row: TokenRow, read: Heard) {
        let TokenRow { token, account, person } = row;
        if token.revoked_at.is_some() {
            return;
        }
        let scopes = {
            let mut shared = self.lock();
            let scopes = Arc::new(token.scopes);
            if let Some(same) = shared.scopes.get(&scopes) {
                Arc::clone(same)
            } else {
                shared.scopes.insert(Arc::clone(&scopes));
                scopes
            }
        };
        self.put(token.hash, token.expires_at, Kind::Token { id: token.id, scopes }, (account, person), read);
    }

    fn put(
        &self,
        hash: Digest,
        expires_at: Micros,
        kind: Kind,
        (account, person): (Account, Option<Person>),
        read: Heard,
    ) {
        let mut shared = self.lock();
        if read.0 < shared.swept {
            return;
        }
        let known = shared.holders.get(&account.id).filter(|holder| self.is_current(holder));
        let holder = if let Some(holder) = known {
            Arc::clone(holder)
        } else {
            // A password is of no use here.
            let account = Account { password: None, ..account };
            let holder = Arc::new(Holder { account, person, read });
            shared.holders.insert(holder.account.id, Arc::clone(&holder));
            holder
        };
        self.by_hash.pin().insert(hash, Live { holder, expires_at, read, kind });
    }

    /// Something changed: what was read of it before is not believed any more.
    pub(crate) fn mark(&self, subject: Subject) {
        let _shared = self.lock();
        // First the number, then the mark: whoever reads rows in between is taken for later than the change, and is, because the change is committed.
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.changed.pin().insert(subject, number);
    }

    /// Nobody knows what changed: nothing that was read before is believed any more.
    pub(crate) fn mark_everything(&self) {
        let _shared = self.lock();
        let number = self.last.fetch_add(1, Ordering::SeqCst) + 1;
        self.everything.store(number, Ordering::SeqCst);
    }

    /// Removes what has expired or is stale, and the marks that nothing needs any more.
    pub(crate) fn sweep(&self, now: Micros) {
        let swept = {
            let mut shared = self.lock();
            shared.swept = self.last.load(Ordering::SeqCst);
            shared.swept
        };
        // Whatever is put in from here on was read after all of the marks that go below.
        let map = self.by_hash.pin();
        map.retain(|_, live| live.expires_at > now && self.counts(live));
        let mut shared = self.lock();
        // Whoever looked something up before the scan removed it must not find that its mark is gone too.
        self.sweeps.fetch_add(1, Ordering::SeqCst);
        shared.holders.retain(|_, holder| Arc::strong_count(holder) > 1 && self.is_current(holder));
        shared.scopes.retain(|scopes| Arc::strong_count(scopes) > 1);
        self.changed.pin().retain(|_, number| *number > swept);
    }

    /// How many are known, stale ones included.
    pub(crate) fn len(&self) -> usize {
        self.by_hash.len()
    }

    fn counts(&self, live: &Live) -> bool {
        let subject = match &live.kind {
            Kind::Session { id, .. } => Subject::Session(*id),
            Kind::Token { id, .. } => Subject::Token(*id),
        };
        self.is_unchanged(subject, live.read) && self.is_current(&live.holder)
    }

    fn is_current(&self, holder: &Holder) -> bool {
        self.is_unchanged(Subject::Account(holder.account.id), holder.read)
            && holder.person.as_ref().is_none_or(|person| self.is_unchanged(Subject::Person(person.id), holder.read))
    }

    fn is_unchanged(&self, subject: Subject, since: Heard) -> bool {
        self.everything.load(Ordering::SeqCst) <= since.0
            && self.changed.pin().get(&subject).is_none_or(|number| *number <= since.0)
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use countersign_core::identity::AccountKind;

    use super::*;

    const NOW: Micros = Micros::from_secs(1_000_000);
    const EVERY: Duration = Duration::from_mins(5);

    fn person(n: u8) -> Person {
        Person { id: PersonId::new(NOW, [n; 10]), name: format!("p{n}"), active: true, created_at: NOW, version: 1 }
    }

    fn account(n: u8, person: Option<&Person>) -> Account {
        Account {
            id: AccountId::new(NOW, [n; 10]),
            name: format!("a{n}").parse().unwrap(),
            kind: AccountKind::Person,
            person: person.map(|person| person.id),
            active: true,
            password: None,
            created_at: NOW,
            version: 1,
        }
    }

    fn token(n: u8, account: &Account, person: Option<&Person>) -> TokenRow {
        let token = Token {
            id: TokenId::new(NOW, [n; 10]),
            hash: Digest::sha256(&[n]),
            name: "ci".into(),
            owner: account.id,
            scopes: vec!["command.*".into()],
            created_at: NOW,
            expires_at: NOW.plus(Duration::from_hours(1)),
            revoked_at: None,
        };
        TokenRow { token, account: account.clone(), person: person.cloned() }
    }

    fn session(n: u8, account: &Account, person: Option<&Person>) -> SessionRow {
        let session = Session {
            id: SessionId::new(NOW, [n; 10]),
            hash: Digest::sha256(&[n]),
            account: account.id,
            created_at: NOW,
            last_used_at: NOW,
            expires_at: NOW.plus(Duration::from_hours(12)),
            fresh_at: NOW,
            fresh_factor: Factor::Password,
            source: "s".into(),
        };
        SessionRow { session, account: account.clone(), person: person.cloned() }
    }

    fn is_known(live: &LiveCredentials, n: u8) -> bool {
        live.known(&Digest::sha256(&[n]), "s", NOW, EVERY).is_some()
    }

    /// 100,000 of them shall fit into 20 MB, with the table around them.
    #[test]
    fn a_credential_takes_little_memory() {
        assert!(size_of::<Live>() + size_of::<Digest>() <= 96);
    }

    #[test]
    fn what_memory_says_is_what_the_row_says() {
        let (live, person) = (LiveCredentials::default(), person(1));
        let account = account(2, Some(&person));
        let (token, session) = (token(3, &account, Some(&person)), session(4, &account, Some(&person)));
        live.put_token(token.clone(), live.heard());
        live.put_session(session.clone(), live.heard());
        let known = live.known(&token.token.hash, "here", NOW, EVERY).unwrap().principal;
        assert_eq!(known, by_token(&token.token, &account, Some(&person), "here", NOW).unwrap());
        let known = live.known(&session.session.hash, "here", NOW, EVERY).unwrap().principal;
        assert_eq!(known, by_session(&session.session, &account, Some(&person), "here", NOW).unwrap());
        assert!(!is_known(&live, 9));
    }

    #[test]
    fn a_change_reaches_all_credentials_that_it_is_about_and_no_other() {
        let (p1, p2) = (person(1), person(2));
        let (a1, a2) = (account(11, Some(&p1)), account(12, Some(&p2)));
        for (subject, gone) in [
            (Subject::Token(TokenId::new(NOW, [21; 10])), &[21][..]),
            (Subject::Session(SessionId::new(NOW, [22; 10])), &[22]),
            (Subject::Account(a1.id), &[21, 22, 23]),
            (Subject::Person(p1.id), &[21, 22, 23]),
        ] {
            let live = LiveCredentials::default();
            live.put_token(token(21, &a1, Some(&p1)), live.heard());
            live.put_session(session(22, &a1, Some(&p1)), live.heard());
            live.put_token(token(23, &a1, Some(&p1)), live.heard());
            live.put_token(token(24, &a2, Some(&p2)), live.heard());
            live.mark(subject);
            for n in 21..25 {
                assert_eq!(is_known(&live, n), !gone.contains(&n), "{subject:?} {n}");
            }
            // Read anew, it counts again.
            live.put_token(token(23, &a1, Some(&p1)), live.heard());
            assert!(is_known(&live, 23), "{subject:?}");
            live.mark_everything();
            assert!((21..25).all(|n| !is_known(&live, n)));
        }
    }

    /// A row is read, then revoked and that heard of, then put in: with or without a sweep in between.
    #[test]
    fn a_row_that_was_read_before_its_revocation_does_not_come_back() {
        let account = account(1, None);
        for swept in [false, true] {
            for subject in [Subject::Token(TokenId::new(NOW, [2; 10])), Subject::Account(account.id)] {
                let live = LiveCredentials::default();
                let read = live.heard();
                live.mark(subject);
                if swept {
                    live.sweep(NOW);
                }
                live.put_token(token(2, &account, None), read);
                assert!(!is_known(&live, 2), "{subject:?}, swept: {swept}");
                live.sweep(NOW);
                assert_eq!(live.len(), 0);
                assert!(!is_known(&live, 2));
            }
        }
    }

    #[test]
    fn a_holder_that_changed_is_not_lent_to_others_after_a_sweep() {
        let live = LiveCredentials::default();
        let before = account(1, None);
        live.put_token(token(2, &before, None), live.heard());
        live.mark(Subject::Account(before.id));
        live.sweep(NOW);
        let after = Account { active: false, version: 2, ..before };
        live.put_token(token(3, &after, None), live.heard());
        assert!(!is_known(&live, 2) && !is_known(&live, 3));
    }

    #[test]
    fn a_sweep_leaves_what_is_live_and_nothing_else() {
        let (live, account) = (LiveCredentials::default(), account(1, None));
        live.put_token(token(2, &account, None), live.heard());
        live.put_session(session(3, &account, None), live.heard());
        live.mark(Subject::Person(PersonId::new(NOW, [9; 10])));
        live.sweep(NOW.plus(Duration::from_hours(1)));
        assert!(!is_known(&live, 2) && is_known(&live, 3));
        // What was removed is dropped a little later, so nothing is said of what it shared with others.
        assert_eq!((live.by_hash.len(), live.changed.len()), (1, 0));
    }

    #[test]
    fn one_of_many_callers_notes_the_use_of_a_session() {
        let (live, account) = (LiveCredentials::default(), account(1, None));
        live.put_session(session(2, &account, None), live.heard());
        let touches = |now| {
            let hash = Digest::sha256(&[2]);
            (0..10).filter(|_| live.known(&hash, "s", now, EVERY).unwrap().touch.is_some()).count()
        };
        assert_eq!(touches(NOW), 0);
        assert_eq!(touches(NOW.plus(EVERY)), 1);
        assert_eq!(touches(NOW.plus(EVERY * 2)), 1);
        // An hour without use: memory is not asked to say no.
        assert!(live.known(&Digest::sha256(&[2]), "s", NOW.plus(Duration::from_hours(2)), EVERY).is_none());
    }

    /// Readers, revocations and sweeps side by side: once a revocation was heard of, nothing that was read before counts.
    #[test]
    fn revoked_is_revoked_whatever_runs_beside() {
        const ROUNDS: u8 = 200;
        let (live, account) = (LiveCredentials::default(), account(1, None));
        let revoked: Vec<_> = (0..ROUNDS).map(|_| std::sync::atomic::AtomicBool::new(false)).collect();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for n in 0..ROUNDS {
                        // As the database would answer at this moment.
                        let heard = live.heard();
                        if !revoked[usize::from(n)].load(Ordering::SeqCst) {
                            std::thread::yield_now();
                            live.put_token(token(n, &account, None), heard);
                        }
                    }
                });
            }
            scope.spawn(|| {
                for n in 0..ROUNDS {
                    revoked[usize::from(n)].store(true, Ordering::SeqCst);
                    live.mark(Subject::Token(TokenId::new(NOW, [n; 10])));
                    for _ in 0..20 {
                        assert!(!is_known(&live, n), "{n} came back");
                    }
                }
            });
            scope.spawn(|| {
                // Whatever becomes of the others, this one ends.
                for _ in 0..2_000 {
                    live.sweep(NOW);
                }
            });
        });
        assert!((0..ROUNDS).all(|n| !is_known(&live, n)));
    }
}
