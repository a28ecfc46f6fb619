use super::*;

#[test]
fn the_sine_is_a_sine() {
    for i in -400..400 {
        let turns = i as f32 / 100.0;
        assert!((sin_turns(turns) - (turns * TAU).sin()).abs() < 2e-5, "{turns}");
    }
}
