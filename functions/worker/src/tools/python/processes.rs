//! The processes that playbook code has started: found through `/proc`, stopped.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// One line of the process table.
struct Process {
    pid: i32,
    parent: i32,
    group: i32,
}

/// Living processes that descend from `leader` or share its group, without itself.
///
/// Empty where there is no `/proc`: the group is then all that can be stopped.
pub(in crate::tools) fn started_by(leader: Pid) -> Vec<Pid> {
    let table = living();
    let mut family = BTreeSet::from([leader.as_raw()]);
    loop {
        let before = family.len();
        let related = |process: &&Process| {
            process.group == leader.as_raw() || family.contains(&process.parent)
        };
        let found: Vec<i32> = table.iter().filter(related).map(|process| process.pid).collect();
        family.extend(found);
        if family.len() == before {
            break;
        }
    }
    family.remove(&leader.as_raw());
    family.into_iter().map(Pid::from_raw).collect()
}

/// Stops everything that `leader` has started; true if nothing is left.
pub(in crate::tools) async fn stop_strays(leader: Pid) -> bool {
    for _ in 0..ROUNDS_MAX {
        let strays = started_by(leader);
        if strays.is_empty() {
            return true;
        }
        // One that has gone by itself is as good as one that was stopped.
        for stray in strays {
            let _ = kill(stray, Signal::SIGKILL);
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Looks before a stubborn family is given up: a killed process may linger for a moment.
const ROUNDS_MAX: usize = 100;

/// Stops `leader`, its group, and those of its family who left the group.
pub(in crate::tools) fn stop_all(leader: Pid) {
    let family = started_by(leader);
    // The group first and at once: nobody in it can fork away from the signal.
    let _ = killpg(leader, Signal::SIGKILL);
    for process in family {
        let _ = kill(process, Signal::SIGKILL);
    }
}

fn living() -> Vec<Process> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: i32| {
            stat(pid, &std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
        })
        .collect()
}

/// Reads a `stat` line: `pid (name) state parent group ...`; the name may hold anything.
fn stat(pid: i32, line: &str) -> Option<Process> {
    let mut fields = line.rsplit_once(')')?.1.split_whitespace();
    let is_dead = matches!(fields.next()?, "Z" | "X");
    let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (!is_dead).then_some(Process { pid, parent, group })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_process_table_may_hold_anything() {
        let process = stat(7, "7 (a) b ) c) S 3 5 5 0").unwrap();
        assert_eq!((process.pid, process.parent, process.group), (7, 3, 5));
        assert!(stat(7, "7 (gone) Z 3 5").is_none());
        assert!(stat(7, "nonsense").is_none());
    }
}
