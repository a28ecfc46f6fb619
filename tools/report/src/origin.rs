//! Where it all comes from: settings, data, hashes, and the command that makes it again.

use maud::{Markup, html};
use resect_report_job::Stage;
use resect_target_records::Split;

use crate::Report;
use crate::audit::{Audit, Size};
use crate::format::{count, duration, memory, moment};
use crate::page::{pairs, table};

/// Most pairs of look-alikes and rejected samples that are listed.
const MOST_LISTED: usize = 50;

pub(crate) fn recipe(report: &Report<'_>) -> Markup {
    let sources = [("Base checkpoint", &report.job.base), ("Dataset", &report.job.dataset)];
    html! {
        div.columns { @for (title, source) in sources {
            div {
                h3 { (title) }
                (pairs([("name", html! { (source.name) })].into_iter().chain(
                    source.details.iter().map(|(name, value)| (name.as_str(), html! { code { (value) } })),
                )))
            }
        } }
        h3 { "Every setting" }
        div.sections { @for section in &report.job.settings {
            div.setting {
                h4 { "[" (section.name) "]" }
                (pairs(section.values.iter().map(|(name, value)| (name.as_str(), html! { code { (value) } }))))
            }
        } }
        (reproduce(report))
    }
}

fn reproduce(report: &Report<'_>) -> Markup {
    let reproduce = &report.job.reproduce;
    html! {
        h3 #reproduce { "To make it again" }
        div.command {
            pre tabindex="0" { code #command { (reproduce.command) } }
            button #copy type="button" hidden { "Copy" }
        }
        @match (&reproduce.commit, reproduce.dirty) {
            (Some(commit), false) => { p { "in a checkout of commit " code { (commit) } "." } }
            (Some(commit), true) => {
                p.warning { "The checkout was at commit " code { (commit) } " with changes that are in no commit; the code hashes below tell." }
            }
            (None, _) => { p.note { "The commit of the checkout was not recorded; the code hashes below tell which code it was." } }
        }
        @for caveat in &reproduce.caveats { p.note { (caveat) } }
    }
}

pub(crate) fn data(report: &Report<'_>) -> Markup {
    let audit = &report.audit;
    let columns = ["part", "images", "targets", "groups", "what for"].map(str::to_owned);
    let rows: Vec<Vec<String>> = report
        .parts
        .iter()
        .map(|part| {
            let (name, purpose) = match part.split {
                Split::Train => ("train", "the decoder is tuned on it"),
                Split::Validation => ("validation", "selects the epoch"),
                Split::Test => ("test", "is reported"),
            };
            let numbers = [part.images, part.targets, part.groups].map(|number| number.to_string());
            let [images, targets, groups] = numbers;
            vec![name.into(), images, targets, groups, purpose.into()]
        })
        .collect();
    let (masks, sizes, area) = (&audit.masks, &audit.sizes, &audit.area);
    let size = |size: &Size| format!("{} × {}", size.width, size.height);
    let share = |share: f64| format!("{:.2} %", 100.0 * share);
    let facts = [
        ("samples in the dataset", audit.samples.to_string()),
        ("rejected", audit.rejected.to_string()),
        ("in no part", audit.unused.to_string()),
        ("groups in more than one part", audit.groups_across_splits.to_string()),
        ("pairs of images that look the same", audit.near_duplicates.to_string()),
        ("  across the test part's border", audit.near_duplicates_across_test.to_string()),
        ("  across training and validation", audit.near_duplicates_across_validation.to_string()),
        ("masks with more than two values", masks.noisy.to_string()),
        ("masks with specks removed", masks.with_specks.to_string()),
        ("masks with several components", masks.with_several_components.to_string()),
        ("targets that touch the border", masks.touching_border.to_string()),
        ("smallest image", size(&sizes.smallest)),
        ("largest image", size(&sizes.largest)),
        ("images turned by EXIF", sizes.turned_by_exif.to_string()),
        ("foreground: least", share(area.min)),
        ("foreground: middle", share(area.median)),
        ("foreground: most", share(area.max)),
    ];
    html! {
        (table(&columns, &rows))
        p { (shared(report)) }
        h3 { "What the audit found" }
        (pairs(facts.iter().map(|(name, value)| (name.trim(), html! { (value) }))))
        (look_alikes(audit))
        (rejected(report))
    }
}

fn shared(report: &Report<'_>) -> String {
    let leaks = report.leaks;
    match (leaks.trained, leaks.selected) {
        (0, 0) => "No reported image shares pixels or a group with one that was trained on or selected the epoch, or looks like one.".into(),
        (trained, selected) => format!(
            "By pixels, group or look, {} of the test part {} in the training part and {selected} in the validation part.",
            count(trained, "image"),
            if trained == 1 { "lies" } else { "lie" }
        ),
    }
}

fn look_alikes(audit: &Audit) -> Markup {
    let listed = &audit.near_duplicate_pairs;
    let rows: Vec<Vec<String>> = listed
        .iter()
        .take(MOST_LISTED)
        .map(|pair| {
            let one = |index: usize| format!("{} ({})", pair.ids[index], pair.splits[index]);
            vec![one(0), one(1), pair.distance.to_string()]
        })
        .collect();
    let columns = ["image", "looks like", "bits that differ, of 64"].map(str::to_owned);
    html! {
        @if !rows.is_empty() {
            details { summary { "Images that look the same (" (listed.len()) (if listed.len() > rows.len() { ", the first listed" } else { "" }) ")" }
                (table(&columns, &rows)) }
        }
    }
}

fn rejected(report: &Report<'_>) -> Markup {
    let all = &report.rejected;
    let rows: Vec<Vec<String>> = all
        .iter()
        .take(MOST_LISTED)
        .map(|sample| vec![sample.id.clone(), sample.place.clone(), sample.reason.clone()])
        .collect();
    let columns = ["sample", "place", "why"].map(str::to_owned);
    html! {
        @if !rows.is_empty() {
            details.wrap { summary { "Rejected samples (" (all.len()) (if all.len() > rows.len() { ", the first listed" } else { "" }) ")" }
                (table(&columns, &rows)) }
        }
    }
}

pub(crate) fn lineage(report: &Report<'_>) -> Markup {
    let columns = ["artifact", "id (BLAKE3 of its manifest)"].map(str::to_owned);
    html! {
        p { "Artifacts are named by the hash of their content, steps by the hash of all that enters them. Equal hashes, equal bytes." }
        div.scroll.wrap tabindex="0" role="region" aria-label="Artifacts" {
            table {
                thead { tr { @for column in &columns { th scope="col" { (column) } } } }
                tbody { @for (kind, id) in &report.job.artifacts { tr { th scope="row" { (kind) } td { code { (id) } } } } }
            }
        }
        h3 { "Steps" }
        @for stage in &report.job.stages { (step(stage)) }
    }
}

fn step(stage: &Stage) -> Markup {
    let code = |text: &str| html! { code { (text) } };
    let mut facts = vec![("key", code(&stage.key))];
    facts.extend(stage.code.iter().map(|hash| ("code", code(hash))));
    facts.extend(stage.numeric.iter().map(|class| ("numeric class", html! { (class) })));
    let ids = |ids: &[(String, String)]| html! { ul.ids { @for (kind, id) in ids { li { (kind) " " code { (id) } } } } };
    if !stage.inputs.is_empty() {
        facts.push(("read", ids(&stage.inputs)));
    }
    facts.push(("made", ids(&stage.outputs)));
    facts.push(("run", html! { (stage.run) ", ended " (moment(&stage.finished)) }));
    facts.extend(stage.peak_memory.map(|bytes| ("peak memory", html! { (memory(bytes)) })));
    facts.extend(stage.provenance.iter().map(|(name, value)| (name.as_str(), html! { (value) })));
    facts.extend(stage.accepted.iter().map(|reason| ("accepted", html! { (reason) })));
    html! {
        details.step {
            summary { b { (stage.name) } span { (duration(stage.seconds)) } }
            (pairs(facts))
        }
    }
}
