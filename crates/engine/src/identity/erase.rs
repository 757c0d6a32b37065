//! A person is erased: the clear texts that name him go, and the salts without which nothing leads back to them. The log keeps its entries, which hold
//! commitments only, so whatever was proved stays proved.
//!
//! The granting commit takes his rights and sets a timer. From then on it goes page by page, each page one commit that says in the log what it took
//! out; what is done is no longer found by the next page, so whoever dies over it is followed by somebody who goes on. The last page says so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use countersign_core::canonical::Value;
use countersign_core::changes::{Changes, Timer, TimerKind, Write};
use countersign_core::decide::Ctx;
use countersign_core::digest::Digest;
use countersign_core::entry::{EntryDraft, EntryKind};
use countersign_core::erasure::{account_pseudonym, is_pseudonym, pseudonym};
use countersign_core::identity::{Account, Person, PersonRef};
use countersign_core::ids::{EntryId, PersonId, RequestId};
use countersign_core::names::AccountName;
use countersign_core::request::Request;
use countersign_ledger::Opening;
use countersign_store::{
    AccountsOf, AnyOpenRequest, AuthenticatorsOf, ClosedRequests, Concerned, EntriesNaming, EntriesOf, Erase,
    ErasureOf, ErasureRow, IsNameTaken, PersonByName, ReleasesOf, RequestById, StoredEntry, SystemWrite,
};

use super::Change;
use crate::{Engine, EngineError};

/// What one commit takes out at most.
const ENTRIES: u32 = 128;
const REQUESTS: u32 = 16;
/// How long after its beginning the last look comes: failed logins are told of minute by minute, and what was asked at that very moment is there by then.
const LAST_LOOK: Duration = Duration::from_mins(2);
/// How soon to look again while a request is not over.
const LOOK_AGAIN: Duration = Duration::from_mins(1);

/// The fields that name somebody who took part in another one's request.
const NAMES: &[&str] = &["person", "by", "relayed_by"];
/// The fields that tell what another one's administrative request did to somebody.
const WORDS: &[&str] = &["target", "reason", "operation", "why"];

/// What one page takes out.
#[derive(Debug, Default)]
struct Page {
    writes: Vec<Write>,
    erase: Vec<Erase>,
    /// The fields that were closed, by entry.
    closed: BTreeMap<EntryId, Vec<String>>,
    /// Requests whose rows lost their words.
    requests: Vec<RequestId>,
}

impl Engine {
    /// The rows with which an erasure begins: everything that the person can do ends now, whatever the rest of it takes.
    pub(super) async fn begin_erasure(
        &self,
        by: Option<&PersonRef>,
        name: &str,
        ctx: &Ctx,
    ) -> Result<Vec<Write>, EngineError> {
        let person = self.person(name).await?;
        // He may agree to it, as the second administrator; to ask for it takes somebody who is still there afterwards.
        if by.is_none_or(|by| by.id == person.id) {
            return Err(EngineError::Invalid("nobody erases himself; another administrator asks for it".into()));
        }
        if self.inner.store.load(AnyOpenRequest(Concerned::AskedBy(person.id))).await? {
            return Err(EngineError::Invalid(format!(
                "{name} has requests that wait or grants that live, and what they are about is still needed; disable him, and erase him when they have ended or were revoked"
            )));
        }
        self.disable(name, true, ctx).await
    }

    /// Refuses a name that somebody erased bore: rules and old receipts still mean him by it.
    pub(super) async fn free_name(&self, name: &AccountName) -> Result<(), EngineError> {
        if is_pseudonym(name.name()) {
            return Err(EngineError::Invalid(
                "names that begin with `erased-` are kept for people who were erased".into(),
            ));
        }
        if self.inner.store.load(IsNameTaken(self.name_hash(name))).await? {
            return Err(EngineError::Invalid(
                "somebody who was erased bore this name, and rules or old receipts may still mean him; take another one".into(),
            ));
        }
        Ok(())
    }

    /// One page of the erasure that this request asked for.
    pub(crate) async fn go_on_erasing(&self, timer: &Timer) -> Result<(), EngineError> {
        let id: RequestId = timer.subject.parse().map_err(EngineError::internal)?;
        let Some(asked) = self.inner.store.load(RequestById(id)).await? else { return self.nothing_to_erase(id).await };
        match self.inner.store.load(ErasureOf(id)).await? {
            Some(erasure) => self.erase_page(&asked, erasure).await,
            None if asked.erased => self.nothing_to_erase(id).await,
            None => self.erase_first(&asked).await,
        }
    }

    async fn nothing_to_erase(&self, request: RequestId) -> Result<(), EngineError> {
        let write = Write::ClearTimer { kind: TimerKind::Erasure, subject: request.to_string() };
        self.commit(Changes { writes: vec![write], entries: Vec::new() }).await
    }

