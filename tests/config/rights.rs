//! What clients may do, as the owner configures it: `[guests]`, and the same in `[[hub.tokens]]`.

use super::{ConfigFile, assert_has, check};

const TOKEN: &str = "[[hub.tokens]]\nname = \"base\"\ntoken = \"hunter2\"\n";

fn refused(text: &str) -> String {
    let text = ConfigFile::new(text).check().refused();
    assert!(!text.contains("hunter2"), "{text}");
    text
}

#[test]
fn what_clients_may_do_is_shown_as_a_file_would_have_it() {
    let file = ConfigFile::new(format!(
        "[guests]\nread = [\"public.*\", 5, [100, 199.5]]\nwrite = []\nlog = false\n{TOKEN}\
         read = [\"*\", -0.5]\nhear_all = false\n[hub]\nrequire_token = true\n"
    ));
    let text = file.check().effective();
    assert_has(
        &text,
        &[
            "require_token = true  #",
            "\n[guests]\nread = [\"public.*\", 5, [100, 199.5]]  #",
            "\nwrite = []  #",
            "\n# hear_all is not set\nlog = false  #",
            "tokens = [{ hear_all = false, name = \"base\", read = [\"*\", -0.5], token = ",
        ],
    );
    let guests = text[text.find("[guests]").unwrap()..text.find("[admin]").unwrap()].to_owned();
    let again = ConfigFile::new(&guests).check().effective();
    assert_has(&again, &["read = [\"public.*\", 5, [100, 199.5]]  #", "write = []  #"]);
    let text = check(&[], &[]).effective();
    assert_has(&text, &["require_token = false  # default", "[guests]\n# read is not set\n"]);
}

#[test]
fn what_guests_may_do_can_come_from_the_environment_and_from_flags() {
    let variables =
        [("SKYNET_GUESTS__READ", "[\"a, b\", 5, [1, 2]]"), ("SKYNET_GUESTS__HEAR_ALL", "true")];
    let flags = ["--set", "guests.log=false", "--set", "guests.write=['x']"];
    let text = check(&flags, &variables).effective();
    assert_has(
        &text,
        &[
            "read = [\"a, b\", 5, [1, 2]]  # SKYNET_GUESTS__READ\n",
            "write = [\"x\"]  # --set\n",
            "hear_all = true  # SKYNET_GUESTS__HEAR_ALL\n",
            "log = false  # --set\n",
        ],
    );
    let text = check(&["--set", "guests.read=public.*, 5,\"5\""], &[]).effective();
    assert_has(&text, &["read = [\"public.*\", 5, \"5\"]  # --set\n"]);
    let text = check(&["--set", "guests.read=[public.*]"], &[]).refused();
    assert_has(&text, &["guests.read (--set) is not a list; write it in brackets", "[100, 199]]"]);
    let text = check(&[], &[("SKYNET_HUB__REQUIRE_TOKEN", "yes")]).refused();
    assert_has(&text, &["hub.require_token (SKYNET_HUB__REQUIRE_TOKEN) \"yes\" is neither true"]);
}

#[test]
fn a_wrong_list_is_refused_with_its_key_its_entry_and_its_place() {
    for (line, expected) in [
        ("read = 5", "guests.read"),
        ("read = [\"a\", true]", "neither a text, a number nor a range in place 2"),
        ("write = [[1, 2, 3]]", "neither a text, a number nor a range in place 1"),
        ("write = [5, nan]", "holds a problem in place 2: NaN is no channel"),
        ("write = [[9, 1]]", "[9, 1] holds no number; write the smaller end first"),
        ("log = 1", "guests.log"),
        ("hear_all = [true]", "is a list here"),
        ("reed = []", "did you mean guests.read?"),
    ] {
        let text = refused(&format!("[guests]\n{line}\n"));
        assert_has(&text, &["skynet: guests.", "line 2)", expected]);
    }
    let entry = |line: &str| {
        refused(&format!("{TOKEN}[[hub.tokens]]\nname = \"b\"\ntoken = \"t\"\n{line}\n"))
    };
    for (line, expected) in [
        ("read = [\"a\", true]", ": read holds neither a text, a number nor a range in place 2"),
        ("write = 5", ": write is not a list; write it in brackets"),
        ("write = [inf]", " (\"b\"): its write holds a problem in place 1: inf is no channel"),
        ("hear_all = \"true\"", ": hear_all is neither true nor false"),
        ("log = 0", ": log is neither true nor false"),
        ("wite = []", ": \"wite\" is not a setting; did you mean write?"),
    ] {
        let text = entry(line);
        assert_has(&text, &["hub.tokens (", "line 1) has a problem in entry 2", expected]);
    }
    let many = format!("[guests]\nread = [{}]\n", "5, ".repeat(101));
    assert_has(&refused(&many), &["guests.read", "holds 101 patterns; at most 100 are allowed"]);
    let long = format!("[guests]\nread = [\"{}\"]\n", "x".repeat(256));
    assert_has(&refused(&long), &["has 256 bytes", "at most 255 (limits.max_channel_name_bytes)"]);
}

#[test]
fn a_hub_that_nobody_could_enter_is_refused() {
    let text = check(&["--set", "hub.require_token=true"], &[]).refused();
    assert_has(&text, &["hub.require_token (--set) is true, and there is no token"]);
}

#[test]
fn settings_that_have_no_effect_are_warned_of() {
    let file = ConfigFile::new(format!(
        "[guests]\nread = []\n[hub]\nrequire_token = true\n{TOKEN}\
         read = [\"a\"]\nhear_all = true\n"
    ));
    let sources = skynet::config::Sources { file: Some(file.path().into()), ..Default::default() };
    let warnings = skynet::config::load(&sources).unwrap().config.warnings().join("\n");
    assert_has(
        &warnings,
        &[
            "what [guests] says applies to nobody",
            "hear_all of \"base\" in hub.tokens lets it read",
        ],
    );
}
