//! A change becomes rows. Everything is looked up anew at the moment of granting; what no longer fits is refused, and nothing is written.

use std::time::Duration;

use countersign_core::changes::{Changes, Write};
use countersign_core::decide::{self, Ctx};
use countersign_core::digest::Digest;
use countersign_core::erasure::is_pseudonym;
use countersign_core::identity::{Account, AccountKind, Membership, Person, PersonRef, Token};
use countersign_core::ids::{AccountId, PersonId, TokenId};
use countersign_core::names::{AccountName, GroupName, LOCAL_REALM, check_name};
use countersign_store::{
    AccountByName, AccountsOf, ActivePolicy, Administrators, AuthenticatorsOf, ListGroups, MembersOf, PeopleOf,
    PersonByName, ReleaseWithRequest, seal,
};
use secrecy::{ExposeSecret, SecretSlice};

use super::Change;
use super::tokens::check_token;
use crate::{Engine, EngineError};

/// What a change is applied with.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    /// Whether a second administrator agreed: what came without cools before it counts.
    pub(super) countersigned: bool,
    pub(super) secret: Option<&'a SecretSlice<u8>>,
}

impl Engine {
    /// The rows of a change. Also its rehearsal: what can't be done is said here.
    pub(super) async fn plan(
        &self,
        by: Option<&PersonRef>,
        change: &Change,
        with: &Circumstances<'_>,
        ctx: &mut Ctx,
    ) -> Result<Changes, EngineError> {
        let writes = match change {
            Change::PersonAdd { name, groups } => self.add_person(name, groups, with, ctx).await?,
            Change::PersonDisable { name } => self.disable(name, false, ctx).await?,
            Change::PersonRemove { name } => self.disable(name, true, ctx).await?,
            Change::PersonErase { name } => self.begin_erasure(by, name, ctx).await?,
            Change::PersonEnable { name } => {
                let person = self.person(name).await?;
                vec![Write::UpdatePerson(Person { active: true, version: person.version + 1, ..person })]
            }
            Change::PasswordSet { name } => self.set_password(name, with).await?,
            Change::FactorReset { name } => self.reset_factors(name).await?,
            Change::ThrottleClear { name } => self.clear_throttles(name).await?,
            Change::GroupAdd { group } => {
                if group.realm() != LOCAL_REALM {
                    return Err(invalid("groups of other realms come from their directory; add local:NAME"));
                }
                self.absent_group(group).await?;
                vec![Write::InsertGroup { group: group.clone(), created_at: ctx.now }]
            }
            Change::GroupRemove { group } => self.remove_group(group).await?,
            Change::MemberAdd { group, person } => {
                self.present_group(group).await?;
                let person = self.person(person).await?;
                vec![Write::PutMembership(membership(group, person.id, with.countersigned, ctx))]
            }
            Change::MemberRemove { group, person } => self.remove_member(group, person).await?,
            Change::ServiceAdd { name } => {
                let account = self.new_account(name, AccountKind::Service, None, ctx).await?;
                vec![Write::InsertAccount(account)]
            }
            Change::ServiceTokenAdd { service, name, scopes, ttl_secs, sha256 } => {
                self.add_service_token(service, (name, scopes, *ttl_secs), *sha256, ctx).await?
            }
            Change::AccountLink { account, person } => {
                let row = self.inner.store.load(AccountByName(account.clone())).await?;
                let account = row.ok_or(EngineError::NotFound("account"))?.account;
                if is_pseudonym(account.name.name()) {
                    return Err(erased());
                }
                if account.kind == AccountKind::Service {
                    return Err(invalid("a service belongs to no person; it may ask, and others approve"));
                }
                let person = self.person(person).await?;
                let version = account.version + 1;
                vec![Write::UpdateAccount(Account { person: Some(person.id), version, ..account })]
            }
            Change::PolicyApply { text } => self.apply_policy(text, ctx).await?,
            Change::ReleaseClose { release, reason } => {
                let by = by.ok_or_else(|| invalid("only a person can close a release"))?;
                let found = self.inner.store.load(ReleaseWithRequest(*release)).await?;
                let (release, request) = found.ok_or(EngineError::NotFound("release"))?;
                let (step, _) = decide::close_in_doubt(request, release, by, reason.clone(), ctx)?;
                return Ok(step.finish().1);
            }
        };
        Ok(Changes { writes, entries: Vec::new() })
    }