    /// Names, and all that is not history.
    async fn erase_first(&self, asked: &Request) -> Result<(), EngineError> {
        let Change::PersonErase { name } = Change::from_parameters(&asked.operation.parameters)? else {
            return Err(EngineError::internal("a timer erases somebody whom no request names"));
        };
        let Some(person) = self.inner.store.load(PersonByName(name.clone())).await? else {
            return self.nothing_to_erase(asked.id).await;
        };
        let now = self.now();
        let row = ErasureRow {
            request: asked.id,
            person: person.id,
            name,
            version: 1,
            begun_at: now,
            entries: 0,
            requests: 0,
        };
        let mut erase = vec![Erase::Begin(row), Erase::TakeName(self.name_hash(&local(&person.name)?))];
        let mut writes = vec![Write::SetTimer(Timer::request(TimerKind::Erasure, asked.id, now))];
        for account in self.inner.store.load(AccountsOf(person.id)).await? {
            erase.push(Erase::TakeName(self.name_hash(&account.name)));
            erase.push(Erase::Account(account.id));
            // Again: somebody may have let him in since.
            writes.push(Write::EndSessionsOf { account: account.id });
            writes.push(Write::RevokeTokensOf { owner: account.id, at: now });
            let (name, version) = (account_pseudonym(account.id, &account.name), account.version + 1);
            writes.push(Write::UpdateAccount(Account { name, active: false, password: None, version, ..account }));
        }
        erase.extend(self.counters_of(person.id).await?);
        let (name, version) = (pseudonym(person.id), person.version + 1);
        writes.push(Write::UpdatePerson(Person { name, active: false, version, ..person }));
        let system = erase.into_iter().map(SystemWrite::Erase).collect();
        self.commit_with(Changes { writes, entries: Vec::new() }, system).await
    }

    async fn erase_page(&self, asked: &Request, erasure: ErasureRow) -> Result<(), EngineError> {
        let now = self.now();
        let page = self.next_page(&erasure).await?;
        if !page.erase.is_empty() {
            return self.write_page(asked, erasure, page, false).await;
        }
        let whose = [Concerned::AskedBy(erasure.person), Concerned::About(erasure.name.clone())];
        let mut due = erasure.begun_at.plus(LAST_LOOK);
        for whose in whose {
            if self.inner.store.load(AnyOpenRequest(whose)).await? {
                due = due.max(now.plus(LOOK_AGAIN));
            }
        }
        if now < due {
            let write = Write::SetTimer(Timer::request(TimerKind::Erasure, asked.id, due));
            return self.commit(Changes { writes: vec![write], entries: Vec::new() }).await;
        }
        let erase = self.counters_of(erasure.person).await?;
        self.write_page(asked, erasure, Page { erase, ..Page::default() }, true).await
    }

    /// The oldest of what is left; nothing if nothing is.
    async fn next_page(&self, erasure: &ErasureRow) -> Result<Page, EngineError> {
        let person = erasure.person;
        let mut page = Page::default();
        let entries = self.inner.store.load(EntriesNaming { person, limit: ENTRIES }).await?;
        if !entries.is_empty() {
            self.names_page(person, &entries, &mut page).await?;
            return Ok(page);
        }
        let asked_by = ClosedRequests { whose: Concerned::AskedBy(person), limit: REQUESTS };
        let requests = self.inner.store.load(asked_by).await?;
        if !requests.is_empty() {
            for request in requests {
                self.take_out(request, person, true, &mut page).await?;
            }
            return Ok(page);
        }
        let about = ClosedRequests { whose: Concerned::About(erasure.name.clone()), limit: REQUESTS };
        for request in self.inner.store.load(about).await? {
            self.take_out(request, person, false, &mut page).await?;
        }
        Ok(page)
    }

    /// What tells of him alone goes; in another one's story only his name does.
    async fn names_page(&self, person: PersonId, entries: &[StoredEntry], page: &mut Page) -> Result<(), EngineError> {
        let mut others = BTreeSet::new();
        for entry in entries {
            let decoded = countersign_ledger::decode(&entry.bytes).map_err(EngineError::internal)?;
            let names_only: &[&str] = match (decoded.kind(), decoded.request) {
                // These tell what was taken out of other entries, and are needed to tell an erasure from damage.
                (Some(EntryKind::AuditErased), _) => NAMES,
                (Some(EntryKind::RequestAsked | EntryKind::RequestRefused), _) | (_, None) => &[],
                (_, Some(request)) => {
                    others.insert(request);
                    NAMES
                }
            };
            page.close(entry, names_only, true);
        }
        for request in others {
            let Some(request) = self.inner.store.load(RequestById(request)).await? else { continue };
            // His own comes as a whole, later.
            if request.person.as_ref().is_some_and(|asked| asked.id == person) {
                continue;
            }
            page.erase.push(Erase::Evidence { request: request.id, person, name: pseudonym(person) });
            for release in self.inner.store.load(ReleasesOf(request.id)).await? {
                let renamed = release.clone().renamed(person);
                page.release(&release, renamed);
            }
            let renamed = request.clone().renamed(person);
            if renamed != request {
                let from = request.version;
                let request = Box::new(Request { version: from + 1, ..renamed });
                page.writes.push(Write::UpdateRequest { request, from });
            }
        }
        Ok(())
    }

