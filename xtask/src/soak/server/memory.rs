//! What clients were told, kept where a kill of the server cannot reach it, and held against what a server says later.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// Requests of which something was acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    requests: BTreeMap<String, Told>,
    /// Sessions and tokens, and whether they were ended.
    credentials: BTreeMap<String, bool>,
    /// As they were when they were last asked about.
    looked_at: BTreeSet<String>,
    counts: BTreeMap<&'static str, u64>,
}

/// What was last acknowledged of a request.
#[derive(Debug, Default)]
struct Told {
    version: u64,
    stage: String,
    releases: BTreeSet<String>,
    reported: BTreeSet<String>,
    /// The grant was taken back.
    revoked: bool,
    /// The last answer about it said that nothing was done.
    untouched: bool,
    /// Since the last look.
    touched: bool,
}

impl Memory {
    /// A whole view came back from the verb of this name.
    pub(crate) fn told(&mut self, verb: &'static str, view: &Value) {
        *self.counts.entry(verb).or_default() += 1;
        let told = self.requests.entry(text(view, "id")).or_default();
        told.touched = true;
        told.untouched = false;
        told.version = view["version"].as_u64().unwrap_or_default();
        told.stage = text(view, "stage");
        told.revoked |= text(&view["grant"], "state") == "revoked";
        for release in releases(view) {
            let id = text(release, "id");
            if text(release, "state") == "done" {
                told.reported.insert(id.clone());
            }
            told.releases.insert(id);
        }
    }

    /// A release came back: the right was let go, once.
    pub(crate) fn released(&mut self, request: &str, release: &str) {
        *self.counts.entry("released").or_default() += 1;
        let told = self.requests.entry(request.to_owned()).or_default();
        told.touched = true;
        told.releases.insert(release.to_owned());
    }

    /// An answer said that nothing was done, so this request must stay as it was last told.
    pub(crate) fn nothing_done(&mut self, request: &str) {
        if let Some(told) = self.requests.get_mut(request) {
            told.touched = true;
            told.untouched = true;
        }
    }

    /// A session or a token was given, or ended.
    pub(crate) fn credential(&mut self, verb: &'static str, token: &str, ended: bool) {
        *self.counts.entry(verb).or_default() += 1;
        self.credentials.insert(token.to_owned(), ended);
        self.looked_at.remove(token);
    }

    /// The end of this one is on its way: from now on nobody knows, until it is acknowledged.
    pub(crate) fn ending(&mut self, token: &str) {
        self.credentials.remove(token);
    }

    /// What was given or ended since the last look; what was ended is looked at for ever if all is wanted.
    pub(crate) fn due_credentials(&mut self, all: bool) -> Vec<String> {
        if all {
            return self.credentials.keys().cloned().collect();
        }
        let due = self.credentials.keys().filter(|token| !self.looked_at.contains(*token)).cloned().collect::<Vec<_>>();
        self.looked_at.extend(due.iter().cloned());
        due
    }

    /// What a server now answers to whoever shows this.
    pub(crate) fn check_credential(&self, token: &str, status: u16) -> Damage {
        let mut damage = Damage::default();
        match (self.credentials.get(token), status) {
            (None, _) | (Some(true), 401) | (Some(false), 200) => {}
            (Some(true), status) => {
                damage.released_twice.push(format!("what was ended lives again: the answer is {status}"));
            }
            (Some(false), status) => {
                damage.lost.push(format!("a login or a token was acknowledged, now the answer is {status}"));
            }
        }
        damage
    }

    /// Acknowledgements by verb.
    pub(crate) fn counts(&self) -> &BTreeMap<&'static str, u64> {
        &self.counts
    }

    /// Requests that are due for a look: those of which something was told since the last look, or all.
    pub(crate) fn due(&mut self, all: bool) -> Vec<String> {
        let look = |(id, told): (&String, &mut Told)| (std::mem::take(&mut told.touched) || all).then(|| id.clone());
        self.requests.iter_mut().filter_map(look).collect()
    }

    /// What a server now says of a request, against what was told before.
    pub(crate) fn check(&self, id: &str, status: u16, view: &Value) -> Damage {
        let mut damage = Damage::default();
        let Some(told) = self.requests.get(id) else { return damage };
        let (version, stage) = (view["version"].as_u64().unwrap_or_default(), text(view, "stage"));
        let lost = |what: String| format!("request {id}: {what}");
        if status != 200 {
            damage.lost.push(lost(format!("{} was acknowledged, now the answer is {status}", told.stage)));
            return damage;
        }
        // What was under way when the server died may have come true, so a request may be further than what was told.
        let may_follow = told.stage == "challenged" && version > told.version;
        if version < told.version || (stage != told.stage && !may_follow) {
            let was = format!("{} (version {}) was acknowledged", told.stage, told.version);
            damage.lost.push(lost(format!("{was}, now it is {stage} (version {version})")));
        }
        if told.untouched && version != told.version {
            let was = format!("{} (version {})", told.stage, told.version);
            damage
                .strange
                .push(lost(format!("nothing was done to {was}, was told; now it is {stage} (version {version})")));
        }
        let now: BTreeMap<String, String> =
            releases(view).iter().map(|release| (text(release, "id"), text(release, "state"))).collect();
        for release in told.releases.iter().filter(|release| !now.contains_key(*release)) {
            damage.lost.push(lost(format!("release {release} was acknowledged and is gone")));
        }
        for release in told.reported.iter().filter(|release| now.get(*release).is_some_and(|state| state != "done")) {
            damage.lost.push(lost(format!("the end of release {release} was acknowledged and is forgotten")));
        }
        let grant = text(&view["grant"], "state");
        if told.revoked && grant != "revoked" {
            damage.lost.push(lost(format!("the grant was acknowledged to be revoked and is {grant}")));
        }
        // Every grant of the demo is for one use.
        if now.len() > 1 || (!now.is_empty() && stage != "granted") {
            damage.released_twice.push(lost(format!("{stage}, with {} releases", now.len())));
        }
        damage
    }
}

