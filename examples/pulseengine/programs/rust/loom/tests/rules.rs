use loom::{instructions, obligation, optimise, result, RULES};
use std::collections::BTreeSet;
use std::fs;

#[test]
fn each_rule_has_the_obligation_that_is_proven() {
    for (name, _, _) in RULES {
        let kept = fs::read_to_string(format!("proofs/{name}.smt2")).unwrap();
        assert_eq!(Some(kept), obligation(name));
    }
}

#[test]
fn each_obligation_has_its_rule() {
    let files: BTreeSet<String> = fs::read_dir("proofs")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let expected = RULES.iter().map(|rule| format!("{}.smt2", rule.0));
    assert_eq!(files, expected.collect());
}

fn same(name: &str, words: &[i32]) {
    let (_, before, after) = RULES.iter().find(|rule| rule.0 == name).unwrap();
    assert_eq!(optimise(&instructions(before)), instructions(after));
    for x in words {
        assert!(result(before, *x).is_some());
        assert_eq!(result(before, *x), result(after, *x), "for {x}");
    }
}

#[test]
fn nothing_is_added_or_multiplied_by_one() {
    same("add-zero", &[7, -7]);
    same("mul-by-one", &[7, -7]);
}

#[test]
fn twice_is_a_shift() {
    same("mul-by-two", &[0, 7, i32::MAX]);
}

fn optimised(program: &str) -> String {
    optimise(&instructions(program)).join("; ")
}

#[test]
fn what_is_known_is_computed() {
    assert_eq!(optimised("push 2; push 3; add; push 4; mul"), "push 20");
    assert_eq!(optimised("push -7; push 3; div"), "push -2");
    let most = optimised("push 2147483647; push 1; add");
    assert_eq!(most, "push -2147483648");
}

#[test]
fn what_is_not_known_stays() {
    for program in ["read; push 3; mul; print", "push 1; push 0; div"] {
        assert_eq!(optimised(program), program);
    }
}
