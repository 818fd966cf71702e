//! Parts of objects, and values taken by themselves.

use super::*;

fn part(text: &str, part: impl Fn(&str) -> Part + Copy) -> String {
    let object = Object::scan(text.as_bytes()).unwrap();
    let walked = collect(|mut sink| object.write_canonical_part(part, &mut sink));
    let members: Vec<_> = object.raw_members().collect();
    let known = collect(|mut sink| object.write_canonical_part_of(&members, part, &mut sink));
    assert_eq!(known, walked);
    // The canonical text, which takes the short way.
    let canonical = collect(|mut sink| object.write_canonical(&mut sink));
    assert_eq!(object.canonical_bytes(), canonical.len());
    let object = Object::scan(&canonical).unwrap();
    assert!(object.is_canonical());
    let members: Vec<_> = object.raw_members().collect();
    let known = collect(|mut sink| object.write_canonical_part_of(&members, part, &mut sink));
    assert_eq!(known, walked);
    assert_eq!(collect(|mut sink| object.write_canonical_part(part, &mut sink)), walked);
    String::from_utf8(walked).unwrap()
}

#[test]
fn members_of_members_are_picked_by_name() {
    const INNER: Part = Part::Members(&[("b", Part::Whole), ("é", Part::Members(&[]))]);
    let inner = |name: &str| if name == "a" { INNER } else { Part::Nothing };
    for (text, wanted) in [
        ("{}", "{}"),
        (r#"{"b":1}"#, "{}"),
        (r#"{"a":{}}"#, r#"{"a":{}}"#),
        (r#"{"0":1,"a":{"0":1,"b":2}}"#, r#"{"a":{"b":2}}"#),
        (r#"{"a":{"b":{"c":1,"b":2}}}"#, r#"{"a":{"b":{"b":2,"c":1}}}"#),
        (
            r#"{"z":1,"a":{"é":{"b":1},"c":[{}],"b":[{"b":1.0}]}}"#,
            r#"{"a":{"b":[{"b":1.0}],"é":{}}}"#,
        ),
        (r#" { "\u0061" : { "\u00e9" : { } , "x" : "}" } } "#, r#"{"a":{"é":{}}}"#),
        // Anything else than an object has no members.
        (r#"{"a":[{"b":1}]}"#, "{}"),
        (r#"{"a":"{\"b\":1}"}"#, "{}"),
        (r#"{"a":null,"b":2}"#, "{}"),
        (r#"{"a":{"b":1,"é":[]}}"#, r#"{"a":{"b":1}}"#),
    ] {
        assert_eq!(part(text, inner), wanted, "{text}");
    }
    let all = r#"{"b":[1,{"d":1,"c":2}],"a":{"b":{"y":-0,"x":1}}}"#;
    assert_eq!(part(all, |_| Part::Whole), canonical(all));
    assert_eq!(part(all, |_| Part::Nothing), "{}");
}

#[test]
fn numbers_that_canonical_json_has_no_place_for_are_found() {
    fn first(text: &str) -> Option<&str> {
        Object::scan(text.as_bytes()).unwrap().first_foreign_number()
    }
    for good in ["0", "-0", "9007199254740991", "-9007199254740991", "8999999999999999"] {
        assert_eq!(first(&format!("{{\"a\":{good}}}")), None, "{good}");
    }
    for bad in ["9007199254740992", "-9007199254740992", "10000000000000000", "0.0", "1e0", "-1E-5"]
    {
        for text in ["{\"a\":N}", "{\"b\":[{\"a\":[1,N ]}]}", "{\"2.5\\\"\":\"3.5\", \"a\": N}"] {
            let text = text.replace('N', bad);
            assert_eq!(first(&text), Some(bad), "{text}");
        }
    }
    assert_eq!(first(r#"{"a":"1.5","1.5":"\"1.5","b":[true,null,false,-1]}"#), None);
    assert_eq!(first(r#"{"a":1,"b":2.5,"c":3.5}"#), Some("2.5"));
}

#[test]
fn values_of_canonical_objects_are_not_scanned_again_and_others_are() {
    let value = |object: &Object<'static>| object.members().next().unwrap().1;
    let object = Object::scan(br#"{"a":{"c":1,"d":[]},"b":{}}"#).unwrap();
    let inner = object.scan_value(value(&object)).unwrap();
    assert!(inner.is_canonical());
    assert_eq!(collect(|mut sink| inner.write_canonical(&mut sink)), br#"{"c":1,"d":[]}"#);
    // Out of order: whether a part is in order has to be seen.
    for (text, wanted) in [
        (r#"{"b":{"d":1,"c":2},"a":1}"#, r#"{"c":2,"d":1}"#),
        (r#"{ "b":{"c":1.0}}"#, r#"{"c":1.0}"#),
    ] {
        let object = Object::scan(text.as_bytes()).unwrap();
        let inner = object.scan_value(value(&object)).unwrap();
        assert_eq!(collect(|mut sink| inner.write_canonical(&mut sink)), wanted.as_bytes());
    }
    // What is elsewhere is not believed, whatever it looks like.
    let object = Object::scan(b"{}").unwrap();
    assert_eq!(
        object.scan_value(br#"{"a":1,"a":2}"#).unwrap_err().kind,
        JsonErrorKind::DuplicateKey
    );
    let object = Object::scan(br#"{"a":[1],"b":"{}"}"#).unwrap();
    for (_, value) in object.members() {
        assert!(object.scan_value(value).is_err());
    }
}

#[test]
fn strings_arrays_and_objects_are_taken_apart() {
    for (value, wanted) in [
        (r#""""#, Some("")),
        (r#""a""#, Some("a")),
        (r#""\u0061\"""#, Some("a\"")),
        ("1", None),
        ("\"", None),
        ("null", None),
        (r#"["a"]"#, None),
        ("", None),
    ] {
        assert_eq!(string_value(value.as_bytes()).as_deref(), wanted, "{value}");
    }
    let values = |text: &'static str| {
        array_values(text.as_bytes()).map(|values| {
            values.map(|value| std::str::from_utf8(value).unwrap()).collect::<Vec<_>>()
        })
    };
    assert_eq!(values("[]"), Some(vec![]));
    assert_eq!(values("[ ]"), Some(vec![]));
    assert_eq!(values("[1]"), Some(vec!["1"]));
    assert_eq!(values("[1\n,2\t,true\r,1e+2 ]"), Some(vec!["1", "2", "true", "1e+2"]));
    let nested = r#"[ "a]," , [1,[2]] ,{"b":"]"}, -1.5e3,null ]"#;
    let wanted = vec![r#""a],""#, "[1,[2]]", r#"{"b":"]"}"#, "-1.5e3", "null"];
    assert_eq!(values(nested), Some(wanted));
    assert_eq!(values(r#"{"a":[]}"#), None);
    assert_eq!(values(""), None);
    let members = |text: &'static str| {
        object_members(text.as_bytes()).map(|members| {
            let member = |(name, value)| format!("{name}={}", std::str::from_utf8(value).unwrap());
            members.map(member).collect::<Vec<_>>()
        })
    };
    assert_eq!(members("{}"), Some(vec![]));
    assert_eq!(members("{ }"), Some(vec![]));
    let nested = r#"{ "a\u0062" : {"c":{}} ,"":"}", "d":[{}]}"#;
    let wanted = [r#"ab={"c":{}}"#, r#"="}""#, "d=[{}]"];
    assert_eq!(members(nested), Some(wanted.map(str::to_owned).to_vec()));
    assert_eq!(members("[]"), None);
    assert_eq!(members(""), None);
}

#[test]
fn members_of_a_value_are_found_without_a_second_scan() {
    let text = r#"{"o": {"\u0061": [1, 2] , "b":{}, "":"}" } ,"n":null}"#;
    let object = Object::scan(text.as_bytes()).unwrap();
    let values: Vec<_> = object.members().map(|(_, value)| value).collect();
    let members: Vec<_> = object_members(values[0]).unwrap().collect();
    let wanted: [(&str, &[u8]); 3] = [("a", b"[1, 2]"), ("b", b"{}"), ("", b"\"}\"")];
    assert_eq!(members, wanted.map(|(name, value)| (name.into(), value)));
    assert_eq!(object_member(values[0], "b"), Some(&b"{}"[..]));
    assert_eq!(object_member(values[0], "c"), None);
    assert_eq!(object_members(b"{}").unwrap().count(), 0);
    for no_object in [values[1], b"[{}]", b"\"{}\"", b"1", b""] {
        assert!(object_members(no_object).is_none());
        assert_eq!(object_member(no_object, ""), None);
    }
}