/// What must be zero.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) lost: Vec<String>,
    /// More releases than the grant allowed, or one without a grant.
    pub(crate) released_twice: Vec<String>,
    /// Breaks of the ledger.
    pub(crate) broken: Vec<String>,
    /// Whatever else no server should do.
    pub(crate) strange: Vec<String>,
}

impl Damage {
    pub(crate) fn add(&mut self, other: Self) {
        self.lost.extend(other.lost);
        self.released_twice.extend(other.released_twice);
        self.broken.extend(other.broken);
        self.strange.extend(other.strange);
    }

    pub(crate) fn all(&self) -> Vec<String> {
        let Self { lost, released_twice, broken, strange } = self;
        let kinds = [("lost", lost), ("released twice", released_twice), ("ledger", broken), ("strange", strange)];
        kinds.iter().flat_map(|(kind, all)| all.iter().map(move |what| format!("{kind}: {what}"))).collect()
    }
}

fn releases(view: &Value) -> &[Value] {
    view["releases"].as_array().map_or(&[], Vec::as_slice)
}

fn text(object: &Value, member: &str) -> String {
    object[member].as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view(version: u64, stage: &str, releases: &[(&str, &str)]) -> Value {
        let releases: Vec<_> = releases.iter().map(|(id, state)| json!({"id": id, "state": state})).collect();
        json!({"id": "r", "version": version, "stage": stage, "releases": releases})
    }

    /// What is found, after `told`, when a server says `now`.
    fn found(told: &Value, now: &Value) -> [usize; 2] {
        let mut memory = Memory::default();
        memory.told("asked", told);
        let damage = memory.check("r", 200, now);
        [damage.lost.len(), damage.released_twice.len()]
    }

    #[test]
    fn the_same_or_what_may_follow_is_no_damage() {
        let challenged = view(1, "challenged", &[]);
        assert_eq!(found(&challenged, &challenged), [0, 0]);
        assert_eq!(found(&challenged, &view(2, "denied", &[])), [0, 0]);
        assert_eq!(found(&view(3, "granted", &[]), &view(4, "granted", &[("x", "intended")])), [0, 0]);
    }

    #[test]
    fn what_is_gone_or_went_back_is_lost() {
        assert_eq!(found(&view(2, "denied", &[]), &view(1, "challenged", &[])), [1, 0]);
        assert_eq!(found(&view(2, "denied", &[]), &view(3, "granted", &[])), [1, 0]);
        assert_eq!(found(&view(1, "challenged", &[]), &view(1, "cancelled", &[])), [1, 0]);
        assert_eq!(found(&view(4, "granted", &[("x", "done")]), &view(4, "granted", &[("x", "in_doubt")])), [1, 0]);
        assert_eq!(found(&view(4, "granted", &[("x", "intended")]), &view(4, "granted", &[])), [1, 0]);
        let mut memory = Memory::default();
        memory.told("asked", &view(1, "challenged", &[]));
        assert_eq!(memory.check("r", 404, &Value::Null).lost.len(), 1);
    }

    #[test]
    fn a_second_release_and_one_without_a_grant_are_damage() {
        let granted = view(3, "granted", &[]);
        assert_eq!(found(&granted, &view(5, "granted", &[("x", "intended"), ("y", "intended")])), [0, 1]);
        assert_eq!(found(&view(2, "denied", &[]), &view(2, "denied", &[("x", "done")])), [0, 1]);
    }

    #[test]
    fn a_grant_and_a_session_that_ended_stay_ended() {
        let mut revoked = view(4, "granted", &[]);
        revoked["grant"] = json!({"state": "revoked"});
        assert_eq!(found(&revoked, &revoked), [0, 0]);
        assert_eq!(found(&revoked, &view(4, "granted", &[])), [1, 0]);
        let mut memory = Memory::default();
        memory.credential("login", "a", false);
        memory.credential("login", "b", false);
        assert_eq!(memory.due_credentials(false), ["a", "b"]);
        memory.credential("logout", "b", true);
        assert_eq!(memory.due_credentials(false), ["b"]);
        let found = |token, status| memory.check_credential(token, status).all().len();
        assert_eq!([found("a", 200), found("b", 401), found("a", 401), found("b", 200)], [0, 0, 1, 1]);
    }

    #[test]
    fn what_was_told_to_be_untouched_is() {
        let mut memory = Memory::default();
        memory.told("asked", &view(1, "challenged", &[]));
        memory.nothing_done("r");
        assert_eq!(memory.check("r", 200, &view(1, "challenged", &[])), Damage::default());
        assert_eq!(memory.check("r", 200, &view(2, "granted", &[])).strange.len(), 1);
        memory.told("approved", &view(2, "granted", &[]));
        assert_eq!(memory.check("r", 200, &view(2, "granted", &[])), Damage::default());
    }

    #[test]
    fn only_what_was_touched_is_looked_at_again() {
        let mut memory = Memory::default();
        memory.told("asked", &view(1, "challenged", &[]));
        assert_eq!(memory.due(false), ["r"]);
        assert_eq!(memory.due(false), [""; 0]);
        assert_eq!(memory.due(true), ["r"]);
        memory.released("r", "x");
        assert_eq!((memory.due(false).len(), memory.counts()["released"]), (1, 1));
    }
}