    /// A request that he asked, or one that is about him, without its words.
    async fn take_out(
        &self,
        request: Request,
        person: PersonId,
        asked: bool,
        page: &mut Page,
    ) -> Result<(), EngineError> {
        for entry in self.inner.store.load(EntriesOf(request.id)).await? {
            page.close(&entry, if asked { &[] } else { WORDS }, false);
        }
        if asked {
            page.erase.push(Erase::Evidence { request: request.id, person, name: pseudonym(person) });
            for release in self.inner.store.load(ReleasesOf(request.id)).await? {
                let without = release.clone().without_words().renamed(person);
                page.release(&release, without);
            }
        }
        page.requests.push(request.id);
        let from = request.version;
        let request = Box::new(Request { version: from + 1, ..request.without_words().renamed(person) });
        page.erase.push(Erase::Request { request, asked, from });
        Ok(())
    }

    async fn write_page(
        &self,
        asked: &Request,
        erasure: ErasureRow,
        page: Page,
        done: bool,
    ) -> Result<(), EngineError> {
        let Page { mut writes, mut erase, closed, requests } = page;
        let mut ctx = self.ctx()?;
        let [entries, rows] = [closed.len(), requests.len()].map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let next = ErasureRow {
            version: erasure.version + 1,
            entries: erasure.entries + entries,
            requests: erasure.requests + rows,
            ..erasure.clone()
        };
        let told = if done { (next.entries, next.requests) } else { (entries, rows) };
        let entry = told_of(asked, erasure.person, done, told, &closed, &requests, &mut ctx);
        if done {
            erase.push(Erase::Finish(erasure));
            writes.push(Write::ClearTimer { kind: TimerKind::Erasure, subject: asked.id.to_string() });
        } else {
            erase.push(Erase::GoOn(next));
            writes.push(Write::SetTimer(Timer::request(TimerKind::Erasure, asked.id, ctx.now)));
        }
        let system = erase.into_iter().map(SystemWrite::Erase).collect();
        self.commit_with(Changes { writes, entries: vec![entry] }, system).await
    }

    /// Where he guessed or was guessed at from.
    async fn counters_of(&self, person: PersonId) -> Result<Vec<Erase>, EngineError> {
        let authenticators = self.inner.store.load(AuthenticatorsOf(person)).await?;
        let accounts = self.inner.store.load(AccountsOf(person)).await?;
        let codes = authenticators.iter().map(|row| format!("totp:{}", row.id));
        let passwords = accounts.iter().map(|row| format!("password:{}", row.id));
        Ok(codes.chain(passwords).map(Erase::Throttles).collect())
    }

    /// Keyed, so that whoever has the database alone cannot try names.
    fn name_hash(&self, name: &AccountName) -> Digest {
        self.keys().fingerprint(format!("countersign/erased-name/v1:{name}").as_bytes())
    }
}

impl Page {
    /// Closes these fields of an entry; all, if none are named.
    fn close(&mut self, entry: &StoredEntry, fields: &[&str], unlink: bool) {
        let goes = |opening: &&Opening| fields.is_empty() || fields.contains(&opening.field.as_str());
        let closed: Vec<String> = entry.openings.iter().filter(goes).map(|opening| opening.field.clone()).collect();
        if closed.is_empty() && !unlink {
            return;
        }
        let left = entry.openings.iter().filter(|opening| !goes(opening)).cloned().collect();
        self.erase.push(Erase::Openings { entry: entry.id, left, unlink });
        if !closed.is_empty() {
            self.closed.insert(entry.id, closed);
        }
    }

    fn release(&mut self, was: &countersign_core::release::Release, is: countersign_core::release::Release) {
        if *was != is {
            let version = was.version + 1;
            self.writes.push(Write::UpdateRelease(Box::new(countersign_core::release::Release { version, ..is })));
        }
    }
}

/// The entry that tells of a page. What was closed is named, so that a clear text that somebody else took away is told from one that was erased; it is
/// committed to only, because a public list would tell which requests were one person's.
fn told_of(
    asked: &Request,
    person: PersonId,
    done: bool,
    (entries, rows): (i64, i64),
    closed: &BTreeMap<EntryId, Vec<String>>,
    requests: &[RequestId],
    ctx: &mut Ctx,
) -> EntryDraft {
    let clear = vec![("done", Value::from(done)), ("entries", Value::from(entries)), ("requests", Value::from(rows))];
    let closed =
        closed.iter().map(|(entry, fields)| (entry.to_string(), Value::array(fields.iter().map(String::as_str))));
    let by = asked.person.as_ref();
    let committed = vec![
        ctx.field("person", pseudonym(person)),
        ctx.field("by", by.map(|by| by.name.as_str())),
        ctx.field("closed", Value::object(closed)),
        ctx.field("rows", Value::array(requests.iter().map(ToString::to_string))),
    ];
    ctx.entry(EntryKind::AuditErased, None, clear, committed).about(by.map(|by| by.id))
}

/// A person's name as one that accounts could bear: a person and an account of one name are one and the same to whoever reads a receipt.
fn local(name: &str) -> Result<AccountName, EngineError> {
    AccountName::new(countersign_core::names::LOCAL_REALM, name).map_err(EngineError::internal)
}
