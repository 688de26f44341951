//! Where new processes begin: the memory of their plans and the stacks that they use until they become
//! programs.
//!
//! A new process shares its parent's memory, so nothing is copied that the program throws away at once, and
//! the parent does not wait for it: a program on a disk that never answers holds up nobody. There are a few
//! stacks, used again and again; who gets none is a copy of its parent.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use crate::clone::{Born, Place, Stack, copy_process, share_memory};
use crate::plan::{Plan, Ready, carry_out};
use crate::signals;

/// So many processes share their parent's memory at a time: what they touch is a few pages each.
const STACKS_MAX: usize = 16;

/// Stacks that nobody uses now, and how many there are.
#[derive(Debug, Default)]
struct Stacks {
    free: Vec<Stack>,
    count: usize,
}

/// Gives out stacks.
#[derive(Debug, Default)]
pub(crate) struct Nursery(Rc<RefCell<Stacks>>);

/// What a new process uses of its parent's memory. It must be kept until the process has become a program, which
/// its report's end says, or has ended.
#[derive(Debug)]
pub(crate) struct Cradle {
    pub(crate) plan: Box<Plan>,
    stack: Option<Stack>,
    home: Rc<RefCell<Stacks>>,
}

impl Nursery {
    pub(crate) fn cradle(&self, plan: Plan) -> Cradle {
        let mut stacks = self.0.borrow_mut();
        let mut stack = stacks.free.pop();
        if stack.is_none() && stacks.count < STACKS_MAX {
            stacks.count += 1;
            stack = Some(Stack::new());
        }
        Cradle { plan: Box::new(plan), stack, home: Rc::clone(&self.0) }
    }
}

impl Cradle {
    /// Makes the process. The parent is the calling one, which must have one thread only.
    /// A keeper has no memory in common with the supervisor: what it bears must report that it is ready.
    pub(crate) fn bear(&mut self, place: Place<'_>, ready: Ready) -> io::Result<(u32, OwnedFd)> {
        // What comes meanwhile reaches the program, not a handler of its parent.
        let held = signals::hold();
        if let Some(stack) = &mut self.stack {
            self.plan.set_ready(ready);
            let plan: *const Plan = &raw const *self.plan;
            #[expect(unsafe_code, reason = "sharing memory saves half of what a job costs")]
            // SAFETY: stack and plan are kept for long enough, see the struct; a plan is carried out by system
            // calls alone, which rustix makes without the C library.
            let shared = unsafe { share_memory(place, stack, carry_out, plan.cast()) };
            if let Ok(born) = shared {
                return Ok(born);
            }
        }
        self.plan.set_ready(Ready::Reported);
        match copy_process(place)? {
            Born::Child => self.plan.carry_out(),
            Born::Parent { pid, pidfd } => {
                drop(held);
                Ok((pid, pidfd))
            }
        }
    }
}

impl Drop for Cradle {
    fn drop(&mut self) {
        self.home.borrow_mut().free.extend(self.stack.take());
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::{AsFd as _, AsRawFd as _};

    use rustix::pipe::{PipeFlags, pipe_with};
    use rustix::process::{WaitId, WaitIdOptions, getpid, waitid};

    use super::*;
    use crate::plan::{Descriptors, Limits};
    use crate::report::Report;
    use crate::wire::{Start, Step};

    /// What a process reports and how it ends that is to become a program.
    fn run(nursery: &Nursery, ready: Ready, argv: &[&str]) -> (Report, Option<i32>) {
        let start = Start::new("k", argv.iter().map(Into::into).collect(), "/".into(), "/dev/null".into());
        let mut plan = Plan::new(&start, "m", Limits { nofile: None, signals: 0 }, None).unwrap();
        let null = File::options().read(true).write(true).open("/dev/null").unwrap();
        let (report, report_in) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let [stdin, stdout, stderr] = [null.as_raw_fd(); 3];
        plan.set(getpid(), Descriptors { stdin, stdout, stderr, report: report_in.as_raw_fd() });
        let mut cradle = nursery.cradle(plan);
        let (_, pidfd) = cradle.bear(Place::Here, ready).unwrap();
        drop(report_in);
        let mut bytes = Vec::new();
        File::from(report).read_to_end(&mut bytes).unwrap();
        let ended = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED).unwrap();
        (Report::of(&bytes, Some(&cradle)), ended.and_then(|ended| ended.exit_status()))
    }

    #[test]
    fn a_process_becomes_the_program_with_and_without_a_stack_of_its_own() {
        let nursery = Nursery::default();
        for ready in [Ready::Shared, Ready::Reported] {
            assert_eq!(run(&nursery, ready, &["sh", "-c", "exit 3"]), (Report::Started, Some(3)));
            assert_eq!(run(&nursery, ready, &["/nowhere"]).0, Report::Failed(Step::Exec, 2));
        }
        assert_eq!(nursery.0.borrow().count, 1, "one after the other they need one");
        nursery.0.borrow_mut().free.clear();
        nursery.0.borrow_mut().count = STACKS_MAX;
        assert_eq!(run(&nursery, Ready::Shared, &["sh", "-c", "exit 4"]), (Report::Started, Some(4)));
        assert_eq!(run(&nursery, Ready::Shared, &["/nowhere"]).0, Report::Failed(Step::Exec, 2));
    }
}
