//! The values of one run of a statement, by name or by number.

use serde_json::{Map, Value};

use super::named::{Style, bind, values};
use crate::tool::ToolError;

/// The values that a statement gets.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Params {
    /// None were given.
    None,
    /// For `:name`.
    Named(Map<String, Value>),
    /// For `$1`, `$2`, ..
    Listed(Vec<Value>),
}

impl Params {
    /// From `params`: a map, a list, or nothing.
    ///
    /// # Errors
    /// [`ToolError::input`] for anything else.
    pub(crate) fn of(value: Option<&Value>) -> Result<Self, ToolError> {
        match value {
            None | Some(Value::Null) => Ok(Self::None),
            Some(Value::Object(fields)) => Ok(Self::Named(fields.clone())),
            Some(Value::Array(values)) => Ok(Self::Listed(values.clone())),
            Some(_) => Err(ToolError::input(
                "`params` is neither a map (for `:name`) nor a list (for `$1`)",
            )),
        }
    }
}

/// A statement whose names have become numbers.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// What a driver is given.
    pub(crate) text: String,
    names: Vec<String>,
}

impl Bound {
    /// Reads the names of a statement. Without named values the text stays as it is.
    ///
    /// # Errors
    /// As [`bind`].
    pub(crate) fn of(text: &str, style: Style, params: &Params) -> Result<Self, ToolError> {
        match params {
            Params::Named(_) => {
                let (text, names) = bind(text, style)?;
                Ok(Self { text, names })
            }
            Params::None | Params::Listed(_) => {
                Ok(Self { text: text.to_owned(), names: Vec::new() })
            }
        }
    }

    /// The values for `text`, in the order of their numbers; a list is given as it is.
    ///
    /// # Errors
    /// [`ToolError::input`] for a name without a value.
    pub(crate) fn values(&self, params: &Params) -> Result<Vec<Value>, ToolError> {
        match params {
            Params::None => Ok(Vec::new()),
            Params::Named(fields) => values(&self.names, fields),
            Params::Listed(values) => Ok(values.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_follow_the_form_of_the_params() {
        let run = |text: &str, params: Value| {
            let params = Params::of(Some(&params))?;
            let bound = Bound::of(text, Style::Dollar, &params)?;
            let values = bound.values(&params)?;
            Ok::<_, ToolError>((bound.text, values))
        };
        assert_eq!(
            run("SELECT :b, :a", json!({"a": 1, "b": [2]})).unwrap(),
            ("SELECT $1, $2".to_owned(), vec![json!([2]), json!(1)])
        );
        assert_eq!(
            run("SELECT $1, x[:n]", json!([1])).unwrap(),
            ("SELECT $1, x[:n]".to_owned(), vec![json!(1)])
        );
        assert_eq!(run("SELECT :a", json!(null)).unwrap(), ("SELECT :a".to_owned(), vec![]));
        assert!(run("SELECT :a", json!({"b": 1})).is_err());
        assert!(run("SELECT :a", json!(5)).is_err());
    }
}
