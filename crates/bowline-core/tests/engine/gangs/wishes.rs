//! Where the members of a gang go: what they exclude, avoid, prefer, and whether they spread or pack.

use bowline_core::placement::{Fill, Placement};

use super::*;

/// A worker with room for four that can do this.
fn able(bench: &mut Bench, name: &str, capability: &str) -> SessionId {
    bench.enrol(name);
    let mut hello = hello(name, "p1", 4);
    hello.offer.capabilities.insert(capability.parse().unwrap(), None);
    bench.connect(hello)
}

fn placed(placement: Placement) -> TaskSpec {
    TaskSpec { placement, ..noop() }
}

fn one(requirement: &str) -> Vec<Requirement> {
    vec![requirement.parse().unwrap()]
}

#[test]
fn no_member_goes_where_it_must_not() {
    let mut bench = Bench::new();
    able(&mut bench, "lab-1", "slow");
    let not_slow = placed(Placement { excludes: one("slow"), ..Placement::default() });
    let members = gang_of(&mut bench, vec![not_slow, noop()], together());
    assert_eq!(states(&bench, &members), [Ready, Ready], "neither goes alone");
    able(&mut bench, "lab-2", "fast");
    assert_eq!(states(&bench, &members), [Assigned, Assigned]);
    assert_eq!(on(&bench, members[0]), "lab-2");
}

#[test]
fn members_go_where_they_prefer_and_not_where_they_would_rather_not() {
    for form in [Form::Together, Form::Distinct] {
        let mut bench = Bench::new();
        for (name, capability) in [("lab-1", "slow"), ("lab-2", "plain"), ("lab-3", "ssd")] {
            able(&mut bench, name, capability);
        }
        let avoids = placed(Placement { avoid: one("slow"), ..Placement::default() });
        let prefers = placed(Placement { prefer: one("ssd"), ..Placement::default() });
        let members = gang_of(&mut bench, vec![prefers, avoids], terms(form, OnLost::RerunAll));
        assert_eq!(states(&bench, &members), [Assigned, Assigned]);
        assert_eq!(on(&bench, members[0]), "lab-3", "{form:?}");
        assert_ne!(on(&bench, members[1]), "lab-1", "{form:?}");
    }
}

#[test]
fn a_wish_never_keeps_a_gang_waiting() {
    let mut bench = Bench::new();
    able(&mut bench, "lab-1", "slow");
    bench.worker("lab-2", 1);
    let avoids = || placed(Placement { avoid: one("slow"), ..Placement::default() });
    let members = gang_of(&mut bench, vec![avoids(), avoids(), avoids()], together());
    assert_eq!(states(&bench, &members), [Assigned, Assigned, Assigned]);
    let elsewhere = members.iter().filter(|member| on(&bench, **member) == "lab-2").count();
    assert_eq!(elsewhere, 1, "as many as there is room for");
}

#[test]
fn members_that_pack_leave_workers_empty_and_those_with_wishes_spread_else() {
    let mut bench = Bench::new();
    able(&mut bench, "lab-1", "ssd");
    able(&mut bench, "lab-2", "ssd");
    let pack = || placed(Placement { fill: Fill::Pack, ..Placement::default() });
    let packed = gang_of(&mut bench, vec![pack(), pack()], together());
    assert_eq!(on(&bench, packed[0]), on(&bench, packed[1]));
    let spread = || placed(Placement { prefer: one("ssd"), ..Placement::default() });
    let spread = gang_of(&mut bench, vec![spread(), spread(), spread(), spread()], together());
    let beside = spread.iter().filter(|member| on(&bench, **member) == on(&bench, packed[0])).count();
    assert_eq!(beside, 1, "two are there already");
}

#[test]
fn a_gang_for_which_too_few_workers_are_known_is_taken_with_a_warning() {
    let mut bench = Bench::new();
    let warned = |bench: &mut Bench, form: Form, strict: Strict| {
        let tasks = vec![new_task(slots(2)), new_task(slots(2)), new_task(noop())];
        let submit = Submit { namespace: namespace(), tasks, key: None, dry_run: DryRun::Yes, strict };
        match bench.request(Request::SubmitGang(submit, terms(form, OnLost::RerunAll))) {
            Ok(Answer::Submitted { warnings, .. }) => warnings,
            Err(refusal) => vec![refusal.message],
            other => panic!("{other:?}"),
        }
    };
    bench.worker("lab-1", 2);
    bench.worker("lab-2", 2);
    let few = "the gang needs 3 workers, one for each member, and 2 known fit";
    let small = "the members of the gang take 5 slots together, and the workers that fit have 4";
    assert_eq!(warned(&mut bench, Form::Distinct, Strict::No), [few]);
    assert_eq!(warned(&mut bench, Form::Together, Strict::No), [small]);
    assert_eq!(
        warned(&mut bench, Form::Distinct, Strict::Yes),
        [format!("This is not possible now, and was to be refused then: {few}.")]
    );
    bench.worker("lab-3", 2);
    assert_eq!(warned(&mut bench, Form::Distinct, Strict::Yes), [""; 0]);
    assert_eq!(warned(&mut bench, Form::Together, Strict::Yes), [""; 0]);
}
