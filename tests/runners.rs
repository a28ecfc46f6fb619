//! Several runners on one store: of the same pipeline and of others, some of them killed. Nothing is lost, made twice, or waited for
//! for ever.

use resect_tests::{Project, Run, stderr, xtask};
use std::collections::BTreeMap;
use std::process::{Child, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

const ROUNDS: usize = 36;

/// Settings that make other pipelines, which share steps.
const SETTINGS: [&[&str]; 4] =
    [&[], &["--set", "train.epochs=2"], &["--set", "train.loss=ce"], &["--set", "evaluate.resamples=200"]];

/// What each of them gives alone.
fn alone() -> &'static Vec<BTreeMap<String, String>> {
    static ALONE: OnceLock<Vec<BTreeMap<String, String>>> = OnceLock::new();
    ALONE.get_or_init(|| {
        let project = Project::micro();
        SETTINGS.iter().map(|settings| project.run(settings).artifacts()).collect()
    })
}

fn spawn(project: &Project, settings: &[&str]) -> Child {
    let mut command = project.command("run", &[&["--json"], settings].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for a runner, whose output is small enough for the pipes to hold it.
fn end(mut runner: Child) -> Output {
    // Nothing is said of how long it may take; but that it ends is.
    let patience = Instant::now() + Duration::from_secs(300);
    while runner.try_wait().unwrap().is_none() {
        assert!(Instant::now() < patience, "it waits for ever");
        std::thread::sleep(Duration::from_millis(5));
    }
    runner.wait_with_output().unwrap()
}

/// Rounds, each on a store of its own, in each of which the first runner is killed if `kill` gives a moment.
fn rounds(kill: impl Fn(usize) -> Option<Duration>) {
    for round in 0..ROUNDS / 2 {
        let project = Project::micro();
        // The same one twice, another one, and one that only looks.
        let picks = [round % 4, round % 4, (round + 1 + round / 4) % 4];
        let mut runners: Vec<(usize, Child)> =
            picks.into_iter().map(|pick| (pick, spawn(&project, SETTINGS[pick]))).collect();
        let mut verify = xtask();
        verify.args(["verify", "--store"]).arg(project.store()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let verify = verify.spawn().unwrap();
        if let Some(moment) = kill(round) {
            let (_, mut victim) = runners.remove(0);
            std::thread::sleep(moment);
            victim.kill().unwrap();
            victim.wait().unwrap();
        }
        let killed = runners.len() < picks.len();
        let mut keys: BTreeMap<String, usize> = BTreeMap::new();
        for (pick, runner) in runners {
            let output = end(runner);
            let run = Run::of(&output).unwrap_or_else(|| panic!("round {round}: {}", stderr(&output)));
            assert_eq!(run.artifacts(), alone()[pick], "round {round}");
            run.ran("key").into_iter().for_each(|key| *keys.entry(key).or_default() += 1);
        }
        // A step is done by one; where one was killed it may have done some.
        assert!(keys.values().all(|count| *count == 1), "round {round}: {keys:?}");
        let output = end(verify);
        assert!(output.status.success(), "round {round}: {}", String::from_utf8_lossy(&output.stdout));
        let after = project.run(SETTINGS[picks[0]]);
        assert_eq!(after.with_status("reused").len() == 4, !killed || after.with_status("ran").is_empty());
        assert_eq!(after.artifacts(), alone()[picks[0]], "round {round}");
        assert_eq!(
            std::fs::read_dir(project.store().join(".resect/work")).unwrap().count(),
            0,
            "round {round}"
        );
    }
}

#[test]
fn runners_that_start_together_share_the_work() {
    rounds(|_| None);
}

#[test]
fn a_killed_runner_is_replaced_by_those_that_wait_for_it() {
    // Moments spread over what a run takes, in an order without a pattern.
    rounds(|round| Some(Duration::from_millis((round * 367 % 1200) as u64)));
}
