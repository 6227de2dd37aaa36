use serde_json::json;

use super::*;

/// The rows of a text that arrives in pieces of `size` bytes, and the next page.
fn read(
    mut decoder: Decoder,
    text: &[u8],
    size: usize,
) -> Result<(Value, Option<Value>), Malformed> {
    let mut ready = Ready::default();
    for piece in text.chunks(size) {
        decoder.feed(piece, &mut ready)?;
    }
    decoder.end(&mut ready)?;
    let rows = ready.take(usize::MAX).into_iter().map(Value::Object).collect();
    Ok((Value::Array(rows), decoder.take_next()))
}

fn json_at(data: &str, next: Option<&str>) -> Decoder {
    let keys =
        |path: &str| path.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
    Decoder::Json(Json::new(Paths { data: keys(data), next: next.map(keys) }))
}

/// Sizes that cut every token, and one that cuts none.
const SIZES: [usize; 5] = [1, 2, 3, 7, 4_096];

#[test]
fn rows_are_found_wherever_the_pieces_are_cut() {
    let two = json!([{"a": 1}, {"a": "}]\","}]);
    #[rustfmt::skip]
    let cases = [
        ("", r#"[{"a":1},{"a":"}]\","}]"#, two.clone()),
        ("", " [ {\"a\" : 1} ,\n{\"a\":\"}]\\\",\"} ]\n ", two.clone()),
        ("", "\u{feff}[{\"a\":1}]", json!([{"a": 1}])),
        ("", "{\"a\":1}\n{\"a\":\"}]\\\",\"}\n", two.clone()),
        ("", r#"{"a":{"b":[1,{"c":null}]}}"#, json!([{"a": {"b": [1, {"c": null}]}}])),
        ("", "[]", json!([])),
        ("", "", json!([])),
        ("", "null", json!([])),
        ("items", r#"{"n":12,"items":[{"a":1},{"a":"}]\","}],"x":[1,[2]]}"#, two.clone()),
        ("items", r#"{"skip":{"items":[1]},"s":"\"items\":[","t":true,"items":[{"a":1}]}"#, json!([{"a": 1}])),
        ("items", r#"{"items":null}"#, json!([])),
        ("items", r#"{"items":{"a":1}}"#, json!([{"a": 1}])),
        ("data.list", r#"{"data":{"x":{},"list":[{"a":1}],"y":-1.5e3},"z":{"list":[{"a":2}]}}"#, json!([{"a": 1}])),
        ("a.b.c", r#"{"a":{"b":{"c":[{"d":"\\"}]}}}"#, json!([{"d": "\\"}])),
        ("k\u{e9}y", r#"{"k\u00e9y":[{"a":"ü"}]}"#, json!([{"a": "ü"}])),
    ];
    for (path, text, expect) in cases {
        for size in SIZES {
            let (rows, _) = read(json_at(path, None), text.as_bytes(), size)
                .unwrap_or_else(|error| panic!("{text} by {size}: {error:?}"));
            assert_eq!(rows, expect, "{text} by {size}");
        }
    }
}

#[test]
fn the_next_page_is_found_before_and_behind_the_rows() {
    for (text, expect) in [
        (r#"{"items":[{"a":1}],"paging":{"next":"/p2"}}"#, Some(json!("/p2"))),
        (r#"{"paging":{"total":2,"next":"/p2"},"items":[{"a":1}]}"#, Some(json!("/p2"))),
        (r#"{"paging":{"next":null},"items":[{"a":1}]}"#, Some(json!(null))),
        (r#"{"paging":{},"items":[{"a":1}]}"#, None),
    ] {
        for size in SIZES {
            let (rows, next) =
                read(json_at("items", Some("paging.next")), text.as_bytes(), size).unwrap();
            assert_eq!((rows, &next), (json!([{"a": 1}]), &expect), "{text} by {size}");
        }
    }
}

#[test]
fn what_is_no_list_of_rows_is_named() {
    #[rustfmt::skip]
    let cases = [
        ("", "[1]", "row 1 is a number"),
        ("", "[{\"a\":1},\"x\"]", "row 2 is text"),
        ("", "[{\"a\":1} {\"a\":2}]", "where `,` or `]` belongs"),
        ("", "[{\"a\":tru}]", "row 1 is no JSON"),
        ("", "[{\"a\":1}]}", "begins with `}`"),
        ("", "<html>", "begins with `<`"),
        ("items", "[{\"a\":1}]", "there is nothing at `data_path: items`; there is no map at all"),
        ("items", "{\"data\":[],\"n\":1}", "there is `data`, `n`"),
        ("a.b", "{\"a\":{\"c\":1}}", "there is `a`, `a.c`"),
        ("items", "{\"items\":7}", "`items` is no list of rows but a value that begins with `7`"),
        ("items", "{\"items\":[]} {", "where the end belongs"),
        ("items", "{items:[]}", "where a key belongs"),
        ("items", "{\"a\" 1}", "where `:` belongs"),
    ];
    for (path, text, expect) in cases {
        for size in SIZES {
            let error = read(json_at(path, None), text.as_bytes(), size).unwrap_err();
            assert!(error.message.contains(expect) && !error.is_cut, "{text}: {error:?}");
        }
    }
}

#[test]
fn data_that_ends_too_early_is_cut() {
    let whole = r#"{"items":[{"a":1},{"b":"x"}],"n":2}"#;
    for end in 1..whole.len() {
        let error = read(json_at("items", None), &whole.as_bytes()[..end], 5).unwrap_err();
        assert!(error.is_cut, "{end}: {error:?}");
    }
    for text in ["a,b\n1,2\n3,\"4", "a,\"b"] {
        assert!(read(csv(), text.as_bytes(), 3).unwrap_err().is_cut, "{text}");
    }
}

#[test]
fn a_row_without_an_end_is_refused_before_it_fills_the_memory() {
    let flood = vec![b'x'; 1 << 20];
    for (mut decoder, begin) in [(json_at("", None), "[{\"a\":\""), (csv(), "a\n\"")] {
        let mut ready = Ready::default();
        decoder.feed(begin.as_bytes(), &mut ready).unwrap();
        let error = (0..20).find_map(|_| decoder.feed(&flood, &mut ready).err()).unwrap();
        assert!(error.message.contains("row 1 is longer than 16 MiB"), "{error:?}");
    }
}

#[test]
fn what_is_skipped_needs_no_memory() {
    let Decoder::Json(mut json) = json_at("items", None) else { panic!() };
    let mut ready = Ready::default();
    json.feed(b"{\"blob\":\"", &mut ready).unwrap();
    for _ in 0..64 {
        json.feed(&vec![b'x'; 1 << 20], &mut ready).unwrap();
    }
    json.feed(b"\",\"items\":[{\"a\":1}]}", &mut ready).unwrap();
    json.end(&mut ready).unwrap();
    assert_eq!(ready.take(9).len(), 1);
}

fn csv() -> Decoder {
    Decoder::Csv(Csv::new(b','))
}

#[test]
fn csv_fields_are_text_and_empty_ones_null() {
    #[rustfmt::skip]
    let cases = [
        ("a,b\n1,x\n2,y\n", json!([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}])),
        ("\u{feff}a,b\r\n1,x\r\n2,y", json!([{"a": "1", "b": "x"}, {"a": "2", "b": "y"}])),
        ("a,b\n,\"\"\n", json!([{"a": null, "b": ""}])),
        ("a,b\n\"x, \"\"y\"\"\nz\",ü\n\n", json!([{"a": "x, \"y\"\nz", "b": "ü"}])),
        ("\"a\"\r\n\"1\r\n\"\r\n", json!([{"a": "1\r\n"}])),
        ("a\n", json!([])),
        ("", json!([])),
    ];
    for (text, expect) in cases {
        for size in SIZES {
            let (rows, _) = read(csv(), text.as_bytes(), size).unwrap();
            assert_eq!(rows, expect, "{text:?} by {size}");
        }
    }
    let (rows, _) = read(Decoder::Csv(Csv::new(b';')), b"a;b\n1,5;2\n", 9).unwrap();
    assert_eq!(rows, json!([{"a": "1,5", "b": "2"}]));
}

#[test]
fn csv_that_does_not_fit_its_header_is_named() {
    for (text, expect) in [
        ("a,b\n1\n", "row 1 has 1 fields, and the first line names 2 columns (`a`, `b`)"),
        ("a\n1\n1,2\n", "row 2 has 2 fields"),
        ("a,a\n", "`a` is empty or there twice"),
        ("a,\n", "`` is empty or there twice"),
        ("a\n\"x\"y\n", "text behind a closing quote"),
    ] {
        let error = read(csv(), text.as_bytes(), 4).unwrap_err();
        assert!(error.message.contains(expect), "{text}: {error:?}");
    }
    assert!(read(csv(), b"a\n\xff\n", 4).unwrap_err().message.contains("not UTF-8"));
}

#[test]
fn hostile_bytes_never_panic() {
    let alphabet = b"{}[]\",:\\ \n\r1ante\xc3\xbc\xff";
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    for _ in 0..20_000 {
        let mut text = Vec::new();
        for _ in 0..24 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text.push(alphabet[usize::try_from(state % alphabet.len() as u64).unwrap()]);
        }
        for decoder in [json_at("", None), json_at("a", Some("n.t")), csv()] {
            let _ = read(decoder, &text, 5);
        }
    }
}

#[test]
fn a_chunk_is_bounded_by_rows_and_by_bytes() {
    let mut ready = Ready::default();
    for size in [1, 1, TRANSFER_CHUNK_BYTES, 1] {
        ready.push(Row::new(), size);
    }
    assert!(ready.is_full(5) && ready.is_full(4));
    assert_eq!(
        [ready.take(2), ready.take(9), ready.take(9), ready.take(9)].map(|rows| rows.len()),
        [2, 1, 1, 0]
    );
    assert!(!ready.is_full(1));
}
