//! How the demands of several rules become those of one request.
//!
//! Every matching `require` rule must be met, so what they say is AND-ed, part by part, and the result is the tightest of all:
//!
//! - **quorum**: within one rule the entries of the list add up, each a place for another person: two entries `1 of local:security` are two people.
//!   Across rules the same group is counted once, with the largest number: two rules that both want one of security are both met by the same one
//!   person, and only a rule with `k = 2` asks for two. Different groups are different places, which different people fill. The factors that count
//!   for a group are those that every rule naming it accepts;
//! - **confirm**: one fresh proof, with a factor that every rule accepts;
//! - **reason**: every pattern has to fit; each stays a demand of its own;
//! - **notify**: everybody whom any rule names;
//! - **deadline** and **grant**: the shortest time to answer, the latest begin, the shortest life, the fewest uses. A rule that says nothing of these
//!   means the defaults (30 minutes; at once, 5 minutes, one use), so another rule can only shorten them;
//! - **relayed**: only where every rule allows it.
//!
//! If no factor is left that all rules accept, nobody could meet them and the operation is denied. Nothing here depends on the order of the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use countersign_core::decision::Requirements;
use countersign_core::demand::{Bounds, Demand};
use countersign_core::names::{Factor, GroupName};
use regex_lite::Regex;

/// How long people have to answer where no rule says it.
pub(crate) const DEFAULT_DEADLINE: Duration = Duration::from_mins(30);

/// What one rule demands, or several together.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) confirm: Option<BTreeSet<Factor>>,
    pub(crate) quorum: BTreeMap<GroupName, Seats>,
    pub(crate) reasons: BTreeMap<String, ReasonPattern>,
    pub(crate) notify: BTreeSet<String>,
    pub(crate) relayed: bool,
    pub(crate) deadline: Duration,
    pub(crate) bounds: Bounds,
}

/// Places for people of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seats {
    pub(crate) k: u32,
    pub(crate) factors: BTreeSet<Factor>,
}

/// The whole reason must fit, without the blanks around it.
#[derive(Clone)]
pub(crate) struct ReasonPattern(Regex);

impl Wanted {
    /// What a rule means that says nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            confirm: None,
            quorum: BTreeMap::new(),
            reasons: BTreeMap::new(),
            notify: BTreeSet::new(),
            relayed: false,
            deadline: DEFAULT_DEADLINE,
            bounds: Bounds::DEFAULT,
        }
    }

    pub(crate) fn demands_something(&self) -> bool {
        self.confirm.is_some() || !self.quorum.is_empty() || !self.reasons.is_empty() || !self.notify.is_empty()
    }

    /// Both at once.
    #[must_use]
    pub(crate) fn and(mut self, other: &Self) -> Self {
        self.confirm = match (self.confirm, &other.confirm) {
            (Some(mine), Some(theirs)) => Some(mine.intersection(theirs).copied().collect()),
            (mine, theirs) => mine.or_else(|| theirs.clone()),
        };
        for (group, seats) in &other.quorum {
            self.quorum
                .entry(group.clone())
                .and_modify(|mine| {
                    mine.k = mine.k.max(seats.k);
                    mine.factors = mine.factors.intersection(&seats.factors).copied().collect();
                })
                .or_insert_with(|| seats.clone());
        }
        self.reasons.extend(other.reasons.iter().map(|(text, pattern)| (text.clone(), pattern.clone())));
        self.notify.extend(other.notify.iter().cloned());
        self.relayed &= other.relayed;
        self.deadline = self.deadline.min(other.deadline);
        self.bounds = self.bounds.tightest(&other.bounds);
        self
    }

    /// What nobody can meet because no factor is left for it, in words.
    pub(crate) fn conflict(&self) -> Option<String> {
        let confirm = self.confirm.as_ref().is_some_and(BTreeSet::is_empty).then(|| "confirm".to_owned());
        let group = |(group, seats): (&GroupName, &Seats)| seats.factors.is_empty().then(|| group.to_string());
        confirm.or_else(|| self.quorum.iter().find_map(group))
    }

    /// The patterns that this reason does not fit. Without a reason that is all of them.
    pub(crate) fn unmet_reasons(&self, reason: Option<&str>) -> Vec<&str> {
        let fits = |pattern: &ReasonPattern| reason.is_some_and(|reason| pattern.fits(reason));
        self.reasons.iter().filter(|(_, pattern)| !fits(pattern)).map(|(text, _)| text.as_str()).collect()
    }

    pub(crate) fn demands(&self) -> Vec<Demand> {
        let list = |factors: &BTreeSet<Factor>| factors.iter().copied().collect::<Vec<_>>();
        let fresh = self.confirm.as_ref().map(|factors| Demand::Fresh { factors: list(factors) });
        let quorum = self.quorum.iter().map(|(group, seats)| Demand::Quorum {
            k: seats.k,
            of: group.clone(),
            factors: list(&seats.factors),
        });
        let reasons = self.reasons.keys().map(|pattern| Demand::Reason { pattern: pattern.clone() });
        let notify = self.notify.iter().map(|whom| Demand::Notify { whom: whom.clone() });
        fresh.into_iter().chain(quorum).chain(reasons).chain(notify).collect()
    }

    pub(crate) fn requirements(&self) -> Requirements {
        Requirements {
            demands: self.demands(),
            bounds: self.bounds.clone(),
            deadline: self.deadline,
            relayed: self.relayed,
        }
    }
}

