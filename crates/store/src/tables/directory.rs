//! Who there is, in parts: lists of people, groups and memberships by their keys, so that no part costs more the further back it lies.

use countersign_core::identity::{Membership, Person};
use countersign_core::ids::PersonId;
use countersign_core::names::{AccountName, Factor, GroupName};

use super::groups::{self, GroupRow, membership_columns};
use super::persons::{self, person_columns};
use super::{load, statements};
use crate::error::StoreError;
use crate::sql::{Row, params};

macro_rules! of_people {
    ($columns:expr, $table:expr) => {
        concat!(
            "SELECT ",
            $columns,
            " FROM persons p JOIN ",
            $table,
            " ON x.person = p.id WHERE p.name >= $1 AND p.name <= $2"
        )
    };
}

statements! {
    PEOPLE = concat!("SELECT ", person_columns!(), " FROM persons p WHERE p.name > $1 ORDER BY p.name LIMIT $2");
    GROUPS_OF = concat!(of_people!("x.person, x.group_name", "memberships x"), " ORDER BY x.group_name");
    FACTORS_OF = concat!(of_people!("x.person, x.factor", "authenticators x"), " AND x.state = 'active' ORDER BY x.id");
    ACCOUNTS_OF = concat!(of_people!("x.person, x.realm, x.name", "accounts x"), " ORDER BY x.realm, x.name");
    GROUPS = "SELECT name, created_at FROM groups WHERE name > $1 ORDER BY name LIMIT $2";
    MEMBERSHIPS = concat!(
        "SELECT ", membership_columns!(), ", p.name FROM memberships m JOIN persons p ON p.id = m.person",
        " WHERE (m.group_name, m.person) > ($1, $2) ORDER BY m.group_name, m.person LIMIT $3"
    );
}

/// A page of everybody, by name.
#[derive(Clone, Debug)]
pub struct PeoplePage {
    /// The name of the last one of the page before.
    pub after: Option<String>,
    pub limit: u32,
}

/// A page of people, and what belongs to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeoplePageRows {
    pub persons: Vec<Person>,
    pub groups: Vec<(PersonId, GroupName)>,
    /// Of active authenticators only.
    pub factors: Vec<(PersonId, Factor)>,
    pub accounts: Vec<(PersonId, AccountName)>,
}

/// A page of all groups, by name.
#[derive(Clone, Debug)]
pub struct GroupsPage {
    /// The last one of the page before.
    pub after: Option<GroupName>,
    pub limit: u32,
}

/// A page of all memberships with the person's name, by group and person.
#[derive(Clone, Debug)]
pub struct MembershipsPage {
    /// The last one of the page before.
    pub after: Option<(GroupName, PersonId)>,
    pub limit: u32,
}

load!(PeoplePage => PeoplePageRows, |Self { after, limit }, reader| {
    let persons = reader.all(PEOPLE, params![after.unwrap_or_default(), limit], persons::read).await?;
    let (Some(first), Some(last)) = (persons.first(), persons.last()) else { return Ok(PeoplePageRows::default()) };
    let (first, last) = (first.name.clone(), last.name.clone());
    Ok(PeoplePageRows {
        persons,
        groups: reader.all(GROUPS_OF, params![&first, &last], read_group_of).await?,
        factors: reader.all(FACTORS_OF, params![&first, &last], read_factor).await?,
        accounts: reader.all(ACCOUNTS_OF, params![&first, &last], read_account).await?,
    })
});

load!(GroupsPage => Vec<GroupRow>, |Self { after, limit }, reader| {
    // No group has an empty name.
    let after = after.map_or_else(String::new, |group| group.to_string());
    reader.all(GROUPS, params![after, limit], groups::read_group).await
});

load!(MembershipsPage => Vec<(Membership, String)>, |Self { after, limit }, reader| {
    let (group, person) =
        after.map_or_else(Default::default, |(group, person)| (group.to_string(), person.to_string()));
    reader.all(MEMBERSHIPS, params![group, person, limit], read_membership).await
});

fn read_group_of(row: Row) -> Result<(PersonId, GroupName), StoreError> {
    let mut columns = row.columns("memberships");
    Ok((columns.parsed()?, columns.parsed()?))
}

fn read_factor(row: Row) -> Result<(PersonId, Factor), StoreError> {
    let mut columns = row.columns("authenticators");
    Ok((columns.parsed()?, columns.parsed()?))
}

fn read_account(row: Row) -> Result<(PersonId, AccountName), StoreError> {
    let mut columns = row.columns("accounts");
    let person = columns.parsed()?;
    let (realm, name) = (columns.text()?, columns.text()?);
    let name = AccountName::new(&realm, &name).map_err(|_| columns.corrupt("a name"))?;
    Ok((person, name))
}

fn read_membership(row: Row) -> Result<(Membership, String), StoreError> {
    let mut columns = row.columns("memberships");
    Ok((groups::membership(&mut columns)?, columns.text()?))
}
