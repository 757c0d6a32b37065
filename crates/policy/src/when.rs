//! Conditions on the parameters of an operation.

use std::fmt;

use countersign_core::canonical::Value;

use crate::pattern::Glob;

/// One entry of a rule's `when`: the path to a parameter, and what may be found there.
///
/// A path is names joined by dots. A number looks at that item of a list (from 0), `*` at any item, and `#` at the end stands for how many items
/// there are. A parameter that is missing, or of another kind than the condition, never fits: so a deny rule should look only at what every
/// operation of its kind has, and an allow rule should look at everything that matters. A name that holds a dot cannot be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) path: String,
    pub(crate) segments: Vec<String>,
    /// Any of these.
    pub(crate) wanted: Vec<Wanted>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Text(Glob),
    Bool(bool),
    Int(i64),
}

impl Condition {
    /// `None` for a path with an empty part.
    pub(crate) fn new(path: &str, wanted: Vec<Wanted>) -> Option<Self> {
        let segments: Vec<String> = path.split('.').map(str::to_owned).collect();
        let good = segments.iter().all(|segment| !segment.is_empty())
            && segments.iter().rev().skip(1).all(|segment| segment != "#");
        good.then(|| Self { path: path.to_owned(), segments, wanted })
    }

    pub(crate) fn looks_at_any_item(&self) -> bool {
        self.segments.iter().any(|segment| segment == "*")
    }

    pub(crate) fn fits(&self, parameters: &Value) -> bool {
        self.fits_at(parameters, &self.segments)
    }

    fn fits_at(&self, value: &Value, path: &[String]) -> bool {
        let Some((segment, rest)) = path.split_first() else {
            return self.wanted.iter().any(|wanted| wanted.fits(value));
        };
        match value {
            // In an object these are names like any others.
            Value::Object(members) => members.get(segment).is_some_and(|member| self.fits_at(member, rest)),
            Value::Array(items) => match segment.as_str() {
                "*" => items.iter().any(|item| self.fits_at(item, rest)),
                "#" => i64::try_from(items.len()).is_ok_and(|count| self.fits_at(&Value::from(count), rest)),
                index => {
                    index_of(index).and_then(|index| items.get(index)).is_some_and(|item| self.fits_at(item, rest))
                }
            },
            _ => false,
        }
    }
}

impl Wanted {
    fn fits(&self, value: &Value) -> bool {
        match self {
            Self::Text(glob) => value.as_bytes().is_some_and(|bytes| glob.fits(bytes)),
            Self::Bool(wanted) => value.as_bool() == Some(*wanted),
            Self::Int(wanted) => value.as_i64() == Some(*wanted),
        }
    }
}

/// Digits alone, one spelling for each: `+1` and `01` are no indices.
fn index_of(text: &str) -> Option<usize> {
    let index: usize = text.parse().ok()?;
    (index.to_string() == text).then_some(index)
}

impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted: Vec<String> = self.wanted.iter().map(ToString::to_string).collect();
        write!(f, "parameter {} is not {}", self.path, wanted.join(" or "))
    }
}

impl fmt::Display for Wanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(glob) => write!(f, "\"{glob}\""),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(path: &str, wanted: Wanted, json: &str) -> bool {
        let value = Value::parse(json.as_bytes()).expect("JSON");
        Condition::new(path, vec![wanted]).expect("a path").fits(&value)
    }

    fn text(glob: &str) -> Wanted {
        Wanted::Text(Glob::new(glob))
    }

    #[test]
    fn a_path_reaches_members_items_and_counts() {
        let json = r#"{"argv":["psql","-c","drop"],"db":{"hosts":[{"name":"a"},{"name":"b"}]},"n":3.0,"dry":false}"#;
        assert!(fits("argv.0", text("psql"), json) && !fits("argv.1", text("psql"), json));
        assert!(fits("argv.*", text("drop"), json) && !fits("argv.*", text("dro"), json));
        assert!(fits("argv.#", Wanted::Int(3), json) && !fits("argv.#", Wanted::Int(2), json));
        assert!(fits("db.hosts.*.name", text("b"), json) && fits("db.hosts.1.name", text("?"), json));
        assert!(fits("n", Wanted::Int(3), json) && fits("dry", Wanted::Bool(false), json));
    }

    #[test]
    fn what_is_missing_or_of_another_kind_never_fits() {
        let json = r#"{"argv":["a"],"n":5,"s":"5","z":null,"o":{}}"#;
        for path in ["x", "argv", "argv.1", "argv.00", "argv.+0", "argv.0.x", "n", "n.0", "z", "o", "s.0"] {
            assert!(!fits(path, text("*"), json), "{path}");
        }
        assert!(
            !fits("s", Wanted::Int(5), json) && !fits("z", Wanted::Bool(false), json) && !fits("n", text("5"), json)
        );
    }

    #[test]
    fn an_object_has_names_not_wildcards() {
        assert!(!fits("o.*", text("x"), r#"{"o":{"a":"x"}}"#));
        assert!(fits("o.*", text("x"), r#"{"o":{"*":"x"}}"#) && fits("o.0", text("x"), r#"{"o":{"0":"x"}}"#));
    }

    #[test]
    fn bytes_are_texts_here() {
        let value = Value::object([("argv", Value::array([Value::bytes_or_string(b"prod\xff")]))]);
        assert!(Condition::new("argv.0", vec![text("prod*")]).expect("a path").fits(&value));
    }

    #[test]
    fn a_path_has_no_empty_part() {
        for bad in ["", ".", "a.", ".a", "a..b", "argv.#.x"] {
            assert!(Condition::new(bad, vec![text("*")]).is_none(), "{bad:?}");
        }
    }
}
