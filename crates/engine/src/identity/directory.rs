//! Who there is, as people may see it.

use countersign_core::identity::{AccountKind, AuthenticatorState, PersonRef};
use countersign_core::names::{AccountName, Factor, GroupName};
use countersign_core::principal::{Principal, Via};
use countersign_core::time::Micros;
use countersign_store::{
    AuthenticatorsOf, ListAccounts, ListGroups, ListMemberships, ListPersons, PeopleOf, SessionById, TokenById,
};

use crate::{Engine, EngineError};

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
pub struct GroupView {
    pub group: GroupName,
    pub members: Vec<String>,
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

    /// Everybody, for administrators.
    pub async fn people(&self, principal: &Principal) -> Result<Vec<PersonView>, EngineError> {
        self.require_administrator(principal).await?;
        let persons = self.inner.store.load(ListPersons).await?;
        let accounts = self.inner.store.load(ListAccounts).await?;
        let memberships = self.inner.store.load(ListMemberships).await?;
        let mut views = Vec::with_capacity(persons.len());
        for person in persons {
            let rows = self.inner.store.load(AuthenticatorsOf(person.id)).await?;
            let active = rows.iter().filter(|row| row.state == AuthenticatorState::Active);
            views.push(PersonView {
                factors: active.map(|row| row.factor).collect(),
                groups: memberships.iter().filter(|m| m.person == person.id).map(|m| m.group.clone()).collect(),
                accounts: accounts.iter().filter(|a| a.person == Some(person.id)).map(|a| a.name.clone()).collect(),
                name: person.name,
                active: person.active,
            });
        }
        Ok(views)
    }

    /// All groups and their members, for administrators.
    pub async fn groups(&self, principal: &Principal) -> Result<Vec<GroupView>, EngineError> {
        self.require_administrator(principal).await?;
        let persons = self.inner.store.load(ListPersons).await?;
        let memberships = self.inner.store.load(ListMemberships).await?;
        let name = |id| persons.iter().find(|person| person.id == id).map(|person| person.name.clone());
        let groups = self.inner.store.load(ListGroups).await?;
        Ok(groups
            .into_iter()
            .map(|row| {
                let members =
                    memberships.iter().filter(|m| m.group == row.group).filter_map(|m| name(m.person)).collect();
                GroupView { group: row.group, members }
            })
            .collect())
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