    async fn add_person(
        &self,
        name: &str,
        groups: &[GroupName],
        with: &Circumstances<'_>,
        ctx: &mut Ctx,
    ) -> Result<Vec<Write>, EngineError> {
        check_name(name).map_err(|error| invalid(&error.to_string()))?;
        if self.inner.store.load(PersonByName(name.to_owned())).await?.is_some() {
            return Err(EngineError::Exists { what: "person", key: name.to_owned() });
        }
        let person = Person {
            id: PersonId::new(ctx.now, ctx.tail()),
            name: name.to_owned(),
            active: true,
            created_at: ctx.now,
            version: 1,
        };
        let mut account = self.new_account(name, AccountKind::Person, Some(person.id), ctx).await?;
        account.password = Some(self.sealed_password(account.id, with)?);
        let mut writes = Vec::new();
        for group in groups {
            self.present_group(group).await?;
            writes.push(Write::PutMembership(membership(group, person.id, with.countersigned, ctx)));
        }
        writes.push(Write::InsertPerson(person));
        writes.push(Write::InsertAccount(account));
        Ok(writes)
    }

    pub(super) async fn disable(&self, name: &str, remove: bool, ctx: &Ctx) -> Result<Vec<Write>, EngineError> {
        let person = self.person(name).await?;
        self.keep_an_administrator(person.id).await?;
        let mut writes = Vec::new();
        for account in self.inner.store.load(AccountsOf(person.id)).await? {
            writes.push(Write::EndSessionsOf { account: account.id });
            writes.push(Write::RevokeTokensOf { owner: account.id, at: ctx.now });
            if remove {
                let version = account.version + 1;
                writes.push(Write::UpdateAccount(Account { active: false, password: None, version, ..account }));
            }
        }
        if remove {
            let rows = self.inner.store.load(PeopleOf { persons: vec![person.id], groups: Vec::new() }).await?;
            for membership in rows.memberships.into_iter().filter(|m| m.person == person.id) {
                writes.push(Write::DeleteMembership { group: membership.group, person: person.id });
            }
            writes.push(Write::RemoveAuthenticators { person: person.id, except: None });
        }
        writes.push(Write::UpdatePerson(Person { active: false, version: person.version + 1, ..person }));
        Ok(writes)
    }

    async fn set_password(&self, name: &str, with: &Circumstances<'_>) -> Result<Vec<Write>, EngineError> {
        let account = self.local_account(name).await?;
        if account.kind == AccountKind::Service {
            return Err(invalid("a service has no password; give it a token"));
        }
        let password = Some(self.sealed_password(account.id, with)?);
        let version = account.version + 1;
        Ok(vec![
            Write::EndSessionsOf { account: account.id },
            Write::UpdateAccount(Account { password, version, ..account }),
        ])
    }

    async fn reset_factors(&self, name: &str) -> Result<Vec<Write>, EngineError> {
        let person = self.person(name).await?;
        let mut writes = vec![Write::RemoveAuthenticators { person: person.id, except: None }];
        for row in self.inner.store.load(AuthenticatorsOf(person.id)).await? {
            writes.push(Write::ClearThrottles { subject: format!("totp:{}", row.id) });
        }
        Ok(writes)
    }

    async fn clear_throttles(&self, name: &str) -> Result<Vec<Write>, EngineError> {
        let person = self.person(name).await?;
        let mut subjects = Vec::new();
        for row in self.inner.store.load(AuthenticatorsOf(person.id)).await? {
            subjects.push(format!("totp:{}", row.id));
        }
        for account in self.inner.store.load(AccountsOf(person.id)).await? {
            subjects.push(format!("password:{}", account.id));
        }
        Ok(subjects.into_iter().map(|subject| Write::ClearThrottles { subject }).collect())
    }

    async fn remove_group(&self, group: &GroupName) -> Result<Vec<Write>, EngineError> {
        self.present_group(group).await?;
        if *group == GroupName::administrators() {
            return Err(invalid("administrators can't be removed; without them nobody could change anything"));
        }
        if self.policy_in_force().await?.groups_named().contains(group) {
            return Err(invalid("the policy in force names this group; change the policy first"));
        }
        Ok(vec![Write::DeleteGroup { group: group.clone() }])
    }

    async fn remove_member(&self, group: &GroupName, person: &str) -> Result<Vec<Write>, EngineError> {
        let person = self.person(person).await?;
        if *group == GroupName::administrators() {
            self.keep_an_administrator(person.id).await?;
        }
        Ok(vec![Write::DeleteMembership { group: group.clone(), person: person.id }])
    }