impl ReasonPattern {
    /// Compiles the pattern alone first, so that `a)|(b` cannot step out of the anchors.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        Regex::new(text).map_err(|error| error.to_string())?;
        Regex::new(&format!(r"\A(?:{text})\z")).map(Self).map_err(|error| error.to_string())
    }

    pub(crate) fn fits(&self, reason: &str) -> bool {
        self.0.is_match(reason.trim())
    }
}

impl fmt::Debug for ReasonPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(k: u32, factors: &[Factor]) -> Wanted {
        let group = GroupName::new("local", "security").expect("a name");
        let seats = Seats { k, factors: factors.iter().copied().collect() };
        Wanted { quorum: BTreeMap::from([(group, seats)]), ..Wanted::nothing() }
    }

    fn confirm(factors: &[Factor]) -> Wanted {
        Wanted { confirm: Some(factors.iter().copied().collect()), ..Wanted::nothing() }
    }

    /// No file can say this yet: one factor fills slots. The next factor must find it right.
    #[test]
    fn factors_that_all_rules_accept_are_left_or_nobody_can_meet_them() {
        let (totp, password) = (Factor::Totp, Factor::Password);
        let both = seats(1, &[totp, password]).and(&seats(3, &[totp]));
        assert_eq!(both.conflict(), None);
        assert_eq!(
            both.demands(),
            [Demand::Quorum { k: 3, of: "local:security".parse().expect("a group"), factors: vec![totp] }]
        );
        assert_eq!(seats(1, &[password]).and(&seats(1, &[totp])).conflict(), Some("local:security".to_owned()));
        assert_eq!(confirm(&[password]).and(&confirm(&[totp])).conflict(), Some("confirm".to_owned()));
        assert_eq!(confirm(&[password, totp]).and(&confirm(&[totp])).and(&Wanted::nothing()).conflict(), None);
    }

    #[test]
    fn a_reason_fits_as_a_whole_or_not_at_all() {
        let fits = |pattern: &str, reason: &str| ReasonPattern::new(pattern).expect("a pattern").fits(reason);
        assert!(fits("OPS-[0-9]+|emergency", "OPS-12") && fits("OPS-[0-9]+|emergency", " emergency\n"));
        assert!(!fits("OPS-[0-9]+|emergency", "OPS-12 and more") && !fits("OPS-[0-9]+|emergency", "no emergency"));
        assert!(!fits(".{3,}", "  a  ") && !fits("(?m)^a$", "b\na"));
        for bad in ["a)|(?:b", "(", "(?x)a #", "a{2", "[z-a]", "(?P<a>x)(?P<a>y)", "\\"] {
            assert!(ReasonPattern::new(bad).is_err(), "{bad}");
        }
    }
}
