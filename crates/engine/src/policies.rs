//! The policy in force. It lives in the database; a file is only a proposal.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use countersign_core::decision::Decision;
use countersign_core::digest::Digest;
use countersign_core::names::GroupName;
use countersign_core::operation::Operation;
use countersign_core::people::{Cooling, People};
use countersign_core::principal::Principal;
use countersign_policy::{Builtin, Explanation, Policy, Query, SupplyFacts, SupplyView};
use countersign_store::{ActivePolicy as LoadActivePolicy, PeopleOf, PeopleRows, PersonByName, PolicyRow, Store};

use crate::{Engine, EngineError, Inner};

/// The parsed text that decides now.
#[derive(Debug)]
pub(crate) struct ActivePolicy {
    current: RwLock<Arc<Policy>>,
    /// Another one may be in force.
    marked: AtomicBool,
    /// Held by whoever reads: two readers that overtake each other would leave the older text.
    reading: tokio::sync::Mutex<()>,
}

impl ActivePolicy {
    pub(crate) async fn load(store: &Store) -> Result<Self, EngineError> {
        let policy = parse(&read(store).await?)?;
        Ok(Self {
            current: RwLock::new(Arc::new(policy)),
            marked: AtomicBool::new(false),
            reading: tokio::sync::Mutex::default(),
        })
    }

    pub(crate) fn get(&self) -> Arc<Policy> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What is held here is not to be relied on until it was read again.
    pub(crate) fn mark(&self) {
        self.marked.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn refresh_if_marked(&self, store: &Store) -> Result<(), EngineError> {
        if self.marked.load(Ordering::SeqCst) { self.refresh(store).await } else { Ok(()) }
    }

    /// Holds what is held here against the database.
    async fn refresh(&self, store: &Store) -> Result<(), EngineError> {
        let _reading = self.reading.lock().await;
        // Before the look: a change in between marks it again.
        self.marked.store(false, Ordering::SeqCst);
        let refreshed = async {
            let row = read(store).await?;
            if row.digest != self.get().digest() {
                let policy = Arc::new(parse(&row)?);
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = policy;
            }
            Ok(())
        };
        let refreshed = refreshed.await;
        if refreshed.is_err() {
            self.mark();
        }
        refreshed
    }
}

async fn read(store: &Store) -> Result<PolicyRow, EngineError> {
    let row = store.load(LoadActivePolicy).await?;
    row.ok_or_else(|| EngineError::Internal("the database holds no policy; run `countersign init` first".into()))
}

fn parse(row: &PolicyRow) -> Result<Policy, EngineError> {
    Policy::parse(&row.text, "policy").map_err(|errors| EngineError::Internal(join(&errors)))
}

/// What a check of a policy text found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyReport {
    pub digest: Digest,
    /// Each with file, line, rule and what to do. Empty when the text could be applied.
    pub errors: Vec<String>,
    pub warnings: Vec<String>,
}

/// An explanation, and the people who could fill each place.
#[derive(Debug)]
pub struct Explained {
    pub decision: Decision,
    pub explanation: Explanation,
}

impl Engine {
    /// What decides now: by memory while this process follows what others change, else by the database.
    pub(crate) async fn policy_in_force(&self) -> Result<Arc<Policy>, EngineError> {
        let Inner { policy, store, .. } = &*self.inner;
        if self.follows() {
            policy.refresh_if_marked(store).await?;
        } else {
            policy.refresh(store).await?;
        }
        Ok(policy.get())
    }

    pub(crate) fn cooling(&self, administrators: usize) -> Cooling {
        Cooling { period: self.inner.config.cooling, administrators }
    }

    /// Rows as they were just read, judged.
    pub(crate) fn judge(&self, rows: &PeopleRows) -> (People, Cooling) {
        let cooling = self.cooling(rows.administrators);
        (People::judge(&rows.persons, &rows.memberships, &rows.authenticators, cooling, self.now()), cooling)
    }

    /// What the policy in force says of this operation of this principal.
    pub(crate) async fn decide(
        &self,
        principal: &Principal,
        operation: &Operation,
        reason: Option<&str>,
    ) -> Result<Decision, EngineError> {
        let (groups, builtin) = self.standing(principal).await?;
        let policy = self.policy_in_force().await?;
        Ok(policy.decide(&query(principal, operation, reason, &groups, &builtin)))
    }

    /// Whether a deny rule of today's policy matches.
    pub(crate) async fn denied_today(
        &self,
        principal: &Principal,
        operation: &Operation,
        reason: Option<&str>,
    ) -> Result<Option<String>, EngineError> {
        let (groups, builtin) = self.standing(principal).await?;
        let policy = self.policy_in_force().await?;
        Ok(policy.denied(&query(principal, operation, reason, &groups, &builtin)))
    }

