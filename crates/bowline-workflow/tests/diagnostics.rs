//! What people see of their mistakes.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use bowline_workflow::{Style, check};
use proptest::prelude::*;

fn shown(text: &str) -> String {
    let found = check("file.yaml", text).expect_err("the text has mistakes");
    found.iter().map(|one| one.render("file.yaml", text, Style::Plain)).collect::<Vec<_>>().join("\n")
}

const MANY: &str = r#"name: many mistakes
descripton: the field is misspelt
inputs:
  root: {type: strng, default: /usr}
  count: {type: int, default: many}
steps:
  list:
    run: |
      echo one
      find "{{ inputs.root }}" -print0
    output: nil
    timeout: 5 minutes
  count:
    need: list
    for_each: "{{ steps.list.result }}"
    argv: [wc, "-c", "{{ itm }}", "{{ inputs.rot | uper }}"]
    requires: [ok, "not ok"]
  both:
    run: "true"
    argv: ["true"]
    needs: [counted, {step: list, on: maybe}]
  none: {}
  broken:
    argv: [echo, "{{ 1 + }}", "{{ steps.count.result }}"]
    slots: 0
    env:
      BOWLINE_X: 1
      LIST: [a]
    files: {../up: x}
    retry: {extra: -1, backof: 1s}
result: "{{ steps.cuont.results }}"
artifacts: {lst: [x]}
"#;

#[test]
fn many_mistakes_at_once() {
    insta::assert_snapshot!(shown(MANY));
}

#[test]
fn a_cycle_is_named() {
    let text = "name: x\nsteps:\n  a: {argv: [a], needs: c}\n  b: {argv: [b], needs: a}\n  c: {argv: [c], needs: [b, c]}\n  d: {argv: [d], needs: a}\n";
    insta::assert_snapshot!(shown(text));
}

#[test]
fn places_within_blocks_and_quotes() {
    let text = "name: x\nsteps:\n  a:\n    argv: [echo]\n    files:\n      page.html: |\n        <p>\n          {% for x in inputs %}\n          {{ nothing }}\n          {% endfor %}\n      other: >\n        folded\n        {{ wrong }}\n      quoted: \"ä {{ missing }}\"\n";
    insta::assert_snapshot!(shown(text));
}

#[test]
fn what_is_not_yaml() {
    for text in [
        "",
        "a: [",
        "- a\n- b",
        "a: b\n c: d",
        "name: x\nname: y\nsteps: &a {b: *a}",
        "\u{0}",
        "a: !!int 3",
        "--- a\n--- b",
    ] {
        let found = check("file.yaml", text).expect_err("this is no workflow");
        assert!(!found.is_empty() && found[0].line >= 1 && found[0].column >= 1, "{text:?}");
    }
}

#[test]
fn colours_change_nothing_else() {
    let found = check("file.yaml", MANY).unwrap_err();
    let coloured = found[0].render("file.yaml", MANY, Style::Coloured);
    assert!(coloured.contains("\x1b["));
    let mut plain = String::new();
    let mut rest = coloured.as_str();
    while let Some((before, after)) = rest.split_once('\x1b') {
        plain += before;
        rest = after.split_once('m').unwrap().1;
    }
    assert_eq!(plain + rest, found[0].render("file.yaml", MANY, Style::Plain));
}

#[test]
fn a_wait_that_is_forgotten_is_named() {
    let text = "name: x\nsteps:\n  a: {argv: [a]}\n  b: {argv: [b, \"{{ steps.a.result }}\"]}\n  c: {argv: [c], needs: a}\n  d: {argv: [d, \"{{ steps.a.result }}\"], needs: c}\n";
    let found = check("file.yaml", text).unwrap_err();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].message, "step `b` reads `a` without waiting for it");
    assert_eq!(found[0].help.as_deref(), Some("add `a` to its `needs`"));
}

#[test]
fn mistakes_are_bounded_and_large_files_are_refused() {
    let many = (0..1_000).map(|at| format!("f{at}: 1")).collect::<Vec<_>>().join("\n");
    assert_eq!(check("file.yaml", &many).unwrap_err().len(), 100);
    let large = format!("name: {}", "x".repeat(600 << 10));
    assert!(check("file.yaml", &large).unwrap_err()[0].message.contains("larger than"));
}

