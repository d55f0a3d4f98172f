//! The stories are those that are checked in.

use std::{env, fs};

use telemetry_models::stories;

const PLACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/stories.txt");

#[test]
fn stories_are_what_the_models_tell() {
    let told = stories::text();
    if env::var_os("UPDATE_STORIES").is_some() {
        fs::write(PLACE, &told).expect("the stories are written");
    }
    let kept = fs::read_to_string(PLACE).expect("the stories are there");
    assert_eq!(
        kept, told,
        "if that is wanted: UPDATE_STORIES=1 cargo nextest run -p telemetry-models stories"
    );
}