    async fn standing(&self, principal: &Principal) -> Result<(BTreeSet<GroupName>, Builtin), EngineError> {
        let persons = principal.person.iter().map(|person| person.id).collect();
        let rows = self.inner.store.load(PeopleOf { persons, groups: Vec::new() }).await?;
        let (people, cooling) = self.judge(&rows);
        let standing = principal.person.as_ref().and_then(|person| people.get(person.id));
        let groups = standing.map(|standing| standing.groups.clone()).unwrap_or_default();
        Ok((groups, Builtin { administrators: cooling.administrators }))
    }

    /// The text in force and its digest, as this process knows it.
    pub fn policy(&self) -> (Digest, String) {
        let policy = self.inner.policy.get();
        (policy.digest(), policy.text().to_owned())
    }

    /// Checks a text against the people that there are, as `policy apply` would. For administrators, because a report tells which groups exist and how
    /// many people they supply.
    pub async fn check_policy(&self, principal: &Principal, text: &str) -> Result<PolicyReport, EngineError> {
        self.require_administrator(principal).await?;
        self.report_on(text).await
    }

    pub(crate) async fn report_on(&self, text: &str) -> Result<PolicyReport, EngineError> {
        let digest = Digest::sha256(text.as_bytes());
        let policy = match Policy::parse(text, "policy.toml") {
            Ok(policy) => policy,
            Err(errors) => {
                let errors = errors.iter().map(ToString::to_string).collect();
                return Ok(PolicyReport { digest, errors, warnings: Vec::new() });
            }
        };
        let groups: Vec<_> = policy.groups_named().into_iter().collect();
        let existing = self.inner.store.load(countersign_store::ListGroups).await?;
        let rows = self.inner.store.load(PeopleOf { persons: Vec::new(), groups }).await?;
        // What is still cooling will count soon: a policy is judged by who there is, a request by who counts now.
        let cooling = Cooling { period: std::time::Duration::ZERO, administrators: 1 };
        let people = People::judge(&rows.persons, &rows.memberships, &rows.authenticators, cooling, self.now());
        let existing: BTreeSet<_> = existing.into_iter().map(|row| row.group).collect();
        let facts = SupplyFacts { groups: &existing, people: &people };
        let supply = policy.check_supply(&facts);
        Ok(PolicyReport {
            digest,
            errors: supply.errors.iter().map(ToString::to_string).collect(),
            warnings: supply.warnings.iter().map(ToString::to_string).collect(),
        })
    }

    /// Why policy says what it says about an operation of `name` (or of the caller), and who could answer. Others than the caller himself are explained to
    /// administrators alone, because an explanation tells who is in which group.
    pub async fn explain(
        &self,
        principal: &Principal,
        name: Option<&str>,
        operation: &Operation,
        reason: Option<&str>,
    ) -> Result<Explained, EngineError> {
        let own = name.is_none_or(|name| principal.person.as_ref().is_some_and(|person| person.name == name));
        let person = if own {
            principal.person.clone()
        } else {
            self.require_administrator(principal).await?;
            let row = self.inner.store.load(PersonByName(name.unwrap_or_default().to_owned())).await?;
            Some(row.ok_or(EngineError::NotFound("person"))?.reference())
        };
        let policy = self.policy_in_force().await?;
        let persons = person.iter().map(|person| person.id).collect();
        let mut groups = policy.groups_named();
        groups.insert(GroupName::administrators());
        let rows = self.inner.store.load(PeopleOf { persons, groups: groups.into_iter().collect() }).await?;
        let (people, cooling) = self.judge(&rows);
        let standing = person.as_ref().and_then(|person| people.get(person.id));
        let groups = standing.map(|standing| standing.groups.clone()).unwrap_or_default();
        let builtin = Builtin { administrators: cooling.administrators };
        let account = if own { principal.name.clone() } else { account_of(person.as_ref().map_or("", |p| &p.name))? };
        let query = Query {
            operation,
            account: &account,
            person: person.as_ref().map(|person| person.name.as_str()),
            groups: &groups,
            reason,
            builtin: &builtin,
        };
        let decision = policy.decide(&query);
        let view = SupplyView { people: &people, requester: person.as_ref().map(|person| person.id) };
        let explanation = policy.explain(&query, &view);
        Ok(Explained { decision, explanation })
    }
}

fn account_of(name: &str) -> Result<countersign_core::names::AccountName, EngineError> {
    name.parse().map_err(|error: countersign_core::names::NameError| EngineError::Invalid(error.to_string()))
}

fn query<'a>(
    principal: &'a Principal,
    operation: &'a Operation,
    reason: Option<&'a str>,
    groups: &'a BTreeSet<GroupName>,
    builtin: &'a Builtin,
) -> Query<'a> {
    let person = principal.person.as_ref().map(|person| person.name.as_str());
    Query { operation, account: &principal.name, person, groups, reason, builtin }
}

pub(crate) fn join<E: ToString>(errors: &[E]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