#[test]
fn deep_and_long_texts_do_no_harm() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(10_000),
        format!("name: x\nsteps: {{a: {{argv: [\"{{{{ {} }}}}\"]}}}}", vec!["1"; 100_000].join("+")),
        format!("name: x\nsteps: {{a: {{argv: [\"{{{{ {}1{} }}}}\"]}}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("name: x\nsteps: {{a: {{argv: [\"{}\"]}}}}", "{% if 1 %}".repeat(20_000)),
        format!("name: x\nsteps: {{a: {{argv: [\"{{{{ {}1 }}}}\"]}}}}", "not ".repeat(50_000)),
        format!(
            "name: x\nsteps: {{a: {{argv: [\"{{{{ 'a' * 100000000 * 9 }}}}{}\"]}}}}",
            "{{ [1] * 99999999 }}".repeat(1_000)
        ),
    ] {
        assert!(check("file.yaml", &text).is_err(), "{}", &text[..60]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn check_never_panics_on_any_text(text in "\\PC{0,200}") {
        drop(check("file.yaml", &text));
    }

    #[test]
    fn check_never_panics_on_what_looks_like_a_workflow(parts in proptest::collection::vec(
        prop::sample::select(vec![
            "name: x\n", "steps:\n", "  a:\n", "    run: ", "    argv: [", "]", "{{", "}}", "{%", "%}", " steps.a.result ",
            " item ", "|", "tojson", "\n", "    needs: a\n", "  b: {needs: a}\n", "\"", "'", ": ", "for x in ", "endfor", "if", "endif", "+", "*", "~",
            "(", ")", "[", "{", "}", "inputs:\n", "  k: v\n", "é", "\t", "result: ", "- ", "#", "set x = ", "range(", "9999999999",
        ]), 0..40)) {
        drop(check("file.yaml", &parts.concat()));
    }

    #[test]
    fn every_place_lies_in_the_text(cut in 0..MANY.len(), put in "[a-z{}%:\\[\\]\" \n]{0,6}") {
        let text = format!("{}{put}{}", &MANY[..cut], &MANY[cut..]);
        for one in check("file.yaml", &text).unwrap_err() {
            let line = text.lines().nth(one.line - 1).unwrap_or("");
            prop_assert!(one.column <= line.chars().count() + 1, "{one:?}");
            prop_assert!(one.length >= 1);
            prop_assert!(one.render("file.yaml", &text, Style::Plain).contains('^'));
        }
    }
}

#[test]
fn what_is_wrong_about_resources_has_its_place() {
    let text = "name: x\nsteps:\n  a:\n    argv: [a]\n    lock: [db, \"a b\", \"{{ inputs.x }}\"]\n    shared: db\n    \
                license: {sim: 0, \"c d\": 1}\n    device:\n      - {off: phones}\n      - {}\n      - {of: db}\n      \
                - {with: {model: [x], \"e f\": y}}\n";
    insta::assert_snapshot!(shown(text));
}

#[test]
fn what_is_wrong_about_limits_is_told() {
    let steps = "    concurrency: {at_most: 2}\n  b:\n    argv: [b]\n    concurrency: {key: k, drop: true, newest_wins: true}\n  \
                 c:\n    argv: [c]\n    rate: {key: k, count: 0, per: 1m}\n  d:\n    argv: [d]\n    rate: {key: k, per: 1m}\n  \
                 e:\n    argv: [e]\n    rate: {key: k, count: 1, per: 1000d}\n";
    let told = shown(&format!("name: x\nsteps:\n  a:\n    argv: [a]\n{steps}"));
    for words in [
        "the concurrency has no key",
        "the concurrency has more than one rule",
        "count must be a whole number from 1 to 1000",
        "the rate lacks `key`, `count` or `per`",
        "starts cannot be counted within 1000d",
    ] {
        assert!(told.contains(words), "{words}: {told}");
    }
}
