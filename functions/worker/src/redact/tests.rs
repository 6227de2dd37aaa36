use super::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;

fn knowing(secret: &str) -> Redactor {
    let mut redactor = Redactor::default();
    redactor.learn(&json!(secret));
    redactor
}

#[test]
fn secrets_are_masked_in_every_form() {
    let mut redactor = Redactor::default();
    redactor.learn(&json!({"a": ["s3cret/pw\"x"], "n": 123_456}));
    redactor.learn_credential(&json!({"host": "db.local", "user": "joe", "password": "pw-77777",
        "header_name": "X-Key-Name", "nested": {"access_token": "tok-1"},
        "url": "postgres://joe:in%2Furl9@h/db"}));
    #[rustfmt::skip]
    let cases = [
        ("plain", "got s3cret/pw\"x!", "got ***!"),
        ("JSON", r#"{"p":"s3cret/pw\"x"}"#, r#"{"p":"***"}"#),
        ("JSON in JSON", r#""{\"p\":\"s3cret/pw\\\"x\"}""#, r#""{\"p\":\"***\"}""#),
        ("URL", "http://h/?p=s3cret%2Fpw%22x&q=1", "http://h/?p=***&q=1"),
        ("small URL", "http://h/?p=s3cret%2fpw%22x&q=1", "http://h/?p=***&q=1"),
        ("a path", "http://h/s3cret/pw%22x", "http://h/***"),
        ("base64", "Basic czNjcmV0L3B3Ing=", "Basic ***"),
        ("hex", "733363726574 0x7333637265742f70772278.", "733363726574 0x***."),
        ("HEX", "7333637265742F70772278", "***"),
        ("numbers", "pin 123456", "pin ***"),
        ("credential", "joe@db.local pw-77777 tok-1 X-Key-Name", "joe@db.local *** *** X-Key-Name"),
        ("a password in a URL", "in%2Furl9 in/url9", "*** ***"),
        ("nothing", "plain text", "plain text"),
    ];
    for (name, text, expect) in cases {
        assert_eq!(redactor.clean(text.to_owned()), expect, "{name}");
    }
}

#[test]
fn a_secret_inside_of_base64_is_masked_wherever_it_begins() {
    let secret = "n?~>secret>>??~~value";
    let redactor = knowing(secret);
    for ahead in 0..7 {
        for behind in 0..4 {
            let text = format!("{}{secret}{}", "u".repeat(ahead), "z".repeat(behind));
            for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let cleaned = redactor.clean(encoded.clone());
                assert!(cleaned.contains(MASK), "{ahead} {behind} {encoded}");
                // What is left holds at most the bits of the neighbours and of half a character.
                assert!(cleaned.len() < encoded.len() - secret.len(), "{encoded} {cleaned}");
            }
        }
    }
}

#[test]
fn other_writers_escape_differently() {
    let redactor = knowing("pässwörd 12/3");
    for text in
        ["p\\u00e4ssw\\u00f6rd 12/3", "p%C3%A4ssw%C3%B6rd+12%2F3", "p%c3%a4ssw%c3%b6rd%2012/3"]
    {
        assert_eq!(redactor.clean(text.to_owned()), MASK);
    }
}

#[test]
fn data_keeps_its_structure() {
    let mut redactor = knowing("long-secret-value");
    redactor.learn(&json!([87_654_321]));
    redactor.learn(&json!("another-long-one"));
    let value = json!({
        "list": [{"echo": "Bearer long-secret-value"}, 87_654_321, 5, null, true],
        "long-secret-value": 1, "another-long-one": 2, "plain": "text",
    });
    assert_eq!(
        redactor.clean_value(value),
        json!({
            "list": [{"echo": "Bearer ***"}, "***", 5, null, true],
            "***": 1, "*** 2": 2, "plain": "text",
        })
    );
}

#[test]
fn short_secrets_are_masked_in_data_as_words_only() {
    let mut redactor = knowing("demo");
    redactor.learn(&json!("abc"));
    let value = json!(["demo", "demo_noetl", "demos", "user demo failed", "abc"]);
    let expect = json!(["***", "demo_noetl", "demos", "user *** failed", "abc"]);
    assert_eq!(redactor.clean_value(value), expect);
    assert_eq!(redactor.clean("demo_noetl".to_owned()), "***_noetl");
}

#[test]
fn a_token_too_short_to_be_one_stays_in_data() {
    let mut redactor = Redactor::default();
    redactor.learn_token(&json!({"access_token": "tok-cid1"}));
    redactor.learn_token(&json!("0123456789abcdef"));
    let value = json!(["Bearer tok-cid1", "Bearer 0123456789abcdef"]);
    assert_eq!(redactor.clean_value(value.clone()), json!(["Bearer tok-cid1", "Bearer ***"]));
    assert_eq!(redactor.clean("Bearer tok-cid1".to_owned()), "Bearer ***");
    // The same value as a password is one.
    redactor.learn(&json!("tok-cid1"));
    assert_eq!(redactor.clean_value(value), json!(["Bearer ***", "Bearer ***"]));
}

#[test]
fn what_a_configuration_carries_openly_is_learned() {
    let config = json!({"url": "http://joe:pw-in-url-1234@h/", "headers": {
        "Authorization": "Bearer written-in-header-1", "X-Templated": "{{ x }}", "Accept": "application/json"}});
    let config = config.as_object().unwrap();
    let mut redactor = Redactor::default();
    redactor.learn_config(config, config);
    let text = "pw-in-url-1234 written-in-header-1 application/json".to_owned();
    assert_eq!(redactor.clean(text), "*** *** application/json");
}

#[test]
fn the_lines_of_a_key_are_secret_one_by_one() {
    let key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n";
    let redactor = knowing(key);
    let text = "line 2: hkiG9w0BAQEFAASC, -----BEGIN PRIVATE KEY-----".to_owned();
    assert_eq!(redactor.clean(text), "line 2: ***, -----BEGIN PRIVATE KEY-----");
}

#[test]
fn many_secrets_cost_one_look_at_a_long_text() {
    let mut redactor = Redactor::default();
    for number in 0..500 {
        redactor.learn(&json!(format!("secret-number-{number:04}-{}", number * 7_919)));
    }
    let text = format!("{}secret-number-0499-3951581", "secret-number-".repeat(200_000));
    let cleaned = redactor.clean(text);
    assert!(cleaned.ends_with("secret-number-***"), "{}", &cleaned[cleaned.len() - 40..]);
}