    async fn add_service_token(
        &self,
        service: &str,
        (name, scopes, ttl_secs): (&str, &[String], u64),
        hash: Digest,
        ctx: &mut Ctx,
    ) -> Result<Vec<Write>, EngineError> {
        let account = self.local_account(service).await?;
        if account.kind != AccountKind::Service {
            return Err(invalid("people make their own tokens; this is for services"));
        }
        let ttl = Duration::from_secs(ttl_secs);
        check_token(name, scopes, ttl)?;
        Ok(vec![Write::InsertToken(Token {
            id: TokenId::new(ctx.now, ctx.tail()),
            hash,
            name: name.to_owned(),
            owner: account.id,
            scopes: scopes.to_vec(),
            created_at: ctx.now,
            expires_at: ctx.now.plus(ttl),
            revoked_at: None,
        })])
    }

    async fn apply_policy(&self, text: &str, ctx: &Ctx) -> Result<Vec<Write>, EngineError> {
        let report = self.report_on(text).await?;
        if !report.errors.is_empty() {
            return Err(EngineError::Invalid(report.errors.join("; ")));
        }
        let from = self.inner.store.load(ActivePolicy).await?.map(|row| row.digest);
        if from == Some(report.digest) {
            return Err(EngineError::Exists { what: "policy", key: "with this text, in force".to_owned() });
        }
        Ok(vec![
            Write::InsertPolicy { digest: report.digest, text: text.to_owned(), at: ctx.now },
            Write::ActivatePolicy { digest: report.digest, from, at: ctx.now },
        ])
    }

    pub(super) async fn person(&self, name: &str) -> Result<Person, EngineError> {
        if is_pseudonym(name) {
            return Err(erased());
        }
        self.inner.store.load(PersonByName(name.to_owned())).await?.ok_or(EngineError::NotFound("person"))
    }

    async fn local_account(&self, name: &str) -> Result<Account, EngineError> {
        if is_pseudonym(name) {
            return Err(erased());
        }
        let name = AccountName::new(LOCAL_REALM, name).map_err(|error| invalid(&error.to_string()))?;
        let row = self.inner.store.load(AccountByName(name)).await?;
        Ok(row.ok_or(EngineError::NotFound("account"))?.account)
    }

    async fn new_account(
        &self,
        name: &str,
        kind: AccountKind,
        person: Option<PersonId>,
        ctx: &mut Ctx,
    ) -> Result<Account, EngineError> {
        let name = AccountName::new(LOCAL_REALM, name).map_err(|error| invalid(&error.to_string()))?;
        if self.inner.store.load(AccountByName(name.clone())).await?.is_some() {
            return Err(EngineError::Exists { what: "account", key: name.to_string() });
        }
        self.free_name(&name).await?;
        let id = AccountId::new(ctx.now, ctx.tail());
        Ok(Account { id, name, kind, person, active: true, password: None, created_at: ctx.now, version: 1 })
    }

    fn sealed_password(
        &self,
        account: AccountId,
        with: &Circumstances<'_>,
    ) -> Result<countersign_core::sealed::Sealed, EngineError> {
        let hash = with.secret.ok_or_else(|| EngineError::internal("the change lost its password"))?;
        self.keys()
            .seal(self.inner.random.as_ref(), seal::ACCOUNT_PASSWORD, &account.to_string(), hash.expose_secret())
            .map_err(EngineError::internal)
    }

    async fn present_group(&self, group: &GroupName) -> Result<(), EngineError> {
        let groups = self.inner.store.load(ListGroups).await?;
        if groups.iter().any(|row| row.group == *group) { Ok(()) } else { Err(EngineError::NotFound("group")) }
    }

    async fn absent_group(&self, group: &GroupName) -> Result<(), EngineError> {
        match self.present_group(group).await {
            Ok(()) => Err(EngineError::Exists { what: "group", key: group.to_string() }),
            Err(EngineError::NotFound(_)) => Ok(()),
            Err(other) => Err(other),
        }
    }

    /// Refuses what would leave nobody to undo it.
    async fn keep_an_administrator(&self, person: PersonId) -> Result<(), EngineError> {
        let members = self.inner.store.load(MembersOf(GroupName::administrators())).await?;
        let is_one = members.iter().any(|(member, _)| member.id == person && member.active);
        if is_one && self.inner.store.load(Administrators).await? <= 1 {
            return Err(invalid("this is the last administrator; name another one first"));
        }
        Ok(())
    }
}

fn membership(group: &GroupName, person: PersonId, countersigned: bool, ctx: &Ctx) -> Membership {
    Membership { group: group.clone(), person, since: ctx.now, countersigned }
}

fn erased() -> EngineError {
    invalid("this person was erased; nothing of it can be changed or brought back")
}

fn invalid(why: &str) -> EngineError {
    EngineError::Invalid(why.to_owned())
}
