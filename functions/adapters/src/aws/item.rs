//! Items of `DynamoDB`: attributes written and read, and their size as it is billed.

use std::collections::HashMap;

use aws_sdk_dynamodb::types::AttributeValue;
use engine_core::ports::{PortError, PortErrorKind};

/// Attributes by name.
pub(super) type Item = HashMap<String, AttributeValue>;

pub(super) fn text(value: impl Into<String>) -> AttributeValue {
    AttributeValue::S(value.into())
}

pub(super) fn integer(value: impl Into<i128>) -> AttributeValue {
    AttributeValue::N(value.into().to_string())
}

/// An item of these attributes.
pub(super) fn item<const N: usize>(attributes: [(&str, AttributeValue); N]) -> Item {
    attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A key of a table that has both parts.
pub(super) fn key(pk: impl Into<String>, sk: impl Into<i128>) -> Item {
    item([("pk", text(pk)), ("sk", integer(sk))])
}

/// Reads attributes of an item that has a name for people.
pub(super) struct Reader<'a> {
    pub(super) item: &'a Item,
    /// Such as ``entry 3 of `exec:7` ``.
    pub(super) what: &'a dyn Fn() -> String,
}

impl Reader<'_> {
    pub(super) fn text(&self, name: &str) -> Result<&str, PortError> {
        match self.item.get(name) {
            Some(AttributeValue::S(text)) => Ok(text),
            _ => Err(self.corrupt(name)),
        }
    }

    pub(super) fn bytes(&self, name: &str) -> Result<&[u8], PortError> {
        match self.item.get(name) {
            Some(AttributeValue::B(bytes)) => Ok(bytes.as_ref()),
            _ => Err(self.corrupt(name)),
        }
    }

    pub(super) fn integer<T: std::str::FromStr>(&self, name: &str) -> Result<T, PortError> {
        match self.item.get(name) {
            Some(AttributeValue::N(number)) => number.parse().map_err(|_error| self.corrupt(name)),
            _ => Err(self.corrupt(name)),
        }
    }

    /// An integer that may be missing.
    pub(super) fn optional(&self, name: &str) -> Result<Option<i64>, PortError> {
        self.item.get(name).map(|_present| self.integer(name)).transpose()
    }

    pub(super) fn corrupt(&self, name: &str) -> PortError {
        let message = format!("{}: attribute `{name}` is missing or no such value", (self.what)());
        PortError::new(PortErrorKind::Corrupt, message)
    }
}

/// Bytes of an item as `DynamoDB` counts them: names, and values in UTF-8; two digits in a byte, and one
/// more for each number.
pub(super) fn bytes_of(item: &Item) -> u64 {
    let bytes = item.iter().map(|(name, value)| {
        let value = match value {
            AttributeValue::S(text) => text.len(),
            AttributeValue::N(digits) => digits.len().div_ceil(2) + 1,
            AttributeValue::B(bytes) => bytes.as_ref().len(),
            // No other type is written here.
            _ => 1,
        };
        name.len() + value
    });
    bytes.sum::<usize>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_item_is_that_of_names_and_values() {
        let one = item([("pk", text("ü")), ("sk", integer(12_345))]);
        assert_eq!(bytes_of(&one), 2 + 2 + 2 + 4);
    }

    #[test]
    fn an_attribute_of_another_type_is_corrupt_and_named() {
        let one = item([("a", text("x")), ("n", integer(1))]);
        let reader = Reader { item: &one, what: &|| "the row".to_owned() };
        assert_eq!((reader.text("a").unwrap(), reader.integer::<i64>("n").unwrap()), ("x", 1));
        assert_eq!(reader.optional("m").unwrap(), None);
        for error in
            [reader.text("n").err(), reader.integer::<u8>("a").err(), reader.bytes("a").err()]
        {
            let error = error.unwrap();
            assert_eq!(error.kind, PortErrorKind::Corrupt);
            assert!(error.to_string().starts_with("the row: attribute `"), "{error}");
        }
    }
}
