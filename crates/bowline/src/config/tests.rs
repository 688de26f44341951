//! Layers, origins, unknown keys.

use std::path::PathBuf;

use super::*;

fn in_folder(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bowline.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn each_layer_covers_the_ones_below() {
    let (_folder, path) = in_folder("server = 'http://file:1'\nnamespace = 'file'\nslots = 4\n");
    let environment = Environment::of(&[("BOWLINE_SERVER", "http://env:1"), ("BOWLINE_NAMESPACE", "")]);
    let flags = [("listen", Some("127.0.0.1:1".to_owned())), ("server", None)];
    let config = Config::layered(environment, &flags, Some(&path)).unwrap();
    let of = |key| (config.text(key).unwrap().to_owned(), config.get(key).unwrap().origin.clone());
    assert_eq!(of("server"), ("http://env:1".to_owned(), Origin::Variable("BOWLINE_SERVER")));
    assert_eq!(of("namespace"), ("file".to_owned(), Origin::File(path.clone())));
    assert_eq!(of("slots"), ("4".to_owned(), Origin::File(path)));
    assert_eq!(of("listen"), ("127.0.0.1:1".to_owned(), Origin::Flag));
    assert_eq!(of("data"), (".bowline".to_owned(), Origin::Default));
    assert!(config.get("token_file").is_none());
}

#[test]
fn the_users_file_covers_the_machines_and_is_found_by_itself() {
    let home = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(home.path().join(".config/bowline")).unwrap();
    std::fs::write(home.path().join(".config/bowline/bowline.toml"), "log = 'debug'").unwrap();
    let environment = Environment::of(&[("HOME", home.path().to_str().unwrap())]);
    let config = Config::layered(environment, &[], None).unwrap();
    assert_eq!(config.text("log"), Some("debug"));
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let (_folder, path) = in_folder("listne = 'x'");
    let error = Config::layered(Environment::default(), &[], Some(&path)).unwrap_err();
    assert!(error.to_string().contains("did you mean `listen`?"), "{error}");
}

#[test]
fn wrong_types_and_values_say_where_they_stand() {
    let (_folder, path) = in_folder("slots = [1]");
    let error = Config::layered(Environment::default(), &[], Some(&path)).unwrap_err();
    assert!(error.to_string().contains("`slots` must be text or a number"), "{error}");
    let environment = Environment::of(&[("BOWLINE_SLOTS", "many")]);
    let config = Config::layered(environment, &[], None).unwrap();
    let error = config.parsed::<u32>("slots").unwrap_err();
    assert!(error.to_string().contains("BOWLINE_SLOTS"), "{error}");
}
