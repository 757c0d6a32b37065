//! What is asked, as the wire has it: shared by asking and explaining.

use countersign_core::canonical::Value;
use countersign_core::operation::Operation;
use countersign_kit::Problem;

/// The name of this door in every operation that comes through it.
pub(crate) const DOOR: &str = "api";

/// Parameters and context are objects; what is left out is an empty one.
pub(crate) fn operation(
    action: &str,
    target: String,
    parameters: Option<Value>,
    context: Option<Value>,
) -> Result<Operation, Problem> {
    let field = |name: &str, detail: String| Problem::malformed(format!("{name}: {detail}")).with("field", name);
    let action =
        action.parse().map_err(|error: countersign_core::names::NameError| field("action", error.to_string()))?;
    let object = |name: &str, value: Option<Value>| match value.unwrap_or_default() {
        Value::Null => Ok(Value::object::<&str, Value>([])),
        object @ Value::Object(_) => Ok(object),
        _ => Err(field(name, "expected an object".into())),
    };
    Ok(Operation {
        door: DOOR.to_owned(),
        action,
        target,
        parameters: object("parameters", parameters)?,
        context: object("context", context)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_an_object_and_actions_are_words() {
        let made = operation("command.run", "web-1".into(), None, None).expect("an operation");
        assert_eq!((made.door.as_str(), &made.parameters), ("api", &Value::object::<&str, Value>([])));
        assert!(operation("command run", "web-1".into(), None, None).is_err());
        assert!(operation("command.run", "web-1".into(), Some(Value::from("x")), None).is_err());
        assert!(operation("command.run", "web-1".into(), None, Some(Value::array::<Value>([]))).is_err());
    }
}
