use super::*;

fn row(table: &str, cells: &[(&str, Option<f64>)]) -> Row {
    let cells = cells.iter().map(|(column, cell)| ((*column).to_owned(), *cell)).collect();
    Row { table: table.into(), cells }
}

#[test]
fn rows_are_in_the_files_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::new(&[LogFormat::Csv], dir.path().join("run"));
    assert_eq!(log.dir(), None);
    let said = log.row(&row("epochs", &[("epoch", Some(0.0)), ("train_loss", None)]));
    assert!(said.unwrap().contains("logs in "));
    let step = row("steps", &[("epoch", Some(1.0)), ("step", Some(1.0)), ("loss", Some(1e-5 / 3.0))]);
    assert_eq!(log.row(&step), None);
    assert_eq!(log.row(&row("epochs", &[("epoch", Some(1.0)), ("train_loss", Some(0.1))])), None);
    let read = |name: &str| std::fs::read_to_string(log.dir().unwrap().join(name)).unwrap();
    assert_eq!(read("epochs.csv"), "epoch,train_loss\n0,\n1,0.1\n");
    assert_eq!(read("steps.csv"), "epoch,step,loss\n1,1,0.0000033333333333333337\n");
}

#[test]
fn logs_that_cannot_be_written_are_spoken_of_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut log = Log::new(&[LogFormat::Csv], file.path().join("run"));
    let step = row("steps", &[("step", Some(1.0))]);
    assert!(log.row(&step).unwrap().contains("cannot write logs to "));
    assert_eq!((log.row(&step), log.dir()), (None, None));
}

#[test]
fn columns_have_tags() {
    assert_eq!(tag("steps", "ce_loss").as_deref(), Some("train/ce_loss"));
    assert_eq!(tag("steps", "step"), None);
    assert_eq!(tag("epochs", "validation_dice").as_deref(), Some("validation/dice"));
    assert_eq!(tag("epochs", "learning_rate"), None);
}
