//! Who there is, as people may see it.

use countersign_core::identity::{AccountKind, PersonRef};
use countersign_core::ids::PersonId;
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_core::principal::{Principal, Via};
use countersign_core::time::Micros;
use countersign_store::{GroupsPage, MembershipsPage, PeopleOf, PeoplePage, PeoplePageRows, SessionById, TokenById};

use crate::page::{bad_cursor, bounded, one_more};
use crate::{Engine, EngineError, Page};

/// The caller, as the service sees him.
#[derive(Clone, Debug)]
pub struct Whoami {
    pub account: AccountName,
    pub person: Option<PersonRef>,
    pub kind: AccountKind,
    pub groups: Vec<GroupName>,
    pub via: &'static str,
    pub fresh: Option<(Factor, Micros)>,
    pub enrolled: Vec<Factor>,
    pub expires_at: Option<Micros>,
}

#[derive(Clone, Debug)]
pub struct PersonView {
    pub name: String,
    pub active: bool,
    pub groups: Vec<GroupName>,
    pub factors: Vec<Factor>,
    pub accounts: Vec<AccountName>,
}

#[derive(Clone, Debug)]
pub struct MembershipView {
    pub group: GroupName,
    /// The person's name.
    pub person: String,
    pub since: Micros,
    /// Whether a second administrator agreed to it; otherwise it fills no place before it has cooled.
    pub countersigned: bool,
}

impl Engine {
    /// The caller himself.
    pub async fn whoami(&self, principal: &Principal) -> Result<Whoami, EngineError> {
        let mut groups = Vec::new();
        let mut enrolled = Vec::new();
        if let Some(person) = &principal.person {
            let rows = self.inner.store.load(PeopleOf { persons: vec![person.id], groups: Vec::new() }).await?;
            groups = rows.memberships.into_iter().filter(|m| m.person == person.id).map(|m| m.group).collect();
            enrolled = rows.authenticators.iter().filter(|row| row.person == person.id).map(|row| row.factor).collect();
        }
        let (via, expires_at) = match &principal.via {
            Via::Session(id) => {
                ("session", self.inner.store.load(SessionById(*id)).await?.map(|row| row.session.expires_at))
            }
            Via::Token { id, .. } => {
                ("token", self.inner.store.load(TokenById(*id)).await?.map(|row| row.token.expires_at))
            }
            Via::Password => ("password", None),
            Via::Server => ("server", None),
        };
        Ok(Whoami {
            account: principal.name.clone(),
            person: principal.person.clone(),
            kind: principal.kind,
            groups,
            via,
            fresh: principal.fresh,
            enrolled,
            expires_at,
        })
    }

    /// Everybody by name, for administrators. The cursor is a name.
    pub async fn people(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<PersonView>, EngineError> {
        self.require_administrator(principal).await?;
        let limit = bounded(limit);
        let page = PeoplePage { after: cursor.map(str::to_owned), limit: one_more(limit) };
        let PeoplePageRows { persons, groups, factors, accounts } = self.inner.store.load(page).await?;
        let Page { items: persons, next } = Page::cut(persons, limit, |person| person.name.clone());
        let items = persons.into_iter().map(|person| PersonView {
            groups: of(person.id, &groups),
            factors: of(person.id, &factors),
            accounts: of(person.id, &accounts),
            name: person.name,
            active: person.active,
        });
        Ok(Page { items: items.collect(), next })
    }

    /// All groups by name, for administrators. The cursor is a group.
    pub async fn groups(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<GroupName>, EngineError> {
        self.require_administrator(principal).await?;
        let after = cursor.map(|text| text.parse().map_err(|_| bad_cursor())).transpose()?;
        let limit = bounded(limit);
        let rows = self.inner.store.load(GroupsPage { after, limit: one_more(limit) }).await?;
        Ok(Page::cut(rows.into_iter().map(|row| row.group).collect(), limit, ToString::to_string))
    }

    /// All memberships, by group and then by person in the order in which people were added, for administrators.
    pub async fn memberships(
        &self,
        principal: &Principal,
        cursor: Option<&str>,
        limit: u32,
    ) -> Result<Page<MembershipView>, EngineError> {
        self.require_administrator(principal).await?;
        let after = cursor.map(membership_cursor).transpose()?;
        let limit = bounded(limit);
        let rows = self.inner.store.load(MembershipsPage { after, limit: one_more(limit) }).await?;
        let Page { items, next } =
            Page::cut(rows, limit, |(membership, _)| format!("{} {}", membership.group, membership.person));
        let items = items.into_iter().map(|(membership, person)| MembershipView {
            group: membership.group,
            person,
            since: membership.since,
            countersigned: membership.countersigned,
        });
        Ok(Page { items: items.collect(), next })
    }

    pub(crate) async fn is_administrator(&self, principal: &Principal) -> Result<bool, EngineError> {
        if !principal.covers("admin.read") {
            return Ok(false);
        }
        let Some(person) = &principal.person else { return Ok(false) };
        let rows = self.inner.store.load(PeopleOf { persons: vec![person.id], groups: Vec::new() }).await?;
        let (people, _) = self.judge(&rows);
        Ok(people.may_fill(person.id, &GroupName::administrators()))
    }

    pub(crate) async fn require_administrator(&self, principal: &Principal) -> Result<(), EngineError> {
        if self.is_administrator(principal).await? {
            Ok(())
        } else {
            Err(EngineError::NotPermitted("this is for administrators".into()))
        }
    }
}

fn of<T: Clone>(person: PersonId, rows: &[(PersonId, T)]) -> Vec<T> {
    rows.iter().filter(|(owner, _)| *owner == person).map(|(_, what)| what.clone()).collect()
}

fn membership_cursor(text: &str) -> Result<(GroupName, PersonId), EngineError> {
    let (group, person) = text.rsplit_once(' ').ok_or_else(bad_cursor)?;
    Ok((group.parse().map_err(|_| bad_cursor())?, person.parse().map_err(|_| bad_cursor())?))
}
