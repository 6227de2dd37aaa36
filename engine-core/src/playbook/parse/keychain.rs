//! `keychain`: credential declarations, one kind of map each.

use serde_json::Value;

use super::node::{Entry, Node};
use super::reader::{Inside, Reader, listed, nearest};
use crate::limits::KEYCHAIN_ENTRIES_MAX;
use crate::playbook::keychain::{COMMON_KEYS, KINDS, Kind, SCOPES, kind, name_of};

impl Reader<'_> {
    /// The entries in order; each may use those above it.
    pub(super) fn keychain(&mut self, entry: &Entry) -> Vec<Value> {
        let Some(items) = entry.value.items() else {
            if !entry.value.is_null() {
                self.mismatch(entry, "a list", "write one `- name: ...` for each credential");
            }
            return Vec::new();
        };
        if items.len() > KEYCHAIN_ENTRIES_MAX {
            let message = format!("`keychain` has more than {KEYCHAIN_ENTRIES_MAX} entries");
            self.error("limit", entry.span, message, "declare only what the steps use");
            return Vec::new();
        }
        let mut entries: Vec<Value> = Vec::new();
        for item in items {
            self.declaration(item, &entries);
            entries.push(self.value(item, Inside::Data));
        }
        entries
    }

    fn declaration(&mut self, item: &Node, earlier: &[Value]) {
        let Some(named) = item.get("name") else {
            let advice = "write `- {name: ..., kind: ...}`";
            return self.error("missing-key", item.span, "a keychain entry needs a `name`", advice);
        };
        let Some(name) = self.name(named) else { return };
        if earlier.iter().any(|known| name_of(known) == name) {
            let message = format!("two keychain entries are called `{name}`");
            self.error("duplicate-entry", named.value.span, message, "rename one of them");
        }
        if !is_identifier(&name) {
            let message = format!("`keychain.{name}` cannot be written in a template");
            let advice = "use letters, digits and `_`, beginning with a letter";
            self.error("wrong-value", named.value.span, message, advice);
        }
        let kinds = || listed(KINDS.iter().filter(|kind| kind.runs).map(|kind| kind.name));
        let Some(said) = self.either(item, ["kind", "type"]) else {
            let message = format!("the keychain entry `{name}` needs a `kind`");
            let advice = format!("write one of {}", kinds());
            return self.error("missing-key", item.span, message, advice);
        };
        let Some(text) = self.text(said) else { return };
        let Some(kind) = kind(&text) else {
            let message = format!("no keychain entry is of the kind `{text}`");
            let advice = match nearest(&text, KINDS.iter().map(|kind| kind.name)) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the kinds are {}", kinds()),
            };
            return self.error("wrong-value", said.value.span, message, advice);
        };
        if !kind.runs {
            let message =
                format!("the keychain kind `{text}` is known but not run by this version");
            let advice = format!("the kinds that run are {}", kinds());
            return self.error("unsupported", said.value.span, message, advice);
        }
        self.fields(item, kind);
    }

    fn fields(&mut self, item: &Node, kind: Kind) {
        let known = || COMMON_KEYS.iter().chain(kind.keys).copied();
        for entry in item.entries() {
            if known().any(|key| key == entry.key) {
                continue;
            }
            let (key, name) = (&entry.key, kind.name);
            let message = format!("`{key}` is not a key of a keychain entry of the kind `{name}`");
            let advice = match nearest(key, known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("its keys are {}", listed(known())),
            };
            self.error("unknown-key", entry.span, message, advice);
        }
        if !kind.needs.is_empty() && !kind.needs.iter().any(|key| item.get(key).is_some()) {
            let needs = kind.needs.first().copied().unwrap_or_default();
            let message = format!("a keychain entry of the kind `{}` needs `{needs}`", kind.name);
            self.error("missing-key", item.span, message, format!("write `{needs}: ...`"));
        }
        if let Some(map) = item.get("map").filter(|map| !map.value.is_map()) {
            self.mismatch(map, "a map", "write one `field: value` a line");
        }
        if let Some(scope) = item.get("scope") {
            self.choice(scope, &SCOPES.map(|scope| (scope, ())));
        }
        if let Some(renew) = item.get("auto_renew") {
            self.flag(renew);
        }
        if let Some(ttl) = item.get("ttl_seconds") {
            self.count(ttl, 1);
        }
        let provider = item.get("provider");
        let said = provider.and_then(|provider| provider.value.text()).map(str::trim);
        if let (Some(provider), Some("gcp" | "google")) = (provider, said) {
            let message = "secrets of Google Cloud are known but not run by this version";
            let advice = "use `provider: aws`, `provider: ssm`, or register a credential";
            self.error("unsupported", provider.value.span, message, advice);
        }
    }
}

fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|first| first.is_alphabetic() || first == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}
