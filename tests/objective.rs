//! Losses, padding and prompts of `train`, from the command line.

use resect_checkpoint_records::{Epoch, Step};
use resect_tables::table;
use resect_tests::{Project, Run, stderr};
use std::collections::BTreeSet;

/// Trains with some settings.
fn train(project: &Project, settings: &[&str], flags: &[&str]) -> Run {
    let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
    let set = settings.iter().flat_map(|setting| ["--set", setting]);
    project.run(&["train"].into_iter().chain(flags.iter().copied()).chain(set).collect::<Vec<_>>())
}

fn steps(project: &Project, run: &Run) -> Vec<Step> {
    table::read(&project.artifact(run, "checkpoint").join("history.parquet")).unwrap()
}

fn epochs(project: &Project, run: &Run) -> Vec<Epoch> {
    table::read(&project.artifact(run, "checkpoint").join("epochs.parquet")).unwrap()
}

/// With the weights of Dice and of the pixel-wise term that each is to have.
const CHOICES: [(&[&str], [f64; 2]); 10] = [
    (&[], [1.0, 1.0]),
    (&["loss=dice"], [1.0, 0.0]),
    (&["loss=ce"], [0.0, 1.0]),
    (&["loss=dice-focal"], [1.0, 20.0]),
    (&["loss=dice-focal", "loss_weights=[2, 0.5]"], [2.0, 0.5]),
    (&["padding=ignored"], [1.0, 1.0]),
    (&["jitter_unit=percent"], [1.0, 1.0]),
    (&["prompts=point"], [1.0, 1.0]),
    (&["prompts=point", "points=5"], [1.0, 1.0]),
    (&["prompts=mixed", "points=2", "box_share=0.3"], [1.0, 1.0]),
];

#[test]
fn every_choice_trains_another_decoder_and_minimises_what_it_says() {
    let project = Project::micro();
    let (mut seen, mut untuned) = (BTreeSet::new(), Vec::new());
    for (settings, [of_dice, of_pixelwise]) in CHOICES {
        let run = train(&project, settings, &[]);
        assert!(seen.insert(run.artifact("checkpoint")), "{settings:?} changes nothing");
        let steps = steps(&project, &run);
        for step in &steps {
            let total = of_dice * step.dice_loss + of_pixelwise * step.ce_loss;
            assert!((step.loss - total).abs() < 1e-9, "{settings:?}: {step:?}");
        }
        let [first, last] = [&steps[..4], &steps[steps.len() - 4..]]
            .map(|steps| steps.iter().map(|step| step.loss).sum::<f64>());
        assert!(last < first, "{settings:?}: {first} to {last}");
        untuned.push(epochs(&project, &run)[0].clone());
    }
    // The decoder as it came is the same every time: what differs is how it is looked at.
    let of =
        |choice: usize| (untuned[choice].validation_loss.unwrap(), untuned[choice].validation_dice.unwrap());
    let ((published, published_dice), (jittered, _)) = (of(0), of(6));
    assert_eq!(published, jittered, "validation has no jitter");
    assert!(
        of(1).0 < 1.0 && (of(1).0 + of(2).0 - published).abs() < 1e-9,
        "Dice and cross-entropy are its terms"
    );
    assert!(of(5) != of(0), "padding");
    let ((points, points_dice), (mixed, mixed_dice)) = (of(7), of(9));
    assert!(points != published, "points");
    assert_eq!(of(8), of(7), "validation points are as many as they are");
    assert!((mixed - (published + points) / 2.0).abs() < 1e-9, "both prompts count alike");
    assert!((mixed_dice - (published_dice + points_dice) / 2.0).abs() < 1e-9, "both prompts count alike");
}

#[test]
fn draws_of_prompts_depend_on_no_thread() {
    let settings = ["prompts=mixed", "points=3", "padding=ignored", "loss=dice-focal"];
    let [one, three] = ["1", "3"].map(|threads| {
        let project = Project::micro();
        train(&project, &settings, &["--threads", threads]).artifacts()
    });
    assert_eq!(one, three);
}

#[test]
fn settings_that_make_no_sense_together_are_named_before_anything_runs() {
    let project = Project::micro();
    for (settings, message) in [
        (
            &["loss=dice", "loss_weights=[1, 1]"][..],
            "train.loss_weights must be [] with a train.loss of one term, is [1.0, 1.0]",
        ),
        (&["loss_weights=[1]"], "train.loss_weights must be two numbers"),
        (&["loss=focal"], "train.loss has a wrong value: unknown variant `focal`"),
        (&["prompts=point", "points=0"], "train.points must be 1 to 100, is 0"),
        (&["points=2"], "train.points must be 1 with train.prompts = \"box\""),
        (&["prompts=mixed", "box_share=2"], "train.box_share must be a share from 0 to 1, is 2"),
        (&["jitter_unit=percent", "jitter=101"], "train.jitter must be 0 to 100 with train.jitter_unit"),
    ] {
        let settings: Vec<String> = settings.iter().map(|setting| format!("train.{setting}")).collect();
        let args: Vec<&str> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let output = project.output("run", &args);
        assert_eq!(output.status.code(), Some(2));
        let errors = stderr(&output);
        assert!(errors.contains(message), "{message}\nis not in\n{errors}");
    }
    assert!(!project.store().join("dataset").exists());
}
